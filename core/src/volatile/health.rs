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
    answered_at: Option<Instant>,
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

    /// No call was answered lately, perhaps because none was made: a node that has nothing to ask would
    /// believe for ever that it would be answered.
    pub fn is_quiet(&self) -> bool {
        self.lock().answered_at.is_none_or(|at| at.elapsed() >= QUIET)
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
        (state.failures, state.answered_at) = (0, Some(Instant::now()));
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

/// After so long without an answer the engine is asked something.
const QUIET: Duration = Duration::from_secs(2);

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

    #[tokio::test(start_paused = true)]
    async fn whoever_has_nothing_to_ask_asks_now_and_then_all_the_same() {
        let health = Health::default();
        assert!(health.is_quiet(), "nothing was asked yet");
        health.ask(ready(Ok(()))).await;
        assert!(!health.is_quiet());
        tokio::time::advance(QUIET).await;
        assert!(health.is_quiet());
        health.ask(ready(failure())).await;
        assert!(health.is_quiet(), "that was no answer");
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
