//! The protocol of NATS, whose text a WebSocket carries in binary messages, cut anywhere.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::torn::Torn;
use super::{Dialect, Event, Message, Reader};

/// A client of core NATS, which has no acknowledgement for a publication; or of JetStream, which
/// acknowledges what it has stored, to a subject that only the publisher listens to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nats {
    pub storage: Option<Storage>,
}

/// Where a stream of JetStream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    Memory,
    File,
}

fn subject(channel: u32) -> String {
    format!("bench.{channel}")
}

/// What begins the subjects of answers.
const INBOX: &str = "_INBOX.";

/// Whoever asks second is told that the stream is there; nobody listens to either answer.
fn stream(storage: Storage) -> String {
    let storage = match storage {
        Storage::Memory => "memory",
        Storage::File => "file",
    };
    let stream = format!(
        "{{\"name\":\"bench\",\"subjects\":[\"bench.*\"],\"storage\":\"{storage}\",\
         \"retention\":\"limits\",\"num_replicas\":1}}"
    );
    format!("PUB $JS.API.STREAM.CREATE.bench {}\r\n{stream}\r\n", stream.len())
}

impl Dialect for Nats {
    fn hello(&self, client: &str) -> Option<Message> {
        let stream = self.storage.map(stream).unwrap_or_default();
        let hello = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"name\":\"{client}\",\
             \"lang\":\"rust\",\"version\":\"1\",\"protocol\":1}}\r\n{stream}PING\r\n"
        );
        Some(Message::Binary(hello.into()))
    }

    /// The answer to the ping says that the line before it was read.
    fn subscribe(&self, channel: u32, _connection: &str) -> Message {
        Message::Binary(format!("SUB {} {channel}\r\nPING\r\n", subject(channel)).into())
    }

    fn publish(&self, channel: u32, payload: &[u8], _sequence: u64, connection: &str) -> Message {
        let (subject, length) = (subject(channel), payload.len());
        let line = match self.storage {
            None => format!("PUB {subject} {length}\r\n"),
            Some(_) => format!("PUB {subject} {INBOX}{connection} {length}\r\n"),
        };
        Message::Binary([line.as_bytes(), payload, b"\r\n"].concat().into())
    }

    /// A ping would be answered like a subscription.
    fn heartbeat(&self) -> Option<Message> {
        Some(Message::Binary("PONG\r\n".into()))
    }

    fn reader(&self, _lane: bool) -> Box<dyn Reader> {
        Box::new(NatsReader { asks: self.storage.is_some(), ..NatsReader::default() })
    }
}

#[derive(Default)]
struct NatsReader {
    torn: Torn,
    /// Answers are wanted.
    asks: bool,
    greeted: bool,
}

impl Reader for NatsReader {
    fn read(&mut self, bytes: &[u8], on: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        let Self { torn, asks, greeted } = self;
        torn.read(bytes, |bytes| take(bytes, *asks, greeted, on))
    }
}

fn take(
    bytes: &[u8],
    asks: bool,
    greeted: &mut bool,
    on: &mut dyn FnMut(Event<'_>),
) -> Result<Option<usize>> {
    let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let line = std::str::from_utf8(&bytes[..end]).context("a line of NATS that is no text")?;
    let after = end + 2;
    let mut words = line.split(' ');
    match words.next() {
        Some("MSG") => {
            let length = line.rsplit(' ').next().and_then(|it| it.parse::<usize>().ok());
            let length = length.with_context(|| format!("NATS sent {line:?}"))?;
            if bytes.len() < after + length + 2 {
                return Ok(None);
            }
            let payload = &bytes[after..after + length];
            on(if words.next().is_some_and(|subject| subject.starts_with(INBOX)) {
                answer(payload)
            } else {
                Event::Delivered(payload)
            });
            return Ok(Some(after + length + 2));
        }
        Some("INFO") if asks => {
            let info: Info = serde_json::from_str(&line[4..])?;
            let name = info.client_id.to_string();
            on(Event::Named(&name));
            let listen = format!("SUB {INBOX}{name} {INBOX_ID}\r\n");
            on(Event::Answer(Message::Binary(listen.into())));
        }
        Some("PING") => on(Event::Answer(Message::Binary("PONG\r\n".into()))),
        Some("PONG") if !*greeted => {
            *greeted = true;
            on(Event::Ready);
        }
        Some("PONG") => on(Event::Subscribed),
        Some("-ERR") => on(Event::Refused(line.to_owned())),
        Some("INFO" | "+OK") => {}
        _ => bail!("NATS sent {line:?}"),
    }
    Ok(Some(after))
}

/// What the server says of itself and of the connection.
#[derive(Deserialize)]
struct Info {
    client_id: u64,
}

/// What JetStream says of a publication.
#[derive(Deserialize)]
struct Stored {
    error: Option<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    description: String,
}

fn answer(payload: &[u8]) -> Event<'static> {
    match serde_json::from_slice::<Stored>(payload) {
        Ok(Stored { error: None }) => Event::Acked,
        Ok(Stored { error: Some(error) }) => Event::Refused(error.description),
        Err(error) => Event::Refused(format!("no answer of JetStream: {error}")),
    }
}

/// The number of the subscription to answers; those to channels have the channels' numbers.
const INBOX_ID: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::super::testing::{all, torn_everywhere};
    use super::*;

    const CORE: Nats = Nats { storage: None };
    const STREAM: Nats = Nats { storage: Some(Storage::File) };

    fn said(message: Message) -> String {
        match message {
            Message::Binary(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Message::Text(text) => panic!("text: {text}"),
        }
    }

    #[test]
    fn a_client_says_what_the_server_understands() {
        let hello = said(CORE.hello("client-1").unwrap());
        let options = hello.strip_prefix("CONNECT ").and_then(|it| it.strip_suffix("\r\nPING\r\n"));
        let options: serde_json::Value = serde_json::from_str(options.unwrap()).unwrap();
        assert_eq!((&options["verbose"], &options["name"]), (&false.into(), &"client-1".into()));
        assert_eq!(said(CORE.subscribe(7, "")), "SUB bench.7 7\r\nPING\r\n");
        assert_eq!(said(CORE.publish(7, b"hi", 1, "")), "PUB bench.7 2\r\nhi\r\n");
    }

    #[test]
    fn a_client_of_a_stream_makes_it_and_asks_for_answers() {
        let hello = said(STREAM.hello("client-1").unwrap());
        let (_, create) = hello.split_once("PUB $JS.API.STREAM.CREATE.bench ").unwrap();
        let [length, stream, ping] = create.split("\r\n").collect::<Vec<_>>()[..3] else {
            panic!()
        };
        assert_eq!((length.parse(), ping), (Ok(stream.len()), "PING"));
        let stream: serde_json::Value = serde_json::from_str(stream).unwrap();
        assert_eq!(stream["storage"], "file");
        let published = said(STREAM.publish(7, b"hi", 1, "12"));
        assert_eq!(published, "PUB bench.7 _INBOX.12 2\r\nhi\r\n");
    }

    #[test]
    fn answers_of_a_stream_are_no_deliveries() {
        let answers = b"INFO {\"server_id\":\"A\",\"client_id\":12}\r\nPONG\r\n\
            MSG _INBOX.12 4294967295 26\r\n{\"stream\":\"bench\",\"seq\":1}\r\n\
            MSG bench.7 7 2\r\nhi\r\n\
            MSG _INBOX.12 4294967295 46\r\n{\"error\":{\"code\":503,\"description\":\"no room\"}}\r\n";
        torn_everywhere(
            &STREAM,
            answers,
            &[
                "named 12",
                "answer SUB _INBOX.12 4294967295\r\n",
                "ready",
                "acked",
                "delivered hi",
                "refused no room",
            ],
        );
    }

    #[test]
    fn answers_are_read_wherever_they_are_torn() {
        let answers =
            b"INFO {\"server_id\":\"A\"}\r\nPONG\r\nPONG\r\nMSG bench.7 7 4\r\na\r\nb\r\n\
            PING\r\nMSG bench.7 7 bench.reply 0\r\n\r\n-ERR 'Slow Consumer'\r\n+OK\r\n";
        torn_everywhere(
            &CORE,
            answers,
            &[
                "ready",
                "subscribed",
                "delivered a\r\nb",
                "answer PONG\r\n",
                "delivered ",
                "refused -ERR 'Slow Consumer'",
            ],
        );
    }

    #[test]
    fn what_is_no_nats_is_an_error() {
        assert!(all(&CORE, &[b"HTTP/1.1 400 Bad Request\r\n"]).is_err());
        assert!(all(&CORE, &[b"MSG bench.7 7 many\r\n"]).is_err());
    }
}
