//! A publication as it is stored.

use bytes::Bytes;
use sterna_proto::{ClientId, Offset, Position, PublicationId, UserId};

/// The key under which a retransmission is recognised, together with the channel (I3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    pub client_id: ClientId,
    /// Counts the client's publications from 1.
    pub client_seq: u64,
}

/// A publication before it has a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    pub id: PublicationId,
    pub sender: UserId,
    /// `None`: never recognised as a duplicate.
    pub origin: Option<Origin>,
    /// Empty or 16 bytes, made by the client.
    pub client_msg_id: Bytes,
    pub server_ts_ms: u64,
    pub client_ts_ms: u64,
    /// Number of `sterna.v1.PublicationKind`.
    pub kind: i32,
    /// What an edit, a recall or a reaction is about; 0 for none.
    pub target_offset: Offset,
    pub payload: Bytes,
}

impl NewRecord {
    /// What a retransmission must agree in: same key with another fingerprint is a conflict.
    pub fn fingerprint(&self) -> u64 {
        use std::hash::Hasher as _;
        let mut hash = twox_hash::XxHash3_64::with_seed(0);
        hash.write(&self.kind.to_be_bytes());
        hash.write(&self.target_offset.0.to_be_bytes());
        hash.write(&self.payload);
        hash.finish()
    }
}

/// A publication in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub position: Position,
    pub body: NewRecord,
    /// The payload was taken away after it had been stored, and is empty here. Engines do not know:
    /// whoever stands before them and does says so.
    pub redacted: bool,
    /// Which data key of the channel the payload is sealed with, 0: with none. In segments alone:
    /// whoever stands before them seals and opens.
    pub key: u32,
}

impl Record {
    /// As it was stored.
    pub fn new(position: Position, body: NewRecord) -> Self {
        Self { position, body, redacted: false, key: 0 }
    }
}
