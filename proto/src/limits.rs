//! Every wire limit. Limits of queues and rates are configuration of the crate that owns them.

/// Largest encoded frame, without its length prefix. A payload of the largest size fits, and so
/// does a page of publications.
pub const FRAME_BYTES: usize = 256 * 1024;

/// Largest frame before the session exists: nothing but a Hello is expected.
pub const HELLO_FRAME_BYTES: usize = 64 * 1024;

/// Largest publication payload; larger content belongs into a blob.
pub const PAYLOAD_BYTES: usize = 64 * 1024;

/// Largest frame on a datagram: fits a 1200-byte QUIC packet with its headers, so that a path that
/// shrinks does not turn it into an error.
pub const DATAGRAM_BYTES: usize = 1100;

/// Largest ephemeral payload.
pub const EPHEMERAL_BYTES: usize = 1024;

/// Longest channel name, in bytes.
pub const CHANNEL_BYTES: usize = 128;

/// Longest user name, in bytes.
pub const USER_BYTES: usize = 64;

/// Longest client id, in bytes.
pub const CLIENT_ID_BYTES: usize = 64;

/// Longest access token.
pub const ACCESS_TOKEN_BYTES: usize = 8 * 1024;

/// Most publications in one page of history or recovery.
pub const PAGE_PUBLICATIONS: usize = 500;

/// Most bytes of payload in one page; the page ends before the publication that would pass it.
pub const PAGE_BYTES: usize = 96 * 1024;

/// Most bytes of a publication beside its payload: the longest names, numbers at their largest.
pub const PUBLICATION_OVERHEAD_BYTES: usize = 300;

/// Most entries of one page of an inbox that come from marks; as many again may come from channels
/// that nobody marks, and from what has happened since the last mark.
pub const PAGE_INBOX_ENTRIES: usize = 200;

/// Most bytes of one entry of an inbox: the longest name, numbers at their largest.
pub const INBOX_ENTRY_BYTES: usize = 220;

/// Most subscriptions of one session.
pub const SUBSCRIPTIONS: usize = 1024;

/// Lanes in each direction of a QUIC connection, beside the control stream.
pub const LANES: usize = 4;

/// Largest frame between nodes: the publications of one commit, each with its frame around it.
pub const LINK_FRAME_BYTES: usize = 4 * 1024 * 1024;

/// Lanes of a link, beside the one for rosters.
pub const LINK_LANES: usize = 4;

const _: () = assert!(PAYLOAD_BYTES + 8 * 1024 <= FRAME_BYTES, "a payload fits a frame");
const _: () = assert!(
    PAGE_BYTES + PAGE_PUBLICATIONS * PUBLICATION_OVERHEAD_BYTES + 1024 <= FRAME_BYTES,
    "a page fits a frame, its names and numbers included"
);
const _: () = assert!(
    3 * PAGE_INBOX_ENTRIES * INBOX_ENTRY_BYTES + 1024 <= FRAME_BYTES,
    "a page of an inbox fits a frame"
);
const _: () = assert!(PAYLOAD_BYTES <= PAGE_BYTES, "a publication fits a page");
const _: () = assert!(EPHEMERAL_BYTES <= DATAGRAM_BYTES, "an ephemeral fits a datagram");
const _: () = assert!(ACCESS_TOKEN_BYTES < HELLO_FRAME_BYTES, "a token fits a Hello");
