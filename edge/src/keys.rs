//! The keys that an edge derives from secrets: its node's, and those that all edges of a cluster
//! share. Made once at start; never written down, never logged. A node that starts again has the same
//! keys, so that it can tell clients of its predecessor that their connections are gone (stateless
//! reset).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{hkdf, hmac};

use crate::sealing::SealingKeys;

/// HKDF-SHA256 of a secret, one label per use.
pub(crate) struct EdgeKeys {
    /// AES-128 key of connection ids that no balancer has to read.
    pub(crate) connection_id: [u8; 16],
    /// Hides workers in connection ids.
    pub(crate) steering: [u8; 8],
    /// Signs stateless reset tokens: of this node alone, or whoever else gets a datagram of its
    /// clients could end their connections (RFC 9000, section 21.11).
    pub(crate) reset: Arc<hmac::Key>,
    /// Seals Retry and NEW_TOKEN tokens.
    pub(crate) token: Arc<SealingKeys>,
    /// Seals TLS session tickets; `None`: tickets are for this process alone.
    pub(crate) tickets: Option<Arc<SealingKeys>>,
}

impl EdgeKeys {
    /// `cluster`: secrets that all edges share, the one to seal with first. With one, whoever has
    /// the server id next recognises and resets what this node leaves behind, also on another disk.
    pub(crate) fn derive(node: &[u8; 32], cluster: &[[u8; 32]], server_id: &[u8]) -> Self {
        let own = root(node);
        let shared: Vec<hkdf::Prk> = cluster.iter().map(root).collect();
        let (reset, steering) = match shared.first() {
            Some(shared) => (
                expand(shared, &[b"stateless reset of ", server_id]),
                expand(shared, &[b"steering of ", server_id]),
            ),
            None => (expand(&own, &[b"stateless reset"]), expand(&own, &[b"steering"])),
        };
        let sealing = |label: &'static [u8], roots: &[hkdf::Prk]| {
            let prk = |root| {
                hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&expand::<32>(root, &[label]))
            };
            Arc::new(SealingKeys::new(roots.iter().map(prk).collect()))
        };
        let (tokens, tickets) = match shared.is_empty() {
            true => (sealing(b"token", std::slice::from_ref(&own)), None),
            false => (sealing(b"token", &shared), Some(sealing(b"session ticket", &shared))),
        };
        Self {
            connection_id: expand(&own, &[b"connection id"]),
            steering,
            reset: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &reset as &[u8; 32])),
            token: tokens,
            tickets,
        }
    }
}

impl fmt::Debug for EdgeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EdgeKeys(…)")
    }
}

fn root(secret: &[u8; 32]) -> hkdf::Prk {
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"sterna edge v1").extract(secret)
}

/// The first octets of one block.
fn expand<const N: usize>(root: &hkdf::Prk, label: &[&[u8]]) -> [u8; N] {
    const { assert!(N <= 32, "one block of HKDF-SHA256") };
    let mut block = [0; 32];
    root.expand(label, hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut block))
        .unwrap_or_else(|_| unreachable!("32 bytes are one block of HKDF-SHA256"));
    let mut key = [0; N];
    key.copy_from_slice(&block[..N]);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use quinn_proto::crypto::HandshakeTokenKey as _;

    fn reset(keys: &EdgeKeys) -> Vec<u8> {
        hmac::sign(&keys.reset, b"cid").as_ref().to_vec()
    }

    /// Whether what the one has sealed can be opened by the other.
    fn opens(sealed_by: &SealingKeys, opened_by: &SealingKeys) -> bool {
        let mut data = b"an address".to_vec();
        sealed_by.aead_from_hkdf(b"random").seal(&mut data, b"").unwrap();
        opened_by.aead_from_hkdf(b"random").open(&mut data, b"").is_ok()
    }

    #[test]
    fn keys_are_stable_and_depend_on_the_secret() {
        let [one, again, other] =
            [[1; 32], [1; 32], [2; 32]].map(|secret| EdgeKeys::derive(&secret, &[], b"a"));
        assert_eq!((one.connection_id, one.steering), (again.connection_id, again.steering));
        assert_ne!(one.connection_id, other.connection_id);
        assert_ne!(one.steering, other.steering);
        assert_eq!(reset(&one), reset(&again));
        assert_ne!(reset(&one), reset(&other));
        assert!(opens(&one.token, &again.token) && !opens(&one.token, &other.token));
        assert!(one.tickets.is_none());
        assert_eq!(format!("{one:?}"), "EdgeKeys(…)");
    }

    #[test]
    fn a_cluster_shares_what_any_edge_may_check_and_nothing_that_ends_connections() {
        let (old, new) = ([8; 32], [9; 32]);
        let before = EdgeKeys::derive(&[1; 32], &[old], b"a");
        let [changing, changed] =
            [[new, old], [new, new]].map(|secrets| EdgeKeys::derive(&[2; 32], &secrets, b"b"));
        assert!(opens(&before.token, &changing.token), "the old secret is still good");
        assert!(opens(&changing.token, &changed.token), "the new one seals");
        assert!(!opens(&before.token, &changed.token), "until it is taken away");
        let tickets = |keys: &EdgeKeys| keys.tickets.clone().unwrap();
        assert!(opens(&tickets(&before), &tickets(&changing)));
        assert!(!opens(&tickets(&before), &before.token), "one key for each use");
        assert_ne!(before.connection_id, changing.connection_id);
        let place_of = |server_id: &[u8]| EdgeKeys::derive(&[7; 32], &[old], server_id);
        let (same, other) = (place_of(b"a"), place_of(b"b"));
        assert_ne!(reset(&same), reset(&other));
        assert_ne!(same.steering, other.steering);
        // A node in its place, on another disk.
        assert_eq!((reset(&same), same.steering), (reset(&before), before.steering));
    }
}
