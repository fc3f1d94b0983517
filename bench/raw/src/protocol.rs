//! What the load generator and a raw server say to each other. On a stream every message follows
//! its length (4 bytes, big-endian); a WebSocket message needs none.
//!
//! | message | bytes |
//! |---|---|
//! | subscribe | `S`, channel (4) |
//! | publish | `P`, channel (4), payload |
//! | echo | `E`, payload |
//! | answer to a subscribe | `N` |
//! | answer to a publish | `A` |
//! | delivery, or the echo | `D`, payload |

use bytes::{BufMut as _, Bytes, BytesMut};

pub const SUBSCRIBE: u8 = b'S';
pub const PUBLISH: u8 = b'P';
pub const ECHO: u8 = b'E';
pub const SUBSCRIBED: u8 = b'N';
pub const PUBLISHED: u8 = b'A';
pub const DELIVERY: u8 = b'D';

/// A message without its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Subscribe(u32),
    Publish(u32, Bytes),
    Echo(Bytes),
}

impl Message {
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Subscribe(channel) => {
                out.put_u8(SUBSCRIBE);
                out.put_u32(*channel);
            }
            Self::Publish(channel, payload) => {
                out.put_u8(PUBLISH);
                out.put_u32(*channel);
                out.put_slice(payload);
            }
            Self::Echo(payload) => {
                out.put_u8(ECHO);
                out.put_slice(payload);
            }
        }
        out.freeze()
    }

    /// `None`: not a message of a client.
    #[must_use]
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let channel = || bytes.get(1..5)?.try_into().ok().map(u32::from_be_bytes);
        match *bytes.first()? {
            SUBSCRIBE => Some(Self::Subscribe(channel()?)),
            PUBLISH => Some(Self::Publish(channel()?, bytes.slice(5..))),
            ECHO => Some(Self::Echo(bytes.slice(1..))),
            _ => None,
        }
    }
}

/// A message as a stream carries it.
#[must_use]
pub fn framed(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(4 + message.len());
    out.put_u32(message.len() as u32);
    out.put_slice(message);
    out.freeze()
}

/// Cuts a stream into messages.
#[derive(Debug, Default)]
pub struct Cutter(BytesMut);

impl Cutter {
    pub fn extend(&mut self, bytes: &[u8]) {
        self.0.put_slice(bytes);
    }

    /// The next whole message.
    pub fn cut(&mut self) -> Option<Bytes> {
        let length = u32::from_be_bytes(self.0.get(..4)?.try_into().ok()?) as usize;
        if self.0.len() < 4 + length {
            return None;
        }
        let message = self.0.split_to(4 + length).freeze().slice(4..);
        if self.0.is_empty() {
            self.0 = BytesMut::new();
        }
        Some(message)
    }
}

#[must_use]
pub fn delivery(payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + payload.len());
    out.put_u8(DELIVERY);
    out.put_slice(payload);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_went() {
        for message in [
            Message::Subscribe(7),
            Message::Publish(9, Bytes::from_static(b"payload")),
            Message::Echo(Bytes::from_static(b"")),
        ] {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
        assert_eq!(Message::decode(&Bytes::from_static(b"P12")), None);
    }

    #[test]
    fn a_stream_is_cut_wherever_it_was_torn() {
        let stream = [framed(b"one"), framed(b""), framed(b"three")].concat();
        let mut cutter = Cutter::default();
        let mut messages = Vec::new();
        for byte in stream {
            cutter.extend(&[byte]);
            messages.extend(cutter.cut());
        }
        assert_eq!(messages, ["one", "", "three"].map(Bytes::from));
    }
}
