//! How to speak with one kind of server: what a client says, and what it makes of the answers. No
//! input or output here.

mod raw;
mod sterna;

use anyhow::Result;
use bytes::Bytes;

pub use raw::Raw;
pub use sterna::Sterna;

/// What goes into one WebSocket message, or onto a stream.
#[derive(Debug, Clone)]
pub enum Message {
    Binary(Bytes),
    Text(String),
}

/// What a client learns.
#[derive(Debug)]
pub enum Event<'a> {
    /// The server has answered the greeting.
    Ready,
    Subscribed,
    /// The oldest publication that was not acknowledged is now.
    Acked,
    Delivered(&'a [u8]),
    Refused(String),
    /// Has to be said at once.
    Answer(Message),
}

/// One protocol.
pub trait Dialect: std::fmt::Debug {
    /// The application protocol of QUIC.
    fn alpn(&self) -> &'static [u8] {
        b""
    }
    /// The path and query of the WebSocket.
    fn path(&self) -> String {
        "/".to_owned()
    }
    fn subprotocol(&self) -> Option<&'static str> {
        None
    }
    /// What is said first. `None`: the server is ready when the transport is.
    fn hello(&self, client: &str) -> Option<Message>;
    fn subscribe(&self, channel: u32) -> Message;
    /// `sequence` counts the publications of a client from 1.
    fn publish(&self, channel: u32, payload: &[u8], sequence: u64) -> Message;
    /// Keeps a silent connection open.
    fn heartbeat(&self) -> Option<Message> {
        None
    }
    /// Reads one direction: the WebSocket, or one stream. `lane`: a stream that the server opened.
    fn reader(&self, lane: bool) -> Box<dyn Reader>;
}

/// Makes events of bytes as they come.
pub trait Reader {
    fn read(&mut self, bytes: &[u8], on: &mut dyn FnMut(Event<'_>)) -> Result<()>;
}
