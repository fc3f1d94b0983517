//! What a client over plain HTTP reads: `text/event-stream`, as the HTML standard has it. Pure.
//!
//! First one event `open`, then events without a name, each with frames: one as JSON, or some with
//! their lengths, in base64; last one event `close`, where there is something to say. A comment comes
//! when there has been nothing else for a while.

use std::fmt::Write as _;
use std::time::Duration;

use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use sterna_core::Encoding;
use sterna_proto::CloseReason;

use super::directory::StreamId;

/// Says that the connection is there. Not seen by who listens for events.
pub(crate) const SIGN_OF_LIFE: &[u8] = b":\n\n";

/// How often it is sent while there is nothing else.
pub(crate) const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(15);

/// The first event: by what name requests belong to this connection, and what they may be.
pub(crate) fn open(id: &StreamId, body_bytes: usize) -> Bytes {
    let keep_alive_ms = SIGN_OF_LIFE_EVERY.as_millis();
    event(
        "open",
        &format!(
            r#"{{"stream":"{id}","keep_alive_ms":{keep_alive_ms},"body_bytes":{body_bytes}}}"#
        ),
    )
}

/// The last event. The words of the table have nothing that JSON would have to escape.
pub(crate) fn close(reason: CloseReason) -> Bytes {
    let (code, text) = (reason.code(), reason.text());
    event("close", &format!(r#"{{"code":{code},"reason":"{text}"}}"#))
}

fn event(name: &str, data: &str) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// Encoded frames as events, several events in one piece where they are small.
pub(crate) fn of_frames(encoding: Encoding, frames: impl Iterator<Item = Bytes>) -> Vec<Bytes> {
    let mut pieces = Pieces::default();
    match encoding {
        Encoding::Json => {
            frames.for_each(|frame| pieces.add_event(|out| out.extend_from_slice(&frame)));
        }
        Encoding::Protobuf => {
            let mut together = BytesMut::new();
            for frame in frames {
                if !together.is_empty() && together.len() + frame.len() > EVENT_BYTES {
                    pieces.add_base64(&together);
                    together.clear();
                }
                together.extend_from_slice(&frame);
            }
            if !together.is_empty() {
                pieces.add_base64(&together);
            }
        }
    }
    pieces.take()
}

#[derive(Default)]
struct Pieces {
    whole: Vec<Bytes>,
    current: BytesMut,
}

impl Pieces {
    fn add_event(&mut self, data: impl FnOnce(&mut BytesMut)) {
        self.current.extend_from_slice(b"data: ");
        data(&mut self.current);
        self.current.extend_from_slice(b"\n\n");
        if self.current.len() >= EVENT_BYTES {
            self.whole.push(std::mem::take(&mut self.current).freeze());
        }
    }

    fn add_base64(&mut self, bytes: &[u8]) {
        self.add_event(|out| {
            let text = base64::display::Base64Display::new(bytes, &STANDARD);
            write!(out, "{text}").unwrap_or_else(|_| unreachable!("BytesMut grows"));
        });
    }

    fn take(mut self) -> Vec<Bytes> {
        if !self.current.is_empty() {
            self.whole.push(self.current.freeze());
        }
        self.whole
    }
}

/// Frames share an event, and events a piece, up to here, so that a client does not wait for
/// megabytes. A larger frame has one for itself.
const EVENT_BYTES: usize = 48 * 1024;

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use proptest::prelude::*;

    use super::*;

    fn text(pieces: &[Bytes]) -> String {
        String::from_utf8(pieces.concat()).unwrap()
    }

    #[test]
    fn the_first_and_the_last_event_are_json() {
        let id = StreamId::random();
        let first = text(&[open(&id, 100)]);
        let data = first.strip_prefix("event: open\ndata: ").unwrap().trim_end();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["stream"], id.to_string());
        assert_eq!((&data["keep_alive_ms"], &data["body_bytes"]), (&15_000.into(), &100.into()));
        for reason in CloseReason::ALL {
            let last = text(&[close(reason)]);
            let data = last.strip_prefix("event: close\ndata: ").unwrap();
            let data: serde_json::Value = serde_json::from_str(data.trim_end()).unwrap();
            assert_eq!(data["code"], reason.code());
            assert_eq!(data["reason"], reason.text());
        }
    }

    #[test]
    fn every_json_frame_is_an_event() {
        let frames = [r#"{"a":1}"#, r#"{"b":"\n"}"#].map(Bytes::from);
        let pieces = of_frames(Encoding::Json, frames.into_iter());
        assert_eq!(text(&pieces), "data: {\"a\":1}\n\ndata: {\"b\":\"\\n\"}\n\n");
        assert_eq!(pieces.len(), 1, "small events go together");
    }

    #[test]
    fn frames_of_protobuf_share_events_up_to_a_size() {
        let sizes = [10, 20, 30, 100_000, 5, 40_000, 9000];
        let frames: Vec<Bytes> =
            sizes.iter().zip(1..).map(|(size, fill)| Bytes::from(vec![fill; *size])).collect();
        let pieces = of_frames(Encoding::Protobuf, frames.clone().into_iter());
        let text = text(&pieces);
        let events: Vec<Vec<u8>> = text
            .split_terminator("\n\n")
            .map(|event| STANDARD.decode(event.strip_prefix("data: ").unwrap()).unwrap())
            .collect();
        let lengths: Vec<usize> = events.iter().map(Vec::len).collect();
        assert_eq!(lengths, [60, 100_000, 49_005]);
        assert_eq!(events.concat(), frames.concat());
        assert!(of_frames(Encoding::Protobuf, std::iter::empty()).is_empty());
    }

    proptest! {
        #[test]
        fn every_octet_arrives_in_its_order(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 0..20),
        ) {
            let frames: Vec<Bytes> = frames.into_iter().map(Bytes::from).collect();
            let text = text(&of_frames(Encoding::Protobuf, frames.clone().into_iter()));
            let mut arrived = Vec::new();
            for event in text.split_terminator("\n\n") {
                let data = event.strip_prefix("data: ").unwrap();
                prop_assert!(!data.contains('\n'), "an event is one line");
                arrived.extend(STANDARD.decode(data).unwrap());
            }
            prop_assert_eq!(arrived, frames.concat());
        }
    }
}
