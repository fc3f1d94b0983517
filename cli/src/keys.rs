//! Key material on disk: the development keys that `sterna dev` makes, and the checks that every
//! key file has to pass. Secrets are written with mode 0600 and never logged.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use rand::TryRngCore as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use sterna_edge::TlsFiles;

const DAY: Duration = Duration::from_secs(86_400);

/// How long the development certificate is valid. With the day before it (`set_life`) it is two weeks,
/// the longest life of a certificate that a browser's WebTransport accepts by its hash alone.
const LEAF_LIFE: Duration = Duration::from_secs(13 * 86_400);

/// A certificate with less time left than this is renewed, so that a node can run for as long.
const LEAF_RENEWAL: Duration = Duration::from_secs(10 * 86_400);

const CA_LIFE: Duration = Duration::from_secs(3650 * 86_400);

/// What `sterna dev` needs, and where it is.
#[derive(Debug, Clone)]
pub(crate) struct DevKeys {
    pub(crate) ca: PathBuf,
    pub(crate) tls: TlsFiles,
    pub(crate) token_secret: PathBuf,
    pub(crate) api_key: PathBuf,
}

impl DevKeys {
    /// Where the keys of this directory are, whether or not they exist.
    pub(crate) fn locate(data_dir: &Path) -> Self {
        let keys = data_dir.join("keys");
        Self {
            ca: keys.join("ca.pem"),
            tls: TlsFiles {
                certificate_chain: keys.join("node.pem"),
                private_key: keys.join("node.key"),
            },
            token_secret: keys.join("token.secret"),
            api_key: keys.join("api.secret"),
        }
    }

    /// Makes what is missing and renews what expires soon.
    pub(crate) fn ensure(data_dir: &Path) -> Result<Self> {
        let located = Self::locate(data_dir);
        let directory = data_dir.join("keys");
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
        located.ensure_certificates(&directory.join("ca.key"))?;
        ensure_secret(&located.token_secret)?;
        ensure_secret(&located.api_key)?;
        Ok(located)
    }

    fn ensure_certificates(&self, ca_key: &Path) -> Result<()> {
        if !self.ca.exists() || !ca_key.exists() {
            let key = KeyPair::generate()?;
            let certificate = ca_params()?.self_signed(&key)?;
            write_secret(ca_key, &key.serialize_pem())?;
            replace(&self.ca, &certificate.pem(), 0o644)?;
            // What the old authority signed is worth nothing now.
            remove_if_there(&self.tls.certificate_chain)?;
        }
        let left = time_left(&self.tls.certificate_chain);
        if left.is_ok_and(|left| left > LEAF_RENEWAL) && self.tls.private_key.exists() {
            return Ok(());
        }
        let ca_pem = fs::read_to_string(&self.ca)?;
        let issuer = Issuer::from_ca_cert_pem(
            &ca_pem,
            KeyPair::from_pem(&read_secret(ca_key).map_err(anyhow::Error::msg)?)?,
        )
        .with_context(|| format!("{} is damaged; remove it and start again", self.ca.display()))?;
        let key = KeyPair::generate()?;
        let certificate = leaf_params()?.signed_by(&key, &issuer)?;
        write_secret(&self.tls.private_key, &key.serialize_pem())?;
        replace(&self.tls.certificate_chain, &(certificate.pem() + &ca_pem), 0o644)
    }
}

fn ca_params() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, "Sterna development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_life(&mut params, CA_LIFE);
    Ok(params)
}

fn leaf_params() -> Result<CertificateParams> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "Sterna development node");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_life(&mut params, LEAF_LIFE);
    Ok(params)
}

/// From a day ago, since clocks differ.
pub(crate) fn set_life(params: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(DAY);
    params.not_after = epoch + now + life;
}

/// The 32 bytes that connection ids and tickets of this node are keyed with; made on first use.
pub(crate) fn node_secret(data_dir: &Path) -> Result<[u8; 32]> {
    let path = data_dir.join("node.secret");
    fs::create_dir_all(data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
    ensure_secret(&path)?;
    let text = read_secret(&path).map_err(anyhow::Error::msg)?;
    let octets = parse_hex(&text).and_then(|octets| octets.try_into().ok());
    octets.with_context(|| format!("{} is damaged; remove it and start again", path.display()))
}

/// A secret of `N` octets that is written in hexadecimal.
pub(crate) fn read_hex<const N: usize>(path: &Path) -> Result<[u8; N], String> {
    let octets = parse_hex(&read_secret(path)?).and_then(|octets| octets.try_into().ok());
    octets.ok_or_else(|| {
        let path = path.display();
        format!(
            "{path} does not hold {N} octets in hexadecimal; `openssl rand -hex {N}` makes them"
        )
    })
}

/// Octets in hexadecimal, without anything between them.
pub(crate) fn parse_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let octet = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(octet).collect()
}

/// A secret in text form, without the line feed that editors add. Refused when others can read it.
pub(crate) fn read_secret(path: &Path) -> Result<String, String> {
    let describe = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let mode = fs::metadata(path).map_err(describe)?.permissions().mode();
    if mode & 0o007 != 0 {
        let path = path.display();
        return Err(format!("everybody on this machine can use {path}; run `chmod 600 {path}`"));
    }
    let text = fs::read_to_string(path).map_err(describe)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Whether certificate and key can be read and belong to each other.
pub(crate) fn check_pair(chain: &Path, key: &Path) -> Result<(), String> {
    let certificates = read_chain(chain)?;
    read_secret(key)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| format!("{} holds no private key in PEM: {error}", key.display()))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    rustls::ServerConfig::builder_with_provider(std::sync::Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .map(drop)
        .map_err(|error| {
            format!("{} and {} cannot be used together: {error}", chain.display(), key.display())
        })
}

/// The certificates of a PEM file, at least one.
pub(crate) fn read_chain(chain: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error| format!("{} holds no certificate in PEM: {error}", chain.display());
    let certificates: Vec<_> = CertificateDer::pem_file_iter(chain)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    if certificates.is_empty() {
        return Err(format!("{} holds no certificate in PEM", chain.display()));
    }
    Ok(certificates)
}

/// SHA-256 of the first certificate of a chain in base64: what a browser's WebTransport can be told to
/// accept (`serverCertificateHashes`).
pub(crate) fn certificate_hash(chain: &Path) -> Result<String, String> {
    let certificates = read_chain(chain)?;
    let first = certificates.first().ok_or("empty")?;
    Ok(BASE64_STANDARD.encode(Sha256::digest(first)))
}

/// How long the first certificate of a chain is still valid; an error says why it is not.
pub(crate) fn time_left(chain: &Path) -> Result<Duration, String> {
    let certificates = read_chain(chain)?;
    let first = certificates.first().ok_or("empty")?;
    let (_, parsed) = x509_parser::parse_x509_certificate(first)
        .map_err(|error| format!("{} is damaged: {error}", chain.display()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    let validity = parsed.validity();
    if validity.not_before.timestamp() > now {
        return Err(format!("valid only from {}", validity.not_before));
    }
    match validity.not_after.timestamp() - now {
        left if left > 0 => Ok(Duration::from_secs(left as u64)),
        _ => Err(format!("expired on {}", validity.not_after)),
    }
}

/// 32 random bytes in hexadecimal, unless the file is there already.
fn ensure_secret(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut bytes = [0; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).context("the system gives no random bytes")?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write_secret(path, &text)
}

fn write_secret(path: &Path, text: &str) -> Result<()> {
    replace(path, text, 0o600)
}

/// Writes beside the file and renames, so that nobody ever sees half of it.
pub(crate) fn replace(path: &Path, text: &str, mode: u32) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let beside = path.with_extension("new");
        remove_if_there(&beside)?;
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    match write() {
        Ok(()) => Ok(()),
        Err(error) => bail!("cannot write {}: {error}", path.display()),
    }
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn development_keys_are_made_once_and_belong_together() {
        let directory = tempfile::tempdir().unwrap();
        let keys = DevKeys::ensure(directory.path()).unwrap();
        check_pair(&keys.tls.certificate_chain, &keys.tls.private_key).unwrap();
        let left = time_left(&keys.tls.certificate_chain).unwrap();
        assert!(left > LEAF_LIFE - DAY && left <= LEAF_LIFE, "{left:?}");
        assert!(LEAF_LIFE + DAY <= 14 * DAY, "no browser takes it by its hash");
        assert_eq!(certificate_hash(&keys.tls.certificate_chain).unwrap().len(), 44);
        let before = fs::read_to_string(&keys.tls.certificate_chain).unwrap();
        let again = DevKeys::ensure(directory.path()).unwrap();
        assert_eq!(fs::read_to_string(&again.tls.certificate_chain).unwrap(), before);
        assert_eq!(node_secret(directory.path()).unwrap(), node_secret(directory.path()).unwrap());
        for secret in [&keys.tls.private_key, &keys.token_secret, &keys.api_key] {
            let mode = fs::metadata(secret).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", secret.display());
        }
    }

    #[test]
    fn a_secret_for_all_eyes_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, "a secret\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read_secret(&path).unwrap_err().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(read_secret(&path).unwrap(), "a secret");
    }
}
