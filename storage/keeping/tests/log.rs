//! What is read through a log that knows what was ordered.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sterna_proto::{ChannelKey, Offset, UserId};
use sterna_storage::keeping::{Author, Order};
use sterna_storage::memory::MemoryStore;
use sterna_storage::{
    Append, KeepingStore, PageLimit, PublicationLog, ReadError, Record, StorageErrorKind, Stores,
};
use sterna_storage_archive::{Fate, Fates as _};
use sterna_storage_keeping::{Keeper, KeptLog, StoredFates};

use support::{Silent, key, origin, record, records};

mod support;

const WIDE: PageLimit = PageLimit { records: 1000, payload_bytes: usize::MAX };
const NONE: [u64; 0] = [];

struct Kept {
    stores: Stores,
    keeper: Arc<Keeper>,
    log: KeptLog,
}

fn over(stores: Stores, shared: bool) -> Kept {
    let keeper = Arc::new(Keeper::new(stores.keeping.clone(), shared));
    let log = KeptLog::new(stores.log.clone(), keeper.clone());
    Kept { stores, keeper, log }
}

async fn with(count: u64) -> Kept {
    let kept = over(MemoryStore::new().stores(), false);
    fill(&kept.log, key("room"), count).await;
    kept
}

async fn fill(log: &dyn PublicationLog, channel: ChannelKey, count: u64) {
    let append = Append::new(channel, None, records("a", 1, count));
    log.append(vec![append]).await.remove(0).unwrap();
}

fn author() -> Author {
    Author { by: UserId::new("api.ops").unwrap(), at_ms: 1, reason: "because".to_owned() }
}

async fn order(store: &dyn KeepingStore, order: Order) {
    store.keep(key("room"), order, author()).await.unwrap();
}

fn emptied(page: &[Record]) -> Vec<u64> {
    let redacted = page.iter().filter(|record| record.redacted);
    assert!(redacted.clone().all(|record| record.body.payload.is_empty()));
    redacted.map(|record| record.position.offset.0).collect()
}

#[tokio::test]
async fn what_is_redacted_keeps_its_place_and_comes_without_its_payload() {
    let Kept { stores, keeper, log } = with(9).await;
    assert_eq!(emptied(&log.read(key("room"), Offset(0), WIDE).await.unwrap()), NONE);
    let before = stores.log.read(key("room"), Offset(0), WIDE).await.unwrap();
    order(&*keeper, Order::Redact(vec![Offset(4), Offset(7)])).await;
    let page = log.read(key("room"), Offset(2), WIDE).await.unwrap();
    assert_eq!(emptied(&page), [4, 7]);
    assert_eq!(page.len(), 7);
    for (now, then) in page.iter().zip(&before[2..]) {
        assert_eq!((now.position, now.body.id), (then.position, then.body.id));
        assert!(now.redacted || now == then);
    }
    // I3: as before.
    let found = log.find(key("room"), origin("a", 4)).await.unwrap().unwrap();
    assert_eq!(found.fingerprint, record("a", 4).fingerprint());
}

#[tokio::test]
async fn i5_below_the_floor_is_a_gap_wherever_the_records_lie() {
    let Kept { stores, keeper, log } = with(9).await;
    assert_eq!(log.head(key("room")).await.unwrap().unwrap().first, Offset(1));
    order(&*keeper, Order::RaiseFloor(Offset(6))).await;
    let head = log.head(key("room")).await.unwrap().unwrap();
    assert_eq!((head.first, head.position.offset), (Offset(6), Offset(9)));
    for after in [0, 3, 4] {
        match log.read(key("room"), Offset(after), WIDE).await {
            Err(ReadError::Trimmed { first }) => assert_eq!(first, Offset(6)),
            other => panic!("after {after}: {other:?}"),
        }
    }
    assert_eq!(log.read(key("room"), Offset(5), WIDE).await.unwrap().len(), 4);
    assert!(stores.log.read(key("room"), Offset(0), WIDE).await.is_ok(), "nothing was trimmed");
    // The log is ahead: its word counts.
    stores.log.trim(key("room"), Offset(8)).await.unwrap();
    match log.read(key("room"), Offset(6), WIDE).await {
        Err(ReadError::Trimmed { first }) => assert_eq!(first, Offset(8)),
        other => panic!("{other:?}"),
    }
    let next = Append::new(key("room"), Some(head.position), records("a", 10, 1));
    let head = log.append(vec![next]).await.remove(0).unwrap();
    assert_eq!(head.first, Offset(8));
}

#[tokio::test]
async fn many_redactions_are_found_page_by_page() {
    let Kept { keeper, log, .. } = with(900).await;
    let odd: Vec<Offset> = (0..450).map(|n| Offset(2 * n + 1)).collect();
    for some in odd.chunks(100) {
        order(&*keeper, Order::Redact(some.to_vec())).await;
    }
    let mut after = 0;
    while after < 900 {
        let limit = PageLimit { records: 70, ..WIDE };
        let page = log.read(key("room"), Offset(after), limit).await.unwrap();
        let expected: Vec<u64> =
            page.iter().map(|it| it.position.offset.0).filter(|offset| offset % 2 == 1).collect();
        assert_eq!(emptied(&page), expected);
        after = page.last().unwrap().position.offset.0;
    }
}

/// Two nodes with one store: the second hears of it within five seconds.
#[tokio::test(start_paused = true)]
async fn what_another_node_has_ordered_is_known_after_a_bounded_time() {
    let stores = MemoryStore::new().stores();
    let (one, two) = (over(stores.clone(), true), over(stores, true));
    fill(&one.log, key("room"), 5).await;
    assert_eq!(emptied(&two.log.read(key("room"), Offset(0), WIDE).await.unwrap()), NONE);
    order(&*one.keeper, Order::Redact(vec![Offset(2)])).await;
    assert_eq!(emptied(&one.log.read(key("room"), Offset(0), WIDE).await.unwrap()), [2]);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(emptied(&two.log.read(key("room"), Offset(0), WIDE).await.unwrap()), [2]);
}

#[tokio::test(start_paused = true)]
async fn who_takes_a_channel_over_knows_at_once_what_was_ordered_before() {
    let stores = MemoryStore::new().stores();
    let (one, two) = (over(stores.clone(), true), over(stores, true));
    fill(&one.log, key("room"), 5).await;
    assert_eq!(emptied(&two.log.read(key("room"), Offset(0), WIDE).await.unwrap()), NONE);
    order(&*one.keeper, Order::Redact(vec![Offset(2)])).await;
    two.log.head(key("room")).await.unwrap();
    assert_eq!(emptied(&two.log.read(key("room"), Offset(0), WIDE).await.unwrap()), [2]);
}

#[tokio::test]
async fn who_cannot_ask_what_was_ordered_shows_nothing() {
    let mut stores = MemoryStore::new().stores();
    fill(&*stores.log, key("room"), 5).await;
    stores.keeping = Arc::new(Silent(stores.keeping.clone()));
    let Kept { log, .. } = over(stores, false);
    match log.read(key("room"), Offset(0), WIDE).await {
        Err(ReadError::Storage(error)) => assert_eq!(error.kind, StorageErrorKind::Unavailable),
        other => panic!("{other:?}"),
    }
    assert!(log.head(key("room")).await.is_err());
}

#[tokio::test]
async fn what_goes_from_the_archive_is_what_was_given_up_and_nothing_on_hold() {
    let Kept { stores, keeper, .. } = with(9).await;
    let fates = StoredFates::new(stores.keeping.clone());
    let asked = vec![key("other"), key("room")];
    let fate = |first, redacted: &[u64]| Fate {
        first: Offset(first),
        redacted: redacted.iter().copied().map(Offset).collect(),
    };
    assert_eq!(fates.fates(asked.clone()).await.unwrap(), [fate(1, &[]), fate(1, &[])]);
    order(&*keeper, Order::Redact([2, 5, 8].map(Offset).to_vec())).await;
    order(&*keeper, Order::RaiseFloor(Offset(5))).await;
    assert_eq!(fates.fates(asked.clone()).await.unwrap(), [fate(1, &[]), fate(5, &[5, 8])]);
    order(&*keeper, Order::Hold).await;
    assert_eq!(fates.fates(asked.clone()).await.unwrap(), [fate(1, &[]), fate(1, &[])]);
    order(&*keeper, Order::Release).await;
    assert_eq!(fates.fates(vec![key("room")]).await.unwrap(), [fate(5, &[5, 8])]);
}

#[tokio::test]
async fn an_order_that_nobody_waits_for_any_more_makes_what_was_known_old() {
    let Kept { keeper, log, .. } = with(3).await;
    assert_eq!(emptied(&log.read(key("room"), Offset(0), WIDE).await.unwrap()), NONE);
    // Carried out with the first poll, and the answer is not waited for.
    let mut order = keeper.keep(key("room"), Order::Redact(vec![Offset(1)]), author());
    let _ = futures_util::poll!(&mut order);
    drop(order);
    assert_eq!(emptied(&log.read(key("room"), Offset(0), WIDE).await.unwrap()), [1]);
    assert_eq!(Bytes::new(), log.read(key("room"), Offset(0), WIDE).await.unwrap()[0].body.payload);
}
