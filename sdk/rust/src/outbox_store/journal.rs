//! The bytes of an outbox file: entries one behind the other, each with a checksum of its own, and
//! what they add up to. Pure. An entry that is damaged costs itself and no other; a torn tail costs
//! what was never confirmed.

use std::collections::BTreeMap;

use bytes::{Buf as _, BufMut as _, Bytes};
use sterna_proto::v1::{Command, Frame, Publish, command::Verb, frame::Body};
use sterna_proto::{codec, limits};

use super::{OutboxChange, StoredPublication};

/// What the entries of a file add up to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Replayed {
    /// `None`: there is no entry that says whose outbox this is.
    pub(super) client_id: Option<String>,
    pub(super) last_seq: u64,
    pub(super) live: BTreeMap<u64, StoredPublication>,
    /// Entries that cannot be read.
    pub(super) damaged: u64,
    /// Bytes up to the last entry that can be read; a torn one may follow.
    pub(super) good_bytes: usize,
}

/// Says whose outbox this is. Twice, since nothing in the file is of use without it.
pub(super) fn put_identity(client_id: &str, last_seq: u64, out: &mut Vec<u8>) {
    for _ in 0..2 {
        put_entry(out, |body| {
            body.put_u8(IDENTITY);
            body.put_u8(VERSION);
            body.put_u64(last_seq);
            body.put_slice(client_id.as_bytes());
        });
    }
}

pub(super) fn put_insert(publish: &Publish, out: &mut Vec<u8>) {
    let frame = Frame::command(0, Verb::Publish(publish.clone()));
    put_entry(out, |body| {
        body.put_u8(INSERT);
        body.put_slice(&codec::encode_datagram(&frame));
    });
}

pub(super) fn put_attempted(client_seq: u64, out: &mut Vec<u8>) {
    put_number(ATTEMPTED, client_seq, out);
}

pub(super) fn put_change(change: &OutboxChange, out: &mut Vec<u8>) {
    match change {
        OutboxChange::Insert(publish) => put_insert(publish, out),
        OutboxChange::Attempted { client_seq } => put_attempted(*client_seq, out),
        OutboxChange::Remove { client_seq } => put_number(REMOVE, *client_seq, out),
    }
}

fn put_number(kind: u8, number: u64, out: &mut Vec<u8>) {
    put_entry(out, |body| {
        body.put_u8(kind);
        body.put_u64(number);
    });
}

fn put_entry(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_slice(&MARK);
    out.put_u64(0);
    fill(out);
    let body = &out[start + HEAD_BYTES..];
    let (len, checksum) = (body.len() as u32, crc32c::crc32c(body));
    (&mut out[start + MARK.len()..]).put_u32(len);
    (&mut out[start + MARK.len() + 4..]).put_u32(checksum);
}

/// Reads a whole file.
pub(super) fn replay(bytes: &[u8]) -> Replayed {
    let mut replayed = Replayed::default();
    let mut at = 0;
    while at < bytes.len() {
        match entry(bytes, at) {
            Some((body, next)) => {
                replayed.apply(body);
                at = next;
                replayed.good_bytes = at;
            }
            None => {
                let next = entry_after(bytes, at);
                let whole = claimed_end(bytes, at).is_some_and(|end| end <= bytes.len());
                // What was cut off was never confirmed; anything else was.
                replayed.damaged += u64::from(next.is_some() || whole);
                let Some(next) = next else { break };
                at = next;
            }
        }
    }
    replayed
}

/// The body of the entry at `at`, and where it ends.
fn entry(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let end = claimed_end(bytes, at)?;
    let body = bytes.get(at + HEAD_BYTES..end)?;
    let checksum = bytes.get(at + MARK.len() + 4..at + HEAD_BYTES)?.get_u32();
    (crc32c::crc32c(body) == checksum).then_some((body, end))
}

/// Where the entry at `at` says that it ends.
fn claimed_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut head = bytes.get(at..at + HEAD_BYTES)?.strip_prefix(&MARK)?;
    let len = head.get_u32() as usize;
    (1..=ENTRY_BYTES).contains(&len).then_some(at + HEAD_BYTES + len)
}

/// Where the next readable entry after the unreadable one at `at` begins: behind it, if its length
/// can be believed, or else wherever there is one.
fn entry_after(bytes: &[u8], at: usize) -> Option<usize> {
    let believed = claimed_end(bytes, at).filter(|end| entry(bytes, *end).is_some());
    believed.or_else(|| (at + 1..bytes.len()).find(|at| entry(bytes, *at).is_some()))
}

impl Replayed {
    fn apply(&mut self, mut body: &[u8]) {
        let understood = match body.get_u8() {
            IDENTITY => self.apply_identity(body),
            INSERT => self.apply_insert(body),
            ATTEMPTED => number(body).map(|seq| {
                if let Some(stored) = self.live.get_mut(&seq) {
                    stored.attempted = true;
                }
            }),
            REMOVE => number(body).map(|seq| drop(self.live.remove(&seq))),
            _ => None,
        };
        self.damaged += u64::from(understood.is_none());
    }

    fn apply_identity(&mut self, mut body: &[u8]) -> Option<()> {
        if body.len() < 9 || body.get_u8() != VERSION {
            return None;
        }
        self.last_seq = self.last_seq.max(body.get_u64());
        self.client_id = Some(std::str::from_utf8(body).ok()?.to_owned());
        Some(())
    }

    fn apply_insert(&mut self, body: &[u8]) -> Option<()> {
        let frame = codec::decode_datagram(Bytes::copy_from_slice(body)).ok()?;
        let Some(Body::Command(Command { verb: Some(Verb::Publish(publish)), .. })) = frame.body
        else {
            return None;
        };
        let seq = publish.client_seq;
        self.last_seq = self.last_seq.max(seq);
        self.live.insert(seq, StoredPublication { publish, attempted: false });
        Some(())
    }
}

fn number(mut body: &[u8]) -> Option<u64> {
    (body.len() == 8).then(|| body.get_u64())
}

/// Begins every entry, so that the next one is found behind one that is damaged.
const MARK: [u8; 4] = [0xf5, b'S', b'o', 0xfb];
/// The mark, the length and the checksum of the body.
const HEAD_BYTES: usize = MARK.len() + 4 + 4;
/// The longest body: a publication is sent in one frame.
const ENTRY_BYTES: usize = limits::FRAME_BYTES + 1;
const VERSION: u8 = 1;
const IDENTITY: u8 = 0;
const INSERT: u8 = 1;
const ATTEMPTED: u8 = 2;
const REMOVE: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn publish(client_seq: u64) -> Publish {
        Publish {
            channel: "room:1".into(),
            payload: format!("payload {client_seq}").into_bytes().into(),
            client_seq,
            ..Publish::default()
        }
    }

    /// Five publications, of which the second was sent and the third answered; and where each
    /// entry begins.
    fn file() -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::new();
        put_identity("phone", 0, &mut bytes);
        let mut starts = vec![0, bytes.len() / 2];
        let changes = (1..=5)
            .map(|seq| OutboxChange::Insert(publish(seq)))
            .chain([OutboxChange::Attempted { client_seq: 2 }])
            .chain([OutboxChange::Remove { client_seq: 3 }]);
        for change in changes {
            starts.push(bytes.len());
            put_change(&change, &mut bytes);
        }
        (bytes, starts)
    }

    fn seqs(replayed: &Replayed) -> Vec<u64> {
        replayed.live.keys().copied().collect()
    }

    #[test]
    fn entries_add_up() {
        let (bytes, _) = file();
        let replayed = replay(&bytes);
        assert_eq!(replayed.client_id.as_deref(), Some("phone"));
        assert_eq!(seqs(&replayed), [1, 2, 4, 5]);
        assert_eq!(replayed.live[&1].publish, publish(1));
        assert!(replayed.live[&2].attempted && !replayed.live[&1].attempted);
        assert_eq!((replayed.last_seq, replayed.damaged), (5, 0));
        assert_eq!(replayed.good_bytes, bytes.len());
    }

    #[test]
    fn a_torn_tail_is_cut_off_and_is_no_damage() {
        let (bytes, starts) = file();
        for cut in starts[1]..bytes.len() {
            let replayed = replay(&bytes[..cut]);
            let whole = *starts.iter().filter(|start| **start <= cut).max().unwrap();
            assert_eq!((replayed.good_bytes, replayed.damaged), (whole, 0), "cut at {cut}");
            assert_eq!(replayed.client_id.as_deref(), Some("phone"));
        }
    }

    #[test]
    fn a_flipped_bit_costs_one_entry_wherever_it_is() {
        let (bytes, starts) = file();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let replayed = replay(&flipped);
                let hit = starts.iter().rposition(|start| *start <= at).unwrap();
                let expected: &[u64] = match hit {
                    0 | 1 | 7 => &[1, 2, 4, 5],
                    2 => &[2, 4, 5],
                    3 => &[1, 4, 5],
                    5 => &[1, 2, 5],
                    6 => &[1, 2, 4],
                    8 => &[1, 2, 3, 4, 5],
                    _ => &[1, 2, 4, 5],
                };
                assert_eq!(seqs(&replayed), expected, "byte {at} bit {bit}");
                assert_eq!(replayed.client_id.as_deref(), Some("phone"));
                // The length of the last entry cannot be told from a torn tail.
                let last = hit == starts.len() - 1;
                assert!(replayed.damaged == 1 || last && replayed.damaged == 0);
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), at in 0usize..400) {
            if at + MARK.len() <= bytes.len() {
                bytes[at..at + MARK.len()].copy_from_slice(&MARK);
            }
            let replayed = replay(&bytes);
            prop_assert!(replayed.good_bytes <= bytes.len());
        }
    }
}
