//! Role: who holds which worker number, so that nodes that know nothing of each other make ids that
//! differ.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::StorageError;

/// Worker numbers are below this: an id has 10 bits for them.
pub const ID_WORKERS: u16 = 1024;

/// A number is leased for a time by the store's own clock. A holder that is paused beyond its lease
/// does not notice, and shares its number for a while; what keeps two holders from issuing one id
/// is the compare-and-set of the [bound](crate::IdBoundStore), never the lease (I10).
pub trait IdLeaseStore: Send + Sync + Debug + 'static {
    /// A number for this holder, `None` if all are taken. The one that the holder still holds, else
    /// a free one, the least recently used first.
    fn lease_id_worker<'a>(
        &'a self,
        holder: &'a str,
        lease: Duration,
    ) -> BoxFuture<'a, Result<Option<u16>, StorageError>>;

    /// Prolongs a lease. False when the holder does not hold the number any more: it has to stop
    /// issuing ids and to lease a number anew.
    fn renew_id_worker<'a>(
        &'a self,
        worker: u16,
        holder: &'a str,
        lease: Duration,
    ) -> BoxFuture<'a, Result<bool, StorageError>>;

    /// Gives a number back. Changes nothing if somebody else holds it.
    fn release_id_worker<'a>(
        &'a self,
        worker: u16,
        holder: &'a str,
    ) -> BoxFuture<'a, Result<(), StorageError>>;
}

/// A number that has been leased before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasedWorker {
    pub worker: u16,
    pub holder: String,
    /// By the store's clock. A lease that was given back ends when that happened.
    pub until_ms: u64,
}

/// What every engine decides: the number that a holder gets now, given all that were ever leased,
/// each once.
pub fn choose_id_worker(leased: &[LeasedWorker], holder: &str, now_ms: u64) -> Option<u16> {
    let held = leased.iter().find(|one| one.holder == holder && one.until_ms > now_ms);
    if let Some(held) = held {
        return Some(held.worker);
    }
    let mut used = vec![false; usize::from(ID_WORKERS)];
    for one in leased {
        if let Some(used) = used.get_mut(usize::from(one.worker)) {
            *used = true;
        }
    }
    let unused = (0..ID_WORKERS).zip(used).find(|(_, used)| !used).map(|(worker, _)| worker);
    unused.or_else(|| {
        let free = leased.iter().filter(|one| one.until_ms <= now_ms);
        free.min_by_key(|one| (one.until_ms, one.worker)).map(|one| one.worker)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_number_comes_first() {
        let leased = |worker, until_ms| LeasedWorker { worker, holder: "a".into(), until_ms };
        assert_eq!(choose_id_worker(&[], "b", 5), Some(0));
        assert_eq!(choose_id_worker(&[leased(0, 3), leased(1, 9)], "b", 5), Some(2), "never used");
        let mut all: Vec<LeasedWorker> = (0..ID_WORKERS).map(|n| leased(n, 100)).collect();
        assert_eq!(choose_id_worker(&all, "b", 99), None);
        assert_eq!(choose_id_worker(&all, "a", 99), Some(0), "its own");
        (all[700].until_ms, all[30].until_ms) = (8, 9);
        assert_eq!(choose_id_worker(&all, "b", 9), Some(700));
        assert_eq!(choose_id_worker(&all, "b", 8), Some(700), "a lease ends with its time");
        assert_eq!(choose_id_worker(&all, "b", 7), None);
    }
}
