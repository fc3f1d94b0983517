//! What one user may publish, on all nodes together. Each node counts by itself and decides at once;
//! what it has let through is told the others in lumps, and what they have let through comes back
//! as a refusal. So a user who is far from the limit costs nothing, one at the limit gets a lump
//! more on each node, and an engine that does not answer leaves each node its own limit.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use sterna_proto::UserId;
use sterna_storage::volatile::Taken;
use tokio::time::Instant;

use crate::config::Rate;
use crate::limit::TokenBucket;

/// Users whose rate is remembered. Full: all start afresh, which is counted.
pub const RATED_USERS: usize = 65_536;

/// A lump is this share of the burst.
const LUMPS: u32 = 16;

/// Lumps are told with the beat of the node's upkeep.
const TOLD_WITHIN: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct UserRates {
    rate: Rate,
    users: Mutex<HashMap<UserId, Used, RandomState>>,
}

#[derive(Debug)]
struct Used {
    bucket: TokenBucket,
    /// Publications that other nodes do not know of.
    untold: u32,
    /// Others have used up what there is. Holds until a lump fits again.
    refused_until: Option<Instant>,
}

impl UserRates {
    pub fn new(rate: Rate) -> Self {
        Self { rate, users: Mutex::default() }
    }

    /// The rate as an engine counts it.
    pub fn shared(&self) -> sterna_storage::volatile::Rate {
        let window = f64::from(self.rate.burst) / f64::from(self.rate.per_second.max(1));
        sterna_storage::volatile::Rate {
            limit: self.rate.burst,
            window: Duration::from_secs_f64(window.max(0.001)),
        }
    }

    pub fn try_take(&self, user: &UserId, now: Instant) -> Result<(), Duration> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= RATED_USERS && !users.contains_key(user) {
            metrics::counter!("sterna_core_user_rates_forgotten_total")
                .increment(users.len() as u64);
            users.clear();
        }
        if !users.contains_key(user) {
            let bucket = TokenBucket::new(self.rate, now);
            users.insert(user.clone(), Used { bucket, untold: 0, refused_until: None });
        }
        let Some(used) = users.get_mut(user) else { return Ok(()) };
        if let Some(until) = used.refused_until {
            return Err(until.saturating_duration_since(now).max(TOLD_WITHIN));
        }
        used.bucket.try_take(now)?;
        used.untold += 1;
        Ok(())
    }

    /// Lumps to be told, and how much each is.
    pub fn take_lumps(&self, now: Instant) -> Vec<(UserId, u32)> {
        let lump = (self.rate.burst / LUMPS).max(1);
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let full = users.iter_mut().filter(|(_, used)| match used.refused_until {
            Some(until) => until <= now,
            None => used.untold >= lump,
        });
        full.map(|(user, used)| (user.clone(), std::mem::take(&mut used.untold))).collect()
    }

    /// What became of a lump; `None`: nobody knows, and the user is not to suffer from that.
    pub fn on_told(&self, user: &UserId, cost: u32, taken: Option<Taken>, now: Instant) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(used) = users.get_mut(user) else { return };
        used.refused_until = None;
        if let Some(Taken::Refused { retry_after }) = taken {
            metrics::counter!("sterna_core_user_rates_refused_total").increment(1);
            used.refused_until = Some(now + retry_after);
            // It was published all the same, so it counts as soon as it fits.
            used.untold = (used.untold + cost).min(self.rate.burst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_util::debugging::DebuggingRecorder;

    fn user(n: usize) -> UserId {
        UserId::new(&format!("user{n}")).unwrap()
    }

    fn rates() -> UserRates {
        UserRates::new(Rate { per_second: 16, burst: 32 })
    }

    #[tokio::test(start_paused = true)]
    async fn lumps_are_told_and_a_refusal_holds_until_it_is_over() {
        let (rates, now) = (rates(), Instant::now());
        rates.try_take(&user(1), now).unwrap();
        assert_eq!(rates.take_lumps(now), [], "far from the limit");
        rates.try_take(&user(1), now).unwrap();
        assert_eq!(rates.take_lumps(now), [(user(1), 2)]);
        let second = Duration::from_secs(1);
        let recorder = DebuggingRecorder::new();
        metrics::with_local_recorder(&recorder, || {
            let refused = Some(Taken::Refused { retry_after: second });
            rates.on_told(&user(1), 2, refused, now);
        });
        assert_eq!(rates.try_take(&user(1), now), Err(second));
        rates.try_take(&user(2), now).unwrap();
        assert_eq!(rates.take_lumps(now), []);
        assert_eq!(rates.try_take(&user(1), now + second), Err(TOLD_WITHIN));
        assert_eq!(rates.take_lumps(now + second), [(user(1), 2)], "it counts when it fits");
        rates.on_told(&user(1), 2, None, now + second);
        rates.try_take(&user(1), now + second).unwrap();
        let name = "sterna_core_user_rates_refused_total";
        let told = recorder.snapshotter().snapshot().into_vec();
        assert!(told.iter().any(|(key, ..)| key.key().name() == name));
    }

    #[tokio::test(start_paused = true)]
    async fn i12_one_user_too_many_starts_all_rates_afresh() {
        let rates = UserRates::new(Rate { per_second: 1, burst: 1 });
        let (now, recorder) = (Instant::now(), DebuggingRecorder::new());
        metrics::with_local_recorder(&recorder, || {
            (0..RATED_USERS).for_each(|n| rates.try_take(&user(n), now).unwrap());
            rates.try_take(&user(0), now).unwrap_err();
            rates.try_take(&user(RATED_USERS), now).unwrap();
            rates.try_take(&user(0), now).unwrap();
        });
        let name = "sterna_core_user_rates_forgotten_total";
        let told = recorder.snapshotter().snapshot().into_vec();
        assert!(told.iter().any(|(key, ..)| key.key().name() == name));
    }
}
