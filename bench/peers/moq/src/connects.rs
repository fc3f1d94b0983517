//! Sessions that come and go, a few at a time.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::clients::{Relay, Session};

/// Lets sessions come and go for a while: how many, and how long they took to get in.
pub(crate) async fn go_on(relay: &Relay, concurrent: u32, milliseconds: u64) -> Result<Value> {
    let began = Instant::now();
    let until = began + Duration::from_millis(milliseconds);
    let mut coming = JoinSet::new();
    for _ in 0..concurrent {
        let relay = relay.clone();
        coming.spawn_local(async move {
            let mut times = Histogram::<u64>::new(3)?;
            while Instant::now() < until {
                let began = Instant::now();
                let session = Session::listening(&relay).await?;
                times.saturating_record(began.elapsed().as_nanos() as u64);
                drop(session);
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Histogram::<u64>::new(3)?;
    while let Some(part) = coming.join_next().await {
        times.add(part??)?;
    }
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
    Ok(json!({
        "count": times.len(),
        "seconds": began.elapsed().as_secs_f64(),
        "connect_us": { "p50": at(0.5), "p99": at(0.99) },
    }))
}
