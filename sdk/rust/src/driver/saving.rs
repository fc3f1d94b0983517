//! Between the outbox and its store: what has changed is written one batch at a time by a task of
//! its own, for the store may block; what was saved is told to the session.

use tokio::task::{JoinError, JoinSet};

use super::Driver;
use crate::Error;
use crate::outbox_store::{OutboxChange, OutboxStore, OutboxStoreError};

/// The store, and the one write that is under way.
pub(super) struct Saving {
    /// `None` while it is being written to, and after its task has panicked.
    store: Option<Box<dyn OutboxStore>>,
    writes: JoinSet<Written>,
    /// The publications that the write under way is about.
    seqs: Vec<u64>,
}

/// A batch was written or not; the store comes back.
struct Written {
    store: Box<dyn OutboxStore>,
    outcome: Result<(), OutboxStoreError>,
}

impl Saving {
    /// Without a store there is nothing to save.
    pub(super) fn new(store: Option<Box<dyn OutboxStore>>) -> Self {
        Self { store, writes: JoinSet::new(), seqs: Vec::new() }
    }
}

impl Driver {
    /// Begins the next write, if there is something to write and none under way.
    pub(super) fn step_saving(&mut self) {
        let saving = &mut self.saving;
        let Some(mut store) = saving.store.take() else { return };
        let changes = self.shared.session().take_outbox_changes();
        if changes.is_empty() {
            saving.store = Some(store);
            return;
        }
        saving.seqs = changes.iter().filter_map(inserted).collect();
        saving.writes.spawn_blocking(move || {
            let outcome = store.write(&changes);
            Written { store, outcome }
        });
    }

    /// Waits for the write under way; for ever when there is none.
    pub(super) async fn written(saving: &mut Saving) -> Result<(), SaveError> {
        match saving.writes.join_next().await {
            Some(Ok(Written { store, outcome })) => {
                saving.store = Some(store);
                outcome.map_err(SaveError::Refused)
            }
            Some(Err(error)) => Err(SaveError::Panicked(error)),
            None => std::future::pending().await,
        }
    }

    pub(super) fn handle_written(&mut self, outcome: Result<(), SaveError>) {
        let seqs = std::mem::take(&mut self.saving.seqs);
        let lost = matches!(outcome, Err(SaveError::Panicked(_)));
        if let Err(error) = &outcome {
            tracing::error!(%error, publications = seqs.len(), "the outbox was not saved");
        }
        let outcome = outcome.map_err(|error| Error::OutboxStore(error.to_string()));
        self.shared.session().handle_saved(&seqs, outcome, lost);
    }

    /// At the end of the client: what was published is for the next process to send.
    pub(super) async fn save_the_rest(&mut self) {
        loop {
            self.step_saving();
            if self.saving.writes.is_empty() {
                return;
            }
            let outcome = Self::written(&mut self.saving).await;
            self.handle_written(outcome);
        }
    }
}

/// Why a batch is not in the store.
#[derive(Debug, thiserror::Error)]
pub(super) enum SaveError {
    #[error("{0}")]
    Refused(OutboxStoreError),
    #[error("the store has failed for good: {0}")]
    Panicked(JoinError),
}

fn inserted(change: &OutboxChange) -> Option<u64> {
    match change {
        OutboxChange::Insert(publish) => Some(publish.client_seq),
        OutboxChange::Attempted { .. } | OutboxChange::Remove { .. } => None,
    }
}
