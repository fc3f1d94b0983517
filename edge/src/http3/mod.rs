//! HTTP/3 (RFC 9114) as far as WebTransport needs it (draft-ietf-webtrans-http3): what stream heads,
//! frames, fields, settings and capsules say, and what a request gets. Everything is pure and takes
//! bytes in any pieces; `transport::webtransport` moves them.
//!
//! Own code, because what there is either buffers without bounds or wants a connection of its own,
//! and because browsers differ in which draft they speak. No dynamic table, no push, one session on
//! a connection.

mod capsules;
mod control;
mod fields;
#[cfg(test)]
mod fuzz_tests;
mod heads;
mod huffman;
mod items;
mod qpack;
mod request_stream;
mod requests;
mod settings;
mod static_table;
pub(crate) mod varint;

pub(crate) use capsules::{close_capsule, drain_capsule};
pub(crate) use control::{Control, check_encoder, go_away};
pub(crate) use fields::Request;
pub(crate) use heads::{BidiHead, StreamHead, UniHead, control_head, lane_head};
pub(crate) use request_stream::{Heard, RequestStream};
pub(crate) use requests::{Verdict, decide, too_large};
pub(crate) use settings::Settings;

/// What a client does against the rules of HTTP/3: its connection ends with the code that they
/// give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("a stream that a client may not open, or not twice")]
    StreamCreation,
    #[error("a stream has ended that has to stay")]
    ClosedCriticalStream,
    #[error("a frame that may not come there")]
    FrameUnexpected,
    #[error("a frame that is none")]
    Frame,
    #[error("more than anybody needs")]
    ExcessiveLoad,
    #[error("an id that is none of a request")]
    Id,
    #[error("settings that cannot be")]
    Settings,
    #[error("settings have to come first")]
    MissingSettings,
    #[error("a datagram without the id of its stream")]
    Datagram,
    #[error("fields that cannot be read without a dynamic table, or at all")]
    Decompression,
    #[error("instructions for a dynamic table, for which there is no room")]
    EncoderStream,
}

impl Violation {
    /// Error code of the connection (RFC 9114, section 8.1; RFC 9204, section 6; RFC 9297, 5.2).
    pub(crate) const fn code(self) -> u32 {
        match self {
            Self::Datagram => 0x33,
            Self::StreamCreation => code::STREAM_CREATION_ERROR as u32,
            Self::ClosedCriticalStream => 0x104,
            Self::FrameUnexpected => 0x105,
            Self::Frame => 0x106,
            Self::ExcessiveLoad => 0x107,
            Self::Id => 0x108,
            Self::Settings => 0x109,
            Self::MissingSettings => 0x10a,
            Self::Decompression => 0x200,
            Self::EncoderStream => 0x201,
        }
    }

    /// Value of the metric label `reason`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Datagram => "datagram",
            Self::StreamCreation => "stream_creation",
            Self::ClosedCriticalStream => "closed_critical_stream",
            Self::FrameUnexpected => "frame_unexpected",
            Self::Frame => "frame",
            Self::ExcessiveLoad => "excessive_load",
            Self::Id => "id",
            Self::Settings => "settings",
            Self::MissingSettings => "missing_settings",
            Self::Decompression => "decompression",
            Self::EncoderStream => "encoder_stream",
        }
    }
}

/// Error codes of streams and of connections that end well.
pub(crate) mod code {
    pub(crate) const NO_ERROR: u64 = 0x100;
    /// Nobody knows this type of stream.
    pub(crate) const STREAM_CREATION_ERROR: u64 = 0x103;
    /// Nothing was done about the request: a second session, that is.
    pub(crate) const REQUEST_REJECTED: u64 = 0x10b;
    /// Its head was late.
    pub(crate) const REQUEST_CANCELLED: u64 = 0x10c;
    /// The request ended before its fields.
    pub(crate) const REQUEST_INCOMPLETE: u64 = 0x10d;
    /// The request is malformed.
    pub(crate) const MESSAGE_ERROR: u64 = 0x10e;
    /// A stream of a session that there is not, or not yet and others wait already.
    pub(crate) const BUFFERED_STREAM_REJECTED: u64 = 0x3994_bd84;
}

/// Types of frames.
mod frame {
    pub(super) const DATA: u64 = 0x00;
    pub(super) const HEADERS: u64 = 0x01;
    pub(super) const CANCEL_PUSH: u64 = 0x03;
    pub(super) const SETTINGS: u64 = 0x04;
    pub(super) const PUSH_PROMISE: u64 = 0x05;
    pub(super) const GOAWAY: u64 = 0x07;
    pub(super) const MAX_PUSH_ID: u64 = 0x0d;

    /// Meant something in HTTP/2 and must not come (RFC 9114, section 7.2.8).
    pub(super) const fn is_of_http2(kind: u64) -> bool {
        matches!(kind, 0x02 | 0x06 | 0x08 | 0x09)
    }
}

/// A frame with this value.
fn frame_of(kind: u64, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + value.len());
    varint::encode(kind, &mut out);
    varint::encode(value.len() as u64, &mut out);
    out.extend_from_slice(value);
    out
}
