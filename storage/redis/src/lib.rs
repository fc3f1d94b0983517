//! The engine of the volatile roles on Redis or Valkey, alone or as a Cluster.
//!
//! [`RedisStore`] is made by the composition root and shared by the core through
//! [`VolatileStores`]. It needs no server to begin with and survives the loss of any: a call that
//! gets no answer in time ends as `Unavailable`, and connections are made again with growing,
//! jittered delays. Everything in Redis may be lost at any moment (I6). It ends by being dropped.
//!
//! # Keys
//!
//! `<t>` is the hash tag of a partition (`tags.rs`), so that all keys of one live in one slot, and
//! partitions lie evenly over the slots and with them over the nodes.
//!
//! | key | type | what | ends |
//! |---|---|---|---|
//! | `route:{<t>}:CHANNEL` | hash | version, and per node its incarnation and end | with its last route |
//! | `rpv:{<t>}` | number | version of the partition's routes | never |
//! | `sess:{<t>}:USER` | hash | per session edge, incarnation and class | a day after the last put |
//! | `edge:{<t>}:EDGE` | hash | incarnation and load | with the lease |
//! | `pres:{<t>}:d` | stream | presence deltas | trimmed |
//! | `boot:{<t>}` | text | name of this life | never |
//! | `idf:{<t>}:WORKER` | number | floor of ids | never |
//! | `rl:{<t>}:KEY` | number | when the bucket is full | then |
//! | `idem:{<t>}:KEY` | hash | fingerprint, claim or result | with lease or time to keep |
//! | `hot:{<t>}:CHANNEL` | hash | pages of the channel's log by epoch and number | ten minutes after the last came |
//!
//! Changes of routes are published as `CHANNEL v pv` under `routes:{<t>}`, sharded in a Cluster.
//!
//! # While a slot moves
//!
//! MOVED and ASK are followed. A script over two keys of a slot of which only one has moved is
//! refused by Redis until both have; it is tried again within the call's time, and after that the
//! caller's retry finds the slot at its new place.

mod calls;
mod check;
mod config;
mod directory;
#[cfg(test)]
mod fuzz_tests;
mod id_floor;
mod idempotency;
mod keys;
mod link;
mod pages;
mod presence;
mod rates;
mod routes;
mod script;
#[cfg(test)]
mod script_tests;
mod sentinel;
mod subscription;
mod tags;
mod topology;

use std::sync::Arc;

use sterna_storage::StorageError;
use sterna_storage::volatile::VolatileStores;

pub use check::{NodeReport, RedisReport, RedisWarning};
pub use config::RedisConfig;
pub use pages::PAGES_KEPT;

use calls::Calls;
use keys::Keys;

/// A handle on Redis; clones share connections.
#[derive(Debug, Clone)]
pub struct RedisStore {
    calls: Arc<Calls>,
    keys: Arc<Keys>,
}

impl RedisStore {
    /// Checks the configuration and prepares connections, which are made when they are needed: a
    /// node starts with Redis away. Call it within a tokio runtime.
    pub fn open(config: RedisConfig) -> Result<Self, StorageError> {
        let keys = Keys::new(&config.prefix, config.partitions)?;
        Ok(Self { calls: Arc::new(Calls::new(config)?), keys: Arc::new(keys) })
    }

    /// This engine in all roles.
    pub fn stores(&self) -> VolatileStores {
        let store = Arc::new(self.clone());
        VolatileStores {
            routes: store.clone(),
            directory: store.clone(),
            presence: store.clone(),
            rates: store.clone(),
            idempotency: store.clone(),
            id_floor: store.clone(),
            sentinel: store,
        }
    }
}

const ENGINE: &str = "redis";
