//! Frames to bytes and back. On streams a frame follows its length as a varint (at most 5 bytes);
//! the length is checked against a limit before anything is allocated for it.

use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::link;
use crate::v1::Frame;

/// Why bytes are not a frame. The peer is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Refused before anything of it was kept.
    #[error("a frame of {len} bytes is above the limit of {limit}")]
    TooLarge {
        /// As announced in front of the frame.
        len: u64,
        /// In force on this stream, or for this text.
        limit: usize,
    },
    /// What stands where a length should cannot be one.
    #[error("a frame length is not a varint of at most 5 bytes")]
    Length,
    /// The bytes are no protobuf, or the text is no JSON, of a frame.
    #[error("not a frame: {0}")]
    Malformed(String),
    /// A frame without a body, or with one that this version does not know.
    #[error("the frame is empty")]
    Empty,
    /// There will be no more bytes, and the last frame is not complete.
    #[error("the stream ended inside a frame")]
    Truncated,
}

/// What is cut out of a stream.
pub trait WireFrame: Message + Default {
    /// Says nothing, or nothing that this version knows.
    fn is_empty(&self) -> bool;
}

impl WireFrame for Frame {
    fn is_empty(&self) -> bool {
        self.body.is_none()
    }
}

impl WireFrame for link::v1::Frame {
    /// Never: a newer node's frames are ignored, not refused.
    fn is_empty(&self) -> bool {
        false
    }
}

/// Appends `frame` to `out` with its length in front.
pub fn encode<F: WireFrame>(frame: &F, out: &mut BytesMut) {
    frame.encode_length_delimited(out).unwrap_or_else(|_| unreachable!("BytesMut grows"));
}

/// The frame with its length in front.
pub fn encode_to_bytes(frame: &Frame) -> Bytes {
    let mut out = BytesMut::with_capacity(frame.encoded_len() + 5);
    encode(frame, &mut out);
    out.freeze()
}

/// Length of the frame, without its length prefix.
pub fn encoded_len(frame: &Frame) -> usize {
    frame.encoded_len()
}

/// The frame alone, as a datagram carries it.
pub fn encode_datagram(frame: &Frame) -> Bytes {
    frame.encode_to_vec().into()
}

/// A frame without length, as a datagram carries it. Payloads share `bytes`.
pub fn decode_datagram(bytes: Bytes) -> Result<Frame, DecodeError> {
    decode_body(bytes)
}

/// A frame with its length in front and nothing behind. Payloads share `bytes`.
pub fn decode_delimited(mut bytes: Bytes) -> Result<Frame, DecodeError> {
    let Some((len, prefix)) = peek_length(&bytes)? else { return Err(DecodeError::Truncated) };
    bytes.advance(prefix);
    if bytes.len() as u64 != len {
        return Err(DecodeError::Truncated);
    }
    decode_body(bytes)
}

/// The next frame of a message that holds whole frames, each with its length in front; `None` at its
/// end. Payloads share the message. After an error there is no going on.
pub fn cut(message: &mut Bytes, limit: usize) -> Result<Option<Frame>, DecodeError> {
    if message.is_empty() {
        return Ok(None);
    }
    let Some((len, prefix)) = peek_length(message)? else { return Err(DecodeError::Truncated) };
    if len > limit as u64 {
        return Err(DecodeError::TooLarge { len, limit });
    }
    let total = prefix + len as usize;
    if message.len() < total {
        return Err(DecodeError::Truncated);
    }
    let mut frame = message.split_to(total);
    frame.advance(prefix);
    decode_body(frame).map(Some)
}

/// The frame in canonical protobuf JSON.
pub fn encode_json(frame: &Frame) -> String {
    serde_json::to_string(frame).unwrap_or_else(|_| unreachable!("every value has a text"))
}

/// A frame from canonical protobuf JSON. Nesting is bounded by the parser (128 levels).
pub fn decode_json(text: &str, limit: usize) -> Result<Frame, DecodeError> {
    if text.len() > limit {
        return Err(DecodeError::TooLarge { len: text.len() as u64, limit });
    }
    let frame: Frame =
        serde_json::from_str(text).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    if frame.body.is_none() {
        return Err(DecodeError::Empty);
    }
    Ok(frame)
}

/// Cuts a stream of bytes into frames. Feed it with [`extend`](Self::extend), drain it with
/// [`next`](Self::next); it holds at most one unfinished frame beyond what was fed.
#[derive(Debug)]
pub struct Decoder<F> {
    buffer: BytesMut,
    limit: usize,
    frames: PhantomData<F>,
}

/// Cuts what a client or an edge has sent.
pub type FrameDecoder = Decoder<Frame>;

/// Cuts what another node has sent.
pub type LinkDecoder = Decoder<link::v1::Frame>;

impl<F: WireFrame> Decoder<F> {
    /// `limit`: the largest frame, without its length.
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), limit, frames: PhantomData }
    }

    /// Raises or lowers the limit for frames that have not been cut yet.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes bytes as they came.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// The next whole frame, `None` when more bytes are needed. After an error the stream cannot
    /// be read on: its frame borders are lost.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<F>, DecodeError> {
        let Some((len, prefix)) = peek_length(&self.buffer)? else { return Ok(None) };
        if len > self.limit as u64 {
            return Err(DecodeError::TooLarge { len, limit: self.limit });
        }
        let total = prefix + len as usize;
        if self.buffer.len() < total {
            self.buffer.reserve(total - self.buffer.len());
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(total);
        frame.advance(prefix);
        if self.buffer.is_empty() {
            // An idle stream keeps no buffer.
            self.buffer = BytesMut::new();
        }
        decode_body(frame.freeze()).map(Some)
    }

    /// To be called at the end of the stream: nothing may be left over.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.buffer.is_empty() { Ok(()) } else { Err(DecodeError::Truncated) }
    }
}

fn decode_body<F: WireFrame>(bytes: Bytes) -> Result<F, DecodeError> {
    let frame = F::decode(bytes).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    if frame.is_empty() {
        return Err(DecodeError::Empty);
    }
    Ok(frame)
}

/// The length at the start of `buffer` and how many bytes it takes.
fn peek_length(buffer: &[u8]) -> Result<Option<(u64, usize)>, DecodeError> {
    let mut value = 0u64;
    for (at, byte) in buffer.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if buffer.len() < 5 { Ok(None) } else { Err(DecodeError::Length) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;
    use proptest::prelude::*;

    fn ping(time: u64) -> Frame {
        Frame::command(
            1,
            v1::command::Verb::Ping(v1::Ping { client_time_ms: time, ..Default::default() }),
        )
    }

    #[test]
    fn frames_survive_any_cut() {
        let frames: Vec<Frame> = (0..40).map(|n| ping(n * 1000)).collect();
        let mut bytes = BytesMut::new();
        frames.iter().for_each(|frame| encode(frame, &mut bytes));
        for step in 1..20 {
            let mut decoder = FrameDecoder::new(1024);
            let mut found = Vec::new();
            for piece in bytes.chunks(step) {
                decoder.extend(piece);
                while let Some(frame) = decoder.next().unwrap() {
                    found.push(frame);
                }
            }
            decoder.finish().unwrap();
            assert_eq!(found, frames, "in pieces of {step}");
        }
    }

    #[test]
    fn oversize_is_refused_before_its_bytes_come() {
        let mut decoder = FrameDecoder::new(100);
        decoder.extend(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(
            decoder.next(),
            Err(DecodeError::TooLarge { len: u64::from(u32::MAX), limit: 100 })
        );
        let mut decoder = FrameDecoder::new(100);
        decoder.extend(&[0xff; 5]);
        assert_eq!(decoder.next(), Err(DecodeError::Length));
    }

    #[test]
    fn a_message_is_cut_into_its_frames_and_has_to_end_with_one() {
        let frames: Vec<Frame> = (0..5).map(|n| ping(n * 1000)).collect();
        let mut bytes = BytesMut::new();
        frames.iter().for_each(|frame| encode(frame, &mut bytes));
        let whole = bytes.freeze();
        let cut_all = |mut message: Bytes, limit| {
            let mut found = Vec::new();
            while let Some(frame) = cut(&mut message, limit)? {
                found.push(frame);
            }
            Ok::<_, DecodeError>(found)
        };
        assert_eq!(cut_all(whole.clone(), 100).as_ref(), Ok(&frames));
        assert_eq!(cut_all(Bytes::new(), 100), Ok(Vec::new()));
        assert_eq!(cut_all(whole.slice(..whole.len() - 1), 100), Err(DecodeError::Truncated));
        let over = DecodeError::TooLarge { len: encoded_len(&frames[0]) as u64, limit: 1 };
        assert_eq!(cut_all(whole, 1), Err(over));
        assert_eq!(cut_all(Bytes::from_static(&[0x80]), 100), Err(DecodeError::Truncated));
        assert_eq!(cut_all(Bytes::from_static(&[0xff; 6]), 100), Err(DecodeError::Length));
        assert_eq!(cut_all(Bytes::from_static(&[0]), 100), Err(DecodeError::Empty));
    }

    #[test]
    fn truncated_empty_and_foreign_bytes_are_errors() {
        let mut decoder = FrameDecoder::new(100);
        decoder.extend(&encode_to_bytes(&ping(5))[..3]);
        assert_eq!(decoder.next(), Ok(None));
        assert_eq!(decoder.finish(), Err(DecodeError::Truncated));
        assert_eq!(decode_datagram(Bytes::new()), Err(DecodeError::Empty));
        assert!(matches!(
            decode_datagram(Bytes::from_static(b"GET / HTTP/1.1")),
            Err(DecodeError::Malformed(_))
        ));
    }

    #[test]
    fn a_value_without_a_name_is_a_number_in_json() {
        let publication = v1::Publication { kind: 99, ..Default::default() };
        let frame = Frame::push(v1::push::Event::Publication(publication));
        assert_eq!(encode_json(&frame), r#"{"push":{"publication":{"kind":99}}}"#);
    }

    #[test]
    fn the_largest_page_fits_a_frame() {
        use crate::limits;
        let payload = limits::PAGE_BYTES / limits::PAGE_PUBLICATIONS;
        let publication = v1::Publication {
            channel: "c".repeat(limits::CHANNEL_BYTES),
            epoch: u32::MAX,
            offset: u64::MAX,
            id: u64::MAX,
            sender: "s".repeat(limits::USER_BYTES),
            payload: vec![0; payload].into(),
            server_ts_ms: u64::MAX,
            client_ts_ms: u64::MAX,
            kind: i32::MAX,
            target_offset: u64::MAX,
            client_msg_id: vec![0; 16].into(),
            // In place of a payload.
            member: None,
            redacted: true,
        };
        assert!(publication.encoded_len() - payload + 6 <= limits::PUBLICATION_OVERHEAD_BYTES);
        let page = v1::Subscribed {
            channel: "c".repeat(limits::CHANNEL_BYTES),
            publications: vec![publication; limits::PAGE_PUBLICATIONS],
            ..Default::default()
        };
        let frame = Frame::reply(u32::MAX, v1::reply::Result::Subscribed(page));
        assert!(frame.encoded_len() <= limits::FRAME_BYTES, "{}", frame.encoded_len());
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_frames_or_a_typed_error(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let mut decoder = FrameDecoder::new(256);
            decoder.extend(&bytes);
            for _ in 0..=bytes.len() {
                match decoder.next() {
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => break,
                }
            }
        }

        #[test]
        fn json_and_protobuf_say_the_same(channel in "[a-z:]{1,20}", payload in proptest::collection::vec(any::<u8>(), 0..200), offset in any::<u64>()) {
            let frame = Frame::push(v1::push::Event::Publication(v1::Publication {
                channel, payload: payload.into(), offset, epoch: 3, ..Default::default()
            }));
            prop_assert_eq!(&decode_json(&encode_json(&frame), 4096).unwrap(), &frame);
            prop_assert_eq!(&decode_datagram(encode_datagram(&frame)).unwrap(), &frame);
        }
    }
}
