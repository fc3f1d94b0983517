//! Promises of the leases of worker numbers.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Open;
use crate::id_lease::ID_WORKERS;

pub async fn holders_have_numbers_of_their_own(open: Open<'_>) {
    let leases = open().id_leases;
    let mut holders = JoinSet::new();
    for n in 0..12 {
        let leases = leases.clone();
        holders.spawn(async move {
            leases.lease_id_worker(&format!("node{n}"), LONG).await.unwrap().unwrap()
        });
    }
    let numbers: BTreeSet<u16> = holders.join_all().await.into_iter().collect();
    assert_eq!(numbers.len(), 12);
    assert!(numbers.iter().all(|number| *number < ID_WORKERS), "{numbers:?}");
}

pub async fn a_holder_keeps_its_number(open: Open<'_>) {
    let leases = open().id_leases;
    let number = leases.lease_id_worker("a", LONG).await.unwrap().unwrap();
    let other = leases.lease_id_worker("b", LONG).await.unwrap().unwrap();
    assert_eq!(leases.lease_id_worker("a", LONG).await.unwrap(), Some(number));
    assert!(leases.renew_id_worker(number, "a", LONG).await.unwrap());
    assert!(leases.renew_id_worker(number, "a", LONG).await.unwrap(), "twice in one moment");
    assert!(!leases.renew_id_worker(number, "b", LONG).await.unwrap());
    assert!(!leases.renew_id_worker(other + 1, "b", LONG).await.unwrap(), "never leased");
    leases.release_id_worker(number, "b").await.unwrap();
    assert!(leases.renew_id_worker(number, "a", LONG).await.unwrap(), "b gave nothing back");
}

pub async fn what_is_given_back_or_expired_is_used_again_last(open: Open<'_>) {
    let leases = open().id_leases;
    let early = leases.lease_id_worker("early", LONG).await.unwrap().unwrap();
    leases.release_id_worker(early, "early").await.unwrap();
    assert!(!leases.renew_id_worker(early, "early", LONG).await.unwrap());
    let short = leases.lease_id_worker("short", SHORT).await.unwrap().unwrap();
    assert_ne!(short, early, "numbers that were never used come first");
    for n in 2..ID_WORKERS {
        leases.lease_id_worker(&format!("node{n}"), LONG).await.unwrap().unwrap();
    }
    assert_eq!(leases.lease_id_worker("next", LONG).await.unwrap(), Some(early));
    // The one that expires is all that is left.
    let last = loop {
        if let Some(last) = leases.lease_id_worker("last", LONG).await.unwrap() {
            break last;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(last, short);
    assert!(!leases.renew_id_worker(short, "short", LONG).await.unwrap());
    assert_eq!(leases.lease_id_worker("short", LONG).await.unwrap(), None, "all are taken");
}

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(30);
