//! Channels and records of tests.

#![allow(dead_code)] // Each test binary uses its own share.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use sterna_proto::{ChannelId, ChannelKey, ClientId, Offset, PublicationId, UserId};
use sterna_storage::keeping::{Author, Order};
use sterna_storage::{KeepingStore, NewRecord, Origin, StorageError, StorageErrorKind};

pub fn channel(name: &str) -> ChannelId {
    ChannelId::new(name).unwrap()
}

pub fn key(name: &str) -> ChannelKey {
    channel(name).key()
}

pub fn origin(client: &str, client_seq: u64) -> Origin {
    Origin { client_id: ClientId::new(client).unwrap(), client_seq }
}

pub fn record(client: &str, client_seq: u64) -> NewRecord {
    NewRecord {
        id: PublicationId(client_seq),
        sender: UserId::new("alice").unwrap(),
        origin: Some(origin(client, client_seq)),
        client_msg_id: Bytes::new(),
        server_ts_ms: 1_000 * client_seq,
        client_ts_ms: 0,
        kind: 0,
        target_offset: Offset::ZERO,
        payload: format!("{client} {client_seq}").into(),
    }
}

pub fn records(client: &str, from: u64, count: u64) -> Vec<NewRecord> {
    (from..from + count).map(|seq| record(client, seq)).collect()
}

/// A store that does not say what is kept.
#[derive(Debug)]
pub struct Silent(pub Arc<dyn KeepingStore>);

impl KeepingStore for Silent {
    fn kept(
        &self,
        _: Vec<ChannelKey>,
    ) -> sterna_storage::BoxFuture<'_, Result<Vec<sterna_storage::Kept>, StorageError>> {
        let error = StorageError::new(StorageErrorKind::Unavailable, "test", "silent");
        std::future::ready(Err(error)).boxed()
    }

    fn keep(
        &self,
        channel: ChannelKey,
        order: Order,
        author: Author,
    ) -> sterna_storage::BoxFuture<'_, Result<sterna_storage::Kept, sterna_storage::KeepingError>>
    {
        self.0.keep(channel, order, author)
    }

    fn redactions(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: usize,
    ) -> sterna_storage::BoxFuture<'_, Result<Vec<sterna_storage::keeping::Redaction>, StorageError>>
    {
        self.0.redactions(channel, after, limit)
    }

    fn deeds(
        &self,
        channel: ChannelKey,
        before: u64,
        limit: usize,
    ) -> sterna_storage::BoxFuture<'_, Result<Vec<sterna_storage::keeping::Deed>, StorageError>>
    {
        self.0.deeds(channel, before, limit)
    }

    fn raise_retention_clock(
        &self,
        to_ms: u64,
    ) -> sterna_storage::BoxFuture<'_, Result<u64, StorageError>> {
        self.0.raise_retention_clock(to_ms)
    }
}
