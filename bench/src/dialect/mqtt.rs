//! MQTT 3.1.1 in a WebSocket: a message of one is no packet of the other, and may end within it.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail, ensure};

use super::torn::Torn;
use super::{Dialect, Event, Message, Reader};

/// What is done so that a publication arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// Nothing, and it is not acknowledged.
    AtMostOnce,
    /// The broker acknowledges it; subscribers get it at most once all the same.
    AtLeastOnce,
}

#[derive(Debug)]
pub struct Mqtt {
    quality: Quality,
    greeted: AtomicU32,
}

impl Mqtt {
    #[must_use]
    pub fn new(quality: Quality) -> Self {
        Self { quality, greeted: AtomicU32::new(0) }
    }
}

/// Packet types, with the flags that go with them.
const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const PINGREQ: u8 = 0xc0;
const PINGRESP: u8 = 0xd0;

/// The flag of a publication that is acknowledged.
const AT_LEAST_ONCE: u8 = 0x02;
/// A code of a `SUBACK`.
const FAILURE: u8 = 0x80;

fn channel_name(channel: u32) -> String {
    format!("bench/{channel}")
}

/// A field that follows its length.
fn field(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text].concat()
}

fn encode(kind: u8, parts: &[&[u8]]) -> Message {
    let mut left: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = vec![kind];
    loop {
        let seven = (left & 0x7f) as u8;
        left >>= 7;
        bytes.push(if left > 0 { seven | 0x80 } else { seven });
        if left == 0 {
            break;
        }
    }
    bytes.extend(parts.iter().copied().flatten());
    Message::Binary(bytes.into())
}

/// Never 0, which names no packet.
fn identifier(sequence: u64) -> [u8; 2] {
    ((sequence % u64::from(u16::MAX)) as u16 + 1).to_be_bytes()
}

impl Dialect for Mqtt {
    fn path(&self) -> String {
        "/mqtt".to_owned()
    }

    fn subprotocol(&self) -> Option<&'static str> {
        Some("mqtt")
    }

    /// A broker ends the connection of whoever was called the same before.
    fn hello(&self, client: &str) -> Option<Message> {
        let greeted = self.greeted.fetch_add(1, Ordering::Relaxed) + 1;
        let client = format!("{client}-{greeted}");
        let [high, low] = KEEP_ALIVE_SECONDS.to_be_bytes();
        let version_and_flags = [4, CLEAN_SESSION, high, low];
        Some(encode(CONNECT, &[&field(b"MQTT"), &version_and_flags, &field(client.as_bytes())]))
    }

    fn subscribe(&self, channel: u32, _connection: &str) -> Message {
        encode(SUBSCRIBE, &[&identifier(0), &field(channel_name(channel).as_bytes()), &[0]])
    }

    fn publish(&self, channel: u32, payload: &[u8], sequence: u64, _connection: &str) -> Message {
        let channel = field(channel_name(channel).as_bytes());
        match self.quality {
            Quality::AtMostOnce => encode(PUBLISH, &[&channel, payload]),
            Quality::AtLeastOnce => {
                encode(PUBLISH | AT_LEAST_ONCE, &[&channel, &identifier(sequence), payload])
            }
        }
    }

    fn heartbeat(&self) -> Option<Message> {
        Some(encode(PINGREQ, &[]))
    }

    fn reader(&self, _lane: bool) -> Box<dyn Reader> {
        Box::new(MqttReader::default())
    }
}

#[derive(Default)]
struct MqttReader {
    torn: Torn,
}

impl Reader for MqttReader {
    fn read(&mut self, bytes: &[u8], on: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        self.torn.read(bytes, |bytes| {
            let Some((kind, body, length)) = cut(bytes)? else { return Ok(None) };
            take(kind, body, on)?;
            Ok(Some(length))
        })
    }
}

/// The first packet: its type, what it holds, and how long it is as a whole.
fn cut(bytes: &[u8]) -> Result<Option<(u8, &[u8], usize)>> {
    let Some((kind, rest)) = bytes.split_first() else { return Ok(None) };
    let mut length = 0;
    for (at, byte) in rest.iter().enumerate() {
        ensure!(at < MOST_LENGTH_BYTES, "an MQTT packet whose length does not end");
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let from = at + 2;
            let body = bytes.get(from..from + length);
            return Ok(body.map(|body| (*kind, body, from + length)));
        }
    }
    Ok(None)
}

fn take(kind: u8, body: &[u8], on: &mut dyn FnMut(Event<'_>)) -> Result<()> {
    match (kind & 0xf0, body) {
        (PUBLISH, [high, low, rest @ ..]) => {
            let name = usize::from(u16::from_be_bytes([*high, *low]));
            let id = if kind & 0x06 == 0 { 0 } else { 2 };
            on(Event::Delivered(rest.get(name + id..).context("a publication cut short")?));
        }
        (CONNACK, [_, 0]) => on(Event::Ready),
        (CONNACK, [_, code]) => on(Event::Refused(format!("connection refused: {code}"))),
        (SUBACK, [_, _, code]) if *code < FAILURE => on(Event::Subscribed),
        (SUBACK, _) => on(Event::Refused("subscription refused".to_owned())),
        (PUBACK, _) => on(Event::Acked),
        (PINGRESP, _) => {}
        _ => bail!("the broker sent a packet of type {kind:#x} with {} bytes", body.len()),
    }
    Ok(())
}

const CLEAN_SESSION: u8 = 0x02;

/// The longest that can be asked for: no measurement waits for it.
const KEEP_ALIVE_SECONDS: u16 = u16::MAX;

const MOST_LENGTH_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::super::testing::{all, torn_everywhere};
    use super::*;

    fn mqtt() -> Mqtt {
        Mqtt::new(Quality::AtMostOnce)
    }

    fn bytes(message: Message) -> Vec<u8> {
        match message {
            Message::Binary(bytes) => bytes.to_vec(),
            Message::Text(text) => panic!("text: {text}"),
        }
    }

    #[test]
    fn a_client_says_what_the_standard_says() {
        let mqtt = mqtt();
        let hello = bytes(mqtt.hello("c").unwrap());
        assert_eq!(hello, b"\x10\x0f\x00\x04MQTT\x04\x02\xff\xff\x00\x03c-1");
        assert_ne!(bytes(mqtt.hello("c").unwrap()), hello);
        assert_eq!(bytes(mqtt.subscribe(7, "")), b"\x82\x0c\x00\x01\x00\x07bench/7\x00");
        assert_eq!(bytes(mqtt.publish(7, b"hi", 1, "")), b"\x30\x0b\x00\x07bench/7hi");
        let acknowledged = Mqtt::new(Quality::AtLeastOnce);
        assert_eq!(
            bytes(acknowledged.publish(7, b"hi", 1, "")),
            b"\x32\x0d\x00\x07bench/7\x00\x02hi"
        );
        assert_eq!(bytes(mqtt.heartbeat().unwrap()), b"\xc0\x00");
    }

    #[test]
    fn no_identifier_is_0() {
        for sequence in [0, 1, 65_534, 65_535, 65_536] {
            assert_ne!(identifier(sequence), [0, 0], "{sequence}");
        }
    }

    #[test]
    fn answers_are_read_wherever_they_are_torn() {
        let long = vec![b'x'; 200];
        let mut answers = b"\x20\x02\x00\x00\x90\x03\x00\x01\x00\x40\x02\x00\x01".to_vec();
        answers.extend(bytes(mqtt().publish(7, &long, 1, "")));
        answers.extend(b"\x32\x0b\x00\x07bench/7\x00\x09\xd0\x00\x90\x03\x00\x01\x80");
        let delivered = format!("delivered {}", "x".repeat(200));
        torn_everywhere(
            &mqtt(),
            &answers,
            &[
                "ready",
                "subscribed",
                "acked",
                &delivered,
                "delivered ",
                "refused subscription refused",
            ],
        );
    }

    #[test]
    fn a_refused_connection_is_no_greeting() {
        let seen = all(&mqtt(), &[b"\x20\x02\x00\x05"]).unwrap();
        assert_eq!(seen, ["refused connection refused: 5"]);
    }

    #[test]
    fn what_is_no_mqtt_is_an_error() {
        assert!(all(&mqtt(), &[b"\x30\xff\xff\xff\xff\xff"]).is_err());
        assert!(all(&mqtt(), &[b"\x30\x03\x00\x09x"]).is_err());
        assert!(all(&mqtt(), &[b"\xf0\x00"]).is_err());
    }
}
