//! Promises of trimming.

use sterna_proto::Offset;
use tokio::task::JoinSet;

use super::{Open, WIDE, append, key, marker, origin, record, records};
use crate::{Append, AppendError, PublicationLog, ReadError, Record, StorageErrorKind};

pub async fn a_trim_takes_the_oldest_and_leaves_the_head(open: Open<'_>) {
    let log = open().log;
    let head = append(&*log, key("room"), records("a", 1, 10)).await;
    assert_eq!(head.first, Offset(1));
    append(&*log, key("other"), records("a", 1, 10)).await;
    let before = log.read(key("room"), Offset(6), WIDE).await.unwrap();
    let trimmed = log.trim(key("room"), Offset(7)).await.unwrap().unwrap();
    assert_eq!(trimmed, crate::Head { first: Offset(7), ..head });
    assert_eq!(log.head(key("room")).await.unwrap(), Some(trimmed));
    assert_eq!(log.read(key("room"), Offset(6), WIDE).await.unwrap(), before);
    assert_eq!(log.read(key("room"), Offset(10), WIDE).await.unwrap(), []);
    let other = log.read(key("other"), Offset::ZERO, WIDE).await.unwrap();
    assert_eq!(other.len(), 10, "another channel loses nothing");
    assert_eq!(log.trim(key("empty"), Offset(3)).await.unwrap(), None);
}

pub async fn a_page_below_the_trim_point_is_a_named_gap(open: Open<'_>) {
    let log = open().log;
    append(&*log, key("room"), records("a", 1, 10)).await;
    log.trim(key("room"), Offset(4)).await.unwrap();
    for after in 0..=9 {
        let page = log.read(key("room"), Offset(after), WIDE).await;
        if after >= 3 {
            assert_eq!(page.unwrap().len() as u64, 10 - after);
        } else {
            assert_eq!(trim_point(page), Offset(4), "after {after}");
        }
    }
}

pub async fn a_trim_never_goes_back_and_stops_at_the_head(open: Open<'_>) {
    let log = open().log;
    append(&*log, key("room"), records("a", 1, 5)).await;
    for (wish, first) in [(0, 1), (1, 1), (3, 3), (2, 3), (3, 3), (1_000_000, 6), (4, 6)] {
        let head = log.trim(key("room"), Offset(wish)).await.unwrap().unwrap();
        assert_eq!((head.first, head.position.offset), (Offset(first), Offset(5)), "to {wish}");
    }
    assert_eq!(log.read(key("room"), Offset(5), WIDE).await.unwrap(), []);
    assert_eq!(trim_point(log.read(key("room"), Offset(4), WIDE).await), Offset(6));
    // The log goes on as if nothing had been taken from it.
    let head = append(&*log, key("room"), records("a", 6, 2)).await;
    let head = log.raise_epoch(key("room"), head.position, marker()).await.unwrap();
    assert_eq!((head.first, head.position.offset), (Offset(6), Offset(8)));
    assert_eq!(log.read(key("room"), Offset(5), WIDE).await.unwrap().len(), 3);
}

pub async fn origins_of_trimmed_records_are_recognised(open: Open<'_>) {
    let log = open().log;
    let head = append(&*log, key("room"), records("a", 1, 5)).await;
    log.trim(key("room"), Offset(5)).await.unwrap();
    let found = log.find(key("room"), origin("a", 2)).await.unwrap().unwrap();
    assert_eq!(found.position.offset, Offset(2));
    assert_eq!(found.fingerprint, record("a", 2).fingerprint());
    let again = Append::new(key("room"), Some(head.position), vec![record("a", 2)]);
    match log.append(vec![again]).await.remove(0) {
        Err(AppendError::Duplicates(all)) => assert_eq!(all[0].position, found.position),
        other => panic!("stored before it was trimmed: {other:?}"),
    }
}

pub async fn a_long_trim_leaves_all_that_is_behind_it(open: Open<'_>) {
    let log = open().log;
    for from in (0..3_000).step_by(500) {
        append(&*log, key("room"), records("a", from + 1, 500)).await;
    }
    log.trim(key("room"), Offset(2_990)).await.unwrap();
    let left = log.read(key("room"), Offset(2_989), WIDE).await.unwrap();
    assert_eq!(left.len(), 11);
    assert_eq!(left[0].body, record("a", 2_990));
}

pub async fn readers_beside_a_trim_see_records_or_the_gap(open: Open<'_>) {
    let log = open().log;
    for from in (0..3_000).step_by(500) {
        append(&*log, key("room"), records("a", from + 1, 500)).await;
    }
    let mut readers = JoinSet::new();
    for _ in 0..2 {
        let log = log.clone();
        readers.spawn(async move {
            let mut after = Offset::ZERO;
            while after < Offset(3_000) {
                match log.read(key("room"), after, WIDE).await {
                    Ok(page) => {
                        assert_eq!(page[0].position.offset, after.next());
                        after = page[page.len() - 1].position.offset;
                    }
                    Err(ReadError::Trimmed { first }) => {
                        assert!(first > after.next());
                        after = Offset(first.0 - 1);
                    }
                    Err(ReadError::Storage(error)) => panic!("{error}"),
                }
            }
        });
    }
    for first in (100..=2_900).step_by(200) {
        log.trim(key("room"), Offset(first)).await.unwrap();
    }
    readers.join_all().await;
}

pub async fn a_closed_log_is_not_trimmed(open: Open<'_>) {
    let log = open().log;
    let head = append(&*log, key("room"), records("a", 1, 5)).await;
    log.close().await.unwrap();
    let refused = log.trim(key("room"), Offset(3)).await.unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::Unavailable);
    assert_eq!(log.head(key("room")).await.unwrap(), Some(head));
}

fn trim_point(page: Result<Vec<Record>, ReadError>) -> Offset {
    match page {
        Err(ReadError::Trimmed { first }) => first,
        other => panic!("below the trim point: {other:?}"),
    }
}

/// The trim point and everything from it on.
pub(super) async fn read_what_is_left(
    log: &dyn PublicationLog,
    channel: sterna_proto::ChannelKey,
) -> Vec<Record> {
    let Some(head) = log.head(channel).await.unwrap() else { return Vec::new() };
    let mut found: Vec<Record> = Vec::new();
    let mut after = Offset(head.first.0 - 1);
    loop {
        let page = log.read(channel, after, WIDE).await.unwrap();
        let Some(last) = page.last() else { return found };
        after = last.position.offset;
        found.extend(page);
    }
}
