//! Users whose earlier tokens are void. Bounded: when the list is full the oldest entry gives way
//! and its time becomes a floor for all users. That refuses good tokens, never accepts a revoked
//! one.

use ahash::AHashMap;
use sterna_proto::UserId;

/// Most users in the list.
pub(super) const REVOCATIONS: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Revocations {
    before_ms: AHashMap<UserId, u64>,
    /// Tokens of anybody issued before this time are void.
    floor_ms: u64,
}

impl Revocations {
    /// A later time for the same user wins; an earlier one changes nothing.
    pub(super) fn add(&mut self, user: UserId, before_ms: u64) {
        let entry = self.before_ms.entry(user).or_default();
        *entry = before_ms.max(*entry);
        if self.before_ms.len() > REVOCATIONS {
            self.evict();
        }
        metrics::gauge!("sterna_edge_revocations_held").set(self.before_ms.len() as f64);
    }

    /// Whether a token of `user` issued at this time is void. One that does not say when it was
    /// issued is void as soon as there is anything to compare it with.
    pub(super) fn covers(&self, user: &UserId, issued_ms: Option<u64>) -> bool {
        let before_ms = self.before_ms.get(user).copied().unwrap_or(0).max(self.floor_ms);
        before_ms > 0 && issued_ms.is_none_or(|issued_ms| issued_ms < before_ms)
    }

    fn evict(&mut self) {
        let oldest = self.before_ms.iter().min_by_key(|(_, before_ms)| **before_ms);
        let Some((user, floor_ms)) = oldest.map(|(user, at)| (user.clone(), *at)) else { return };
        self.before_ms.remove(&user);
        self.floor_ms = floor_ms.max(self.floor_ms);
        metrics::counter!("sterna_edge_revocations_evicted_total").increment(1);
        tracing::warn!(floor_ms, "revocation list full: all tokens issued earlier are now void");
    }
}
