//! What travels between a client and an edge, and between nodes: frames, their encodings, ids,
//! positions, limits, and the tables of error and close codes. No sockets, no clock, no runtime.
//!
//! Start at [`v1::Frame`] (clients) and [`link::v1::Frame`] (nodes); [`codec`] turns frames into bytes and back; [`reason`] holds the codes
//! that every transport and SDK shares.

#![warn(missing_docs)]

pub mod codec;
pub mod id;
pub mod limits;
pub mod position;
pub mod reason;
pub mod version;

pub use codec::{DecodeError, FrameDecoder, LinkDecoder};
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

/// Frames between nodes, generated from `sterna/link/v1/link.proto`.
pub mod link {
    /// Version 1.
    #[allow(missing_docs, clippy::all, clippy::unwrap_used, unreachable_pub, unused_qualifications)]
    pub mod v1 {
        include!("gen/sterna.link.v1.rs");
    }
}

mod frame;
