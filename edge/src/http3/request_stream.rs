//! A request and, when it has begun a session, what the client says within it. Pure.

use super::capsules::Capsules;
use super::fields::Request;
use super::items::{Item, Items, Plan};
use super::qpack::{self, SectionError};
use super::{Violation, frame};

/// The client's half of a request stream.
#[derive(Debug, Default)]
pub(crate) struct RequestStream {
    items: Items,
    /// There behind the fields.
    capsules: Option<Capsules>,
}

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Request(Box<Request>),
    /// A request with more fields than are taken; it can be answered.
    TooLarge,
    /// Something that is no request, or no capsule. The stream is of no more use.
    Malformed,
    /// The session that the request has begun is over, by the client's own word.
    Closed,
}

/// Why a frame is not read.
enum Refused {
    Violation(Violation),
    TooLarge,
}

impl RequestStream {
    /// Reads until something is heard, at most all of `input`, which is shortened by what was read.
    pub(crate) fn read(&mut self, input: &mut &[u8]) -> Result<Option<Heard>, Violation> {
        loop {
            let fields_are_there = self.capsules.is_some();
            let plan = |kind, length| plan(fields_are_there, kind, length);
            match self.items.next(input, plan) {
                Ok(None) => return Ok(None),
                Ok(Some(Item::Whole { value, .. })) => return self.on_fields(&value).map(Some),
                Ok(Some(Item::Piece { bytes })) => {
                    match self.capsules.as_mut().map(|capsules| capsules.read(bytes)) {
                        Some(Ok(true)) => return Ok(Some(Heard::Closed)),
                        Some(Err(_)) => return Ok(Some(Heard::Malformed)),
                        Some(Ok(false)) | None => {}
                    }
                }
                Err(Refused::TooLarge) => return Ok(Some(Heard::TooLarge)),
                Err(Refused::Violation(violation)) => return Err(violation),
            }
        }
    }

    /// The client has finished the stream: whether it may do so here.
    pub(crate) fn finish(&self) -> Result<(), Violation> {
        let whole = self.capsules.as_ref().is_none_or(Capsules::is_between);
        (self.items.is_between() && whole).then_some(()).ok_or(Violation::Frame)
    }

    fn on_fields(&mut self, section: &[u8]) -> Result<Heard, Violation> {
        self.capsules = Some(Capsules::default());
        Ok(match qpack::decode(section) {
            Ok(fields) => Request::from_fields(fields)
                .map_or(Heard::Malformed, |it| Heard::Request(it.into())),
            Err(SectionError::TooLarge) => Heard::TooLarge,
            Err(SectionError::Broken) => return Err(Violation::Decompression),
        })
    }
}

fn plan(fields_are_there: bool, kind: u64, length: u64) -> Result<Plan, Refused> {
    match kind {
        frame::HEADERS if fields_are_there => Err(Violation::FrameUnexpected.into()),
        frame::HEADERS if length > qpack::SECTION_BYTES as u64 => Err(Refused::TooLarge),
        frame::HEADERS => Ok(Plan::Keep),
        frame::DATA if fields_are_there => Ok(Plan::Pass),
        frame::DATA
        | frame::CANCEL_PUSH
        | frame::SETTINGS
        | frame::PUSH_PROMISE
        | frame::GOAWAY
        | frame::MAX_PUSH_ID => Err(Violation::FrameUnexpected.into()),
        _ if frame::is_of_http2(kind) => Err(Violation::FrameUnexpected.into()),
        _ => Ok(Plan::Skip),
    }
}

impl From<Violation> for Refused {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame_of;
    use super::super::qpack::tests::encode_request;
    use super::*;

    fn headers() -> Vec<u8> {
        let fields =
            [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/")];
        frame_of(frame::HEADERS, &encode_request(&fields))
    }

    fn hear(stream: &mut RequestStream, mut input: &[u8]) -> Result<Option<Heard>, Violation> {
        stream.read(&mut input)
    }

    #[test]
    fn a_request_is_heard_in_any_pieces_behind_unknown_frames() {
        let bytes = [frame_of(0x21, &[9; 300]), headers()].concat();
        for size in [1, 2, 7, 64, bytes.len()] {
            let mut stream = RequestStream::default();
            let mut heard: Vec<_> =
                bytes.chunks(size).filter_map(|piece| hear(&mut stream, piece).unwrap()).collect();
            assert!(matches!(heard.pop(), Some(Heard::Request(_))), "in pieces of {size}");
            assert!(heard.is_empty() && stream.finish().is_ok());
        }
    }

    /// A HEADERS frame of 2^30 octets costs nothing; neither does one of the largest size that says
    /// the same field again and again.
    #[test]
    fn a_request_with_too_many_fields_is_told_so_before_they_come() {
        let mut stream = RequestStream::default();
        assert_eq!(hear(&mut stream, &[0x01, 0xbf, 0xff, 0xff, 0xff]), Ok(Some(Heard::TooLarge)));
        let mut section = vec![0, 0];
        section.resize(qpack::SECTION_BYTES, 0xc0 | 58);
        let frame = frame_of(frame::HEADERS, &section);
        assert_eq!(hear(&mut RequestStream::default(), &frame), Ok(Some(Heard::TooLarge)));
    }

    #[test]
    fn frames_that_may_not_come_there_end_the_connection() {
        for kind in [frame::DATA, frame::SETTINGS, frame::PUSH_PROMISE, frame::GOAWAY, 0x06] {
            let heard = hear(&mut RequestStream::default(), &frame_of(kind, &[]));
            assert_eq!(heard, Err(Violation::FrameUnexpected), "{kind:x}");
        }
        let mut stream = RequestStream::default();
        hear(&mut stream, &headers()).unwrap();
        assert_eq!(hear(&mut stream, &headers()), Err(Violation::FrameUnexpected), "no trailers");
        let broken = frame_of(frame::HEADERS, &[0, 0, 0x80]);
        let heard = hear(&mut RequestStream::default(), &broken);
        assert_eq!(heard, Err(Violation::Decompression));
    }

    #[test]
    fn a_session_ends_by_capsule_or_between_frames() {
        let mut stream = RequestStream::default();
        hear(&mut stream, &headers()).unwrap();
        assert_eq!(stream.finish(), Ok(()));
        let data = frame_of(frame::DATA, &[0x68, 0x43, 0x04, 0, 0]);
        assert_eq!(hear(&mut stream, &data), Ok(None));
        assert_eq!(stream.finish(), Err(Violation::Frame), "half a capsule");
        let rest = frame_of(frame::DATA, &[0, 0]);
        assert_eq!(hear(&mut stream, &rest), Ok(Some(Heard::Closed)));
        let late = frame_of(frame::DATA, &[0x68, 0x43, 0x00]);
        assert_eq!(hear(&mut stream, &late), Ok(Some(Heard::Malformed)));
        assert_eq!(hear(&mut stream, &[0x00]), Ok(None));
        assert_eq!(stream.finish(), Err(Violation::Frame), "half a frame");
    }
}
