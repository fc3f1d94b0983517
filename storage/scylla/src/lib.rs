//! The publication log of a large cluster, on ScyllaDB or Apache Cassandra: publications, members of
//! channels and intents, which have to be of one piece. The other roles stay in a SQL store beside it.
//!
//! [`ScyllaStore`] is made by the composition root. Any number of nodes may open the same keyspace at
//! once, and none of them is asked for leave. It spawns nothing but what its driver does; a call works
//! for as long as its future is polled, and what one that is dropped has sent may still take effect.
//!
//! # What is atomic
//!
//! One partition, and there a batch of writes with a condition (a *lightweight transaction*), which
//! the copies of the partition decide by Paxos in the local datacenter. So whatever has to happen
//! together lies in one partition: a channel's *bucket*, with records, origins, changes of members,
//! intents and, in its static columns, the head. The condition of every batch is the head as the caller
//! knows it (offset, epoch, trim point, not sealed), hence of all batches that expect one head, at most
//! one takes effect (I2), wholly or not at all (I1, I11).
//!
//! # Buckets
//!
//! A partition must stay small, so a channel has many buckets, one after the other. The head of the
//! channel is the head of its newest bucket. The next one is made in three steps:
//!
//! 1. The old bucket is *sealed*, under the same condition as an append.
//! 2. Its origins are copied to a table where those of all earlier buckets are, and the new bucket is
//!    put on the channel's list. Both reach a majority before the next step.
//! 3. The new bucket begins, on condition that it has not: with the head of the old one, and empty.
//!
//! *No two writers append to two buckets.* An append to a bucket holds only if it is not sealed, and
//! one to the next only if that has begun, which is after the old one was sealed; nothing ever takes
//! a seal away. So at any time at most one bucket of a channel can be appended to, and offsets go on
//! where they ended. *Several writers may roll at once, or one may die on the way*: a sealed bucket does
//! not change, so all of them copy, list and begin the same; of the beginnings one holds. A channel with
//! a sealed newest bucket has a head and can be read; its next writer, or trim, goes on from step 2.
//! *A writer that comes late* with any step finds the seal set, writes once more what is there, or finds
//! the bucket begun: what tells that (the statics) is never deleted, also not by a trim.
//!
//! Nobody needs to know the newest bucket. Whoever looks for it begins at the one it saw last, or at
//! the first, jumps to the newest on the list, and follows sealed ones to the first that is not.
//!
//! # Duplicates
//!
//! An origin is in the newest bucket for as long as that is the newest, and was copied before it is not
//! any more, for eight days from then. Who appends has seen the head, then looks in both places, and the
//! append holds only if the head is still that one. So there is no time at which an origin of the last
//! seven days is in neither place (I3), and no index that lags.
//!
//! # What a look sees
//!
//! *Settled* (`LOCAL_SERIAL`): whatever was decided before, also where whoever decided it has died
//! half-way; it is finished first. Heads, look-ups of origins, members and counts begin with such a look,
//! so what they then read by majority (`LOCAL_QUORUM`) has reached one. *Seen* (`LOCAL_QUORUM`): what
//! somebody was told is stored. Pages need no more; one with a hole, as a copy may show that is late,
//! is read again after a settled look.
//!
//! # What an answer proves
//!
//! A success is a batch that was decided and has reached a majority of the copies; how durable that is
//! says the servers' `commitlog_sync`: ScyllaDB syncs the commit log for what was decided by Paxos, and
//! Cassandra has to be told to (`batch` or `group`), or acknowledges from the memory of a majority.
//! `Unavailable` means that nothing was stored. No answer, or any that does not prove that nothing was
//! proposed, is `Unknown`: the caller looks the origins up, which settles what is under way. An attempt
//! that its coordinator goes on with after that still has its condition, and loses the compare to
//! whatever was appended since. An answer that says "no" to what has in fact taken effect, as one can
//! after a lost ballot, is recognised by a number drawn for each attempt.
//!
//! # What else is kept
//!
//! Members: a table holds them as of one record of the log and says which;
//! a look applies the rest first. Intents: written with the append, found through a hint that is written
//! before it, numbered by whoever reads them. The module of each says why nothing is lost or doubled.
//!
//! A trim raises the trim point under the same condition as an append. Then whole buckets go, each by
//! one deletion of a range, and the older part of the one where the trim point is by another: however
//! many publications go away, tombstones are few, and no look at a head or a page passes them.

mod buckets;
mod channels;
mod columns;
mod commit;
mod config;
mod cql;
mod engine;
mod examine;
mod failure;
#[cfg(test)]
mod fuzz_tests;
mod intents;
mod items;
mod log;
mod members;
mod open;
mod origins;
mod records;
mod schema;
mod statements;
mod tip;

use std::sync::Arc;

use sterna_storage::{StorageError, Stores};

pub use config::{Login, ScyllaConfig, Tls};
use engine::Engine;
pub use examine::{ClusterFacts, KeyspaceFacts, Product, SCHEMA, examine};

/// An open store; clones share it.
#[derive(Debug, Clone)]
pub struct ScyllaStore {
    engine: Arc<Engine>,
}

impl ScyllaStore {
    /// Connects to the nodes, brings the schema up to date if the configuration says so, and makes a
    /// new store where there is none. Refuses a store of another datacenter and a schema that is
    /// newer than this program.
    pub async fn connect(config: &ScyllaConfig) -> Result<Self, StorageError> {
        Ok(Self { engine: Arc::new(open::open(config).await?) })
    }

    /// This store in its roles, beside the others of another one.
    pub fn stores(&self, others: Stores) -> Stores {
        let store = Arc::new(self.clone());
        Stores { log: store.clone(), channels: store.clone(), intents: store, ..others }
    }
}

const ENGINE: &str = "scylla";
