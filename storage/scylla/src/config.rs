//! What the composition root says about the store.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What protects the way to the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    Off,
    /// No connection without it. A node's certificate has to be that of its address, from one of the
    /// authorities in this file (PEM), or else from one that Mozilla trusts.
    Required {
        authorities: Option<PathBuf>,
    },
}

/// Who the store is to the nodes.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: String,
}

/// Without the password.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// How a store is opened. Every limit has a default that serves a core node.
#[derive(Debug, Clone)]
pub struct ScyllaConfig {
    /// `host:port` of some nodes; the others are learnt from them.
    pub nodes: Vec<String>,
    pub keyspace: String,
    /// Where appends are decided. It belongs to the data: all cores name the same one, and a store is
    /// only opened with the one it was made in.
    pub datacenter: String,
    pub login: Option<Login>,
    pub tls: Tls,
    /// Copies in the datacenter of a keyspace that this store makes; one that is there keeps what it
    /// has.
    pub replication: u16,
    /// Brings the schema up to date while opening, and makes the keyspace where there is none.
    /// Otherwise an older schema is refused.
    pub migrate: bool,
    /// Statements on their way at a time.
    pub calls: usize,
    /// Callers that may wait for one of these; more are refused as `Unavailable`.
    pub queue_calls: usize,
    /// How long a caller waits before it is refused as `Unavailable`.
    pub queue_wait: Duration,
    /// How long one statement may take.
    pub patience: Duration,
    /// How often a step that lost a race against another writer is tried again.
    pub retries: u32,
    /// A bucket with so many records, or octets of payload, is followed by another. Neither belongs to
    /// the data: buckets of any size are read.
    pub bucket_records: u64,
    pub bucket_bytes: u64,
}

impl ScyllaConfig {
    pub fn new(
        nodes: Vec<String>,
        keyspace: impl Into<String>,
        datacenter: impl Into<String>,
    ) -> Self {
        Self {
            nodes,
            keyspace: keyspace.into(),
            datacenter: datacenter.into(),
            login: None,
            tls: Tls::Off,
            replication: 3,
            migrate: true,
            calls: STATEMENTS_IN_FLIGHT,
            queue_calls: QUEUE_STATEMENTS,
            queue_wait: Duration::from_secs(1),
            patience: Duration::from_secs(5),
            retries: 16,
            bucket_records: BUCKET_RECORDS,
            bucket_bytes: BUCKET_BYTES,
        }
    }
}

/// Statements on their way, unless configured otherwise: enough for a busy core, and fewer than what
/// one connection to each shard of three nodes carries.
const STATEMENTS_IN_FLIGHT: usize = 1_024;

/// Callers that wait for one of these, unless configured otherwise.
const QUEUE_STATEMENTS: usize = 4_096;

/// Partitions of about a megabyte: quick to read, to copy the origins of, and to compact.
const BUCKET_RECORDS: u64 = 1_024;
const BUCKET_BYTES: u64 = 1 << 20;
