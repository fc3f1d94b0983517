//! What travels between a client and an edge: frames, their two encodings, ids, positions, limits,
//! and the tables of error and close codes. No sockets, no clock, no runtime.
//!
//! Start at [`v1::Frame`]; [`codec`] turns frames into bytes and back; [`reason`] holds the codes
//! that every transport and SDK shares.

#![warn(missing_docs)]

pub mod codec;
pub mod id;
pub mod limits;
pub mod position;
pub mod reason;
pub mod version;

pub use codec::{DecodeError, FrameDecoder};
pub use id::{
    ChannelId, ChannelKey, ClientId, InvalidId, NodeId, PublicationId, SessionId, UserId,
};
pub use position::{Epoch, Offset, Position};
pub use reason::{Advice, CloseReason, ErrorCode};

/// Generated from `sterna/v1/client.proto`, with serde implementations of the canonical
/// protobuf JSON mapping.
#[allow(
    missing_docs,
    clippy::all,
    clippy::unwrap_used,
    clippy::use_self,
    unreachable_pub,
    unused_qualifications
)]
pub mod v1 {
    include!("gen/sterna.v1.rs");
    include!("gen/sterna.v1.serde.rs");
}

mod frame;
