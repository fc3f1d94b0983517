//! Root keys (`archive.master_key_file`), which data keys are wrapped by. They come from a file and go nowhere else.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};
use sterna_proto::ChannelKey;
use sterna_storage::keeping::WrappedKey;

/// Bytes of every key.
pub(crate) const KEY_BYTES: usize = 32;

/// Most keys in a file: the present one, and those before that something may still be wrapped by.
const ROOT_KEYS: usize = 16;

/// Why there are no root keys.
#[derive(Debug, thiserror::Error)]
pub enum RootKeysError {
    #[error("cannot read {path}: {source}")]
    Unreadable { path: String, source: std::io::Error },
    #[error("{0} holds no key; `sterna key` makes one")]
    Empty(String),
    #[error("{path}, line {line}: not {KEY_BYTES} bytes in base64")]
    NoKey { path: String, line: usize },
    #[error("{0} holds more than {ROOT_KEYS} keys")]
    TooMany(String),
}

/// The present root key and earlier ones.
#[derive(Clone)]
pub struct RootKeys(Arc<[RootKey]>);

struct RootKey {
    id: u64,
    key: LessSafeKey,
}

impl fmt::Debug for RootKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|root| format!("{:016x}", root.id))).finish()
    }
}

impl RootKeys {
    /// A file with one key a line in base64, the present one first. Lines that begin with # say
    /// nothing.
    ///
    /// # Errors
    /// When it cannot be read, or a line is no key.
    pub fn read(path: &Path) -> Result<Self, RootKeysError> {
        let named = || path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| RootKeysError::Unreadable { path: named(), source })?;
        let mut roots = Vec::new();
        for (at, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let no_key = || RootKeysError::NoKey { path: named(), line: at };
            let bytes = STANDARD.decode(line).map_err(|_| no_key())?;
            roots.push(RootKey::new(&bytes).ok_or_else(no_key)?);
        }
        match roots.len() {
            0 => Err(RootKeysError::Empty(named())),
            1..=ROOT_KEYS => Ok(Self(roots.into())),
            _ => Err(RootKeysError::TooMany(named())),
        }
    }

    /// A line for such a file.
    pub fn generate() -> String {
        let mut key = [0; KEY_BYTES];
        rand::rng().fill_bytes(&mut key);
        STANDARD.encode(key)
    }

    /// Which one wraps new keys.
    pub fn present(&self) -> u64 {
        self.0.first().map_or(0, |root| root.id)
    }

    /// A data key under the present root key; `None`: the cipher refuses, which it does not.
    pub(crate) fn wrap(
        &self,
        channel: ChannelKey,
        id: u32,
        data_key: &[u8; KEY_BYTES],
    ) -> Option<WrappedKey> {
        let root = self.0.first()?;
        let wrapped = seal(&root.key, &aad(channel, id), data_key)?;
        Some(WrappedKey { id, root: root.id, wrapped })
    }

    /// The data key again; `None`: it is damaged, or of a root key that is not in the file.
    pub(crate) fn unwrap(&self, channel: ChannelKey, key: &WrappedKey) -> Option<[u8; KEY_BYTES]> {
        let root = self.0.iter().find(|root| root.id == key.root)?;
        open(&root.key, &aad(channel, key.id), &key.wrapped)?.try_into().ok()
    }
}

impl RootKey {
    fn new(bytes: &[u8]) -> Option<Self> {
        let hash = Sha256::digest(bytes);
        let id = hash.first_chunk().map(|first| u64::from_be_bytes(*first))?;
        Some(Self { id, key: cipher(bytes)? })
    }
}

/// What a wrapped key cannot be moved from.
fn aad(channel: ChannelKey, id: u32) -> Vec<u8> {
    [b"sterna data key 1", &channel.0[..], &id.to_be_bytes()].concat()
}

/// `None` for what is no key.
pub(crate) fn cipher(key: &[u8]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM_SIV, key).ok().map(LessSafeKey::new)
}

/// A nonce of chance, what is encrypted, and its tag. AES-GCM-SIV, so that even a nonce that came
/// twice would tell no more than whether the contents are the same.
pub(crate) fn seal(key: &LessSafeKey, aad: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    rand::rng().fill_bytes(&mut nonce);
    let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + key.algorithm().tag_len());
    sealed.extend_from_slice(&nonce);
    let mut content = plain.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut content).ok()?;
    sealed.extend_from_slice(&content);
    Some(sealed)
}

/// `None`: it was not sealed so.
pub(crate) fn open(key: &LessSafeKey, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, content) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut content = content.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let plain = key.open_in_place(nonce, Aad::from(aad), &mut content).ok()?.len();
    content.truncate(plain);
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: &[&str]) -> Result<RootKeys, RootKeysError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root");
        std::fs::write(&path, lines.join("\n")).unwrap();
        RootKeys::read(&path)
    }

    #[test]
    fn a_wrapped_key_opens_where_it_belongs_and_nowhere_else() {
        let (first, second) = (RootKeys::generate(), RootKeys::generate());
        let old = file(&[&first]).unwrap();
        let both = file(&["# the new one", &second, "", &first]).unwrap();
        let (channel, other) = (ChannelKey([1; 16]), ChannelKey([2; 16]));
        let key = old.wrap(channel, 3, &[7; KEY_BYTES]).unwrap();
        assert_eq!(key.root, old.present());
        assert_eq!(both.unwrap(channel, &key), Some([7; KEY_BYTES]));
        assert_eq!(both.unwrap(other, &key), None);
        assert_eq!(both.unwrap(channel, &WrappedKey { id: 4, ..key.clone() }), None);
        let mut damaged = key.clone();
        damaged.wrapped[20] ^= 1;
        assert_eq!(both.unwrap(channel, &damaged), None);
        assert_eq!(file(&[&second]).unwrap().unwrap(channel, &key), None);
        let anew = both.wrap(channel, 3, &[7; KEY_BYTES]).unwrap();
        assert_ne!(anew.root, key.root);
        assert!(!format!("{both:?}").contains(&first));
    }

    #[test]
    fn what_is_no_key_is_named_with_its_line() {
        let error = file(&["# nothing"]).unwrap_err();
        assert!(matches!(error, RootKeysError::Empty(_)), "{error}");
        let error = file(&[&RootKeys::generate(), "AAAA"]).unwrap_err();
        assert!(matches!(error, RootKeysError::NoKey { line: 2, .. }), "{error}");
        let error = file(&["not base64!"]).unwrap_err();
        assert!(matches!(error, RootKeysError::NoKey { line: 1, .. }), "{error}");
        let many: Vec<String> = (0..17).map(|_| RootKeys::generate()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(matches!(file(&many).unwrap_err(), RootKeysError::TooMany(_)));
        assert!(matches!(
            RootKeys::read(Path::new("/nowhere/at/all")).unwrap_err(),
            RootKeysError::Unreadable { .. }
        ));
    }

    #[test]
    fn any_bytes_open_to_nothing() {
        let key = cipher(&[9; KEY_BYTES]).unwrap();
        for len in 0..64 {
            assert_eq!(open(&key, b"", &vec![len as u8; len]), None);
        }
        let sealed = seal(&key, b"a", b"").unwrap();
        assert_eq!(open(&key, b"a", &sealed), Some(Vec::new()));
        assert_eq!(open(&key, b"b", &sealed), None);
    }
}
