//! Promises of idempotency keys.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{LONG, SHORT, VolatilePlace, eventually};
use crate::StorageErrorKind;
use crate::volatile::idempotency::{KEY_BYTES, RESULT_BYTES};
use crate::volatile::{Begun, Claim, IdempotencyStore};

pub async fn a_key_is_begun_once_and_tells_its_result(place: &VolatilePlace) {
    let store = &*place.stores.idempotency;
    let claim = new(store, "key", LONG).await;
    assert_eq!(begin(store, "key", LONG).await, Begun::Running);
    let result: Bytes = (0..=255).collect::<Vec<u8>>().into();
    assert!(store.finish("key".into(), claim, result.clone(), LONG).await.unwrap());
    for _ in 0..2 {
        assert_eq!(begin(store, "key", LONG).await, Begun::Done(result.clone()));
    }
    assert!(!store.finish("key".into(), claim, Bytes::new(), LONG).await.unwrap());
    assert!(!store.abandon("key".into(), claim).await.unwrap());
    assert_eq!(begin(store, "key", LONG).await, Begun::Done(result));
    new(store, "another key", LONG).await;
}

pub async fn a_key_belongs_to_one_command(place: &VolatilePlace) {
    let store = &*place.stores.idempotency;
    let claim = new(store, "key", LONG).await;
    // As far apart as numbers are that some languages round.
    for other in [FINGERPRINT + 1, FINGERPRINT - 1, 0] {
        assert_eq!(store.begin("key".into(), other, LONG).await.unwrap(), Begun::Mismatch);
    }
    assert!(store.finish("key".into(), claim, Bytes::new(), LONG).await.unwrap());
    assert_eq!(store.begin("key".into(), 0, LONG).await.unwrap(), Begun::Mismatch);
    assert_eq!(begin(store, "key", LONG).await, Begun::Done(Bytes::new()));
}

pub async fn what_was_abandoned_begins_anew(place: &VolatilePlace) {
    let store = &*place.stores.idempotency;
    let first = new(store, "key", LONG).await;
    assert!(store.abandon("key".into(), first).await.unwrap());
    assert!(!store.abandon("key".into(), first).await.unwrap());
    let second = new(store, "key", LONG).await;
    assert_ne!(first, second);
    assert!(store.finish("key".into(), second, "done".into(), LONG).await.unwrap());
}

pub async fn an_old_claim_does_nothing_over_a_newer_one(place: &VolatilePlace) {
    let store = &*place.stores.idempotency;
    let old = new(store, "key", SHORT).await;
    let newer = new_eventually(store, "key", LONG).await;
    assert!(!store.finish("key".into(), old, "old".into(), LONG).await.unwrap());
    assert!(!store.abandon("key".into(), old).await.unwrap());
    assert_eq!(begin(store, "key", LONG).await, Begun::Running);
    assert!(store.finish("key".into(), newer, "newer".into(), LONG).await.unwrap());
    assert!(!store.finish("key".into(), old, "old".into(), LONG).await.unwrap());
    assert_eq!(begin(store, "key", LONG).await, Begun::Done("newer".into()));
}

pub async fn a_result_is_kept_for_its_time(place: &VolatilePlace) {
    let store = &*place.stores.idempotency;
    let claim = new(store, "key", LONG).await;
    assert!(store.finish("key".into(), claim, "done".into(), SHORT).await.unwrap());
    new_eventually(store, "key", LONG).await;
    let lost = new(store, "lost", LONG).await;
    (place.forget)().await;
    assert!(!store.finish("lost".into(), lost, "done".into(), LONG).await.unwrap());
    new(store, "lost", LONG).await;
}

pub async fn of_many_beginners_one_is_new(place: &VolatilePlace) {
    let mut beginners = JoinSet::new();
    for _ in 0..32 {
        let store = place.stores.idempotency.clone();
        beginners.spawn(async move { begin(&*store, "key", LONG).await });
    }
    let all = beginners.join_all().await;
    let new = all.iter().filter(|begun| matches!(begun, Begun::New { .. })).count();
    let running = all.iter().filter(|begun| **begun == Begun::Running).count();
    assert_eq!((new, running), (1, 31));
}

pub async fn what_is_too_long_is_refused(place: &VolatilePlace) {
    let store = &*place.stores.idempotency;
    let refused = store.begin(vec![b'k'; KEY_BYTES + 1].into(), 1, LONG).await.unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::Unavailable);
    let key = Bytes::from(vec![0; KEY_BYTES]);
    let Begun::New { claim } = store.begin(key.clone(), 1, LONG).await.unwrap() else {
        panic!("nobody has begun it");
    };
    let long = Bytes::from(vec![1; RESULT_BYTES + 1]);
    store.finish(key.clone(), claim, long, LONG).await.unwrap_err();
    assert!(store.finish(key, claim, vec![1; RESULT_BYTES].into(), LONG).await.unwrap());
}

async fn begin(store: &dyn IdempotencyStore, key: &'static str, lease: Duration) -> Begun {
    store.begin(key.into(), FINGERPRINT, lease).await.unwrap()
}

async fn new(store: &dyn IdempotencyStore, key: &'static str, lease: Duration) -> Claim {
    match begin(store, key, lease).await {
        Begun::New { claim } => claim,
        other => panic!("nobody has begun {key}: {other:?}"),
    }
}

async fn new_eventually(store: &dyn IdempotencyStore, key: &'static str, lease: Duration) -> Claim {
    let found = std::cell::Cell::new(None);
    eventually("the end of what was there", || async {
        if let Begun::New { claim } = begin(store, key, lease).await {
            found.set(Some(claim));
        }
        found.get().is_some()
    })
    .await;
    found.get().unwrap()
}

const FINGERPRINT: u64 = u64::MAX - 1;
