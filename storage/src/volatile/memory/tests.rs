//! The volatile roles in memory keep every promise, and bounds that only they need.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::*;
use crate::conformance::volatile::VolatilePlace;
use crate::volatile::{Rate, RateCounters as _, Taken};

crate::volatile_conformance_suite! { place() }

#[tokio::test]
async fn what_is_over_makes_room() {
    let ms = Arc::new(AtomicU64::new(0));
    let clock = ms.clone();
    let memory = MemoryVolatile::with_clock(Partitions::new(4), move || {
        Duration::from_millis(clock.load(Ordering::Relaxed))
    });
    let rate = Rate { limit: 1, window: Duration::from_millis(10) };
    for n in 0..10 * FIRST_LOOK {
        ms.store(n as u64, Ordering::Relaxed);
        let taken = memory.take(Bytes::from(n.to_string()), 1, rate).await.unwrap();
        assert_eq!(taken, Taken::Allowed);
        let held = memory.content().buckets.map.len();
        assert!(held <= FIRST_LOOK, "{held} buckets are held, of which 10 are not full");
    }
}

fn place() -> VolatilePlace {
    let memory = MemoryVolatile::new(Partitions::new(16));
    let stores = memory.stores();
    let forget = move || {
        memory.forget();
        ready(()).boxed()
    };
    VolatilePlace { stores, forget: Box::new(forget) }
}
