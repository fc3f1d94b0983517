//! What every store of segments must do: see [`Segments`]. A suite of its own, since not every engine
//! has the role:
//!
//! ```text
//! sterna_storage::segments_conformance_suite! {
//!     let directory = tempfile::tempdir().unwrap();
//!     move || Arc::new(open(directory.path())) as Arc<dyn Segments>
//! }
//! ```

use std::sync::Arc;

use bytes::Bytes;
use sterna_proto::{ChannelKey, Epoch, Offset, Position};

use super::{key, record};
use crate::{
    Links, MemorySegments, PageLimit, Piece, Record, Run, RunAt, Sealed, SegmentKey, SegmentWriter,
    Segments, StorageError, StorageErrorKind,
};

/// Opens the place under test; also again, beside what it has opened before.
pub type OpenSegments<'a> = &'a (dyn Fn() -> Arc<dyn Segments> + Send + Sync);

/// Makes one test of each promise. The engine's crate needs tokio among its test dependencies.
#[macro_export]
macro_rules! segments_conformance_suite {
    (@each $place:tt $($promise:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let open = $place;
                $crate::conformance::segments::$promise(&open).await;
            }
        )*
    };
    ($($place:tt)*) => {
        $crate::segments_conformance_suite! { @each { $($place)* }
            a_finished_segment_reads_as_it_was_written,
            pages_of_a_run_join_without_seam,
            a_run_may_cross_epochs,
            runs_are_found_and_listed_in_key_order,
            a_scan_brings_all_records_in_their_order,
            small_runs_of_many_channels_share_a_segment,
            what_was_written_is_what_is_verified,
            nothing_is_seen_before_the_end_of_the_writing,
            an_object_is_written_once,
            another_order_is_refused_and_makes_no_object,
            a_segment_that_is_not_there_is_damage,
            what_is_removed_is_gone_and_was_never_needed,
            shards_are_listed_in_key_order,
            segments_outlive_a_reopening,
            any_segment_agrees_with_the_model,
        }
    };
}

pub async fn a_finished_segment_reads_as_it_was_written(open: OpenSegments<'_>) {
    let segments = open();
    let runs = [sample("a", 1, 3, 10), sample("b", 500, 300, 400), sample("c", 7, 1, 0)];
    let sealed = put(&*segments, KEY, &runs).await;
    assert_eq!((sealed.runs, sealed.records), (3, 304));
    let times = || runs.iter().flat_map(|run| &run.records).map(|it| it.body.server_ts_ms);
    assert_eq!(Some(sealed.first_ts_ms), times().min());
    assert_eq!(Some(sealed.last_ts_ms), times().max());
    for run in &runs {
        let found = segments.read(KEY, run.channel, Offset::ZERO, WIDE).await.unwrap();
        assert_eq!(found, run.records);
        assert_eq!(segments.run(KEY, run.channel).await.unwrap(), Some(run.run()));
    }
    assert_eq!(segments.run(KEY, key("absent")).await.unwrap(), None);
    assert_eq!(segments.read(KEY, key("absent"), Offset::ZERO, WIDE).await.unwrap(), []);
}

pub async fn pages_of_a_run_join_without_seam(open: OpenSegments<'_>) {
    let segments = open();
    let run = sample("b", 100, 200, 250);
    put(&*segments, KEY, &[sample("a", 1, 50, 30), run.clone(), sample("c", 1, 50, 30)]).await;
    let (first, last) = (100_u64, 299_u64);
    for after in [0, 1, 98, 99, 100, 101, 150, 298] {
        let page = segments.read(KEY, run.channel, Offset(after), WIDE).await.unwrap();
        let skipped = (after + 1).max(first) - first;
        assert_eq!(page, run.records[skipped as usize..], "after {after}");
    }
    for after in [last, last + 1, u64::MAX] {
        assert_eq!(segments.read(KEY, run.channel, Offset(after), WIDE).await.unwrap(), []);
    }
    // The first record fits whatever the limit.
    for (records, payload_bytes) in [(1, 1 << 20), (7, 1 << 20), (100, 600), (100, 0), (0, 0)] {
        let limit = PageLimit { records, payload_bytes };
        let mut joined: Vec<Record> = Vec::new();
        while joined.len() < run.records.len() {
            let after = joined.last().map_or(Offset::ZERO, |last| last.position.offset);
            let page = segments.read(KEY, run.channel, after, limit).await.unwrap();
            let bytes: usize = page.iter().map(|record| record.body.payload.len()).sum();
            assert!(!page.is_empty(), "a reader gets on");
            assert!(page.len() == 1 || page.len() <= records && bytes <= payload_bytes);
            joined.extend(page);
        }
        assert_eq!(joined, run.records, "{limit:?}");
    }
}

pub async fn a_run_may_cross_epochs(open: OpenSegments<'_>) {
    let segments = open();
    let mut run = sample("a", 10, 9, 20);
    for (n, record) in run.records.iter_mut().enumerate() {
        record.position.epoch = Epoch(5 + n as u32 / 3);
    }
    put(&*segments, KEY, std::slice::from_ref(&run)).await;
    assert_eq!(segments.read(KEY, run.channel, Offset(9), WIDE).await.unwrap(), run.records);
    assert_eq!(segments.read(KEY, run.channel, Offset(14), WIDE).await.unwrap(), run.records[5..]);
}

pub async fn runs_are_found_and_listed_in_key_order(open: OpenSegments<'_>) {
    let segments = open();
    let runs = many_runs(50, 2);
    put(&*segments, KEY, &runs).await;
    let expected: Vec<Run> = runs.iter().map(SampleRun::run).collect();
    assert_eq!(segments.runs(KEY, None, 100).await.unwrap(), expected);
    for (n, run) in expected.iter().enumerate() {
        assert_eq!(segments.run(KEY, run.channel).await.unwrap(), Some(*run));
        let next = segments.runs(KEY, Some(run.channel), 7).await.unwrap();
        assert_eq!(next, expected[n + 1..expected.len().min(n + 8)]);
    }
    let (before, behind) = (ChannelKey([0; 16]), ChannelKey([255; 16]));
    assert_eq!(segments.runs(KEY, Some(before), 3).await.unwrap(), expected[..3]);
    assert_eq!(segments.runs(KEY, Some(behind), 3).await.unwrap(), []);
    assert_eq!(segments.runs(KEY, None, 0).await.unwrap(), []);
    for absent in [before, behind] {
        assert_eq!(segments.run(KEY, absent).await.unwrap(), None);
    }
}

pub async fn a_scan_brings_all_records_in_their_order(open: OpenSegments<'_>) {
    let segments = open();
    let mut runs = many_runs(400, 3);
    // Runs that take several blocks, at both ends and in between.
    for n in [0, 200, 399] {
        let SampleRun { channel, .. } = runs[n];
        runs[n] = sample_run(channel, n as u64, 5, 120, 300);
    }
    put(&*segments, KEY, &runs).await;
    let wanted: Vec<(Run, Record)> =
        runs.iter().flat_map(|run| run.records.iter().map(|it| (run.run(), it.clone()))).collect();
    for (records, payload_bytes) in [(1_000_000, usize::MAX), (64, 4_000), (1, 1), (0, 0)] {
        let limit = PageLimit { records, payload_bytes };
        let (mut found, mut behind) = (Vec::new(), None);
        loop {
            let pieces = segments.scan(KEY, behind, limit).await.unwrap();
            let count: usize = pieces.iter().map(|piece| piece.records.len()).sum();
            assert!(count <= records.max(1), "{count} records with {limit:?}");
            let Some(Piece { run, records }) = pieces.last() else { break };
            behind = Some((run.channel, records.last().unwrap().position.offset));
            for Piece { run, records } in pieces {
                found.extend(records.into_iter().map(|record| (run, record)));
            }
        }
        assert_eq!(found, wanted, "{limit:?}");
    }
    // From places that are no record's.
    let first =
        |pieces: Vec<Piece>| pieces.first().map(|it| (it.run.channel, it.records[0].clone()));
    let scan = async |behind| first(segments.scan(KEY, Some(behind), WIDE).await.unwrap());
    let begins = |n: usize| Some((runs[n].channel, runs[n].records[0].clone()));
    assert_eq!(scan((ChannelKey([0; 16]), Offset(9))).await, begins(0));
    assert_eq!(scan((runs[0].channel, Offset(1))).await, begins(0));
    assert_eq!(scan((runs[0].channel, Offset(u64::MAX))).await, begins(1));
    assert_eq!(scan((ChannelKey([255; 16]), Offset::ZERO)).await, None);
    unseen(&*segments, SegmentKey { segment: 9, ..KEY }, runs[0].channel).await;
}

pub async fn small_runs_of_many_channels_share_a_segment(open: OpenSegments<'_>) {
    let segments = open();
    let runs = many_runs(3_000, 1);
    let sealed = put(&*segments, KEY, &runs).await;
    assert_eq!((sealed.runs, sealed.records), (3_000, 3_000));
    // A block of its own for each would be much more.
    assert!(sealed.bytes < 3_000 * 400, "{} bytes", sealed.bytes);
    for run in runs.iter().step_by(97) {
        assert_eq!(segments.run(KEY, run.channel).await.unwrap(), Some(run.run()));
        let found = segments.read(KEY, run.channel, Offset::ZERO, WIDE).await.unwrap();
        assert_eq!(found, run.records);
    }
    let (mut listed, mut after) = (0, None);
    loop {
        let page = segments.runs(KEY, after, 700).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.channel);
        listed += page.len();
    }
    assert_eq!(listed, 3_000);
}

pub async fn what_was_written_is_what_is_verified(open: OpenSegments<'_>) {
    let segments = open();
    for (number, runs) in [(1, many_runs(1, 1)), (2, many_runs(400, 5)), (3, many_runs(2, 700))] {
        let key = SegmentKey { segment: number, ..KEY };
        let sealed = put(&*segments, key, &runs).await;
        assert_eq!(segments.verify(key).await.unwrap(), sealed);
        assert_eq!(open().verify(key).await.unwrap(), sealed, "by somebody else");
    }
}

pub async fn nothing_is_seen_before_the_end_of_the_writing(open: OpenSegments<'_>) {
    let segments = open();
    let run = sample("a", 1, 400, 300);
    let mut finished = begin(&*segments, KEY, &run).await;
    unseen(&*segments, KEY, run.channel).await;
    let other = SegmentKey { segment: 2, ..KEY };
    let aborted = begin(&*segments, other, &run).await;
    aborted.abort().await;
    unseen(&*segments, other, run.channel).await;
    let dropped = begin(&*segments, other, &run).await;
    drop(dropped);
    unseen(&*segments, other, run.channel).await;
    // Neither is in the way of whoever comes next.
    put(&*segments, other, std::slice::from_ref(&run)).await;
    finished.push(sample_record(401, 10)).await.unwrap();
    assert_eq!(finished.finish().await.unwrap().records, 401);
    assert_eq!(segments.list(KEY.shard, None, 10).await.unwrap(), [KEY, other]);
}

pub async fn an_object_is_written_once(open: OpenSegments<'_>) {
    let segments = open();
    let run = sample("a", 1, 3, 30);
    let (one, two) = (begin(&*segments, KEY, &run).await, begin(&*segments, KEY, &run).await);
    let sealed = one.finish().await.unwrap();
    two.finish().await.unwrap_err();
    // Whether it is told at the beginning or at the end.
    if let Ok(late) = segments.create(KEY).await {
        fill(late, &[sample("b", 1, 1, 1)]).await.unwrap_err();
    }
    assert_eq!(segments.verify(KEY).await.unwrap(), sealed);
    let found = segments.read(KEY, run.channel, Offset::ZERO, WIDE).await.unwrap();
    assert_eq!(found, run.records);
}

pub async fn another_order_is_refused_and_makes_no_object(open: OpenSegments<'_>) {
    let segments = open();
    let (low, high) = (ChannelKey([1; 16]), ChannelKey([2; 16]));
    let links = links_of(0);
    for case in 0..7 {
        let mut writer = segments.create(KEY).await.unwrap();
        let refused = match case {
            0 => writer.push(sample_record(1, 1)).await,
            1 => {
                writer.begin_run(high, links).unwrap();
                writer.push(sample_record(1, 1)).await.unwrap();
                writer.begin_run(low, links)
            }
            2 => {
                writer.begin_run(high, links).unwrap();
                writer.push(sample_record(1, 1)).await.unwrap();
                writer.begin_run(high, links)
            }
            3 => {
                writer.begin_run(low, links).unwrap();
                writer.begin_run(high, links)
            }
            4..=5 => {
                writer.begin_run(low, links).unwrap();
                writer.push(sample_record(5, 1)).await.unwrap();
                writer.push(sample_record(if case == 4 { 7 } else { 5 }, 1)).await
            }
            // Nothing at all.
            _ => Err(StorageError::new(StorageErrorKind::Corrupt, "suite", "not begun")),
        };
        assert_eq!(refused.unwrap_err().kind, StorageErrorKind::Corrupt, "case {case}");
        // What was refused is not left out silently.
        writer.finish().await.unwrap_err();
        unseen(&*segments, KEY, low).await;
    }
}

pub async fn a_segment_that_is_not_there_is_damage(open: OpenSegments<'_>) {
    let segments = open();
    put(&*segments, SegmentKey { segment: 77, ..KEY }, &many_runs(2, 2)).await;
    unseen(&*segments, KEY, key("a")).await;
}

pub async fn what_is_removed_is_gone_and_was_never_needed(open: OpenSegments<'_>) {
    let segments = open();
    let run = sample("a", 1, 3, 30);
    segments.remove(KEY).await.unwrap();
    put(&*segments, KEY, std::slice::from_ref(&run)).await;
    segments.read(KEY, run.channel, Offset::ZERO, WIDE).await.unwrap();
    for _ in 0..2 {
        segments.remove(KEY).await.unwrap();
        unseen(&*segments, KEY, run.channel).await;
    }
}

pub async fn shards_are_listed_in_key_order(open: OpenSegments<'_>) {
    let segments = open();
    let day = 24 * 3600 * 1000;
    let mut keys = Vec::new();
    for shard in [3, 4, 0xabc] {
        for first_ts_ms in [0, 1, day - 1, day, 366 * day, 20_000 * day, u64::MAX] {
            for segment in [0, 1, u64::MAX] {
                keys.push(SegmentKey { shard, first_ts_ms, segment });
            }
        }
    }
    // In another order than theirs.
    for n in 0..keys.len() {
        put(&*segments, keys[n * 17 % keys.len()], &many_runs(1, 1)).await;
    }
    for shard in [3, 4, 0xabc] {
        let mine: Vec<_> = keys.iter().copied().filter(|key| key.shard == shard).collect();
        assert_eq!(segments.list(shard, None, 100).await.unwrap(), mine);
        assert_eq!(segments.list(shard, None, 4).await.unwrap(), mine[..4]);
        for (n, after) in mine.iter().enumerate() {
            let next = segments.list(shard, Some(*after), 5).await.unwrap();
            assert_eq!(next, mine[n + 1..mine.len().min(n + 6)], "after {after:?}");
        }
        // Also behind what is not there.
        let between = SegmentKey { shard, first_ts_ms: 1, segment: 5 };
        assert_eq!(segments.list(shard, Some(between), 1).await.unwrap(), [mine[5]]);
    }
    assert_eq!(segments.list(5, None, 10).await.unwrap(), []);
}

pub async fn segments_outlive_a_reopening(open: OpenSegments<'_>) {
    let run = sample("a", 1, 30, 30);
    let segments = open();
    let sealed = put(&*segments, KEY, std::slice::from_ref(&run)).await;
    drop(segments);
    let segments = open();
    assert_eq!(segments.list(KEY.shard, None, 10).await.unwrap(), [KEY]);
    assert_eq!(segments.verify(KEY).await.unwrap(), sealed);
    let found = segments.read(KEY, run.channel, Offset::ZERO, WIDE).await.unwrap();
    assert_eq!(found, run.records);
}

/// Against the reference in memory.
pub async fn any_segment_agrees_with_the_model(open: OpenSegments<'_>) {
    let (segments, model) = (open(), MemorySegments::new());
    let mut chance = Chance(u64::from(std::process::id()) | 1);
    println!("begins with {}", chance.0);
    for number in 0..12 {
        let key = SegmentKey { segment: number, ..KEY };
        let mut channel = 0;
        let runs: Vec<SampleRun> = (0..1 + chance.below(60))
            .map(|_| {
                channel += 1 + chance.below(3);
                let (first, count) = (1 + chance.below(90), 1 + chance.below(40));
                let mut run = sample_run(channel_of(channel), channel, first, count, 0);
                for record in &mut run.records {
                    let payload = vec![chance.below(250) as u8; chance.below(2_000) as usize];
                    record.body.payload = payload.into();
                }
                run
            })
            .collect();
        let (sealed, expected) = (put(&*segments, key, &runs).await, put(&model, key, &runs).await);
        assert_eq!((sealed.records, sealed.runs), (expected.records, expected.runs));
        for _ in 0..60 {
            let channel = channel_of(chance.below(channel + 2));
            assert_eq!(
                segments.run(key, channel).await.unwrap(),
                model.run(key, channel).await.unwrap()
            );
            let after = Offset(chance.below(140));
            let records = chance.below(50) as usize;
            let payload_bytes = chance.below(40_000) as usize;
            let limit = PageLimit { records, payload_bytes };
            assert_eq!(
                segments.read(key, channel, after, limit).await.unwrap(),
                model.read(key, channel, after, limit).await.unwrap()
            );
            let limit = chance.below(9) as usize;
            assert_eq!(
                segments.runs(key, Some(channel), limit).await.unwrap(),
                model.runs(key, Some(channel), limit).await.unwrap()
            );
        }
    }
}

/// A run for tests of segments.
#[derive(Debug, Clone)]
pub struct SampleRun {
    pub channel: ChannelKey,
    pub links: Links,
    pub records: Vec<Record>,
}

impl SampleRun {
    /// As a segment tells of it.
    pub fn run(&self) -> Run {
        let offset = |record: Option<&Record>| record.unwrap().position.offset;
        let (first, last) = (offset(self.records.first()), offset(self.records.last()));
        Run { channel: self.channel, first, last, links: self.links }
    }
}

/// So many records from an offset on, of so many bytes.
pub fn sample(name: &str, first: u64, count: u64, payload_bytes: usize) -> SampleRun {
    sample_run(key(name), first, first, count, payload_bytes)
}

fn sample_run(channel: ChannelKey, n: u64, first: u64, count: u64, bytes: usize) -> SampleRun {
    let records = (first..first + count).map(|offset| sample_record(offset, bytes)).collect();
    SampleRun { channel, links: links_of(n), records }
}

/// So many runs with small records, in key order.
pub fn many_runs(count: u64, records: u64) -> Vec<SampleRun> {
    (0..count).map(|n| sample_run(channel_of(n), n, 1 + n % 40, records, 20)).collect()
}

fn channel_of(n: u64) -> ChannelKey {
    let mut key = [0x77; 16];
    key[..8].copy_from_slice(&(n + 1).to_be_bytes());
    ChannelKey(key)
}

fn links_of(n: u64) -> Links {
    let at = |depth: u32| RunAt {
        segment: SegmentKey { segment: n * 100 + u64::from(depth), ..KEY },
        first: Offset(n + 1),
        last: Offset(n + 9),
        depth,
    };
    match n % 4 {
        0 => Links { depth: 0, back: None, jump: None },
        1 => Links { depth: 1, back: Some(at(0)), jump: Some(at(0)) },
        _ => Links { depth: 6, back: Some(at(5)), jump: Some(at(2)) },
    }
}

fn sample_record(offset: u64, payload_bytes: usize) -> Record {
    let mut body = record("phone", offset);
    if offset.is_multiple_of(3) {
        body.origin = None;
        body.client_msg_id = Bytes::new();
    }
    let byte = |n: usize| ((offset as usize * 31 + n * n / 7) % 97) as u8 + 32;
    body.payload = (0..payload_bytes).map(byte).collect();
    let key = if offset.is_multiple_of(5) { offset as u32 } else { 0 };
    Record { key, ..Record::new(Position { epoch: Epoch(3), offset: Offset(offset) }, body) }
}

/// Writes a segment of these runs, in the order of their channels.
pub async fn put(segments: &dyn Segments, key: SegmentKey, runs: &[SampleRun]) -> Sealed {
    try_put(segments, key, runs).await.unwrap()
}

/// The same, and it may fail.
pub async fn try_put(
    segments: &dyn Segments,
    key: SegmentKey,
    runs: &[SampleRun],
) -> Result<Sealed, StorageError> {
    fill(segments.create(key).await?, runs).await
}

async fn fill(
    mut writer: Box<dyn SegmentWriter>,
    runs: &[SampleRun],
) -> Result<Sealed, StorageError> {
    let mut runs: Vec<&SampleRun> = runs.iter().collect();
    runs.sort_by_key(|run| run.channel);
    for run in runs {
        writer.begin_run(run.channel, run.links)?;
        for record in &run.records {
            writer.push(record.clone()).await?;
        }
    }
    writer.finish().await
}

/// A writer that has all of a run and is not finished.
async fn begin(
    segments: &dyn Segments,
    key: SegmentKey,
    run: &SampleRun,
) -> Box<dyn SegmentWriter> {
    let mut writer = segments.create(key).await.unwrap();
    writer.begin_run(run.channel, run.links).unwrap();
    for record in &run.records {
        writer.push(record.clone()).await.unwrap();
    }
    writer
}

/// There is no such segment, and every look at it says so.
async fn unseen(segments: &dyn Segments, key: SegmentKey, channel: ChannelKey) {
    for told in [
        segments.run(key, channel).await.map(drop),
        segments.read(key, channel, Offset::ZERO, WIDE).await.map(drop),
        segments.runs(key, None, 10).await.map(drop),
        segments.scan(key, None, WIDE).await.map(drop),
        segments.verify(key).await.map(drop),
    ] {
        let error = told.unwrap_err();
        assert_eq!(error.kind, StorageErrorKind::Corrupt, "{error}");
        assert!(error.is_missing() && error.message.contains("is missing"), "{error}");
    }
    let listed = segments.list(key.shard, None, 1_000).await.unwrap();
    assert!(!listed.contains(&key), "{listed:?}");
}

/// xorshift64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

const KEY: SegmentKey = SegmentKey { shard: 5, first_ts_ms: 1_700_000_000_000, segment: 1 };

const WIDE: PageLimit = PageLimit { records: 100_000, payload_bytes: usize::MAX };
