//! What is to be dropped or blanked goes from the segments, and nobody is told anything wrong.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use sterna_proto::{ChannelKey, Offset};
use sterna_storage::fault::FaultPoint;
use sterna_storage::{
    BoxFuture, PageLimit, PublicationLog as _, ReadError, Record, Segments as _, StorageError,
};
use sterna_storage_archive::{ArchiveConfig, Archiver, Compacted, Fate, Fates, status, verify};
use support::{Bed, OLD, WIDE, eager, key};

/// What was said of channels.
#[derive(Debug, Default)]
struct Said(Mutex<HashMap<ChannelKey, Fate>>);

impl Said {
    fn say(&self, name: &str, first: u64, redacted: &[u64]) {
        let redacted = redacted.iter().map(|offset| Offset(*offset)).collect();
        self.0.lock().unwrap().insert(key(name), Fate { first: Offset(first), redacted });
    }
}

impl Fates for Said {
    fn fates(&self, channels: Vec<ChannelKey>) -> BoxFuture<'_, Result<Vec<Fate>, StorageError>> {
        let said = self.0.lock().unwrap();
        let fates = channels.iter().map(|it| said.get(it).cloned().unwrap_or_default()).collect();
        Box::pin(std::future::ready(Ok(fates)))
    }
}

fn archiver(bed: &Bed, said: &Arc<Said>) -> Archiver {
    bed.archiver(eager()).with_fates(said.clone())
}

async fn rounds(bed: &Bed, said: &Arc<Said>, name: &str, rounds: usize, records: usize) {
    let mut archiver = archiver(bed, said);
    let slot = key(name).slot();
    for _ in 0..rounds {
        bed.publish(name, records, OLD).await;
        archiver.pass(|it| it == slot, |_, _, _| {}).await.unwrap();
    }
    archiver.pass(|it| it == slot, |_, _, _| {}).await.unwrap();
}

async fn compact(archiver: &mut Archiver) -> Compacted {
    let compacted = archiver.compact(|_| true, |_, _, _| {}).await.unwrap();
    archiver.collect().await.unwrap();
    compacted
}

/// All that is stored of a channel, wherever.
async fn stored(bed: &Bed, name: &str) -> Vec<Record> {
    let mut all = Vec::new();
    for segment in bed.segments.keys() {
        all.extend(bed.segments.read(segment, key(name), Offset::ZERO, WIDE).await.unwrap());
    }
    all.sort_by_key(|record| record.position.offset);
    all
}

async fn assert_whole(bed: &Bed) {
    let verified = verify(&bed.tiers, |_| {}).await.unwrap();
    assert!(verified.damages.is_empty(), "{:?}", verified.damages);
    let status = status(&bed.tiers).await.unwrap();
    assert_eq!((status.prepared, status.replaced), (0, 0));
    assert_eq!(bed.segments.keys().len() as u64, status.segments, "no object is left over");
}

/// The archive begins with this offset, and everything from there on is as it was published.
async fn assert_begins(bed: &Bed, name: &str, first: u64, last: u64) {
    let log = bed.log();
    if first > 1 {
        for after in [0, first - 2] {
            match log.read(key(name), Offset(after), WIDE).await {
                Err(ReadError::Trimmed { first: told }) => assert_eq!(told, Offset(first)),
                other => panic!("{name} begins at {first}: {other:?}"),
            }
        }
    }
    for after in first - 1..last {
        let page = log.read(key(name), Offset(after), WIDE).await.unwrap();
        for (n, record) in (after + 1..).zip(&page) {
            assert_eq!(record.position.offset, Offset(n));
            assert_eq!(record.body.payload, format!("{name} {n}"));
        }
        assert!(!page.is_empty());
    }
    assert_eq!(log.head(key(name)).await.unwrap().unwrap().first, Offset(first));
}

#[tokio::test]
async fn what_is_dropped_is_a_named_gap_and_its_bytes_are_gone() {
    let (bed, said) = (Bed::new(), Arc::new(Said::default()));
    rounds(&bed, &said, "room", 8, 10).await;
    rounds(&bed, &said, "other", 3, 10).await;
    said.say("room", 35, &[]);
    let compacted = compact(&mut archiver(&bed, &said)).await;
    // Three segments as a whole; of the fourth less than half.
    assert_eq!((compacted.dropped, compacted.failed), (30, 0), "{compacted:?}");
    assert_eq!(stored(&bed, "room").await.first().unwrap().position.offset, Offset(31));
    assert_begins(&bed, "room", 35, 80).await;
    assert_begins(&bed, "other", 1, 30).await;
    assert_whole(&bed).await;
    // It goes on, and the rest may go too.
    rounds(&bed, &said, "room", 3, 10).await;
    assert_begins(&bed, "room", 35, 110).await;
    said.say("room", 1_000, &[]);
    compact(&mut archiver(&bed, &said)).await;
    assert_eq!(stored(&bed, "room").await, []);
    assert_whole(&bed).await;
    rounds(&bed, &said, "room", 1, 10).await;
    let log = bed.log();
    match log.read(key("room"), Offset::ZERO, WIDE).await {
        Err(ReadError::Trimmed { first }) => assert_eq!(first, Offset(111)),
        other => panic!("{other:?}"),
    }
    assert_eq!(log.read(key("room"), Offset(110), WIDE).await.unwrap().len(), 10);
    assert_whole(&bed).await;
}

#[tokio::test]
async fn less_than_half_of_a_segment_waits_until_it_is_put_together_with_others() {
    let (bed, said) = (Bed::new(), Arc::new(Said::default()));
    rounds(&bed, &said, "room", 2, 10).await;
    said.say("room", 5, &[]);
    assert_eq!(compact(&mut archiver(&bed, &said)).await, Compacted::default());
    // What is not given any more is said at once all the same.
    assert_begins(&bed, "room", 5, 20).await;
    said.say("room", 7, &[]);
    let compacted = compact(&mut archiver(&bed, &said)).await;
    assert_eq!((compacted.replaced, compacted.segments, compacted.dropped), (1, 1, 6));
    assert_begins(&bed, "room", 7, 20).await;
    assert_whole(&bed).await;
    // What was dropped does not come back, whatever is said.
    said.say("room", 1, &[]);
    rounds(&bed, &said, "room", 8, 10).await;
    compact(&mut archiver(&bed, &said)).await;
    assert_begins(&bed, "room", 7, 100).await;
    assert_whole(&bed).await;
}

#[tokio::test]
async fn redacted_payloads_are_emptied_and_everything_else_stays() {
    let (bed, said) = (Bed::new(), Arc::new(Said::default()));
    rounds(&bed, &said, "room", 2, 10).await;
    let before = stored(&bed, "room").await;
    said.say("room", 0, &[3, 17, 99]);
    let compacted = compact(&mut archiver(&bed, &said)).await;
    assert_eq!((compacted.replaced, compacted.segments, compacted.dropped), (2, 2, 0));
    let after = stored(&bed, "room").await;
    for (was, is) in before.iter().zip(&after) {
        let mut expected = was.clone();
        if [3, 17].contains(&was.position.offset.0) {
            expected.body.payload = bytes::Bytes::new();
        }
        assert_eq!(*is, expected);
    }
    assert_eq!(after.len(), 20);
    assert_whole(&bed).await;
    let again = compact(&mut archiver(&bed, &said)).await;
    assert_eq!(again, Compacted::default(), "what is emptied is not written again for ever");
    said.say("room", 0, &[3, 4, 17]);
    assert_eq!(compact(&mut archiver(&bed, &said)).await.replaced, 1, "one is new");
}

#[tokio::test]
async fn i7_a_redacted_record_is_still_the_one_that_the_log_has() {
    for redacted in [&[10_u64][..], &[]] {
        let (bed, said) = (Bed::new(), Arc::new(Said::default()));
        bed.publish("room", 10, OLD).await;
        let slot = key("room").slot();
        let mut archiver = archiver(&bed, &said);
        let config = ArchiveConfig { grace: OLD, ..eager() };
        bed.archiver(config).pass(|it| it == slot, |_, _, _| {}).await.unwrap();
        said.say("room", 0, &[10]);
        compact(&mut archiver).await;
        // The log has the payload, the archive has not.
        said.say("room", 0, redacted);
        let report = archiver.pass(|it| it == slot, |_, _, _| {}).await.unwrap();
        let expected = if redacted.is_empty() { (0, 1) } else { (10, 0) };
        assert_eq!((report.trimmed, report.failed), expected, "{redacted:?}");
    }
}

#[tokio::test]
async fn who_dies_while_much_is_dropped_leaves_nothing_that_is_missed() {
    for point in [FaultPoint::BeforeAppend, FaultPoint::AfterAppend] {
        let mut step = 0;
        loop {
            step += 1;
            let (bed, said) = (Bed::mortal(), Arc::new(Said::default()));
            rounds(&bed, &said, "room", 9, 4).await;
            said.say("room", 15, &[20]);
            bed.script.die_in(step, point);
            let slot = key("room").slot() / 32 * 32;
            let mut one = archiver(&bed, &said);
            let ended = one.compact(|it| it == slot, |_, _, _| {}).await;
            let died = bed.script.revive();
            assert_eq!(ended.is_err(), died, "step {step}");
            let verified = verify(&bed.tiers, |_| {}).await.unwrap();
            assert!(verified.damages.is_empty(), "step {step}: {:?}", verified.damages);
            let log = bed.log();
            let first = match log.read(key("room"), Offset::ZERO, WIDE).await {
                Ok(page) => page[0].position.offset,
                Err(ReadError::Trimmed { first }) => first,
                Err(error) => panic!("step {step}: {error}"),
            };
            assert!([1, 15].contains(&first.0), "step {step}: {first:?}");
            let limit = PageLimit { records: 3, payload_bytes: usize::MAX };
            for after in first.0 - 1..36 {
                let page = log.read(key("room"), Offset(after), limit).await.unwrap();
                assert_eq!(page[0].position.offset, Offset(after + 1), "step {step}");
            }
            compact(&mut archiver(&bed, &said)).await;
            let left = stored(&bed, "room").await;
            assert_eq!((left.len(), left[0].position.offset), (24, Offset(13)), "step {step}");
            assert_eq!(left[7].body.payload, "", "step {step}");
            assert_whole(&bed).await;
            if !died {
                assert!(step > 30, "only {step} steps were tried");
                break;
            }
        }
    }
}
