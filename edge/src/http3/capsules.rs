//! Capsules (RFC 9297, section 3), in which a session says that it ends or is about to. Pure.

use bytes::Bytes;

use super::items::{Item, Items, Plan};
use super::{frame, frame_of};

/// What the client sends within the request of its session.
#[derive(Debug, Default)]
pub(super) struct Capsules {
    items: Items,
}

/// A capsule that is larger than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl Capsules {
    /// Whether the client has closed the session. Why, its own side knows.
    pub(super) fn read(&mut self, mut input: &[u8]) -> Result<bool, Malformed> {
        while let Some(item) = self.items.next(&mut input, plan)? {
            if let Item::Whole { value, .. } = item {
                let code_is_there = value.len() >= CODE_BYTES;
                return code_is_there.then_some(true).ok_or(Malformed);
            }
        }
        Ok(false)
    }

    pub(super) fn is_between(&self) -> bool {
        self.items.is_between()
    }
}

fn plan(kind: u64, length: u64) -> Result<Plan, Malformed> {
    match kind {
        CLOSE if length > (CODE_BYTES + REASON_BYTES) as u64 => Err(Malformed),
        CLOSE => Ok(Plan::Keep),
        _ => Ok(Plan::Skip),
    }
}

/// Ends the session, as data of its request. The reason is cut to what is allowed.
pub(crate) fn close_capsule(code: u32, reason: &str) -> Bytes {
    let mut end = reason.len().min(REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let value = [&code.to_be_bytes()[..], &reason.as_bytes()[..end]].concat();
    frame_of(frame::DATA, &frame_of(CLOSE, &value)).into()
}

/// Asks the client to end the session soon, as data of its request.
pub(crate) fn drain_capsule() -> Bytes {
    frame_of(frame::DATA, &frame_of(DRAIN, &[])).into()
}

/// WT_CLOSE_SESSION and WT_DRAIN_SESSION (draft sections 6 and 4.7).
const CLOSE: u64 = 0x2843;
const DRAIN: u64 = 0x78ae;

const CODE_BYTES: usize = 4;
const REASON_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_closed_in_any_pieces() {
        let capsule = [&[0x68, 0x43, 0x08, 0, 0, 0, 7][..], b"gone"].concat();
        for size in 1..capsule.len() {
            let mut capsules = Capsules::default();
            let closed = capsule.chunks(size).map(|piece| capsules.read(piece).unwrap());
            assert_eq!(closed.last(), Some(true), "in pieces of {size}");
        }
        let mut capsules = Capsules::default();
        assert_eq!(capsules.read(&capsule[..5]), Ok(false));
        assert!(!capsules.is_between());
    }

    #[test]
    fn other_capsules_are_skipped_and_bad_ones_refused() {
        let mut capsules = Capsules::default();
        assert_eq!(capsules.read(&[0x80, 0x00, 0x78, 0xae, 0x00, 0x17, 0x02, 1, 2]), Ok(false));
        assert!(capsules.is_between());
        assert_eq!(Capsules::default().read(&[0x68, 0x43, 0x03, 0, 0, 0]), Err(Malformed));
        assert_eq!(Capsules::default().read(&[0x68, 0x43, 0x44, 0x05]), Err(Malformed));
    }

    #[test]
    fn ours_are_read_as_such() {
        let close = close_capsule(3000, "bye");
        assert_eq!(close[..6], [0x00, 10, 0x68, 0x43, 7, 0]);
        assert_eq!(Capsules::default().read(&close[2..]), Ok(true));
        let long = close_capsule(1, &"ä".repeat(600));
        assert_eq!(Capsules::default().read(&long[3..]), Ok(true), "cut between characters");
        assert_eq!(drain_capsule()[..], [0x00, 0x05, 0x80, 0x00, 0x78, 0xae, 0x00]);
    }
}
