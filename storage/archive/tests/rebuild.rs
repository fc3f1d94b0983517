//! A store that is rebuilt from the objects alone.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use sterna_proto::v1::{Member, PublicationKind, Role};
use sterna_proto::{Epoch, Offset, Position, PublicationId, UserId};
use sterna_storage::{
    Append, ChannelStore as _, IdBoundStore as _, Links, MemorySegments, MemoryStore, NewRecord,
    PublicationLog as _, ReadError, Record, SegmentKey, Segments as _,
};
use sterna_storage_archive::rebuild::{NewStore, Plan, Rebuilt, plan, rebuild};
use sterna_storage_archive::{ArchiveConfig, Tiers, verify};
use support::{Bed, OLD, WIDE, eager, key, now_ms};

const IDS_BEGIN_UNIX_MS: u64 = 1_704_067_200_000;

#[tokio::test]
async fn i7_everything_that_was_archived_is_read_from_the_rebuilt_store() {
    let bed = Bed::new();
    let names: Vec<String> = (0..60).map(|n| format!("room:{n}")).collect();
    for round in 0..5 {
        for name in &names {
            bed.publish(name, 1 + round, OLD).await;
        }
        archive(&bed).await;
        if round == 2 {
            open_epoch(&bed, &names[7]).await;
        }
    }
    // Not old enough to be archived, and so lost.
    bed.publish(&names[0], 4, Duration::ZERO).await;
    let (new, written) = rebuilt(&bed).await;
    assert_eq!(written.channels, 60);
    for name in &names {
        let lost = bed.store.head(key(name)).await.unwrap().unwrap();
        let head = new.log().head(key(name)).await.unwrap().unwrap();
        let archived =
            if *name == names[0] { lost.position.offset.0 - 4 } else { lost.position.offset.0 };
        assert_eq!(
            head.position.offset,
            Offset(archived + 1),
            "the marker comes behind the archive"
        );
        assert_eq!(head.first, Offset(1), "of both tiers");
        assert_eq!(
            (head.position.epoch, written.epoch > lost.position.epoch),
            (written.epoch, true)
        );
        assert_eq!(
            head.epochs[..head.epochs.len() - 1],
            lost.epochs,
            "with every epoch of the past"
        );
        let before = bed.log().read(key(name), Offset::ZERO, WIDE).await.unwrap();
        let after = new.log().read(key(name), Offset::ZERO, WIDE).await.unwrap();
        let archived = archived as usize;
        assert_eq!(after[..archived], before[..archived], "{name}");
        assert_eq!(after.len(), archived + 1);
        assert_eq!(after[archived].body.kind, PublicationKind::Epoch as i32);
    }
    // It goes on like any other: publications, archiving, and being rebuilt once more.
    for _ in 0..6 {
        for name in &names {
            new.publish(name, 1, OLD).await;
        }
        archive_all(&new).await;
    }
    whole(&new).await;
    let (again, _) = rebuilt(&new).await;
    for name in &names {
        let before = new.log().read(key(name), Offset::ZERO, WIDE).await.unwrap();
        let after = again.log().read(key(name), Offset::ZERO, WIDE).await.unwrap();
        assert_eq!(after[..before.len()], before[..], "{name}");
    }
    whole(&again).await;
}

#[tokio::test]
async fn i10_ids_go_on_above_all_in_the_archive_and_above_the_clock() {
    let bed = Bed::new();
    // Of a clock that was an hour ahead.
    let ahead_ms = now_ms() - IDS_BEGIN_UNIX_MS + 3_600_000;
    let record = NewRecord { id: PublicationId(ahead_ms << 22), ..body("alice", OLD) };
    bed.store.append(vec![Append::new(key("room"), None, vec![record])]).await.remove(0).unwrap();
    archive(&bed).await;
    let (new, _) = rebuilt(&bed).await;
    for worker in [0, 1, 512, 1023] {
        let bound = new.store.id_bound(worker).await.unwrap();
        assert!(bound > ahead_ms + 10_000, "worker {worker}: {bound}");
        let marker = new.log().read(key("room"), Offset(1), WIDE).await.unwrap().remove(0);
        assert!(marker.body.id.0 >> 22 < bound, "the marker's is below");
        assert!(marker.body.id.0 > ahead_ms << 22);
    }
}

#[tokio::test]
async fn members_are_as_the_records_leave_them() {
    let bed = Bed::new();
    for (user, role) in [
        ("alice", Role::Owner),
        ("bob", Role::Member),
        ("carol", Role::Reader),
        ("bob", Role::Unspecified),
        ("carol", Role::Admin),
    ] {
        let member = Member { user: user.into(), role: role.into() };
        let payload = Bytes::from(member.encode_to_vec());
        let kind = PublicationKind::Membership as i32;
        put(&bed, "room", NewRecord { kind, payload, ..body("alice", OLD) }).await;
    }
    archive(&bed).await;
    let (new, _) = rebuilt(&bed).await;
    let members = new.store.members(key("room"), None, 10).await.unwrap();
    let members: Vec<_> = members.iter().map(|it| (it.user.as_str(), it.role)).collect();
    assert_eq!(members, [("alice", Role::Owner), ("carol", Role::Admin)]);
}

/// Links name segments that are gone; what they held was put together.
#[tokio::test]
async fn i7_what_was_put_together_is_found_without_the_manifest() {
    let bed = Bed::new();
    let names = ["room", "other", "third"];
    for round in 0..24 {
        for name in names {
            bed.publish(name, 1 + round % 3, OLD).await;
        }
        archive(&bed).await;
        if round % 9 == 8 {
            let mut archiver = bed.archiver(eager());
            archiver.compact(|_| true, |_, _, _| {}).await.unwrap();
            archiver.collect().await.unwrap();
        }
    }
    let before = bed.segments.keys().len();
    assert!(before < 24, "{before} segments are fewer than there were");
    let (new, written) = rebuilt(&bed).await;
    assert_eq!(written.channels, 3);
    for name in names {
        let was = bed.log().read(key(name), Offset::ZERO, WIDE).await.unwrap();
        let is = new.log().read(key(name), Offset::ZERO, WIDE).await.unwrap();
        assert_eq!(is[..is.len() - 1], was[..], "{name}");
    }
    for _ in 0..4 {
        new.publish("room", 1, OLD).await;
        archive_all(&new).await;
    }
    whole(&new).await;
}

/// Keys and redactions were in the store that is lost.
#[tokio::test]
async fn what_is_sealed_or_was_redacted_is_told() {
    let bed = Bed::new();
    let segment = SegmentKey { shard: key("room").slot() / 32, first_ts_ms: 5, segment: 7 };
    let mut writer = bed.segments.create(segment).await.unwrap();
    writer.begin_run(key("room"), Links { depth: 0, back: None, jump: None }).unwrap();
    let kinds = [PublicationKind::Membership, PublicationKind::Redaction];
    for (offset, (kind, sealed_with)) in (1..).zip(kinds.into_iter().zip([3, 0])) {
        let position = Position { epoch: Epoch(5), offset: Offset(offset) };
        let record = NewRecord { kind: kind as i32, ..body("alice", OLD) };
        let record = Record { key: sealed_with, ..Record::new(position, record) };
        writer.push(record).await.unwrap();
    }
    writer.finish().await.unwrap();
    let planned = plan(&bed.segments, false, |_| {}).await.unwrap();
    assert!(planned.is_acceptable(), "{:?}", planned.survey);
    assert_eq!((planned.survey.sealed, planned.survey.redactions), (1, 1));
    assert_eq!(planned.survey.members, 0, "nobody can read who it was");
}

/// A store was put back to an earlier time and went on; what the first life wrote afterwards lies in
/// the archive, too, and is longer.
#[tokio::test]
async fn i5_the_life_that_lasted_counts_and_what_another_one_wrote_is_left_alone() {
    let bed = Bed::new();
    bed.publish("room", 100, OLD).await;
    archive(&bed).await;
    let (new, written) = rebuilt(&bed).await;
    bed.publish("room", 50, OLD).await;
    new.publish("room", 20, OLD).await;
    for bed in [&bed, &new] {
        archive_all(bed).await;
    }
    let planned = plan(&*new.tiers.segments, false, |_| {}).await.unwrap();
    assert!(planned.is_acceptable(), "{:?}", planned.survey);
    assert_eq!(
        (planned.survey.records, planned.survey.spare_runs),
        (121, 1),
        "{:?}",
        planned.survey
    );
    let third = empty(&new.segments);
    // Its clock counts seconds, too.
    let last = write(&third, &planned).await;
    assert!(last.epoch > written.epoch);
    let records = third.log().read(key("room"), Offset::ZERO, WIDE).await.unwrap();
    let of_new = new.log().read(key("room"), Offset::ZERO, WIDE).await.unwrap();
    assert_eq!(records[..121], of_new[..], "nothing of offsets 101 to 150 of the other life");
}

#[tokio::test(start_paused = true)]
async fn of_two_archivers_both_runs_may_lie_there() {
    let bed = Bed::new();
    bed.publish("room", 30, OLD).await;
    // Each waits for its pace when it has read, so that one of them comes too late.
    let archiver = || async { bed.archiver(eager()).pass(|_| true, |_, _, _| {}).await.unwrap() };
    let (one, two) = tokio::join!(archiver(), archiver());
    assert_eq!(one.lost_runs + two.lost_runs, 1);
    assert_eq!(bed.segments.keys().len(), 2);
    bed.publish("room", 5, OLD).await;
    archive(&bed).await;
    let (new, _) = rebuilt(&bed).await;
    assert_eq!(new.log().read(key("room"), Offset::ZERO, WIDE).await.unwrap().len(), 36);
    whole(&new).await;
}

#[tokio::test]
async fn runs_that_contradict_each_other_are_refused_and_told() {
    let (one, two) = (Bed::new(), Bed::new());
    // Two stores that were given one archive, within one second.
    let two = Bed { store: MemoryStore::with_birth(birth(&one).await), ..two };
    let stores = two.store.stores();
    let tiers = Tiers {
        log: stores.log,
        archived: stores.archived,
        manifest: stores.manifest,
        segments: one.tiers.segments.clone(),
    };
    let two = Bed { tiers, segments: one.segments.clone(), ..two };
    put(&one, "room", body("alice", OLD)).await;
    put(&two, "room", body("bob", OLD)).await;
    put(&two, "room", body("bob", OLD)).await;
    put(&two, "fine", body("bob", OLD)).await;
    archive(&one).await;
    archive(&two).await;
    let planned = plan(&one.segments, false, |_| {}).await.unwrap();
    assert!(!planned.is_acceptable());
    assert_eq!(planned.survey.refused.len(), 1, "{:?}", planned.survey);
    assert!(planned.survey.refused[0].contains("offset 1 is one record"), "{:?}", planned.survey);
    let new = empty(&one.segments);
    rebuild(&target(&new), &planned, |_| {}).await.unwrap_err();
    assert_eq!(new.store.head(key("fine")).await.unwrap(), None, "nothing was written");
    let accepted = plan(&one.segments, true, |_| {}).await.unwrap();
    write(&new, &accepted).await;
    assert_eq!(new.store.head(key("room")).await.unwrap(), None, "nobody knows what it is");
    assert_eq!(new.log().read(key("fine"), Offset::ZERO, WIDE).await.unwrap().len(), 2);
}

#[tokio::test]
async fn i5_a_segment_that_is_gone_is_a_named_gap_if_that_is_accepted() {
    let bed = Bed::new();
    for _ in 0..9 {
        bed.publish("room", 10, OLD).await;
        archive(&bed).await;
    }
    let mut keys = bed.segments.keys();
    keys.sort_by_key(|key| key.first_ts_ms);
    let lost = segment_of(&bed, 41).await;
    bed.segments.lose(lost);
    let planned = plan(&bed.segments, false, |_| {}).await.unwrap();
    assert!(!planned.is_acceptable());
    assert!(planned.survey.refused[0].contains("offsets 41 to 50"), "{:?}", planned.survey);
    let accepted = plan(&bed.segments, true, |_| {}).await.unwrap();
    assert_eq!((accepted.survey.gaps.len(), accepted.survey.records), (1, 40));
    let new = empty(&bed.segments);
    write(&new, &accepted).await;
    let log = new.log();
    match log.read(key("room"), Offset(30), WIDE).await {
        Err(ReadError::Trimmed { first }) => assert_eq!(first, Offset(51)),
        other => panic!("it is gone: {other:?}"),
    }
    assert_eq!(log.head(key("room")).await.unwrap().unwrap().first, Offset(51));
    // The chain goes on from what is there, and is whole.
    for _ in 0..9 {
        new.publish("room", 1, OLD).await;
        archive_all(&new).await;
        whole(&new).await;
    }
    let records = new.log().read(key("room"), Offset(50), WIDE).await.unwrap();
    assert_eq!(offsets(&records), (51..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_segment_that_cannot_be_read_is_told() {
    let bed = Bed::new();
    bed.publish("room", 10, OLD).await;
    archive(&bed).await;
    bed.publish("room", 10, OLD).await;
    archive(&bed).await;
    bed.segments.damage(key("room"), Offset(15));
    let planned = plan(&bed.segments, false, |_| {}).await.unwrap();
    assert_eq!((planned.survey.damages.len(), planned.is_acceptable()), (1, false));
    let accepted = plan(&bed.segments, true, |_| {}).await.unwrap();
    let new = empty(&bed.segments);
    write(&new, &accepted).await;
    let records = new.log().read(key("room"), Offset::ZERO, WIDE).await.unwrap();
    assert_eq!(offsets(&records), (1..=11).collect::<Vec<_>>(), "the older ones, and the marker");
}

#[tokio::test]
async fn a_store_with_anything_in_it_is_left_alone() {
    let bed = Bed::new();
    bed.publish("room", 10, OLD).await;
    archive(&bed).await;
    let planned = plan(&bed.segments, false, |_| {}).await.unwrap();
    let (with_channels, with_archive) = (empty(&MemorySegments::new()), Bed::new());
    with_channels.publish("other", 1, OLD).await;
    with_archive.publish("other", 1, OLD).await;
    archive(&with_archive).await;
    for bed in [&with_channels, &with_archive] {
        let refused = rebuild(&target(bed), &planned, |_| {}).await.unwrap_err();
        assert!(refused.message.contains("empty"), "{refused}");
        assert_eq!(bed.store.head(key("room")).await.unwrap(), None);
    }
}

/// The markers of this moment as well.
async fn archive_all(bed: &Bed) {
    let published_ms = now_ms();
    while now_ms() <= published_ms {
        tokio::task::yield_now().await;
    }
    for _ in 0..2 {
        let config = ArchiveConfig { after: Duration::ZERO, ..eager() };
        bed.archiver(config).pass(|_| true, |_, _, _| {}).await.unwrap();
    }
}

async fn archive(bed: &Bed) {
    // What is archived is trimmed by the next pass.
    for _ in 0..2 {
        bed.archiver(eager()).pass(|_| true, |_, _, _| {}).await.unwrap();
    }
}

/// A store without anything, on these segments.
fn empty(segments: &MemorySegments) -> Bed {
    let store = MemoryStore::with_birth(Epoch(1));
    let stores = store.stores();
    let segments = segments.clone();
    let faults = Arc::new(sterna_storage::fault::FaultySegments::new(Arc::new(segments.clone())));
    let tiers = Tiers {
        log: stores.log,
        archived: stores.archived,
        manifest: stores.manifest,
        segments: faults.clone(),
    };
    Bed { store, segments, faults, tiers, script: Arc::default() }
}

fn target(bed: &Bed) -> NewStore {
    let stores = bed.store.stores();
    NewStore {
        log: stores.log,
        archived: stores.archived,
        manifest: stores.manifest,
        id_bound: stores.id_bound,
    }
}

async fn write(bed: &Bed, plan: &Plan) -> Rebuilt {
    rebuild(&target(bed), plan, |_| {}).await.unwrap()
}

/// Another store with what the objects of the first one say.
async fn rebuilt(bed: &Bed) -> (Bed, Rebuilt) {
    let planned = plan(&bed.segments, false, |_| {}).await.unwrap();
    assert!(planned.is_acceptable(), "{:?}", planned.survey);
    let new = empty(&bed.segments);
    let written = write(&new, &planned).await;
    whole(&new).await;
    (new, written)
}

async fn whole(bed: &Bed) {
    let verified = verify(&bed.tiers, |_| {}).await.unwrap();
    assert!(verified.damages.is_empty(), "{:?}", verified.damages);
}

fn offsets(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.position.offset.0).collect()
}

async fn segment_of(bed: &Bed, offset: u64) -> SegmentKey {
    for segment in bed.segments.keys() {
        let run = bed.segments.run(segment, key("room")).await.unwrap().unwrap();
        if run.first.0 <= offset && offset <= run.last.0 {
            return segment;
        }
    }
    panic!("offset {offset} lies nowhere");
}

async fn birth(bed: &Bed) -> Epoch {
    put(bed, "first", body("alice", Duration::ZERO)).await;
    bed.store.head(key("first")).await.unwrap().unwrap().position.epoch
}

async fn open_epoch(bed: &Bed, name: &str) {
    let head = bed.store.head(key(name)).await.unwrap().unwrap();
    let marker = NewRecord { kind: PublicationKind::Epoch as i32, ..body("sterna", OLD) };
    bed.store.raise_epoch(key(name), head.position, marker).await.unwrap();
}

async fn put(bed: &Bed, name: &str, record: NewRecord) {
    let head = bed.store.head(key(name)).await.unwrap().map(|head| head.position);
    let append = Append::new(key(name), head, vec![record]);
    bed.store.append(vec![append]).await.remove(0).unwrap();
}

fn body(sender: &str, age: Duration) -> NewRecord {
    NewRecord {
        id: PublicationId(7 << 22),
        sender: UserId::new(sender).unwrap(),
        origin: None,
        client_msg_id: Bytes::new(),
        server_ts_ms: now_ms() - age.as_millis() as u64,
        client_ts_ms: 1,
        kind: 0,
        target_offset: Offset::ZERO,
        payload: Bytes::from_static(b"x"),
    }
}
