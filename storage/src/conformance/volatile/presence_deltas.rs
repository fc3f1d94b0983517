//! Promises of presence deltas.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::task::JoinSet;

use super::VolatilePlace;
use crate::volatile::{DELTAS_KEPT, Delta, DeltaId, DeltaPage, Partition, PresenceDeltas};

pub async fn deltas_come_back_in_order_and_whole(place: &VolatilePlace) {
    let presence = &*place.stores.presence;
    let at = last(place);
    assert_eq!(page(presence, at, DeltaId::START, 9).await, []);
    let all_bytes: Vec<u8> = (0..=255).collect();
    let payloads = [Bytes::new(), Bytes::from(all_bytes), Bytes::from(vec![0; 60_000])];
    let mut appended = Vec::new();
    for payload in payloads {
        let id = presence.append_delta(at, payload.clone()).await.unwrap();
        appended.push(Delta { id, payload });
    }
    assert!(appended.is_sorted_by(|one, next| one.id < next.id));
    assert_eq!(page(presence, at, DeltaId::START, 9).await, appended);
    assert_eq!(page(presence, at, DeltaId::START, 2).await, appended[..2]);
    assert_eq!(page(presence, at, appended[1].id, 9).await, appended[2..]);
    assert_eq!(page(presence, at, appended[2].id, 9).await, []);
    assert_eq!(page(presence, Partition(0), DeltaId::START, 9).await, []);
}

pub async fn a_reader_left_behind_is_told_so(place: &VolatilePlace) {
    let presence = &*place.stores.presence;
    let at = last(place);
    let first = presence.append_delta(at, Bytes::from_static(b"first")).await.unwrap();
    let many = (0..2 * DELTAS_KEPT).map(|n| presence.append_delta(at, n.to_string().into()));
    let ids = try_join_all(many).await.unwrap();
    let newest = *ids.iter().max().unwrap();
    for gone in [DeltaId::START, first] {
        let read = presence.deltas(at, gone, 9).await.unwrap();
        assert_eq!(read, DeltaPage::Trimmed { tail: newest });
    }
    assert_eq!(page(presence, at, newest, 9).await, []);
    let next = presence.append_delta(at, Bytes::from_static(b"next")).await.unwrap();
    let expected = [Delta { id: next, payload: Bytes::from_static(b"next") }];
    assert_eq!(page(presence, at, newest, 9).await, expected);
    let kept = ids.into_iter().collect::<BTreeSet<_>>().into_iter().rev().nth(DELTAS_KEPT - 2);
    assert_eq!(page(presence, at, kept.unwrap(), 2 * DELTAS_KEPT).await.len(), DELTAS_KEPT - 1);
}

pub async fn a_position_from_before_a_loss_is_gone(place: &VolatilePlace) {
    let presence = &*place.stores.presence;
    let at = last(place);
    let before = presence.append_delta(at, Bytes::from_static(b"before")).await.unwrap();
    (place.forget)().await;
    let read = presence.deltas(at, before, 9).await.unwrap();
    assert_eq!(read, DeltaPage::Trimmed { tail: DeltaId::START });
    let after = presence.append_delta(at, Bytes::from_static(b"after")).await.unwrap();
    assert!(after > before);
    let read = presence.deltas(at, before, 9).await.unwrap();
    assert_eq!(read, DeltaPage::Trimmed { tail: after });
    assert_eq!(page(presence, at, DeltaId::START, 9).await.len(), 1);
}

pub async fn racing_appends_are_all_read(place: &VolatilePlace) {
    let at = last(place);
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let presence = place.stores.presence.clone();
        writers.spawn(async move {
            for step in 0..16 {
                let payload = Bytes::from(format!("{writer}/{step}"));
                presence.append_delta(at, payload).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let read = page(&*place.stores.presence, at, DeltaId::START, 999).await;
    let payloads: BTreeSet<Bytes> = read.iter().map(|delta| delta.payload.clone()).collect();
    assert_eq!((read.len(), payloads.len()), (128, 128));
}

async fn page(
    presence: &dyn PresenceDeltas,
    at: Partition,
    after: DeltaId,
    limit: usize,
) -> Vec<Delta> {
    match presence.deltas(at, after, limit).await.unwrap() {
        DeltaPage::Deltas(deltas) => deltas,
        DeltaPage::Trimmed { .. } => panic!("nothing behind {after:?} was trimmed"),
    }
}

fn last(place: &VolatilePlace) -> Partition {
    place.stores.routes.partitions().all().last().unwrap()
}
