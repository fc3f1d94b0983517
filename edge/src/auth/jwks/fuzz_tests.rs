//! Fuzz target of published keys: any document is read or refused, and bounded.

use sterna_fuzz::check;

use super::document::{JWKS_BYTES, JWKS_KEYS, parse};

#[test]
fn fuzz_jwks() {
    check!("jwks", |bytes: &[u8]| {
        if let Ok(keys) = parse(bytes) {
            assert!((1..=JWKS_KEYS).contains(&keys.len()) && bytes.len() <= JWKS_BYTES);
        }
    });
}
