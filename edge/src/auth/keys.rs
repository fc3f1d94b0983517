//! The keys that tokens are checked with, each bound to one algorithm.

use std::fmt;
use std::str::FromStr;

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, crypto};

use super::Refusal;
use super::claims::Header;

/// Most configured keys. A token without `kid` is tried against every key of its algorithm, so
/// this also bounds the work that a stranger can ask for.
const KEYS: usize = 16;

/// Shortest HS256 secret: as long as its output (RFC 7518 section 3.2).
const SECRET_BYTES: usize = 32;

/// Algorithms that tokens may be signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    Hs256,
    Rs256,
    Es256,
    EdDsa,
}

impl KeyAlgorithm {
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// As the header of a token and the configuration write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    const fn jwt(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

impl FromStr for KeyAlgorithm {
    type Err = KeyError;

    fn from_str(name: &str) -> Result<Self, KeyError> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| KeyError::Algorithm(name.chars().take(40).collect()))
    }
}

/// One configured key.
#[derive(Clone)]
pub struct AuthKey {
    /// With a `kid` the key serves only tokens that name it and those that name none; without, it
    /// serves all tokens of its algorithm.
    pub kid: Option<String>,
    pub algorithm: KeyAlgorithm,
    /// HS256: the secret itself. Others: the public key in PEM.
    pub material: Vec<u8>,
}

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Why a configured key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("no key is configured; add at least one, or a JWKS")]
    None,
    #[error("{0} keys are configured; at most {KEYS} are allowed")]
    TooMany(usize),
    #[error("`{0}` is not an algorithm; use one of HS256, RS256, ES256, EdDSA")]
    Algorithm(String),
    #[error("the kid `{0}` is used twice; give every key its own")]
    Twice(String),
    #[error("an HS256 secret needs at least {SECRET_BYTES} bytes; this one has {0}")]
    ShortSecret(usize),
    #[error("this HS256 secret is a PEM key; name the algorithm of that key instead")]
    PemSecret,
    #[error("this is a private key; give the node the public one")]
    Private,
    #[error("not a public key in PEM for {algorithm}: {reason}")]
    Public { algorithm: &'static str, reason: String },
}

/// Keys ready to verify.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    kids: KidRule,
}

/// Which tokens a key may serve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum KidRule {
    /// Those that name it and those that name none.
    #[default]
    Lenient,
    /// A key with a kid those that name it, one without those that name none: with many keys, no
    /// token is tried against all of them.
    Exact,
}

#[derive(Debug)]
pub(super) struct Key {
    kid: Option<String>,
    algorithm: KeyAlgorithm,
    decoding: DecodingKey,
}

impl KeySet {
    /// Configured keys; possibly none, when there are others.
    pub(super) fn new(keys: &[AuthKey]) -> Result<Self, KeyError> {
        if keys.len() > KEYS {
            return Err(KeyError::TooMany(keys.len()));
        }
        for (at, key) in keys.iter().enumerate() {
            if let Some(kid) = &key.kid
                && keys[..at].iter().any(|earlier| earlier.kid.as_ref() == Some(kid))
            {
                return Err(KeyError::Twice(kid.clone()));
            }
        }
        keys.iter()
            .map(|key| {
                let decoding = decoding_key(key.algorithm, &key.material)?;
                Ok(Key { kid: key.kid.clone(), algorithm: key.algorithm, decoding })
            })
            .collect::<Result<_, _>>()
            .map(|keys| Self { keys, kids: KidRule::Lenient })
    }

    /// Keys from a JWKS.
    pub(super) fn published(keys: Vec<Key>) -> Self {
        Self { keys, kids: KidRule::Exact }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether `signature` over `message` is by a key that the header may stand for.
    pub(super) fn verify(
        &self,
        header: &Header,
        message: &[u8],
        signature: &str,
    ) -> Result<(), Refusal> {
        let mut candidates =
            self.keys.iter().filter(|key| key.serves(header, self.kids)).peekable();
        if candidates.peek().is_none() {
            return Err(Refusal::NoKey);
        }
        let holds = |key: &Key| {
            crypto::verify(signature, message, &key.decoding, key.algorithm.jwt())
                .unwrap_or_default()
        };
        if candidates.any(holds) { Ok(()) } else { Err(Refusal::Signature) }
    }
}

impl Key {
    pub(super) fn new(kid: Option<String>, algorithm: KeyAlgorithm, decoding: DecodingKey) -> Self {
        Self { kid, algorithm, decoding }
    }

    fn serves(&self, header: &Header, kids: KidRule) -> bool {
        let named = match (&self.kid, &header.kid) {
            (Some(own), Some(wanted)) => own == wanted,
            (own, wanted) => kids == KidRule::Lenient || own == wanted,
        };
        named && self.algorithm.name() == header.alg
    }
}

fn decoding_key(algorithm: KeyAlgorithm, material: &[u8]) -> Result<DecodingKey, KeyError> {
    let holds = |text: &[u8]| material.windows(text.len()).any(|window| window == text);
    if algorithm == KeyAlgorithm::Hs256 {
        return match material.len() {
            // A public key used as a secret would let everybody sign (RFC 8725 section 2.1).
            _ if holds(b"-----BEGIN") => Err(KeyError::PemSecret),
            len if len < SECRET_BYTES => Err(KeyError::ShortSecret(len)),
            _ => Ok(DecodingKey::from_secret(material)),
        };
    }
    if holds(b"PRIVATE KEY-----") {
        return Err(KeyError::Private);
    }
    let parsed = match algorithm {
        KeyAlgorithm::Rs256 => DecodingKey::from_rsa_pem(material),
        KeyAlgorithm::Es256 => DecodingKey::from_ec_pem(material),
        _ => DecodingKey::from_ed_pem(material),
    };
    let refuse = |reason: String| KeyError::Public { algorithm: algorithm.name(), reason };
    let key = parsed.map_err(|error| refuse(error.to_string()))?;
    match (key.family(), key.try_get_as_bytes().map(<[u8]>::len)) {
        (AlgorithmFamily::Ec, Ok(len)) if len != 65 => Err(refuse("not on the curve P-256".into())),
        _ => Ok(key),
    }
}
