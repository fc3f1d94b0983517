//! The worker number under which a core issues publication ids: leased, so that nobody has to give
//! each core a number, and given up when it is lost. What keeps ids apart is not the lease but the
//! compared bound (I10, [`crate::id`]); the lease keeps cores from meeting there.

use std::sync::Arc;
use std::time::Duration;

use sterna_storage::{IdLeaseStore, StorageError, StorageErrorKind};
use tokio::time::MissedTickBehavior;

use crate::id::IdGenerator;
use crate::node::Node;
use crate::volatile::Volatile;

/// How long a number is leased for, and how often that is prolonged.
const LEASE: Duration = Duration::from_secs(30);
const RENEWAL: Duration = Duration::from_secs(5);

/// How long the store may take to take a number back.
const RELEASE: Duration = Duration::from_secs(1);

/// A worker number of the store.
#[derive(Debug)]
pub(crate) struct IdLease {
    store: Arc<dyn IdLeaseStore>,
    holder: String,
    pub(crate) worker: u16,
}

impl IdLease {
    /// Leases a number for a process.
    pub(crate) async fn take(
        store: Arc<dyn IdLeaseStore>,
        holder: String,
    ) -> Result<Self, StorageError> {
        let worker = lease(&*store, &holder).await?;
        Ok(Self { store, holder, worker })
    }

    /// Keeps the number until the node shuts down, and takes another one when it is lost.
    pub(crate) async fn keep(mut self, node: Node, ids: Arc<IdGenerator>) {
        let mut renewal = tokio::time::interval(RENEWAL);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = node.shutdown_started() => break,
                () = ids.became_useless() => {}
                _ = renewal.tick() => {}
            }
            compare_floor(&ids, node.volatile()).await;
            if let Err(error) = self.renew(&ids).await {
                tracing::warn!(%error, "the worker number of publication ids is not prolonged");
                // Ids go on as far as their bound reaches.
                tokio::time::sleep(RENEWAL / 5).await;
            }
        }
        let release = self.store.release_id_worker(self.worker, &self.holder);
        if !matches!(tokio::time::timeout(RELEASE, release).await, Ok(Ok(()))) {
            tracing::warn!("the store still has this node's worker number; its lease ends soon");
        }
    }

    async fn renew(&mut self, ids: &IdGenerator) -> Result<(), StorageError> {
        let held = self.store.renew_id_worker(self.worker, &self.holder, LEASE).await?;
        if held && !ids.is_useless() {
            return Ok(());
        }
        if held {
            // Held, and its ids are another's: not to be leased to this process again.
            self.store.release_id_worker(self.worker, &self.holder).await?;
        }
        self.worker = lease(&*self.store, &self.holder).await?;
        ids.continue_as(self.worker).await?;
        metrics::counter!("sterna_core_id_workers_lost_total").increment(1);
        tracing::warn!(worker = self.worker, "publication ids go on under another worker number");
        Ok(())
    }
}

/// The second guard, beside the durable bound: a time that others say this number has come to, and
/// that the bound does not know of, as when a store was put back from an older copy. Also after a
/// clock went back, since it is asked every few seconds.
pub(crate) async fn compare_floor(ids: &IdGenerator, volatile: &Volatile) {
    let (worker, bound_ms) = ids.bound();
    let Some(floor_ms) = volatile.raise_floor(worker, bound_ms).await else { return };
    if floor_ms > bound_ms && ids.skip_to(worker, floor_ms) {
        metrics::counter!("sterna_core_id_floors_raised_total").increment(1);
        tracing::warn!(
            worker,
            ahead_ms = floor_ms - bound_ms,
            "publication ids go on above what Redis remembers, which is more than the store does"
        );
    }
}

async fn lease(store: &dyn IdLeaseStore, holder: &str) -> Result<u16, StorageError> {
    store.lease_id_worker(holder, LEASE).await?.ok_or_else(|| {
        let message = "all worker numbers of publication ids are taken: more than 1,024 cores have \
                       started within half a minute";
        StorageError::new(StorageErrorKind::Unavailable, "ids", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use metrics_util::debugging::DebuggingRecorder;
    use sterna_storage::memory::MemoryStore;

    #[test]
    fn i10_a_number_that_another_generator_uses_is_given_up() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        metrics::with_local_recorder(&recorder, || {
            runtime.block_on(async {
                let stores = MemoryStore::new().stores();
                let mut lease =
                    IdLease::take(stores.id_leases.clone(), "c1/1".into()).await.unwrap();
                let other = IdLease::take(stores.id_leases.clone(), "c2/1".into()).await.unwrap();
                assert_ne!(lease.worker, other.worker);
                let start = |worker| {
                    IdGenerator::start(worker, Arc::new(SystemClock), stores.id_bound.clone())
                };
                let (first, ids) = (lease.worker, start(lease.worker).await.unwrap());
                lease.renew(&ids).await.unwrap();
                assert_eq!(lease.worker, first, "nothing has happened");
                // A process that was paused beyond its lease wakes up and goes on.
                let zombie = start(lease.worker).await.unwrap();
                zombie.raise(zombie.try_next().unwrap_err()).await.unwrap();
                ids.raise(ids.try_next().unwrap_err()).await.unwrap_err();
                ids.became_useless().await;
                lease.renew(&ids).await.unwrap();
                assert!(lease.worker != first && lease.worker != other.worker);
                ids.raise(ids.try_next().unwrap_err()).await.unwrap();
                assert_ne!(ids.try_next().unwrap(), zombie.try_next().unwrap());
            });
        });
        let counted = snapshotter.snapshot().into_vec();
        let name = "sterna_core_id_workers_lost_total";
        assert!(counted.iter().any(|(key, ..)| key.key().name() == name));
    }
}
