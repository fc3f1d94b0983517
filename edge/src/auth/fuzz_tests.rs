//! Fuzz targets of access tokens: whatever text comes as a token, and whatever claims somebody with
//! the key has signed, there is a verdict and no panic.

use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use sterna_fuzz::check;

use super::*;

const NOW_MS: u64 = 1_800_000_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn authenticator() -> Authenticator {
    let key = AuthKey { kid: None, algorithm: KeyAlgorithm::Hs256, material: SECRET.to_vec() };
    Authenticator::new(AuthConfig::new(vec![key])).unwrap()
}

fn sign(message: &str) -> String {
    let key = EncodingKey::from_secret(SECRET);
    crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap()
}

#[test]
fn fuzz_jwt_check() {
    let authenticator = authenticator();
    check!("jwt_check", move |bytes: &[u8]| {
        let Ok(token) = std::str::from_utf8(bytes) else { return };
        let Ok(identity) = authenticator.check(token, NOW_MS) else { return };
        check_identity(&identity);
        let (message, signature) = token.rsplit_once('.').unwrap();
        assert_eq!(sign(message), signature, "taken without our signature");
    });
}

/// A header's length, the header, the claims: signed as they are, so that what is behind the
/// signature is reached.
#[test]
fn fuzz_jwt_claims() {
    let authenticator = authenticator();
    check!("jwt_claims", move |bytes: &[u8]| {
        let Some((len, rest)) = bytes.split_first() else { return };
        let (header, claims) = rest.split_at(usize::from(*len).min(rest.len()));
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let token = format!("{message}.{}", sign(&message));
        if let Ok(identity) = authenticator.check(&token, NOW_MS) {
            check_identity(&identity);
            let again = authenticator.check(&token, identity.expires_at_ms.unwrap());
            assert_eq!(again, Err(AuthError::Expired), "its time is over");
        }
    });
}

fn check_identity(identity: &Identity) {
    assert!(!identity.operator, "a token never acts for the operator");
    assert!(identity.expires_at_ms.is_some_and(|at| at > NOW_MS), "no token lives for ever");
    assert!(UserId::new(identity.user.as_str()).is_ok());
    assert!(identity.permissions.iter().all(|permission| !permission.pattern.is_empty()));
}
