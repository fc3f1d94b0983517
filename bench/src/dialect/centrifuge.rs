//! The protobuf protocol of Centrifugo, which its library centrifuge speaks: replies follow their
//! lengths, and several may come in one WebSocket message.

use anyhow::{Context as _, Result};
use prost::Message as _;

use super::torn::Torn;
use super::{Dialect, Event, Message, Reader};

#[derive(Debug, Clone, Copy)]
pub struct Centrifuge;

/// Only what is said here, with the numbers of the published schema.
#[derive(Clone, PartialEq, prost::Message)]
struct Command {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(message, optional, tag = "4")]
    connect: Option<Connect>,
    #[prost(message, optional, tag = "5")]
    subscribe: Option<Subscribe>,
    #[prost(message, optional, tag = "7")]
    publish: Option<Publish>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Connect {
    #[prost(string, tag = "4")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Subscribe {
    #[prost(string, tag = "1")]
    channel: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Publish {
    #[prost(string, tag = "1")]
    channel: String,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Reply {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(message, optional, tag = "2")]
    error: Option<Problem>,
    #[prost(message, optional, tag = "4")]
    push: Option<Push>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Problem {
    #[prost(uint32, tag = "1")]
    code: u32,
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Push {
    #[prost(message, optional, tag = "4")]
    publication: Option<Publication>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Publication {
    #[prost(bytes = "vec", tag = "4")]
    data: Vec<u8>,
}

/// Commands are told apart by their ids.
const CONNECT: u32 = 1;
const SUBSCRIBE: u32 = 2;
const PUBLISH: u32 = 3;

fn said(command: &Command) -> Message {
    Message::Binary(command.encode_length_delimited_to_vec().into())
}

fn channel_name(channel: u32) -> String {
    format!("bench:{channel}")
}

impl Dialect for Centrifuge {
    fn path(&self) -> String {
        "/connection/websocket?cf_protocol=protobuf".to_owned()
    }

    fn subprotocol(&self) -> Option<&'static str> {
        Some("centrifuge-protobuf")
    }

    fn hello(&self, client: &str) -> Option<Message> {
        let connect = Some(Connect { name: client.to_owned() });
        Some(said(&Command { id: CONNECT, connect, ..Command::default() }))
    }

    fn subscribe(&self, channel: u32, _connection: &str) -> Message {
        let subscribe = Some(Subscribe { channel: channel_name(channel) });
        said(&Command { id: SUBSCRIBE, subscribe, ..Command::default() })
    }

    fn publish(&self, channel: u32, payload: &[u8], _sequence: u64, _connection: &str) -> Message {
        let publish = Some(Publish { channel: channel_name(channel), data: payload.to_vec() });
        said(&Command { id: PUBLISH, publish, ..Command::default() })
    }

    fn reader(&self, _lane: bool) -> Box<dyn Reader> {
        Box::new(CentrifugeReader::default())
    }
}

#[derive(Default)]
struct CentrifugeReader {
    torn: Torn,
}

impl Reader for CentrifugeReader {
    fn read(&mut self, bytes: &[u8], on: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        self.torn.read(bytes, |bytes| {
            let Some((from, length)) = delimiter(bytes)? else { return Ok(None) };
            let Some(reply) = bytes.get(from..from + length) else { return Ok(None) };
            take(&Reply::decode(reply).context("a reply of centrifuge")?, on);
            Ok(Some(from + length))
        })
    }
}

/// How long the length in front is, and what it says.
fn delimiter(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let whole = bytes.iter().take(MOST_LENGTH_BYTES).position(|byte| byte & 0x80 == 0);
    if whole.is_none() && bytes.len() < MOST_LENGTH_BYTES {
        return Ok(None);
    }
    let mut rest = bytes;
    let length = prost::decode_length_delimiter(&mut rest).context("a length of centrifuge")?;
    Ok(Some((bytes.len() - rest.len(), length)))
}

fn take(reply: &Reply, on: &mut dyn FnMut(Event<'_>)) {
    if let Some(error) = &reply.error {
        return on(Event::Refused(format!("{}: {}", error.code, error.message)));
    }
    match (reply.id, &reply.push) {
        (CONNECT, _) => on(Event::Ready),
        (SUBSCRIBE, _) => on(Event::Subscribed),
        (PUBLISH, _) => on(Event::Acked),
        (_, Some(Push { publication: Some(publication) })) => {
            on(Event::Delivered(&publication.data));
        }
        _ => {}
    }
}

const MOST_LENGTH_BYTES: usize = 10;

#[cfg(test)]
mod tests {
    use super::super::testing::{all, torn_everywhere};
    use super::*;

    fn reply(id: u32) -> Reply {
        Reply { id, ..Reply::default() }
    }

    fn push(data: &[u8]) -> Reply {
        let publication = Some(Publication { data: data.to_vec() });
        Reply { push: Some(Push { publication }), ..Reply::default() }
    }

    #[test]
    fn a_client_says_what_the_schema_says() {
        let bytes = |message: Option<Message>| match message {
            Some(Message::Binary(bytes)) => bytes.to_vec(),
            _ => Vec::new(),
        };
        assert_eq!(bytes(Centrifuge.hello("c")), b"\x07\x08\x01\x22\x03\x22\x01c");
        let subscribe = bytes(Some(Centrifuge.subscribe(7, "")));
        assert_eq!(subscribe, b"\x0d\x08\x02\x2a\x09\x0a\x07bench:7");
        let publish = bytes(Some(Centrifuge.publish(7, b"hi", 1, "")));
        assert_eq!(publish, b"\x11\x08\x03\x3a\x0d\x0a\x07bench:7\x12\x02hi");
    }

    #[test]
    fn answers_are_read_wherever_they_are_torn() {
        let problem = Problem { code: 103, message: "permission denied".to_owned() };
        let refusal = Reply { error: Some(problem), ..reply(SUBSCRIBE) };
        let long = vec![b'x'; 300];
        let replies =
            [reply(CONNECT), reply(SUBSCRIBE), push(&long), reply(PUBLISH), push(b""), refusal];
        let answers: Vec<u8> =
            replies.iter().flat_map(prost::Message::encode_length_delimited_to_vec).collect();
        let delivered = format!("delivered {}", "x".repeat(300));
        torn_everywhere(
            &Centrifuge,
            &answers,
            &[
                "ready",
                "subscribed",
                &delivered,
                "acked",
                "delivered ",
                "refused 103: permission denied",
            ],
        );
    }

    /// An empty reply is what the server sends to see whether somebody is there.
    #[test]
    fn a_ping_is_no_event() {
        assert_eq!(all(&Centrifuge, &[b"\x00"]).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        assert!(all(&Centrifuge, &[b"\x02\x0a\x05"]).is_err());
        assert!(all(&Centrifuge, &[&[0xff; 11]]).is_err());
    }
}
