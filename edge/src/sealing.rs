//! What one edge of a cluster seals for a client and any other can open: proofs of an address (Retry
//! and NEW_TOKEN tokens of QUIC, RFC 9000 section 8.1) and TLS session tickets. So a client whose
//! datagrams reach another edge than before, as with anycast, need not begin from nothing.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hkdf;
use quinn_proto::crypto::{AeadKey, CryptoError, HandshakeTokenKey};
use rustls::server::ProducesTickets;
use sterna_core::Clock;

/// Keys of the same use: the first seals, all open, so that another one can take its place.
pub(crate) struct SealingKeys {
    keys: Vec<hkdf::Prk>,
}

impl SealingKeys {
    /// `keys`: at least one.
    pub(crate) fn new(keys: Vec<hkdf::Prk>) -> Self {
        assert!(!keys.is_empty());
        Self { keys }
    }
}

impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKeys({})", self.keys.len())
    }
}

impl HandshakeTokenKey for SealingKeys {
    fn aead_from_hkdf(&self, random_bytes: &[u8]) -> Box<dyn AeadKey> {
        let derived = self.keys.iter().map(|key| key.aead_from_hkdf(random_bytes)).collect();
        Box::new(Derived(derived))
    }
}

/// Of each key the one for some random bytes.
struct Derived(Vec<Box<dyn AeadKey>>);

impl AeadKey for Derived {
    fn seal(&self, data: &mut Vec<u8>, additional_data: &[u8]) -> Result<(), CryptoError> {
        self.0.first().ok_or(CryptoError)?.seal(data, additional_data)
    }

    fn open<'a>(
        &self,
        data: &'a mut [u8],
        additional_data: &[u8],
    ) -> Result<&'a mut [u8], CryptoError> {
        for key in &self.0 {
            // A key that does not fit leaves nothing of what it was given.
            let mut tried = data.to_vec();
            if let Ok(plain) = key.open(&mut tried, additional_data) {
                let opened = &mut data[..plain.len()];
                opened.copy_from_slice(plain);
                return Ok(opened);
            }
        }
        Err(CryptoError)
    }
}

/// TLS session tickets that every edge with the same secrets accepts:
///
/// ```text
/// octets 0..16   at random, another key for each ticket
/// then           AES-256-GCM of  when it was made (8, s) | the session
/// ```
///
/// A ticket holds its own age, since the keys are not rolled by the hour: resumption always
/// exchanges keys anew (`psk_dhe_ke`), so that whoever learns a secret cannot read what was said.
pub(crate) struct SharedTickets {
    keys: Arc<SealingKeys>,
    clock: Arc<dyn Clock>,
}

impl SharedTickets {
    pub(crate) fn new(keys: Arc<SealingKeys>, clock: Arc<dyn Clock>) -> Self {
        Self { keys, clock }
    }

    fn now_secs(&self) -> u64 {
        self.clock.unix_ms() / 1000
    }
}

impl ProducesTickets for SharedTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        TICKET_SECS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let salt: [u8; SALT] = rand::random();
        let mut sealed = self.now_secs().to_be_bytes().to_vec();
        sealed.extend_from_slice(plain);
        self.keys.aead_from_hkdf(&salt).seal(&mut sealed, TICKET_USE).ok()?;
        Some([&salt, &sealed[..]].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (salt, sealed) = ticket.split_at_checked(SALT)?;
        let mut sealed = sealed.to_vec();
        let opened = self.keys.aead_from_hkdf(salt);
        let plain: &[u8] = opened.open(&mut sealed, TICKET_USE).ok()?;
        let (made_at, session) = plain.split_first_chunk()?;
        // The clocks of two machines differ.
        let age = self.now_secs().saturating_sub(u64::from_be_bytes(*made_at));
        (age <= TICKET_SECS.into()).then(|| session.to_vec())
    }
}

impl fmt::Debug for SharedTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedTickets").field("keys", &self.keys).finish_non_exhaustive()
    }
}

const SALT: usize = 16;
const TICKET_USE: &[u8] = b"sterna session ticket v1";

/// As long as tickets are good that are for one process: twelve hours.
const TICKET_SECS: u32 = 12 * 3600;

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_core::ManualClock;

    fn keys(secrets: &[u8]) -> Arc<SealingKeys> {
        let prk = |secret: &u8| hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&[*secret; 32]);
        Arc::new(SealingKeys::new(secrets.iter().map(prk).collect()))
    }

    #[test]
    fn a_ticket_of_one_edge_is_good_at_another_for_its_time() {
        let clock = Arc::new(ManualClock::new(1_000_000));
        let edge = |secrets| SharedTickets::new(keys(secrets), clock.clone());
        let (here, there, stranger) = (edge(&[1, 2]), edge(&[2, 1]), edge(&[3]));
        let ticket = here.encrypt(b"a session").unwrap();
        assert_eq!(there.decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
        assert_eq!(stranger.decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut damaged = ticket.clone();
            damaged[at] ^= 1;
            assert_eq!(there.decrypt(&damaged), None);
            assert_eq!(there.decrypt(&ticket[..at]), None);
        }
        assert_ne!(
            here.encrypt(b"a session"),
            Some(ticket.clone()),
            "nothing shows that it is one"
        );
        clock.set_unix_ms(1_000_000 + u64::from(TICKET_SECS) * 1000);
        assert!(there.decrypt(&ticket).is_some());
        clock.set_unix_ms(1_001_000 + u64::from(TICKET_SECS) * 1000);
        assert_eq!(there.decrypt(&ticket), None);
    }
}
