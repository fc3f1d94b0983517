//! The cluster's engine: all storage roles on MySQL, MariaDB or TiDB.
//!
//! [`SqlStore`] is made by the composition root and shared by the core through [`Stores`]. It holds
//! connections to every server and nothing else: any number of nodes may open the same databases at
//! once, and none of them is asked for leave. It spawns nothing; a call works for as long as its
//! future is polled, and one that is dropped throws its connection away, upon which the server rolls
//! back, unless the commit was on its way already.
//!
//! # Why an append is safe
//!
//! The commit of the database is the only authority. An append locks the head's row, compares it,
//! looks its origins up behind that lock and writes everything in one transaction at READ COMMITTED.
//! What no lock covers is refused by a primary key: two first writers of a channel, an origin or an
//! offset that is taken. No statement leans on gap locks, which do not exist at this level, and no
//! transaction spans two databases.
//!
//! # What an answer proves
//!
//! A success is a COMMIT that the server has confirmed, and is as durable as the servers are set up
//! to make it: `innodb_flush_log_at_trx_commit = 1` and `sync_binlog = 1`, with a replica that
//! confirms, or TiDB's majority (I1). `Unavailable` means that nothing was stored. A COMMIT without
//! an answer, or with any answer that does not prove a rollback, is `Unknown`: the caller looks the
//! origins up. Its connection is never used again.
//!
//! # Where rows lie
//!
//! By slot ([`Layout`]); what concerns a channel lies with its channel, an inbox with its user.
//! Relations, the manifest, ids and the roster are not spread: they lie in the first database.

mod archived;
mod batch;
mod channels;
mod columns;
mod commit;
mod config;
mod cursors;
mod engine;
mod examine;
mod expiry;
mod failure;
mod head;
mod ids;
mod inboxes;
mod intents;
mod keeping;
mod log;
mod manifest;
mod open;
mod origins;
mod place;
mod pool;
mod records;
mod relations;
mod revocations;
mod roster;
mod schema;
mod server;

use std::sync::Arc;
use std::time::Duration;

use sterna_storage::{StorageError, Stores};

pub use config::{Layout, SqlConfig, Tls};
use engine::Engine;
pub use examine::{Product, ServerFacts, examine};
pub use server::STATEMENTS_PER_CONNECTION;

/// An open store; clones share it.
#[derive(Debug, Clone)]
pub struct SqlStore {
    engine: Arc<Engine>,
}

impl SqlStore {
    /// Connects to every server, brings the schema up to date if the configuration says so, and
    /// makes a new store where there is none. Refuses a store of another layout and a schema that is
    /// newer than this program.
    pub async fn connect(config: SqlConfig) -> Result<Self, StorageError> {
        Self::connect_watched(config, |_, _| {}).await
    }

    /// The same for somebody who waits: is told how many databases are up to date, of how many, after
    /// each. A new store of many tables takes minutes.
    pub async fn connect_watched(
        config: SqlConfig,
        progress: impl FnMut(u16, u16),
    ) -> Result<Self, StorageError> {
        Ok(Self { engine: Arc::new(open::open(&config, progress).await?) })
    }

    /// This store in all roles.
    pub fn stores(&self) -> Stores {
        let store = Arc::new(self.clone());
        Stores {
            log: store.clone(),
            channels: store.clone(),
            cursors: store.clone(),
            id_bound: store.clone(),
            inboxes: store.clone(),
            relations: store.clone(),
            intents: store.clone(),
            manifest: store.clone(),
            archived: store.clone(),
            revocations: store.clone(),
            keeping: store.clone(),
            id_leases: store.clone(),
            roster: store,
        }
    }
}

/// Milliseconds of a lease. Millions of years are as good as for ever, and can be added to.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(u64::MAX >> 2)
}

/// The server's clock in Unix milliseconds, at the start of the statement.
const NOW_MS: &str = "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED)";

const ENGINE: &str = "sql";
