//! How to speak with one kind of server: what a client says, and what it makes of the answers. No
//! input or output here.

mod centrifuge;
mod mqtt;
mod nats;
mod pusher;
mod raw;
mod sterna;
#[cfg(test)]
mod testing;
mod torn;

use anyhow::Result;
use bytes::Bytes;

pub use centrifuge::Centrifuge;
pub use mqtt::{Mqtt, Quality};
pub use nats::{Nats, Storage};
pub use pusher::Pusher;
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
    /// What the server calls the connection.
    Named(&'a str),
    Subscribed,
    /// The oldest publication that was not acknowledged is now.
    Acked,
    Delivered(&'a [u8]),
    /// The place of a publication that came, where the dialect knows places.
    At(Place),
    /// Where the client stands in the channel that it has subscribed to.
    Stands(Place),
    /// The answer to a publication or a subscription.
    Refused(String),
    /// Publications did not get through to this client.
    Lagged(String),
    /// The answer to [`Dialect::history`].
    Page(Page),
    /// Has to be said at once.
    Answer(Message),
}

/// An epoch, and an offset in it.
pub type Place = (u32, u64);

/// A stretch of what a channel holds.
#[derive(Debug)]
pub struct Page {
    pub epoch: u32,
    /// Offsets and payloads, ascending.
    pub publications: Vec<(u64, Bytes)>,
    pub more: bool,
}

/// One protocol.
pub trait Dialect: std::fmt::Debug + Send + Sync {
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
    /// `connection`: what the server calls it, if it does.
    fn subscribe(&self, channel: u32, connection: &str) -> Message;
    /// Subscribes as somebody does who had been there, with what has come since that place.
    fn follow(&self, channel: u32, _since: Place, connection: &str) -> Message {
        self.subscribe(channel, connection)
    }
    /// Whether only who is subscribed to a channel may publish to it; such a client gets none of its
    /// own publications.
    fn subscribes_to_publish(&self) -> bool {
        false
    }
    /// `sequence` counts the publications of a client from 1; `connection` as above.
    fn publish(&self, channel: u32, payload: &[u8], sequence: u64, connection: &str) -> Message;
    /// Subscribes as somebody does who opens a conversation: with its newest publications.
    fn join(&self, channel: u32, connection: &str) -> Message {
        self.subscribe(channel, connection)
    }
    /// Asks for what a channel holds behind a position, (0, 0) for all. On a WebSocket only: there answers come in
    /// one stream.
    fn history(&self, _channel: u32, _epoch: u32, _after: u64) -> Option<Message> {
        None
    }
    /// Ends the session, so that the server keeps nothing of it; it then closes the connection.
    fn goodbye(&self) -> Option<Message> {
        None
    }
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
