//! A JWKS document to keys that are each bound to one algorithm. Pure. A key that is not for
//! signatures, of another kind, too short, or not public is left out; the others count.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;

use super::JwksError;
use crate::auth::keys::{Key, KeyAlgorithm, KeySet};

/// Largest document.
pub(super) const JWKS_BYTES: usize = 64 * 1024;

/// Most keys of a document, usable or not.
pub(super) const JWKS_KEYS: usize = 64;

/// Lengths of an RSA modulus, in bytes: 2048 to 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Longest RSA exponent.
const EXPONENT_BYTES: usize = 8;

/// A coordinate of P-256, and a key of Ed25519.
const POINT_BYTES: usize = 32;

pub(super) fn parse(bytes: &[u8]) -> Result<KeySet, JwksError> {
    #[derive(Deserialize)]
    struct Document {
        keys: Vec<Value>,
    }
    if bytes.len() > JWKS_BYTES {
        return Err(JwksError::TooLarge);
    }
    let document: Document = serde_json::from_slice(bytes).map_err(JwksError::Json)?;
    let count = document.keys.len();
    if count > JWKS_KEYS {
        return Err(JwksError::TooMany(count));
    }
    let keys: Vec<Key> = document.keys.into_iter().filter_map(key).collect();
    if keys.len() < count {
        let left_out = count - keys.len();
        tracing::debug!(left_out, "keys of the JWKS that cannot be used here");
    }
    if keys.is_empty() { Err(JwksError::NoneUsable(count)) } else { Ok(KeySet::published(keys)) }
}

/// The members that matter (RFC 7517, RFC 7518 section 6, RFC 8037).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// The private part: whoever publishes it has given the key away.
    d: Option<Value>,
}

fn key(value: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let (algorithm, decoding) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => (KeyAlgorithm::Rs256, rsa(&jwk)?),
        ("EC", Some("P-256")) => (KeyAlgorithm::Es256, p256(&jwk)?),
        ("OKP", Some("Ed25519")) => (KeyAlgorithm::EdDsa, ed25519(&jwk)?),
        // Above all no `oct`: a published secret would let everybody sign.
        _ => return None,
    };
    let fits = jwk.alg.as_ref().is_none_or(|alg| alg == algorithm.name())
        && jwk.purpose.as_ref().is_none_or(|purpose| purpose == "sig")
        && jwk.key_ops.as_ref().is_none_or(|uses| uses.iter().any(|it| it == "verify"))
        && jwk.d.is_none();
    fits.then(|| Key::new(jwk.kid, algorithm, decoding))
}

fn rsa(jwk: &Jwk) -> Option<DecodingKey> {
    let (modulus, exponent) = (bytes(jwk.n.as_ref())?, bytes(jwk.e.as_ref())?);
    let sized =
        RSA_BYTES.contains(&modulus.len()) && (1..=EXPONENT_BYTES).contains(&exponent.len());
    // A modulus that begins with a zero bit is shorter than it looks.
    let whole = modulus.first().is_some_and(|first| first & 0x80 != 0);
    (sized && whole).then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

fn p256(jwk: &Jwk) -> Option<DecodingKey> {
    let (x, y) = (point(jwk.x.as_ref())?, point(jwk.y.as_ref())?);
    DecodingKey::from_ec_components(x, y).ok()
}

fn ed25519(jwk: &Jwk) -> Option<DecodingKey> {
    DecodingKey::from_ed_components(point(jwk.x.as_ref())?).ok()
}

fn point(text: Option<&String>) -> Option<&str> {
    (bytes(text)?.len() == POINT_BYTES).then_some(text?.as_str())
}

fn bytes(text: Option<&String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok()
}
