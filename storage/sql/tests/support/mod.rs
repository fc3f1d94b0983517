//! What the tests of trouble share: records, and a store on a fresh database.

// Each test binary uses a part of it.
#![allow(dead_code)]

use bytes::Bytes;
use sterna_proto::{ChannelId, ChannelKey, ClientId, Offset, Position, PublicationId, UserId};
use sterna_storage::{
    Append, AppendError, Head, NewRecord, Origin, PageLimit, PublicationLog, Record, StorageError,
};
use sterna_storage_sql::{SqlConfig, SqlStore};

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

pub async fn connect(url: &str) -> SqlStore {
    SqlStore::connect(SqlConfig::new(url)).await.unwrap()
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
