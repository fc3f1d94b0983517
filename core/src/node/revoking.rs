//! What a node does about revocations (I11): ends sessions, tells the others through the shared
//! [list](Revocations), and keeps it in the store, if it has one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use sterna_proto::UserId;
use sterna_storage::{RevocationStore, StorageError};

use crate::node::Node;
use crate::revocations::{REVOCATIONS, Revocation, Revocations};
use crate::worker::WorkerControl;

/// Pause before the store is asked again that did not keep a revocation.
const KEEP_AGAIN: Duration = Duration::from_secs(1);

/// Revocations of other nodes that are written side by side.
const KEPT_AT_ONCE: usize = 64;

impl Node {
    /// I11: voids the tokens of a user that were issued before a time, then ends the sessions that
    /// were made with them, here at once and at other nodes as soon as they hear of it: in this
    /// order, or one could come back in between.
    ///
    /// An error says that the store did not keep it. It holds all the same, until the last node that
    /// has heard of it ends.
    pub async fn revoke(&self, user: &UserId, before_ms: u64) -> Result<(), StorageError> {
        let revocation = Revocation { user: Some(user.clone()), before_ms };
        self.inner.revocations.add(revocation.clone());
        self.end_revoked(&revocation).await;
        let Some(store) = self.revocation_store() else { return Ok(()) };
        keep(&*store, revocation).await
    }

    /// Whose tokens are void.
    pub fn revocations(&self) -> &Arc<Revocations> {
        &self.inner.revocations
    }

    /// Takes over what the store has kept, before anybody is let in.
    pub(super) async fn recall_revocations(&self) -> Result<(), StorageError> {
        let Some(store) = self.revocation_store() else { return Ok(()) };
        // With one more than the list holds, what is beyond is behind its floor.
        let kept = store.revocations(REVOCATIONS + 1).await?;
        kept.into_iter().for_each(|revocation| self.inner.revocations.add(revocation));
        Ok(())
    }

    /// Ends what other nodes have revoked since a state of the list.
    pub(super) async fn follow_revocations(self, mut state: u64) {
        let mut news = self.inner.revocations.news();
        loop {
            let (revoked, reached) = self.inner.revocations.since(state, usize::MAX);
            state = reached;
            for revocation in revoked.iter().filter(|it| it.user.is_some()) {
                self.end_revoked(revocation).await;
            }
            tokio::select! {
                () = self.shutdown_started() => return,
                // The sender is this node's.
                _ = news.changed() => {}
            }
        }
    }

    /// Keeps what other nodes have revoked since a state of the list; edges have no store.
    pub(super) async fn keep_revocations(self, store: Arc<dyn RevocationStore>, mut state: u64) {
        let mut news = self.inner.revocations.news();
        loop {
            let (new, reached) = self.inner.revocations.since(state, KEPT_AT_ONCE);
            let (is_last, kept) = (new.is_empty(), new.into_iter());
            match try_join_all(kept.map(|one| keep(&*store, one))).await {
                Ok(_) if is_last => tokio::select! {
                    () = self.shutdown_started() => return,
                    _ = news.changed() => {}
                },
                Ok(_) => state = reached,
                Err(error) => {
                    tracing::warn!(%error, "a revocation is not kept yet");
                    tokio::select! {
                        () = self.shutdown_started() => return,
                        () = tokio::time::sleep(KEEP_AGAIN) => {}
                    }
                }
            }
        }
    }

    async fn end_revoked(&self, revocation: &Revocation) {
        for worker in self.controls() {
            // A worker that has ended has no sessions.
            let _ = worker.send(WorkerControl::Revoke(revocation.clone())).await;
        }
    }

    pub(super) fn revocation_store(&self) -> Option<Arc<dyn RevocationStore>> {
        let own = self.inner.channels.as_ref()?;
        Some(own.context.stores.revocations.clone())
    }
}

async fn keep(store: &dyn RevocationStore, revocation: Revocation) -> Result<(), StorageError> {
    store.keep_revocation(revocation).await?;
    metrics::counter!("sterna_core_revocations_kept_total").increment(1);
    Ok(())
}
