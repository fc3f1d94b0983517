//! A record as it stands in a block.

use bytes::Bytes;
use prost::Message;
use sterna_proto::{ClientId, Epoch, InvalidId, Offset, Position, PublicationId, UserId};
use sterna_storage::{NewRecord, Origin, Record};

/// A record without its offset, which follows from its place.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoredRecord {
    #[prost(fixed64, tag = "1")]
    pub(crate) id: u64,
    #[prost(string, tag = "2")]
    pub(crate) sender: String,
    #[prost(string, tag = "3")]
    pub(crate) client_id: String,
    #[prost(uint64, tag = "4")]
    pub(crate) client_seq: u64,
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) client_msg_id: Bytes,
    #[prost(uint64, tag = "6")]
    pub(crate) server_ts_ms: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) client_ts_ms: u64,
    #[prost(int32, tag = "8")]
    pub(crate) kind: i32,
    #[prost(uint64, tag = "9")]
    pub(crate) target_offset: u64,
    #[prost(bytes = "bytes", tag = "10")]
    pub(crate) payload: Bytes,
    /// A run may cross epochs.
    #[prost(fixed32, tag = "11")]
    pub(crate) epoch: u32,
    /// Which data key the payload is sealed with; 0: none.
    #[prost(uint32, tag = "12")]
    pub(crate) key: u32,
}

impl StoredRecord {
    pub(crate) fn of(record: &Record) -> Self {
        let body = &record.body;
        let origin = body.origin.as_ref();
        Self {
            id: body.id.0,
            sender: body.sender.as_str().to_owned(),
            client_id: origin.map(|it| it.client_id.as_str().to_owned()).unwrap_or_default(),
            client_seq: origin.map_or(0, |it| it.client_seq),
            client_msg_id: body.client_msg_id.clone(),
            server_ts_ms: body.server_ts_ms,
            client_ts_ms: body.client_ts_ms,
            kind: body.kind,
            target_offset: body.target_offset.0,
            payload: body.payload.clone(),
            epoch: record.position.epoch.0,
            key: record.key,
        }
    }

    /// The record at this offset again.
    pub(crate) fn into_record(self, offset: Offset) -> Result<Record, InvalidId> {
        let origin = if self.client_id.is_empty() {
            None
        } else {
            let client_id = ClientId::new(&self.client_id)?;
            Some(Origin { client_id, client_seq: self.client_seq })
        };
        let body = NewRecord {
            id: PublicationId(self.id),
            sender: UserId::new(&self.sender)?,
            origin,
            client_msg_id: self.client_msg_id,
            server_ts_ms: self.server_ts_ms,
            client_ts_ms: self.client_ts_ms,
            kind: self.kind,
            target_offset: Offset(self.target_offset),
            payload: self.payload,
        };
        let key = self.key;
        Ok(Record { key, ..Record::new(Position { epoch: Epoch(self.epoch), offset }, body) })
    }
}
