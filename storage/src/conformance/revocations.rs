//! Promises of the store of revocations.

use super::{Open, user};
use crate::Revocation;

pub async fn i11_the_latest_revocation_of_a_user_is_kept(open: Open<'_>) {
    let store = open().revocations;
    assert_eq!(store.revocations(10).await.unwrap(), []);
    for before_ms in [5, 9, 7] {
        store.keep_revocation(of("alice", before_ms)).await.unwrap();
    }
    store.keep_revocation(of("alicea", 6)).await.unwrap();
    let everybody = Revocation { user: None, before_ms: 8 };
    store.keep_revocation(everybody.clone()).await.unwrap();
    store.keep_revocation(Revocation { user: None, before_ms: 3 }).await.unwrap();
    let kept = store.revocations(10).await.unwrap();
    assert_eq!(kept, [of("alice", 9), everybody, of("alicea", 6)]);
}

pub async fn of_many_revocations_the_latest_are_told_first(open: Open<'_>) {
    let store = open().revocations;
    for n in 0..300 {
        let before_ms = 1 + (n * 7) % 300;
        store.keep_revocation(of(&format!("user{n}"), before_ms)).await.unwrap();
    }
    let times = async |most| {
        let kept = store.revocations(most).await.unwrap();
        kept.iter().map(|one| one.before_ms).collect::<Vec<u64>>()
    };
    assert_eq!(times(4).await, [300, 299, 298, 297]);
    assert!(times(0).await.is_empty());
    assert!(times(1000).await.into_iter().eq((1..=300).rev()));
}

pub async fn i11_a_revocation_outlives_a_reopening(open: Open<'_>) {
    let stores = open();
    stores.revocations.keep_revocation(of("alice", 5)).await.unwrap();
    stores.log.close().await.unwrap();
    drop(stores);
    assert_eq!(open().revocations.revocations(10).await.unwrap(), [of("alice", 5)]);
}

fn of(name: &str, before_ms: u64) -> Revocation {
    Revocation { user: Some(user(name)), before_ms }
}
