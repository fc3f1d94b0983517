//! What the tests with a server share: records, and a keyspace of one's own.

// Each test binary uses a part of it.
#![allow(dead_code)]

use bytes::Bytes;
use sterna_proto::{ChannelId, ChannelKey, ClientId, Offset, Position, PublicationId, UserId};
use sterna_storage::{
    Append, AppendError, Head, NewRecord, Origin, PageLimit, PublicationLog, Record, StorageError,
    StorageErrorKind,
};
use sterna_storage_scylla::{ScyllaConfig, ScyllaStore};
use sterna_test_engines::Cassandra;

/// A keyspace of a test; gone with it, since a server of this size has room for few.
#[derive(Debug)]
pub struct Keyspace {
    nodes: Vec<String>,
    name: String,
}

impl Keyspace {
    pub fn fresh() -> Self {
        Self::of(Cassandra::shared())
    }

    pub fn of(server: &Cassandra) -> Self {
        Self { nodes: server.addresses(), name: server.fresh_keyspace() }
    }

    pub fn config(&self) -> ScyllaConfig {
        let nodes = self.nodes.clone();
        let replication = nodes.len().try_into().unwrap();
        ScyllaConfig {
            replication,
            patience: std::time::Duration::from_secs(20),
            ..ScyllaConfig::new(nodes, &self.name, Cassandra::DATACENTER)
        }
    }

    pub async fn store(&self) -> ScyllaStore {
        ScyllaStore::connect(&self.config()).await.unwrap()
    }
}

impl Drop for Keyspace {
    fn drop(&mut self) {
        let (nodes, name) = (self.nodes.clone(), self.name.clone());
        // A runtime cannot be waited for in another one's thread.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let session =
                    scylla::client::session_builder::SessionBuilder::new().known_nodes(nodes);
                let session = session.build().await?;
                let drop_it = format!("DROP KEYSPACE IF EXISTS {name}");
                session.query_unpaged(drop_it, ()).await?;
                Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
            })
        });
        let dropped = dropping.join().expect("the thread ends");
        // The server may be gone, as some tests want it.
        if let Err(error) = dropped {
            eprintln!("the keyspace {} stays: {error}", self.name);
        }
    }
}

pub fn key(name: &str) -> ChannelKey {
    ChannelId::new(name).unwrap().key()
}

pub fn origin(client: &str, client_seq: u64) -> Origin {
    Origin { client_id: ClientId::new(client).unwrap(), client_seq }
}

pub fn record(client: &str, client_seq: u64) -> NewRecord {
    NewRecord {
        id: PublicationId(1_000 + client_seq),
        sender: UserId::new("alice").unwrap(),
        origin: Some(origin(client, client_seq)),
        client_msg_id: Bytes::new(),
        server_ts_ms: 1_000,
        client_ts_ms: 900,
        kind: 0,
        target_offset: Offset::ZERO,
        payload: Bytes::from(format!("{client}/{client_seq}")),
    }
}

/// One record behind the given head.
pub async fn append(
    log: &dyn PublicationLog,
    channel: ChannelKey,
    expected: Option<Position>,
    record: NewRecord,
) -> Result<Head, AppendError> {
    log.append(vec![Append::new(channel, expected, vec![record])]).await.remove(0)
}

/// One record behind whatever head there is, as a core does after a conflict.
pub async fn persist(
    log: &dyn PublicationLog,
    channel: ChannelKey,
    record: NewRecord,
) -> Result<Head, AppendError> {
    let mut expected = log.head(channel).await?.map(|head| head.position);
    loop {
        match append(log, channel, expected, record.clone()).await {
            Err(AppendError::Conflict { head }) => expected = head.map(|head| head.position),
            verdict => return verdict,
        }
    }
}

/// The engine's failure, when the verdict is one.
pub fn failure(verdict: Result<Head, AppendError>) -> StorageError {
    match verdict {
        Err(AppendError::Storage(error)) => error,
        other => panic!("expected a failure of the engine: {other:?}"),
    }
}

/// The answer, when the connections that a test has cut are there again.
pub async fn in_the_end<T>(mut ask: impl AsyncFnMut() -> Result<T, StorageError>) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) if error.kind == StorageErrorKind::Unavailable => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Everything in the channel; panics on a hole.
pub async fn read_all(log: &dyn PublicationLog, channel: ChannelKey) -> Vec<Record> {
    let mut found: Vec<Record> = Vec::new();
    loop {
        let after = found.last().map_or(Offset::ZERO, |record| record.position.offset);
        let page = log.read(channel, after, WIDE).await.unwrap();
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

const WIDE: PageLimit = PageLimit { records: 500, payload_bytes: 1 << 20 };
