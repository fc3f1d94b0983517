//! What is exported is what is archived, each publication once.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{BoxFuture, Record, StorageError};
use sterna_storage_archive::{Export, Fate, Fates, KeepAll, SHARDS, Wanted};
use support::{Bed, OLD, eager, key, now_ms};

/// All of it, by channels as they come.
async fn exported(bed: &Bed, fates: Arc<dyn Fates>, wanted: Wanted) -> Vec<(ChannelKey, Record)> {
    let mut all = Vec::new();
    for shard in 0..SHARDS {
        let begun = Export::begin(bed.tiers.clone(), fates.clone(), shard, wanted.clone());
        let mut export = begun.await.unwrap();
        while let Some((channel, records)) = export.next().await.unwrap() {
            assert!(!records.is_empty());
            all.extend(records.into_iter().map(|record| (channel, record)));
        }
    }
    let place = |(channel, record): &(ChannelKey, Record)| (*channel, record.position.offset);
    assert!(all.is_sorted_by(|one, other| place(one) < place(other)), "out of order, or twice");
    all
}

fn everything() -> Wanted {
    Wanted { channels: None, times: 0..u64::MAX }
}

fn of<'a>(all: &'a [(ChannelKey, Record)], name: &str) -> Vec<&'a Record> {
    all.iter().filter(|(channel, _)| *channel == key(name)).map(|(_, record)| record).collect()
}

fn assert_whole(records: &[&Record], name: &str, offsets: Range<u64>) {
    assert_eq!(records.len() as u64, offsets.end - offsets.start, "{name}");
    for (n, record) in offsets.zip(records) {
        assert_eq!(record.position.offset, Offset(n));
        assert_eq!(record.body.payload, format!("{name} {n}"));
    }
}

#[tokio::test]
async fn every_archived_publication_is_exported_once_before_and_after_compaction() {
    let bed = Bed::new();
    let names: Vec<String> = (0..20).map(|n| format!("room:{n}")).collect();
    let mut archiver = bed.archiver(eager());
    for round in 0..9 {
        for name in &names {
            bed.publish(name, 1 + round % 3, OLD).await;
        }
        archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    }
    // Young ones are not archived.
    bed.publish("room:3", 5, Duration::ZERO).await;
    for _ in 0..2 {
        let all = exported(&bed, Arc::new(KeepAll), everything()).await;
        assert_eq!(all.len(), 20 * 18);
        for name in &names {
            assert_whole(&of(&all, name), name, 1..19);
        }
        archiver.compact(|_| true, |_, _, _| {}).await.unwrap();
        archiver.collect().await.unwrap();
    }
    let some = ["room:3", "room:17", "absent"];
    let channels = Some(some.iter().map(|name| key(name)).collect::<HashSet<_>>());
    let all = exported(&bed, Arc::new(KeepAll), Wanted { channels, ..everything() }).await;
    assert_eq!(all.len(), 36);
    assert_whole(&of(&all, "room:17"), "room:17", 1..19);
}

/// Both wait for their pace when they have read, so that one of them comes too late.
#[tokio::test(start_paused = true)]
async fn what_was_written_twice_is_exported_once() {
    let bed = Bed::new();
    for _ in 0..3 {
        bed.publish("room", 10, OLD).await;
        let (mut one, mut other) = (bed.archiver(eager()), bed.archiver(eager()));
        let all = |_: u16| true;
        let passes = tokio::join!(one.pass(all, |_, _, _| {}), other.pass(all, |_, _, _| {}));
        assert_eq!(passes.0.unwrap().lost_runs + passes.1.unwrap().lost_runs, 1);
    }
    let all = exported(&bed, Arc::new(KeepAll), everything()).await;
    assert_whole(&of(&all, "room"), "room", 1..31);
}

#[tokio::test]
async fn only_what_is_from_the_wanted_time_is_exported() {
    let bed = Bed::new();
    let hour = Duration::from_secs(3600);
    let mut archiver = bed.archiver(eager());
    for age in [50, 30, 28, 5] {
        bed.publish("room", 4, hour * age).await;
        archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    }
    let ago = |hours: u64| now_ms() - hours * 3_600_000;
    for (times, offsets) in [
        (ago(100)..ago(40), 1..5),
        (ago(40)..ago(20), 5..13),
        (ago(29)..ago(0), 9..17),
        (ago(4)..ago(0), 1..1),
    ] {
        let all = exported(&bed, Arc::new(KeepAll), Wanted { channels: None, times }).await;
        assert_whole(&of(&all, "room"), "room", offsets);
    }
}

#[derive(Debug)]
struct Half;

impl Fates for Half {
    fn fates(&self, channels: Vec<ChannelKey>) -> BoxFuture<'_, Result<Vec<Fate>, StorageError>> {
        let fate = Fate { first: Offset(6), redacted: vec![Offset(3), Offset(8)] };
        Box::pin(std::future::ready(Ok(vec![fate; channels.len()])))
    }
}

#[tokio::test]
async fn what_is_to_be_dropped_or_blanked_is_not_exported() {
    let bed = Bed::new();
    bed.publish("room", 10, OLD).await;
    let mut archiver = bed.archiver(eager());
    archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    let all = exported(&bed, Arc::new(Half), everything()).await;
    let room = of(&all, "room");
    assert_eq!((room.len(), room[0].position.offset), (5, Offset(6)));
    assert_eq!((&room[2].body.payload[..], &room[3].body.payload[..]), (&b""[..], &b"room 9"[..]));
}
