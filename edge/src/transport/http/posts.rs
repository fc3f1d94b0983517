//! What a client over plain HTTP sends: bodies with frames, which are numbered from 1 on. Whoever hears
//! no answer sends the same body with the same number again; it is handled once. Pure, but for who
//! waits for the answer.

use bytes::Bytes;
use metrics::gauge;
use serde::de::IgnoredAny;
use sterna_core::Encoding;
use sterna_proto::{DecodeError, FrameDecoder, codec, limits, v1};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Largest body of a request: the largest frame with its length, or many smaller ones.
pub(crate) const BODY_BYTES: usize = limits::FRAME_BYTES + LENGTH_BYTES;

/// Largest body of the request that opens: a Hello has to fit.
pub(crate) const OPENING_BYTES: usize = limits::HELLO_FRAME_BYTES + LENGTH_BYTES;

/// A frame's length in front of it.
const LENGTH_BYTES: usize = 5;

/// Which request comes next.
#[derive(Debug)]
pub(crate) struct Sequence {
    next: u64,
}

/// What a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is the next one.
    Taken,
    /// It was there before.
    Repeated,
    /// Others have to come before.
    Skipped { expected: u64 },
}

impl Sequence {
    /// The request that opened had no number.
    pub(crate) const fn new() -> Self {
        Self { next: 1 }
    }

    pub(crate) fn judge(&mut self, number: u64) -> Turn {
        if number > self.next {
            return Turn::Skipped { expected: self.next };
        }
        if number < self.next {
            return Turn::Repeated;
        }
        self.next += 1;
        Turn::Taken
    }
}

/// A request on its way to the connection that it belongs to.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) what: What,
    /// Told when the connection has it. Dropped without: the connection has ended.
    pub(crate) answer: oneshot::Sender<Turn>,
    pub(crate) waiting: Waiting,
}

#[derive(Debug)]
pub(crate) enum What {
    /// Frames, all of them whole.
    Frames { number: u64, body: Bytes },
    /// The client leaves.
    Leave,
}

/// A place among the requests of one connection, given back when dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    _place: OwnedSemaphorePermit,
}

impl Waiting {
    pub(crate) fn new(place: OwnedSemaphorePermit) -> Self {
        gauge!("sterna_edge_http_posts_active").increment(1);
        Self { _place: place }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        gauge!("sterna_edge_http_posts_active").decrement(1);
    }
}

/// The frames of bodies that were received and have not been looked at yet.
#[derive(Debug)]
pub(crate) enum Unread {
    Protobuf(FrameDecoder),
    /// Texts one after the other, with or without space between them.
    Json(Bytes),
}

impl Unread {
    pub(crate) fn new(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Protobuf => Self::Protobuf(FrameDecoder::new(limits::FRAME_BYTES)),
            Encoding::Json => Self::Json(Bytes::new()),
        }
    }

    /// To be called when there is nothing left of the last one.
    pub(crate) fn put(&mut self, body: Bytes) {
        match self {
            Self::Protobuf(decoder) => decoder.extend(&body),
            Self::Json(rest) => *rest = body,
        }
    }

    /// The next frame, which may have `limit` bytes. `None`: there is none, and nothing is left over.
    ///
    /// # Errors
    /// It is no frame, too large, or not whole.
    pub(crate) fn next(&mut self, limit: usize) -> Result<Option<v1::Frame>, DecodeError> {
        match self {
            Self::Protobuf(decoder) => {
                decoder.set_limit(limit);
                let frame = decoder.next()?;
                if frame.is_none() {
                    decoder.finish()?;
                }
                Ok(frame)
            }
            Self::Json(rest) => next_of_json(rest, limit),
        }
    }
}

fn next_of_json(rest: &mut Bytes, limit: usize) -> Result<Option<v1::Frame>, DecodeError> {
    let malformed = |error: &dyn std::fmt::Display| DecodeError::Malformed(error.to_string());
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
    let Some(value) = values.next() else {
        *rest = Bytes::new();
        return Ok(None);
    };
    value.map_err(|error| malformed(&error))?;
    let text = rest.split_to(values.byte_offset());
    let text = std::str::from_utf8(&text).map_err(|error| malformed(&error))?;
    codec::decode_json(text.trim(), limit).map(Some)
}

/// How many frames a body holds.
///
/// # Errors
/// Not all of it are frames of `limit` bytes at most.
pub(crate) fn frames_in(
    body: &Bytes,
    encoding: Encoding,
    limit: usize,
) -> Result<usize, DecodeError> {
    let mut unread = Unread::new(encoding);
    unread.put(body.clone());
    let mut count = 0;
    while unread.next(limit)?.is_some() {
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;
    use sterna_fuzz::{Script, check};

    use super::*;

    fn ping(id: u32) -> v1::Frame {
        v1::Frame::command(
            id,
            v1::command::Verb::Ping(v1::Ping { client_time_ms: 7, ..Default::default() }),
        )
    }

    #[test]
    fn every_number_is_taken_once_and_none_is_skipped() {
        let mut sequence = Sequence::new();
        assert_eq!(sequence.judge(2), Turn::Skipped { expected: 1 });
        assert_eq!(sequence.judge(1), Turn::Taken);
        assert_eq!(sequence.judge(1), Turn::Repeated);
        assert_eq!(sequence.judge(0), Turn::Repeated);
        assert_eq!(sequence.judge(3), Turn::Skipped { expected: 2 });
        assert_eq!(sequence.judge(2), Turn::Taken);
        assert_eq!(sequence.judge(u64::MAX), Turn::Skipped { expected: 3 });
    }

    #[test]
    fn texts_may_stand_side_by_side_or_on_lines_of_their_own() {
        let (a, b) = (codec::encode_json(&ping(1)), codec::encode_json(&ping(2)));
        for body in [format!("{a}{b}"), format!("{a}\n{b}\n"), format!("  {a}\r\n\r\n{b}")] {
            let body = Bytes::from(body);
            assert_eq!(frames_in(&body, Encoding::Json, 1000), Ok(2));
            let mut unread = Unread::new(Encoding::Json);
            unread.put(body);
            let mut next = || unread.next(1000).unwrap();
            assert_eq!([next(), next(), next()], [Some(ping(1)), Some(ping(2)), None]);
        }
        assert_eq!(frames_in(&Bytes::from("\n"), Encoding::Json, 1000), Ok(0));
    }

    #[test]
    fn nothing_of_a_body_counts_that_is_not_frames_to_its_end() {
        let whole = codec::encode_to_bytes(&ping(1));
        let torn = Bytes::from([&whole[..], &whole[..2]].concat());
        assert_eq!(frames_in(&torn, Encoding::Protobuf, 1000), Err(DecodeError::Truncated));
        let text = codec::encode_json(&ping(1));
        for bad in [format!("{text}{{"), format!("{text} true"), format!("{text}{text}x")] {
            let checked = frames_in(&bad.into(), Encoding::Json, 1000);
            assert!(matches!(checked, Err(DecodeError::Malformed(_))), "{checked:?}");
        }
        let large = Bytes::from(text);
        let checked = frames_in(&large, Encoding::Json, large.len() - 1);
        assert!(matches!(checked, Err(DecodeError::TooLarge { .. })), "{checked:?}");
    }

    /// Any body is frames or a typed error, in either encoding; what passed the check is read without
    /// one, and the sequence takes each number once however requests come.
    #[test]
    fn fuzz_http_posts() {
        check!("http_posts", |bytes: &[u8]| {
            let mut script = Script::new(bytes);
            let encoding = [Encoding::Protobuf, Encoding::Json][usize::from(script.byte()) % 2];
            let mut sequence = Sequence::new();
            let mut taken = 0;
            for _ in 0..script.below(16) {
                let number = u64::from(script.byte());
                match sequence.judge(number) {
                    Turn::Taken => {
                        taken += 1;
                        assert_eq!(number, taken);
                    }
                    Turn::Repeated => assert!(number <= taken),
                    Turn::Skipped { expected } => {
                        assert!(expected == taken + 1 && number > expected);
                    }
                }
            }
            let body = Bytes::copy_from_slice(script.rest());
            let limit = 4096;
            if let Ok(count) = frames_in(&body, encoding, limit) {
                let mut unread = Unread::new(encoding);
                unread.put(body);
                for _ in 0..count {
                    assert!(unread.next(limit).unwrap().is_some());
                }
                assert!(unread.next(limit).unwrap().is_none());
            }
        });
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_read(ids in proptest::collection::vec(any::<u32>(), 0..20)) {
            let frames: Vec<v1::Frame> = ids.iter().copied().map(ping).collect();
            let mut protobuf = BytesMut::new();
            frames.iter().for_each(|frame| codec::encode(frame, &mut protobuf));
            let json: String = frames.iter().map(codec::encode_json).collect();
            for (encoding, body) in
                [(Encoding::Protobuf, protobuf.freeze()), (Encoding::Json, json.into())]
            {
                let mut unread = Unread::new(encoding);
                unread.put(body);
                let mut read = Vec::new();
                while let Some(frame) = unread.next(1000).unwrap() {
                    read.push(frame);
                }
                prop_assert_eq!(&read, &frames);
            }
        }
    }
}
