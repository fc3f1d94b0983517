//! Promises of the loss sentinel.

use tokio::task::JoinSet;

use super::VolatilePlace;
use crate::volatile::{Boot, LossSentinel, Partition, Sentinel};

pub async fn a_loss_is_told_once_to_each(place: &VolatilePlace) {
    let sentinel = &*place.stores.sentinel;
    let first = lost(sentinel, Partition(0), None).await;
    let other = lost(sentinel, Partition(1), None).await;
    for _ in 0..2 {
        assert_eq!(sentinel.check_loss(Partition(0), Some(first)).await.unwrap(), Sentinel::Same);
    }
    (place.forget)().await;
    let second = lost(sentinel, Partition(0), Some(first)).await;
    assert_ne!(first, second);
    assert_eq!(lost(sentinel, Partition(0), Some(first)).await, second, "another looks later");
    assert_eq!(sentinel.check_loss(Partition(0), Some(second)).await.unwrap(), Sentinel::Same);
    lost(sentinel, Partition(1), Some(other)).await;
}

pub async fn of_many_first_looks_all_see_the_same(place: &VolatilePlace) {
    let mut lookers = JoinSet::new();
    for _ in 0..16 {
        let sentinel = place.stores.sentinel.clone();
        lookers.spawn(async move { lost(&*sentinel, Partition(0), None).await });
    }
    let seen = lookers.join_all().await;
    assert!(seen.iter().all(|boot| *boot == seen[0]), "{seen:?}");
}

async fn lost(sentinel: &dyn LossSentinel, at: Partition, remembered: Option<Boot>) -> Boot {
    match sentinel.check_loss(at, remembered).await.unwrap() {
        Sentinel::Lost { now } => now,
        Sentinel::Same => panic!("{remembered:?} is from before"),
    }
}
