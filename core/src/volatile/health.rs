//! Whether the engine of what may be lost answers. While it does not, nobody waits for it: callers
//! go on without, at once, and one call in a while finds out when that is over.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sterna_storage::StorageError;
use tokio::time::Instant;

/// What a node can say of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolatileState {
    Answering,
    Silent { since: Duration, reason: String },
}

#[derive(Debug, Default)]
pub(super) struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Calls without an answer, in a row.
    failures: u32,
    silent: Option<(Instant, String)>,
}

impl Health {
    pub fn state(&self) -> VolatileState {
        match &self.lock().silent {
            None => VolatileState::Answering,
            Some((at, reason)) => {
                VolatileState::Silent { since: at.elapsed(), reason: reason.clone() }
            }
        }
    }

    pub fn is_silent(&self) -> bool {
        self.lock().silent.is_some()
    }

    /// The answer to a call that is made only while the engine answers. `None`: go on without; the
    /// engine counts its failures itself.
    pub async fn ask<T>(&self, call: impl Future<Output = Result<T, StorageError>>) -> Option<T> {
        if self.is_silent() {
            return None;
        }
        self.probe(call).await
    }

    /// The same, whatever is known of the engine.
    pub async fn probe<T>(&self, call: impl Future<Output = Result<T, StorageError>>) -> Option<T> {
        match call.await {
            Ok(answer) => {
                self.on_answer();
                Some(answer)
            }
            Err(error) => {
                self.on_failure(&error);
                None
            }
        }
    }

    fn on_answer(&self) {
        let mut state = self.lock();
        state.failures = 0;
        if let Some((at, _)) = state.silent.take() {
            metrics::gauge!("sterna_core_volatile_active").set(1.0);
            tracing::info!(after = ?at.elapsed(), "Redis answers again; what was lost is put again");
        }
    }

    fn on_failure(&self, error: &StorageError) {
        let mut state = self.lock();
        state.failures += 1;
        if state.failures < FAILURES || state.silent.is_some() {
            tracing::debug!(%error, "a call to Redis has failed");
            return;
        }
        state.silent = Some((Instant::now(), error.to_string()));
        metrics::gauge!("sterna_core_volatile_active").set(0.0);
        tracing::error!(
            %error,
            "Redis does not answer; the node goes on without it, and nothing that was acknowledged \
             depends on it"
        );
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of a Redis Cluster one server may be away: as long as others answer in between, all are asked.
const FAILURES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::ready;
    use sterna_storage::StorageErrorKind;

    fn failure() -> Result<(), StorageError> {
        Err(StorageError::new(StorageErrorKind::Unavailable, "test", "away"))
    }

    #[tokio::test]
    async fn i6_nobody_waits_for_an_engine_that_does_not_answer() {
        let health = Health::default();
        for _ in 0..FAILURES {
            assert_eq!(health.state(), VolatileState::Answering);
            assert_eq!(health.ask(ready(failure())).await, None);
        }
        assert!(matches!(health.state(), VolatileState::Silent { .. }));
        let never_polled = async { unreachable!("nobody asks") };
        assert_eq!(health.ask::<()>(never_polled).await, None);
        assert_eq!(health.probe(ready(Ok(7))).await, Some(7));
        assert_eq!(health.ask(ready(Ok(8))).await, Some(8));
    }

    #[tokio::test]
    async fn one_server_of_several_that_is_away_does_not_silence_all() {
        let health = Health::default();
        for _ in 0..10 {
            health.ask(ready(failure())).await;
            health.ask(ready(failure())).await;
            assert_eq!(health.ask(ready(Ok(()))).await, Some(()));
        }
        assert_eq!(health.state(), VolatileState::Answering);
    }
}
