//! The memory engine beyond the conformance suite.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use sterna_proto::Epoch;

use super::{MemorySegments, MemoryStore, birth_of};
use crate::Segments;

crate::conformance_suite! {
    let store = MemoryStore::new();
    move || store.stores()
}

crate::segments_conformance_suite! {
    let segments = MemorySegments::new();
    move || Arc::new(segments.clone()) as Arc<dyn Segments>
}

#[tokio::test]
async fn a_record_that_was_changed_is_damage() {
    use crate::conformance::segments::{many_runs, put};
    let segments = MemorySegments::new();
    let key = crate::SegmentKey { shard: 1, first_ts_ms: 1, segment: 1 };
    let runs = many_runs(3, 3);
    put(&segments, key, &runs).await;
    segments.damage(runs[1].channel, runs[1].records[1].position.offset);
    let told = segments.verify(key).await.unwrap_err();
    assert_eq!(told.kind, crate::StorageErrorKind::Corrupt);
}

#[test]
fn birth_counts_seconds_since_2024() {
    let new_year_2024 = UNIX_EPOCH + Duration::from_secs(1_704_067_200);
    assert_eq!(birth_of(new_year_2024 + Duration::from_secs(86_400)), Epoch(86_400));
    assert_eq!(birth_of(UNIX_EPOCH), Epoch(1), "a clock that was never set");
}
