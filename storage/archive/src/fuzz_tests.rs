//! Fuzz target of what the archive has written into the store: no bytes make a decoder panic, nor what
//! is made of them next, and what is taken says itself again.

use bytes::Bytes;
use sterna_fuzz::{Script, check};
use sterna_proto::Offset;
use sterna_storage::{Archived, ManifestEntry, SegmentKey, SegmentState};

use crate::chain::Tail;
use crate::compactor::made_of;
use crate::entry::SegmentInfo;
use crate::passes::read_note;
use crate::status::Status;

#[test]
fn fuzz_archive_entries() {
    check!("archive_entries", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        match script.below(3) {
            0 => read_segment(script.rest()),
            1 => {
                let upto = Offset(script.number());
                read_tail(upto, script.rest());
            }
            _ => {
                let number = script.number();
                if let Ok((slot, _)) = read_note(entry(number, script.rest())) {
                    assert_eq!(u64::from(slot), number.min(u16::MAX.into()));
                }
            }
        }
    });
}

fn entry(segment: u64, content: &[u8]) -> ManifestEntry {
    let key = SegmentKey { shard: 1, first_ts_ms: 2, segment };
    ManifestEntry { key, state: SegmentState::Published, content: Bytes::copy_from_slice(content) }
}

/// A segment, what is counted of it, and what one that is made of two of it would say.
fn read_segment(content: &[u8]) {
    let Ok(info) = SegmentInfo::of_entry(&entry(3, content)) else { return };
    let again = info.to_entry();
    assert_eq!(SegmentInfo::of_entry(&again).unwrap(), info);
    let mut status = Status::default();
    status.count(&info);
    status.count(&info);
    let both = SegmentInfo { made_of: made_of(&[info.clone(), info.clone()]), ..info };
    assert_eq!(SegmentInfo::of_entry(&both.to_entry()).unwrap(), both);
}

/// How far a channel is archived, and the links of the run that follows.
fn read_tail(upto: Offset, content: &[u8]) {
    let archived = Archived { upto, content: Bytes::copy_from_slice(content) };
    let Ok(tail) = Tail::of_archived(&archived) else { return };
    assert_eq!(Tail::of_archived(&tail.to_archived()).unwrap(), tail);
    let links = tail.next_links();
    assert!(links.depth > tail.at.depth, "every run lies deeper than the one before");
    assert_eq!(links.back, Some(tail.at));
    assert!(tail.begins() >= tail.first);
}
