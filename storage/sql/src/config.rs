//! What the composition root says about the store.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How the tables lie. It belongs to the data: a store is only opened with the layout it was made
/// with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One table each in one database, for TiDB and for a small MySQL.
    Single,
    /// By slot of the channel or the user over databases, each with several tables of a kind. Both
    /// numbers are powers of two, and their product is at most 2048, the number of slots.
    Sharded { databases: u16, tables: u16 },
}

impl Layout {
    /// One table for each of the 2048 slots: what a large MySQL site begins with, so that it can
    /// move databases to more servers later.
    pub const SHARDED: Self = Self::Sharded { databases: 64, tables: 32 };
}

/// What protects the way to the servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// What the URLs say; nothing, if they do not ask for it.
    AsTheUrlsSay,
    /// No connection without it. A server's certificate has to be that of its host in the URL, from
    /// one of the authorities in this file (PEM), or else from one that Mozilla trusts.
    Required { authorities: Option<PathBuf> },
}

/// How a store is opened. Every limit has a default that serves a core node.
#[derive(Clone)]
pub struct SqlConfig {
    /// `mysql://user:password@host:port/database`, one for each server. With
    /// [`Layout::Sharded`] the databases are named `database_00` and so on and spread over the
    /// servers in turn; the order of the URLs then belongs to the data as well.
    pub urls: Vec<String>,
    pub layout: Layout,
    pub tls: Tls,
    /// Brings the schema up to date while opening. Otherwise an older schema is refused.
    pub migrate: bool,
    /// Connections for transactions, to each server.
    pub write_connections: usize,
    /// Connections for reads, to each server; of their own, so that no storm of reads holds up an
    /// append.
    pub read_connections: usize,
    /// Callers that may wait for a connection, in each of the two pools of a server; more are
    /// refused as `Unavailable`.
    pub queue_calls: usize,
    /// How long a caller waits for a connection before it is refused as `Unavailable`.
    pub queue_wait: Duration,
    /// How long a transaction waits for the lock of another, in whole seconds as the servers count
    /// them, at least one.
    pub lock_wait: Duration,
    /// How long one attempt at a transaction, a commit, a read or a connection may take. The server
    /// is told to end a statement by then as well, as far as it can: MariaDB ends all but a COMMIT,
    /// MySQL and TiDB only reads that lock nothing. What they do not end, ends with the lock wait or
    /// when the server notices that its connection is gone.
    pub patience: Duration,
    /// How often a transaction that lost a deadlock or a race is tried again.
    pub retries: u32,
}

impl SqlConfig {
    /// One server, one table each.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            layout: Layout::Single,
            tls: Tls::AsTheUrlsSay,
            migrate: true,
            write_connections: 16,
            read_connections: 16,
            queue_calls: QUEUE_CALLS,
            queue_wait: QUEUE_WAIT,
            lock_wait: Duration::from_secs(2),
            patience: Duration::from_secs(5),
            retries: 5,
        }
    }
}

/// Without the URLs, which hold passwords.
impl fmt::Debug for SqlConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlConfig")
            .field("urls", &self.urls.len())
            .field("layout", &self.layout)
            .field("migrate", &self.migrate)
            .finish_non_exhaustive()
    }
}

/// Callers that wait for a connection, unless configured otherwise.
const QUEUE_CALLS: usize = 1_024;

/// How long they wait, unless configured otherwise.
const QUEUE_WAIT: Duration = Duration::from_secs(1);
