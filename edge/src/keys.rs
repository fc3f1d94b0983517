//! The keys that an edge derives from its node's secret. Made once at start; never written down,
//! never logged. A node that starts again has the same keys, so that it can tell clients of its
//! predecessor that their connections are gone (stateless reset).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{hkdf, hmac};

/// HKDF-SHA256 of the node's secret, one label per use.
pub(crate) struct NodeKeys {
    /// AES-128 key of connection ids.
    pub(crate) connection_id: [u8; 16],
    /// Signs stateless reset tokens.
    pub(crate) reset: Arc<hmac::Key>,
    /// Encrypts Retry and NEW_TOKEN tokens.
    pub(crate) token: Arc<hkdf::Prk>,
}

impl NodeKeys {
    pub(crate) fn derive(secret: &[u8; 32]) -> Self {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"sterna edge v1").extract(secret);
        let [connection_id, _] = split(expand(&root, b"connection id"));
        let reset = hmac::Key::new(hmac::HMAC_SHA256, &expand(&root, b"stateless reset"));
        let token = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&expand(&root, b"token"));
        Self { connection_id, reset: Arc::new(reset), token: Arc::new(token) }
    }
}

impl fmt::Debug for NodeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKeys(…)")
    }
}

fn expand(root: &hkdf::Prk, label: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    root.expand(&[label], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut key))
        .unwrap_or_else(|_| unreachable!("32 bytes are one block of HKDF-SHA256"));
    key
}

fn split(key: [u8; 32]) -> [[u8; 16]; 2] {
    let mut halves = [[0; 16]; 2];
    halves[0].copy_from_slice(&key[..16]);
    halves[1].copy_from_slice(&key[16..]);
    halves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_stable_and_depend_on_the_secret() {
        let (one, again, other) =
            (NodeKeys::derive(&[1; 32]), NodeKeys::derive(&[1; 32]), NodeKeys::derive(&[2; 32]));
        assert_eq!(one.connection_id, again.connection_id);
        assert_ne!(one.connection_id, other.connection_id);
        let tag = |keys: &NodeKeys| hmac::sign(&keys.reset, b"cid").as_ref().to_vec();
        assert_eq!(tag(&one), tag(&again));
        assert_ne!(tag(&one), tag(&other));
        assert_eq!(format!("{one:?}"), "NodeKeys(…)");
    }
}
