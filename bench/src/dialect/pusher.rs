//! The Pusher protocol, version 7, as sockudo speaks it: JSON, one object in one WebSocket message.
//! Clients publish as its users' clients do, by client events on private channels: to those a
//! client subscribes with a signature, and only who is subscribed may publish. Client events are not
//! acknowledged.

use std::borrow::Cow;

use anyhow::{Context as _, Result};
use aws_lc_rs::hmac;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Dialect, Event, Message, Reader};

/// An application of the server.
#[derive(Debug, Clone)]
pub struct Pusher {
    pub key: String,
    pub secret: String,
}

/// Client events begin with `client-`.
const PUBLICATION: &str = "client-bench";

/// Channels that clients may publish to begin with `private-`.
fn channel_name(channel: u32) -> String {
    format!("private-bench-{channel}")
}

impl Pusher {
    /// Proves that this connection may subscribe.
    fn signature(&self, connection: &str, channel: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        let tag = hmac::sign(&key, format!("{connection}:{channel}").as_bytes());
        let hexadecimal: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}:{hexadecimal}", self.key)
    }
}

impl Dialect for Pusher {
    fn path(&self) -> String {
        format!("/app/{}?protocol=7&client=sterna-bench&version=1", self.key)
    }

    /// The server speaks first; its answer to this comes after that.
    fn hello(&self, _client: &str) -> Option<Message> {
        self.heartbeat()
    }

    fn subscribe(&self, channel: u32, connection: &str) -> Message {
        let channel = channel_name(channel);
        let auth = self.signature(connection, &channel);
        let data = serde_json::json!({ "auth": auth, "channel": channel });
        let subscribe = serde_json::json!({ "event": "pusher:subscribe", "data": data });
        Message::Text(subscribe.to_string())
    }

    fn subscribes_to_publish(&self) -> bool {
        true
    }

    fn publish(&self, channel: u32, payload: &[u8], _sequence: u64, _connection: &str) -> Message {
        let data = String::from_utf8_lossy(payload);
        let channel = channel_name(channel);
        let event = serde_json::json!({ "event": PUBLICATION, "channel": channel, "data": data });
        Message::Text(event.to_string())
    }

    fn heartbeat(&self) -> Option<Message> {
        Some(Message::Text("{\"event\":\"pusher:ping\",\"data\":{}}".to_owned()))
    }

    fn reader(&self, _lane: bool) -> Box<dyn Reader> {
        Box::new(PusherReader)
    }
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<Data<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Data<'a> {
    #[serde(borrow)]
    Text(Cow<'a, str>),
    Error {
        message: String,
    },
    Other(IgnoredAny),
}

/// What is in the text that goes with `pusher:connection_established`.
#[derive(Deserialize)]
struct Established<'a> {
    #[serde(borrow)]
    socket_id: Cow<'a, str>,
}

struct PusherReader;

impl Reader for PusherReader {
    fn read(&mut self, bytes: &[u8], on: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        let text = || format!("the server sent {:?}", String::from_utf8_lossy(bytes));
        let said: Said<'_> = serde_json::from_slice(bytes).with_context(text)?;
        match (&*said.event, said.data) {
            (PUBLICATION, Some(Data::Text(payload))) => on(Event::Delivered(payload.as_bytes())),
            ("pusher:connection_established", Some(Data::Text(data))) => {
                let established: Established<'_> =
                    serde_json::from_str(&data).with_context(text)?;
                on(Event::Named(&established.socket_id));
            }
            ("pusher:pong", _) => on(Event::Ready),
            ("pusher_internal:subscription_succeeded", _) => on(Event::Subscribed),
            ("pusher:ping", _) => {
                let pong = "{\"event\":\"pusher:pong\",\"data\":{}}";
                on(Event::Answer(Message::Text(pong.to_owned())));
            }
            ("pusher:error" | "pusher:subscription_error", Some(Data::Error { message })) => {
                on(Event::Refused(message));
            }
            ("pusher:error" | "pusher:subscription_error", _) => on(Event::Refused(text())),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::all;
    use super::*;

    /// The application of the published example of a signature.
    fn example() -> Pusher {
        Pusher { key: "278d425bdf160c739803".to_owned(), secret: "7ad3773142a6692b25b8".to_owned() }
    }

    fn said(message: Message) -> serde_json::Value {
        match message {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            Message::Binary(bytes) => panic!("not text: {bytes:?}"),
        }
    }

    #[test]
    fn a_subscription_is_signed_as_the_published_example_is() {
        assert_eq!(
            example().signature("1234.1234", "private-foobar"),
            "278d425bdf160c739803:\
             58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
        );
    }

    #[test]
    fn a_client_says_what_the_protocol_says() {
        let subscribe = said(example().subscribe(7, "1.2"));
        assert_eq!(subscribe["event"], "pusher:subscribe");
        assert_eq!(subscribe["data"]["channel"], "private-bench-7");
        let signature = example().signature("1.2", "private-bench-7");
        assert_eq!(subscribe["data"]["auth"], signature);
        assert_eq!(
            said(example().publish(7, b"hi", 1, "")),
            serde_json::json!({ "event": "client-bench", "channel": "private-bench-7", "data": "hi" })
        );
        assert_eq!(said(example().hello("c").unwrap())["event"], "pusher:ping");
    }

    #[test]
    fn answers_are_read() {
        let answers: [&[u8]; 8] = [
            br#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":120}"}"#,
            br#"{"event":"pusher:pong"}"#,
            br#"{"event":"pusher_internal:subscription_succeeded","channel":"private-bench-7","data":"{}"}"#,
            br#"{"event":"client-bench","channel":"private-bench-7","data":"hi"}"#,
            br#"{"channel":"private-bench-7","data":"a\"b","event":"client-bench"}"#,
            br#"{"event":"pusher:ping","data":{}}"#,
            br#"{"event":"pusher:error","data":{"code":4301,"message":"rate limit"}}"#,
            br#"{"event":"something:new","data":[1]}"#,
        ];
        assert_eq!(
            all(&example(), &answers).unwrap(),
            [
                "named 1.2",
                "ready",
                "subscribed",
                "delivered hi",
                "delivered a\"b",
                "answer {\"event\":\"pusher:pong\",\"data\":{}}",
                "refused rate limit",
            ]
        );
    }

    /// A message is a whole object: what is torn at any byte is no answer.
    #[test]
    fn what_is_cut_short_is_an_error() {
        let whole = br#"{"event":"client-bench","channel":"private-bench-7","data":"hi"}"#;
        for end in 0..whole.len() {
            assert!(all(&example(), &[&whole[..end]]).is_err(), "{end}");
        }
    }
}
