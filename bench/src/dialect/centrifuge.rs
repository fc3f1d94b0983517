//! The protobuf protocol of Centrifugo, which its library centrifuge speaks: replies follow their
//! lengths, and several may come in one WebSocket message.

use anyhow::{Context as _, Result};
use prost::Message as _;

use super::torn::Torn;
use super::{Dialect, Event, Message, Page, Reader};

#[derive(Debug, Clone, Copy, Default)]
pub struct Centrifuge {
    /// The server keeps what was published, and whoever joins reads the newest of it.
    pub history: bool,
}

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
    #[prost(message, optional, tag = "10")]
    history: Option<History>,
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
struct History {
    #[prost(string, tag = "1")]
    channel: String,
    /// -1: all.
    #[prost(int32, tag = "7")]
    limit: i32,
    /// From the newest back.
    #[prost(bool, tag = "9")]
    reverse: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Reply {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(message, optional, tag = "2")]
    error: Option<Problem>,
    #[prost(message, optional, tag = "4")]
    push: Option<Push>,
    #[prost(message, optional, tag = "11")]
    history: Option<Publications>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Publications {
    #[prost(message, repeated, tag = "1")]
    publications: Vec<Publication>,
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
    #[prost(uint64, tag = "6")]
    offset: u64,
}

/// Commands are told apart by their ids.
const CONNECT: u32 = 1;
const SUBSCRIBE: u32 = 2;
const PUBLISH: u32 = 3;
/// Those of somebody who joins: the second is answered last.
const JOIN: u32 = 4;
const NEWEST: u32 = 5;
const EVERYTHING: u32 = 6;

/// Publications that somebody sees who joins.
const NEWEST_LIMIT: i32 = 20;

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

    fn join(&self, channel: u32, connection: &str) -> Message {
        if !self.history {
            return self.subscribe(channel, connection);
        }
        let name = || channel_name(channel);
        let subscribe = Some(Subscribe { channel: name() });
        let join = Command { id: JOIN, subscribe, ..Command::default() };
        let history = Some(History { channel: name(), limit: NEWEST_LIMIT, reverse: true });
        let newest = Command { id: NEWEST, history, ..Command::default() };
        let both = [join, newest].map(|command| command.encode_length_delimited_to_vec());
        Message::Binary(both.concat().into())
    }

    /// All of it comes at once.
    fn history(&self, channel: u32, _epoch: u32, _after: u64) -> Option<Message> {
        self.history.then(|| {
            let history =
                Some(History { channel: channel_name(channel), limit: -1, reverse: false });
            said(&Command { id: EVERYTHING, history, ..Command::default() })
        })
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
        (SUBSCRIBE | NEWEST, _) => on(Event::Subscribed),
        (EVERYTHING, _) => on(Event::Page(contents(reply))),
        (PUBLISH, _) => on(Event::Acked),
        (_, Some(Push { publication: Some(publication) })) => {
            on(Event::Delivered(&publication.data));
        }
        _ => {}
    }
}

fn contents(reply: &Reply) -> Page {
    let all = reply.history.iter().flat_map(|history| &history.publications);
    let publications = all.map(|it| (it.offset, it.data.clone().into())).collect();
    Page { epoch: 0, publications, more: false }
}

const MOST_LENGTH_BYTES: usize = 10;

#[cfg(test)]
mod tests {
    use super::super::testing::{all, torn_everywhere};
    use super::*;

    const PLAIN: Centrifuge = Centrifuge { history: false };
    const KEEPING: Centrifuge = Centrifuge { history: true };

    fn reply(id: u32) -> Reply {
        Reply { id, ..Reply::default() }
    }

    fn push(data: &[u8]) -> Reply {
        let publication = Some(Publication { data: data.to_vec(), offset: 0 });
        Reply { push: Some(Push { publication }), ..Reply::default() }
    }

    #[test]
    fn a_client_says_what_the_schema_says() {
        let bytes = |message: Option<Message>| match message {
            Some(Message::Binary(bytes)) => bytes.to_vec(),
            _ => Vec::new(),
        };
        assert_eq!(bytes(PLAIN.hello("c")), b"\x07\x08\x01\x22\x03\x22\x01c");
        let subscribe = bytes(Some(PLAIN.subscribe(7, "")));
        assert_eq!(subscribe, b"\x0d\x08\x02\x2a\x09\x0a\x07bench:7");
        let publish = bytes(Some(PLAIN.publish(7, b"hi", 1, "")));
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
            &PLAIN,
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

    #[test]
    fn who_joins_reads_the_newest_where_something_is_kept() {
        let bytes = |message| match message {
            Message::Binary(bytes) => bytes.to_vec(),
            Message::Text(text) => panic!("text: {text}"),
        };
        assert_eq!(bytes(PLAIN.join(7, "")), bytes(PLAIN.subscribe(7, "")));
        assert!(PLAIN.history(7, 0, 0).is_none());
        let join = bytes(KEEPING.join(7, ""));
        let newest = b"\x11\x08\x05\x52\x0d\x0a\x07bench:7\x38\x14\x48\x01";
        assert_eq!(join, [b"\x0d\x08\x04\x2a\x09\x0a\x07bench:7".as_slice(), newest].concat());
        let publications = vec![Publication { data: b"hi".to_vec(), offset: 9 }];
        let history = |id| Reply {
            history: Some(Publications { publications: publications.clone() }),
            ..reply(id)
        };
        let replies = [reply(CONNECT), reply(JOIN), history(NEWEST), history(EVERYTHING)];
        let answers: Vec<u8> =
            replies.iter().flat_map(prost::Message::encode_length_delimited_to_vec).collect();
        let page = "Page(Page { epoch: 0, publications: [(9, b\"hi\")], more: false })";
        torn_everywhere(&KEEPING, &answers, &["ready", "subscribed", page]);
    }

    /// An empty reply is what the server sends to see whether somebody is there.
    #[test]
    fn a_ping_is_no_event() {
        assert_eq!(all(&PLAIN, &[b"\x00"]).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        assert!(all(&PLAIN, &[b"\x02\x0a\x05"]).is_err());
        assert!(all(&PLAIN, &[&[0xff; 11]]).is_err());
    }
}
