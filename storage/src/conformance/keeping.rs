//! Promises of what channels keep.

use sterna_proto::{ChannelKey, Offset};

use super::{Open, key, user};
use crate::keeping::{
    Author, KeepingError, KeepingStore, Kept, Order, REASON_BYTES, REDACTED_AT_ONCE, Retention,
    WrappedKey,
};

pub async fn nothing_is_ordered_of_a_new_channel(open: Open<'_>) {
    let store = open().keeping;
    assert_eq!(store.kept(vec![key("a"), key("b")]).await.unwrap(), vec![Kept::default(); 2]);
    assert_eq!(store.kept(Vec::new()).await.unwrap(), []);
    assert_eq!(store.redactions(key("a"), Offset::ZERO, 10).await.unwrap(), []);
    assert_eq!(store.deeds(key("a"), u64::MAX, 10).await.unwrap(), []);
    // What changes nothing leaves nothing.
    let kept = order(&*store, "a", Order::Release).await.unwrap();
    assert_eq!(kept, Kept::default());
    assert_eq!(store.deeds(key("a"), u64::MAX, 10).await.unwrap(), []);
}

pub async fn orders_are_kept_with_who_when_and_why(open: Open<'_>) {
    let store = open().keeping;
    let retention = Some(Retention::Millis(30));
    order(&*store, "room", Order::SetRetention(retention)).await.unwrap();
    let long = Author { reason: "r".repeat(REASON_BYTES), ..author() };
    let held = store.keep(key("room"), Order::Hold, long.clone()).await.unwrap();
    assert_eq!((held.version, held.retention, held.hold.as_ref()), (2, retention, Some(&long)));
    order(&*store, "room", Order::Release).await.unwrap();
    order(&*store, "other", Order::Seal(true)).await.unwrap();
    let deeds = store.deeds(key("room"), u64::MAX, 10).await.unwrap();
    let told: Vec<(u64, &str)> = deeds.iter().map(|it| (it.version, it.what.as_str())).collect();
    let expected = [(3, "released from hold"), (2, "put on hold"), (1, "retention of 30 ms")];
    assert_eq!(told, expected);
    assert_eq!((&deeds[1].author, &deeds[0].author), (&long, &author()));
    assert_eq!(store.deeds(key("room"), 3, 1).await.unwrap(), [deeds[1].clone()]);
    assert_eq!(store.deeds(key("room"), 1, 10).await.unwrap(), []);
    let asked = ["other", "none", "room", "other"].map(key).to_vec();
    let kept = store.kept(asked).await.unwrap();
    assert_eq!(kept.iter().map(|it| it.version).collect::<Vec<_>>(), [1, 0, 3, 1]);
    assert_eq!(kept[2], Kept { version: 3, retention, ..Kept::default() });
}

pub async fn what_is_on_hold_is_not_given_up(open: Open<'_>) {
    let store = open().keeping;
    let held = order(&*store, "room", Order::Hold).await.unwrap();
    for wish in [
        Order::Redact(vec![Offset(3)]),
        Order::Erase { upto: Offset(3) },
        Order::RaiseFloor(Offset(3)),
    ] {
        match order(&*store, "room", wish.clone()).await {
            Err(KeepingError::OnHold(hold)) => assert_eq!(hold, author()),
            other => panic!("{wish:?} on hold: {other:?}"),
        }
    }
    assert_eq!(store.kept(vec![key("room")]).await.unwrap(), [held]);
    assert_eq!(store.redactions(key("room"), Offset::ZERO, 10).await.unwrap(), []);
    assert_eq!(store.deeds(key("room"), u64::MAX, 10).await.unwrap().len(), 1);
    order(&*store, "room", Order::Release).await.unwrap();
    let kept = order(&*store, "room", Order::RaiseFloor(Offset(3))).await.unwrap();
    assert_eq!(kept.floor, Offset(3));
}

pub async fn redactions_are_listed_in_order_and_the_first_ones_author_stays(open: Open<'_>) {
    let store = open().keeping;
    let first = Author { reason: "first".to_owned(), ..author() };
    let offsets: Vec<Offset> = (1..=REDACTED_AT_ONCE as u64).map(|n| Offset(n * 2)).collect();
    let kept = store.keep(key("room"), Order::Redact(offsets.clone()), first.clone()).await;
    assert!(kept.unwrap().redacted);
    order(&*store, "room", Order::Redact([7, 4].map(Offset).to_vec())).await.unwrap();
    order(&*store, "other", Order::Redact(vec![Offset(1)])).await.unwrap();
    let all = store.redactions(key("room"), Offset::ZERO, 1000).await.unwrap();
    assert_eq!(all.len(), REDACTED_AT_ONCE + 1);
    assert!(all.is_sorted_by_key(|it| it.offset));
    for redaction in &all {
        let by = if redaction.offset == Offset(7) { author() } else { first.clone() };
        assert_eq!(redaction.author, by, "{redaction:?}");
    }
    let page = store.redactions(key("room"), Offset(6), 2).await.unwrap();
    assert_eq!(page.iter().map(|it| it.offset.0).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(store.redactions(key("room"), Offset(200), 10).await.unwrap(), []);
}

pub async fn floors_never_go_down(open: Open<'_>) {
    let store = open().keeping;
    for (wish, floor) in [(5, 5), (3, 5), (5, 5), (9, 9)] {
        let kept = order(&*store, "room", Order::RaiseFloor(Offset(wish))).await.unwrap();
        assert_eq!(kept.floor, Offset(floor));
    }
    let kept = order(&*store, "room", Order::Erase { upto: Offset(20) }).await.unwrap();
    assert_eq!((kept.floor, kept.erased), (Offset(21), Some(author())));
    // Of retention alone nobody has to know later.
    assert_eq!(store.deeds(key("room"), u64::MAX, 10).await.unwrap().len(), 1);
}

pub async fn of_many_first_keys_one_is_kept_and_an_erased_one_is_gone(open: Open<'_>) {
    let store = open().keeping;
    let mut racing = tokio::task::JoinSet::new();
    for n in 0..4 {
        let store = store.clone();
        racing.spawn(async move {
            let key = WrappedKey { id: 1, root: n, wrapped: vec![n as u8; 60] };
            order(&*store, "room", Order::PutKey(key)).await
        });
    }
    // Who is not the first uses the other's.
    let outcomes = racing.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    let lost =
        |outcome: &&Result<Kept, KeepingError>| matches!(outcome, Err(KeepingError::OtherKey));
    assert_eq!(outcomes.iter().filter(lost).count(), 3, "{outcomes:?}");
    let kept = store.kept(vec![key("room")]).await.unwrap().remove(0);
    let present = kept.key.unwrap();
    assert_eq!((present.id, present.wrapped[0]), (1, present.root as u8));
    let anew = WrappedKey { root: 9, ..present.clone() };
    let rewrap = Order::Rewrap { from_root: present.root, key: anew.clone() };
    let kept = order(&*store, "room", rewrap.clone()).await.unwrap();
    assert_eq!((kept.key.as_ref(), kept.keys_made), (Some(&anew), 1));
    assert_eq!(order(&*store, "room", rewrap).await.unwrap(), kept, "again is as good");
    let second = WrappedKey { id: 2, root: 1, wrapped: vec![2; 60] };
    let early = order(&*store, "room", Order::PutKey(second.clone())).await;
    assert!(matches!(early, Err(KeepingError::OtherKey)), "{early:?}");
    let erased = order(&*store, "room", Order::Erase { upto: Offset(4) }).await.unwrap();
    assert_eq!((erased.key, erased.keys_made), (None, 1));
    let first = WrappedKey { id: 1, ..second.clone() };
    let back = order(&*store, "room", Order::PutKey(first)).await;
    assert!(matches!(back, Err(KeepingError::OtherKey)), "{back:?}");
    let kept = order(&*store, "room", Order::PutKey(second.clone())).await.unwrap();
    assert_eq!((kept.key, kept.keys_made), (Some(second), 2));
}

pub async fn racing_orders_are_all_carried_out(open: Open<'_>) {
    let store = open().keeping;
    let mut racing = tokio::task::JoinSet::new();
    for n in 1..=8_u64 {
        let store = store.clone();
        racing.spawn(async move {
            for step in 0..4 {
                let offset = Offset(n * 10 + step);
                order(&*store, "room", Order::Redact(vec![offset])).await.unwrap();
            }
        });
    }
    racing.join_all().await;
    let kept = store.kept(vec![key("room")]).await.unwrap().remove(0);
    assert_eq!(kept.version, 32);
    assert_eq!(store.redactions(key("room"), Offset::ZERO, 100).await.unwrap().len(), 32);
    let versions = store.deeds(key("room"), u64::MAX, 100).await.unwrap();
    assert!(versions.iter().map(|deed| deed.version).eq((1..=32).rev()));
}

pub async fn the_clock_of_retention_never_goes_back(open: Open<'_>) {
    let store = open().keeping;
    for (to_ms, reached) in [(0, 0), (50, 50), (20, 50), (0, 50), (51, 51)] {
        assert_eq!(store.raise_retention_clock(to_ms).await.unwrap(), reached);
    }
}

pub async fn the_keeping_outlives_a_reopening(open: Open<'_>) {
    let stores = open();
    let store = &*stores.keeping;
    let wrapped = WrappedKey { id: 1, root: 5, wrapped: vec![1, 2, 3] };
    order(store, "room", Order::PutKey(wrapped)).await.unwrap();
    order(store, "room", Order::Redact(vec![Offset(3)])).await.unwrap();
    let kept = order(store, "room", Order::Hold).await.unwrap();
    store.raise_retention_clock(77).await.unwrap();
    let redactions = store.redactions(key("room"), Offset::ZERO, 10).await.unwrap();
    let deeds = store.deeds(key("room"), u64::MAX, 10).await.unwrap();
    stores.log.close().await.unwrap();
    drop(stores);
    let store = open().keeping;
    assert_eq!(store.kept(vec![key("room")]).await.unwrap(), [kept]);
    assert_eq!(store.redactions(key("room"), Offset::ZERO, 10).await.unwrap(), redactions);
    assert_eq!(store.deeds(key("room"), u64::MAX, 10).await.unwrap(), deeds);
    assert_eq!(store.raise_retention_clock(0).await.unwrap(), 77);
}

async fn order(store: &dyn KeepingStore, name: &str, order: Order) -> Result<Kept, KeepingError> {
    let channel: ChannelKey = key(name);
    store.keep(channel, order, author()).await
}

fn author() -> Author {
    Author { by: user("api.ops"), at_ms: 1_234, reason: "because".to_owned() }
}
