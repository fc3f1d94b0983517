//! Promises of shared rates.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{LONG, VolatilePlace, eventually};
use crate::volatile::{Rate, RateCounters, Taken};

pub async fn a_bucket_gives_its_limit_and_then_waits(place: &VolatilePlace) {
    let rates = &*place.stores.rates;
    let rate = Rate { limit: 5, window: LONG };
    for cost in [2, 0, 3] {
        assert_eq!(take(rates, b"one", cost, rate).await, Taken::Allowed);
    }
    match take(rates, b"one", 2, rate).await {
        Taken::Refused { retry_after } => {
            assert!(retry_after > Duration::ZERO && retry_after <= LONG * 2 / 5, "{retry_after:?}");
        }
        Taken::Allowed => panic!("the bucket is empty"),
    }
    assert_eq!(take(rates, b"two", 5, rate).await, Taken::Allowed);
    (place.forget)().await;
    assert_eq!(take(rates, b"one", 5, rate).await, Taken::Allowed);
}

pub async fn a_bucket_fills_again(place: &VolatilePlace) {
    let rates = &*place.stores.rates;
    let rate = Rate { limit: 2, window: Duration::from_millis(100) };
    for _ in 0..3 {
        eventually("a full bucket", || async {
            take(rates, b"one", 2, rate).await == Taken::Allowed
        })
        .await;
    }
}

pub async fn a_cost_above_the_limit_never_fits(place: &VolatilePlace) {
    let rates = &*place.stores.rates;
    let rate = Rate { limit: 3, window: LONG };
    let refused = Taken::Refused { retry_after: LONG };
    assert_eq!(take(rates, b"one", 4, rate).await, refused);
    assert_eq!(take(rates, b"one", u32::MAX, rate).await, refused);
    assert_eq!(take(rates, b"one", 3, rate).await, Taken::Allowed, "nothing was taken before");
    let one = Rate { limit: 0, window: Duration::ZERO };
    assert_eq!(take(rates, b"zero", 1, one).await, Taken::Allowed, "a limit is 1 at least");
    let ages = Rate { limit: 1, window: Duration::MAX };
    assert_eq!(take(rates, b"ages", 1, ages).await, Taken::Allowed);
    assert!(matches!(take(rates, b"ages", 1, ages).await, Taken::Refused { .. }));
}

pub async fn racing_takers_share_one_limit(place: &VolatilePlace) {
    let rate = Rate { limit: 50, window: LONG };
    let mut takers = JoinSet::new();
    for _ in 0..8 {
        let rates = place.stores.rates.clone();
        takers.spawn(async move {
            let mut allowed = 0;
            for _ in 0..16 {
                let taken = take(&*rates, b"one", 1, rate).await;
                allowed += usize::from(taken == Taken::Allowed);
            }
            allowed
        });
    }
    assert_eq!(takers.join_all().await.into_iter().sum::<usize>(), 50);
}

async fn take(rates: &dyn RateCounters, key: &'static [u8], cost: u32, rate: Rate) -> Taken {
    rates.take(Bytes::from_static(key), cost, rate).await.unwrap()
}
