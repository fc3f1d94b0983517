//! Makes and recognises the connection ids of one worker:
//!
//! ```text
//! octet 0   config id (3 bits) | worker, masked (5 bits), or the length of what follows
//! then      server id | nonce          as QUIC-LB writes them, encrypted with AES-128 or in clear
//! then      worker, masked (1 octet)   where the first octet says the length
//! ```
//!
//! The nonce of an encrypted id is the worker and a counter. So a worker recognises its own ids:
//! garbage costs no stateless reset, and no datagram of another worker or node is answered with one
//! (RFC 9000, section 21.11). Observers cannot link two ids of one connection.

use std::fmt;
use std::time::Duration;

use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};

use super::program::Steering;
use super::quic_lb::Cover;
use crate::metrics;

/// What balancers have to know to read connection ids: a configuration of QUIC-LB, the same for all
/// edges behind a balancer but for the server id.
#[derive(Clone, PartialEq, Eq)]
pub struct IdFormat {
    /// 0 to 6. Another number than before, whenever something else changes: balancers know both
    /// until no connection is left that has the old one.
    pub config_id: u8,
    /// AES-128. `None`: server ids are in clear, and onlookers see which edge a client stays with
    /// when its address changes.
    pub key: Option<[u8; 16]>,
    /// What names this node; not empty.
    pub server_id: Vec<u8>,
    /// At least [`NONCE_OCTETS`](Self::NONCE_OCTETS); with the server id at most 19.
    pub nonce_octets: usize,
    /// Whether the first octet says the length, as some network cards want it. It costs an octet.
    pub tells_length: bool,
}

impl IdFormat {
    /// Least length of a nonce, so that no node ever makes an id twice: a worker counts from a
    /// random start in what one octet leaves, and 2^48 are so many that even a restart that begins
    /// inside the numbers of the last one is unlikely (1 to 140,000 after 10^9 connections each).
    pub const NONCE_OCTETS: usize = 7;

    /// The usual form: a server id of three octets, one block of AES.
    pub fn of_node(number: u32, key: [u8; 16]) -> Self {
        let server_id = number.to_be_bytes()[1..].to_vec();
        Self { config_id: 0, key: Some(key), server_id, nonce_octets: 13, tells_length: false }
    }

    /// What is wrong, if anything.
    pub fn check(&self) -> Result<(), String> {
        let (least, most) = (Self::NONCE_OCTETS, COVERED - usize::from(self.tells_length));
        let covered = self.server_id.len() + self.nonce_octets;
        match () {
            () if self.config_id > 6 => {
                Err("the config id is 0 to 6; 7 is for ids that cannot be routed".into())
            }
            () if self.server_id.is_empty() => Err("the server id is empty".into()),
            () if self.nonce_octets < least => {
                Err(format!("a nonce of less than {least} octets would come twice"))
            }
            () if covered > most => Err(format!(
                "server id and nonce have {covered} octets; no more than {most} fit a connection id"
            )),
            () => Ok(()),
        }
    }

    /// Length of the ids.
    fn octets(&self) -> usize {
        1 + self.server_id.len() + self.nonce_octets + usize::from(self.tells_length)
    }

    /// How workers are found in them.
    pub(crate) fn steering(&self, workers: u8, key: [u8; 8]) -> Steering {
        let at = if self.tells_length { self.octets() - 1 } else { 0 };
        Steering::new(workers, at, key)
    }
}

impl fmt::Debug for IdFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdFormat")
            .field("config_id", &self.config_id)
            .field("server_id", &self.server_id)
            .field("nonce_octets", &self.nonce_octets)
            .field("tells_length", &self.tells_length)
            .finish_non_exhaustive()
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct ConnectionIds {
    format: IdFormat,
    cover: Cover,
    steering: Steering,
    worker: u8,
    nonce: u128,
}

impl ConnectionIds {
    /// `format` has been [checked](IdFormat::check); `worker` counts from 0 and is below the
    /// workers of `steering`.
    pub(crate) fn new(format: IdFormat, steering: Steering, worker: u8) -> Self {
        assert!(worker < steering.workers());
        let cover = Cover::new(format.key.as_ref());
        Self { format, cover, steering, worker, nonce: rand::random() }
    }

    /// Writes server id and nonce as they are before they are covered, over random octets.
    fn plain(&self, octets: &mut [u8]) {
        let (server_id, nonce) = octets.split_at_mut(self.format.server_id.len());
        server_id.copy_from_slice(&self.format.server_id);
        match self.cover {
            // Nothing may be seen in it.
            Cover::Clear => rand::fill(nonce),
            // The cipher hides a counter, which never comes to the same number again.
            Cover::Encrypted(_) => {
                let counter = self.nonce.to_le_bytes();
                nonce.iter_mut().rev().zip(counter).for_each(|(octet, counted)| *octet = counted);
                nonce[0] = self.worker;
            }
        }
    }

    fn recognises(&self, id: &[u8]) -> bool {
        let octets = self.format.octets();
        let first = self.first_octet();
        let says_so = match self.format.tells_length {
            true => id.first() == Some(&first),
            false => id.first().is_some_and(|octet| octet >> 5 == self.format.config_id),
        };
        if id.len() != octets || !says_so || self.steering.worker(id) != self.worker {
            return false;
        }
        let mut covered = [0; COVERED];
        let covered = &mut covered[..self.covered()];
        covered.copy_from_slice(&id[1..=covered.len()]);
        self.cover.open(covered);
        let (server_id, nonce) = covered.split_at(self.format.server_id.len());
        let made_here = matches!(self.cover, Cover::Clear) || nonce[0] == self.worker;
        server_id == self.format.server_id && made_here
    }

    /// As it is without a worker.
    fn first_octet(&self) -> u8 {
        let length = if self.format.tells_length { self.format.octets() as u8 - 1 } else { 0 };
        (self.format.config_id << 5) | length
    }

    fn covered(&self) -> usize {
        self.format.server_id.len() + self.format.nonce_octets
    }
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        self.nonce = self.nonce.wrapping_add(1);
        let mut id: [u8; OCTETS] = rand::random();
        let id = &mut id[..self.format.octets()];
        id[0] = self.first_octet();
        let covered = self.covered();
        self.plain(&mut id[1..=covered]);
        self.cover.seal(&mut id[1..=covered]);
        self.steering.write(id, self.worker, rand::random());
        ConnectionId::new(id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        if self.recognises(id) {
            return Ok(());
        }
        metrics::foreign_id();
        Err(InvalidCid)
    }

    fn cid_len(&self) -> usize {
        self.format.octets()
    }

    /// Unlimited: every retirement would wake a phone's radio.
    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

impl fmt::Debug for ConnectionIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionIds")
            .field("format", &self.format)
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

/// Longest connection id of QUIC version 1, and what server id and nonce may have of it.
const OCTETS: usize = 20;
const COVERED: usize = OCTETS - 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::program::run;
    use crate::testing::moved_by;
    use proptest::prelude::*;

    const STEER_KEY: [u8; 8] = *b"steering";

    fn ids(format: &IdFormat, worker: u8, workers: u8) -> ConnectionIds {
        ConnectionIds::new(format.clone(), format.steering(workers, STEER_KEY), worker)
    }

    fn datagram(id: &ConnectionId, long: bool) -> Vec<u8> {
        let mut datagram =
            if long { vec![0xe3, 0, 0, 0, 1, u8::try_from(id.len()).unwrap()] } else { vec![0x41] };
        datagram.extend_from_slice(id);
        datagram.resize(60, 0);
        datagram
    }

    prop_compose! {
        /// Every format that can be set.
        fn formats()(
            config_id in 0u8..=6,
            key in proptest::option::of(any::<[u8; 16]>()),
            tells_length in any::<bool>(),
            server_id in proptest::collection::vec(any::<u8>(), 1..=11),
        )(
            nonce_octets in 7..=COVERED - usize::from(tells_length) - server_id.len(),
            config_id in Just(config_id),
            key in Just(key),
            tells_length in Just(tells_length),
            server_id in Just(server_id),
        ) -> IdFormat {
            IdFormat { config_id, key, server_id, nonce_octets, tells_length }
        }
    }

    proptest! {
        #[test]
        fn an_id_reaches_its_worker_and_no_other_takes_it(
            format in formats(),
            workers in 1u8..=32,
            seed in any::<u8>(),
        ) {
            prop_assert_eq!(format.check(), Ok(()));
            let worker = seed % workers;
            let mut own = ids(&format, worker, workers);
            let mut neighbour = format.clone();
            neighbour.server_id[0] ^= 1;
            for _ in 0..8 {
                let id = own.generate_cid();
                prop_assert_eq!(id.len(), own.cid_len());
                prop_assert!(own.validate(&id).is_ok());
                for long in [true, false] {
                    let program = own.steering.program();
                    prop_assert_eq!(run(&program, &datagram(&id, long)), u32::from(worker));
                }
                for other in (0..workers).filter(|other| *other != worker) {
                    prop_assert!(ids(&format, other, workers).validate(&id).is_err());
                }
                prop_assert!(ids(&neighbour, worker, workers).validate(&id).is_err());
            }
        }

        /// What a balancer does, by the draft: it knows the format and not the node.
        #[test]
        fn a_balancer_reads_the_server_id(format in formats()) {
            let id = ids(&format, 0, 3).generate_cid();
            prop_assert_eq!(id[0] >> 5, format.config_id);
            if format.tells_length {
                prop_assert_eq!(usize::from(id[0] & 0x1f), id.len() - 1);
            }
            let mut covered = id[1..=format.server_id.len() + format.nonce_octets].to_vec();
            Cover::new(format.key.as_ref()).open(&mut covered);
            prop_assert!(covered.starts_with(&format.server_id));
        }

        #[test]
        fn foreign_ids_are_not_recognised(bytes in proptest::collection::vec(any::<u8>(), 0..=20)) {
            let own = ids(&IdFormat::of_node(5, [7; 16]), 0, 1);
            prop_assert!(own.validate(&ConnectionId::new(&bytes)).is_err());
        }
    }

    #[test]
    fn a_process_that_starts_again_recognises_its_ids() {
        let format = IdFormat::of_node(5, [7; 16]);
        let id = ids(&format, 1, 4).generate_cid();
        assert!(ids(&format, 1, 4).validate(&id).is_ok());
        assert!(ids(&IdFormat::of_node(5, [8; 16]), 1, 4).validate(&id).is_err());
    }

    #[test]
    fn ids_do_not_repeat() {
        let mut own = ids(&IdFormat::of_node(5, [7; 16]), 1, 4);
        let ids: std::collections::HashSet<Vec<u8>> =
            (0..1000).map(|_| own.generate_cid().to_vec()).collect();
        assert_eq!(ids.len(), 1000);
    }

    #[test]
    fn ids_of_other_nodes_are_counted() {
        let id = ids(&IdFormat::of_node(5, [7; 16]), 0, 1).generate_cid();
        let moved = moved_by(|| {
            assert!(ids(&IdFormat::of_node(6, [7; 16]), 0, 1).validate(&id).is_err());
        });
        assert_eq!(moved["sterna_edge_foreign_ids_total"], 1.0);
    }

    #[test]
    fn a_format_that_cannot_work_says_why() {
        let good = IdFormat::of_node(1, [7; 16]);
        for (wrong, word) in [
            (IdFormat { config_id: 7, ..good.clone() }, "0 to 6"),
            (IdFormat { server_id: Vec::new(), ..good.clone() }, "empty"),
            (IdFormat { nonce_octets: 6, ..good.clone() }, "less than 7"),
            (IdFormat { nonce_octets: 17, ..good.clone() }, "no more than 19"),
            (IdFormat { nonce_octets: 16, tells_length: true, ..good.clone() }, "no more than 18"),
        ] {
            assert!(wrong.check().unwrap_err().contains(word), "{wrong:?}");
        }
        assert!(!format!("{good:?}").contains("key"));
    }
}
