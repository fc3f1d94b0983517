//! Promises of the manifest.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Open;
use super::model::Random;
use crate::{
    ManifestChange, ManifestEntry, ManifestError, ManifestStore, SegmentKey, SegmentState,
};

pub async fn a_segment_is_put_once_and_replaced_from_its_state(open: Open<'_>) {
    let manifest = open().manifest;
    let first = entry(1, 100, 7, SegmentState::Prepared, "one");
    assert_eq!(manifest.segment(first.key).await.unwrap(), None);
    change(&*manifest, None, first.clone()).await.unwrap();
    let twin = ManifestEntry { content: Bytes::from_static(b"twin"), ..first.clone() };
    assert_eq!(conflict(change(&*manifest, None, twin).await), (0, Some(first.clone())));
    let published = ManifestEntry { state: SegmentState::Published, ..first.clone() };
    let from_published = change(&*manifest, Some(SegmentState::Published), published.clone());
    assert_eq!(conflict(from_published.await), (0, Some(first)));
    change(&*manifest, Some(SegmentState::Prepared), published.clone()).await.unwrap();
    let late = change(&*manifest, Some(SegmentState::Prepared), published.clone()).await;
    assert_eq!(conflict(late), (0, Some(published.clone())), "of two, one wins");
    assert_eq!(manifest.segment(published.key).await.unwrap(), Some(published));
    let unknown = entry(1, 100, 8, SegmentState::Published, "none");
    let never_put = change(&*manifest, Some(SegmentState::Prepared), unknown).await;
    assert_eq!(conflict(never_put), (0, None));
}

pub async fn manifest_changes_happen_together_or_not_at_all(open: Open<'_>) {
    let manifest = open().manifest;
    let small: Vec<_> =
        (1..=2).map(|n| entry(1, n * 10, n, SegmentState::Published, "small")).collect();
    for entry in &small {
        change(&*manifest, None, entry.clone()).await.unwrap();
    }
    let merged = entry(1, 10, 99, SegmentState::Published, "merged");
    let replace = |state: SegmentState| -> Vec<ManifestChange> {
        let replaced = small.iter().map(|old| ManifestChange {
            expected: Some(state),
            entry: ManifestEntry { state: SegmentState::Replaced, ..old.clone() },
        });
        let new = ManifestChange { expected: None, entry: merged.clone() };
        [new].into_iter().chain(replaced).collect()
    };
    let refused = manifest.change_manifest(replace(SegmentState::Prepared)).await;
    assert_eq!(conflict(refused), (1, Some(small[0].clone())));
    assert_eq!(manifest.segment(merged.key).await.unwrap(), None);
    manifest.change_manifest(replace(SegmentState::Published)).await.unwrap();
    let listed = manifest.segments(1, None, 10).await.unwrap();
    let states: Vec<_> = listed.iter().map(|entry| entry.state).collect();
    let (replaced, published) = (SegmentState::Replaced, SegmentState::Published);
    assert_eq!(states, [replaced, published, replaced]);
    // A later change of one call sees the earlier ones.
    let twice = ManifestChange { expected: None, entry: entry(2, 1, 1, published, "x") };
    let refused = manifest.change_manifest(vec![twice.clone(), twice]).await;
    assert_eq!(conflict(refused).0, 1);
    assert_eq!(manifest.segments(2, None, 10).await.unwrap(), []);
    manifest.change_manifest(Vec::new()).await.unwrap();
}

pub async fn segments_are_listed_by_shard_and_time(open: Open<'_>) {
    let manifest = open().manifest;
    let mut all = Vec::new();
    for n in 0..23u64 {
        let first_ts_ms = (n * 5) % 7 * 0x0100;
        all.push(entry(3, first_ts_ms, n, SegmentState::Published, "x"));
        for shard in [2, 4] {
            let other = entry(shard, first_ts_ms, n, SegmentState::Published, "y");
            change(&*manifest, None, other).await.unwrap();
        }
        change(&*manifest, None, all[n as usize].clone()).await.unwrap();
    }
    all.sort_by_key(|entry| entry.key);
    let mut listed: Vec<ManifestEntry> = Vec::new();
    loop {
        let after = listed.last().map(|entry| entry.key);
        let page = manifest.segments(3, after, 5).await.unwrap();
        assert!(page.len() <= 5);
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    assert_eq!(listed, all);
    assert_eq!(manifest.segments(3, None, 0).await.unwrap(), []);
    assert_eq!(manifest.segments(9, None, 10).await.unwrap(), []);
}

pub async fn any_manifest_agrees_with_the_model(open: Open<'_>) {
    let manifest = open().manifest;
    let mut random = Random::new(64);
    let mut model: BTreeMap<SegmentKey, ManifestEntry> = BTreeMap::new();
    for step in 0..150 {
        let mut changed = model.clone();
        let mut refused = None;
        let changes: Vec<_> = (0..1 + random.below(3))
            .map(|_| random_change(&mut random, &states_of(&model), step))
            .collect();
        for (index, change) in changes.iter().enumerate() {
            let found = changed.get(&change.entry.key);
            if found.map(|found| found.state) != change.expected {
                refused = Some((index, found.cloned()));
                break;
            }
            changed.insert(change.entry.key, change.entry.clone());
        }
        let verdict = manifest.change_manifest(changes).await;
        match refused {
            Some(refused) => assert_eq!(conflict(verdict), refused),
            None => {
                verdict.unwrap();
                model = changed;
            }
        }
    }
    let mut listed = manifest.segments(0, None, 100).await.unwrap();
    listed.extend(manifest.segments(1, None, 100).await.unwrap());
    assert_eq!(listed, model.into_values().collect::<Vec<_>>());
}

fn states_of(model: &BTreeMap<SegmentKey, ManifestEntry>) -> BTreeMap<SegmentKey, SegmentState> {
    model.iter().map(|(key, entry)| (*key, entry.state)).collect()
}

/// Expects the right state more often than not.
fn random_change(
    random: &mut Random,
    states: &BTreeMap<SegmentKey, SegmentState>,
    step: u64,
) -> ManifestChange {
    let state =
        |n| [SegmentState::Prepared, SegmentState::Published, SegmentState::Replaced][n as usize];
    let next = state(random.below(3));
    let entry = entry(random.below(2) as u16, random.below(2), random.below(2), next, "");
    let entry = ManifestEntry { content: Bytes::from(step.to_string()), ..entry };
    let expected = match random.below(4) {
        0 => Some(state(random.below(3))),
        _ => states.get(&entry.key).copied(),
    };
    ManifestChange { expected, entry }
}

async fn change(
    manifest: &dyn ManifestStore,
    expected: Option<SegmentState>,
    entry: ManifestEntry,
) -> Result<(), ManifestError> {
    manifest.change_manifest(vec![ManifestChange { expected, entry }]).await
}

fn conflict(verdict: Result<(), ManifestError>) -> (usize, Option<ManifestEntry>) {
    match verdict {
        Err(ManifestError::Conflict { index, found }) => (index, found),
        other => panic!("expected another state: {other:?}"),
    }
}

fn entry(
    shard: u16,
    first_ts_ms: u64,
    segment: u64,
    state: SegmentState,
    content: &'static str,
) -> ManifestEntry {
    let key = SegmentKey { shard, first_ts_ms, segment };
    ManifestEntry { key, state, content: Bytes::from_static(content.as_bytes()) }
}
