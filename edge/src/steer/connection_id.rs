//! Connection ids of 17 bytes, compatible with the single-pass form of QUIC-LB:
//!
//! ```text
//! octet 0      config id (3 bits, 0) | steer (5 bits) = r * workers + worker, r at random
//! octets 1..16 AES-128 of  node (3) | generation (1) | worker (1) | nonce (11)
//! ```
//!
//! Observers cannot link two ids of one connection, and a worker recognises its own ids with one
//! decryption, so that garbage never costs a stateless reset and no packet of another worker or
//! node is ever answered with one (RFC 9000 section 21.11).

use std::fmt;
use std::time::Duration;

use aes::Aes128;
use aes::cipher::{BlockDecrypt as _, BlockEncrypt as _, KeyInit as _};
use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};
use rand::Rng as _;

use super::STEER_MASK;

/// Number of the node in connection ids: 24 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeNumber([u8; 3]);

impl NodeNumber {
    /// `None` above 24 bits.
    pub(crate) fn new(number: u32) -> Option<Self> {
        let [high, a, b, c] = number.to_be_bytes();
        (high == 0).then_some(Self([a, b, c]))
    }
}

/// Makes and recognises the connection ids of one worker.
#[derive(Clone)]
pub(crate) struct ConnectionIds {
    cipher: Aes128,
    node: NodeNumber,
    worker: u8,
    workers: u8,
    nonce: u128,
}

impl ConnectionIds {
    /// `worker` counts from 0 and is below `workers`, which is at most
    /// [`MAX_WORKERS`](super::MAX_WORKERS).
    pub(crate) fn new(key: [u8; 16], node: NodeNumber, worker: u8, workers: u8) -> Self {
        assert!(worker < workers && usize::from(workers) <= super::MAX_WORKERS);
        Self { cipher: Aes128::new(&key.into()), node, worker, workers, nonce: rand::random() }
    }

    fn plain(&self, nonce: u128) -> [u8; 16] {
        let mut block = [0; 16];
        block[..3].copy_from_slice(&self.node.0);
        block[3] = GENERATION;
        block[4] = self.worker;
        block[5..].copy_from_slice(&nonce.to_be_bytes()[5..]);
        block
    }

    fn first_octet(&self) -> u8 {
        let rounds = (STEER_MASK + 1) / self.workers;
        let round = rand::rng().random_range(0..rounds);
        (CONFIG_ID << 5) | (round * self.workers + self.worker)
    }
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        // A counter never repeats within 2^88 ids, and the cipher hides it.
        self.nonce = self.nonce.wrapping_add(1);
        let mut block = self.plain(self.nonce).into();
        self.cipher.encrypt_block(&mut block);
        let mut id = [0; LENGTH];
        id[0] = self.first_octet();
        id[1..].copy_from_slice(&block);
        ConnectionId::new(&id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        let id: &[u8; LENGTH] = id[..].try_into().map_err(|_| InvalidCid)?;
        let steered_here = (id[0] & STEER_MASK) % self.workers == self.worker;
        if id[0] >> 5 != CONFIG_ID || !steered_here {
            return Err(InvalidCid);
        }
        let mut block = [0; 16];
        block.copy_from_slice(&id[1..]);
        let mut block = block.into();
        self.cipher.decrypt_block(&mut block);
        if block[..5] == self.plain(0)[..5] { Ok(()) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        LENGTH
    }

    /// Unlimited: every retirement would wake a phone's radio.
    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

impl fmt::Debug for ConnectionIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionIds")
            .field("node", &self.node)
            .field("worker", &self.worker)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

const LENGTH: usize = 17;

/// Which key encrypts; a rotation would count up. 0b111 is reserved for unroutable ids.
const CONFIG_ID: u8 = 0;

/// Tells two processes apart that serve one port during a hand-over. There is no hand-over between
/// processes: the port belongs to one of them, and an id of an older one means a connection that
/// is gone. It has to be recognised, because only then does the client hear at once, by a stateless
/// reset, instead of waiting for its own timers.
const GENERATION: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::program::run;
    use crate::steer::steering_program;
    use proptest::prelude::*;

    fn ids(node: u32, worker: u8, workers: u8) -> ConnectionIds {
        ConnectionIds::new([7; 16], NodeNumber::new(node).unwrap(), worker, workers)
    }

    fn packet(id: &ConnectionId, long: bool) -> Vec<u8> {
        let mut packet =
            if long { vec![0xe3, 0, 0, 0, 1, u8::try_from(id.len()).unwrap()] } else { vec![0x41] };
        packet.extend_from_slice(id);
        packet.resize(60, 0);
        packet
    }

    #[test]
    fn node_numbers_have_24_bits() {
        assert!(NodeNumber::new(0xff_ffff).is_some());
        assert!(NodeNumber::new(0x100_0000).is_none());
    }

    proptest! {
        #[test]
        fn an_id_reaches_its_worker_and_no_other_takes_it(workers in 1u8..=32, seed in any::<u8>(), node in 0u32..0x100_0000) {
            let worker = seed % workers;
            let mut own = ids(node, worker, workers);
            let program = steering_program(workers);
            for _ in 0..8 {
                let id = own.generate_cid();
                prop_assert_eq!(id.len(), own.cid_len());
                prop_assert!(own.validate(&id).is_ok());
                for long in [true, false] {
                    prop_assert_eq!(run(&program, &packet(&id, long)), u32::from(worker));
                }
                for other in (0..workers).filter(|other| *other != worker) {
                    prop_assert!(ids(node, other, workers).validate(&id).is_err());
                }
                prop_assert!(ids(node ^ 1, worker, workers).validate(&id).is_err());
            }
        }

        #[test]
        fn foreign_ids_are_not_recognised(bytes in proptest::collection::vec(any::<u8>(), 0..=20)) {
            prop_assert!(ids(5, 0, 1).validate(&ConnectionId::new(&bytes)).is_err());
        }
    }

    #[test]
    fn a_process_that_starts_again_recognises_its_ids() {
        let id = ids(5, 1, 4).generate_cid();
        assert!(ids(5, 1, 4).validate(&id).is_ok());
        let other_key = ConnectionIds::new([8; 16], NodeNumber::new(5).unwrap(), 1, 4);
        assert!(other_key.validate(&id).is_err());
    }

    #[test]
    fn ids_do_not_repeat() {
        let mut own = ids(5, 1, 4);
        let ids: std::collections::HashSet<Vec<u8>> =
            (0..1000).map(|_| own.generate_cid().to_vec()).collect();
        assert_eq!(ids.len(), 1000);
    }
}
