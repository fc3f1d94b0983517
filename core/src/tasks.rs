//! Every task has an owner who waits for it.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// The tasks of one owner, and the signal that asks them to end. The one place that spawns.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    cancelled: CancellationToken,
}

impl Tasks {
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task on the current runtime. A panic is logged with the task's name and ends that
    /// task alone.
    #[allow(clippy::disallowed_methods)]
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(guarded(name, task));
    }

    /// Starts a task on another runtime.
    pub fn spawn_on<F>(&self, name: &'static str, task: F, runtime: &Handle)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn_on(guarded(name, task), runtime);
    }

    /// Starts a task that stays on this thread; the caller runs inside a `LocalSet`.
    pub fn spawn_local<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + 'static,
    {
        tokio::task::spawn_local(self.tracker.track_future(guarded(name, task)));
    }

    /// Asks all tasks to end.
    pub fn start_shutdown(&self) {
        self.tracker.close();
        self.cancelled.cancel();
    }

    /// Completes when [`start_shutdown`](Self::start_shutdown) was called.
    pub async fn shutdown_started(&self) {
        self.cancelled.cancelled().await;
    }

    pub fn is_shutting_down(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    /// Asks all tasks to end and waits for them. False: some had not ended at the deadline.
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        self.start_shutdown();
        tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok()
    }

    /// Tasks that have not ended.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }
}

/// The task, which ends with its first panic and takes nothing else with it.
fn guarded<F>(name: &'static str, task: F) -> impl Future<Output = ()>
where
    F: Future<Output = ()>,
{
    let span = tracing::debug_span!("task", name);
    // What a task shares with others is changed in calls that do not panic half-way, or is a lock
    // that says so.
    let caught = AssertUnwindSafe(task.instrument(span)).catch_unwind();
    caught.map(move |ended| {
        if let Err(panic) = ended {
            note_panic(name, &*panic);
        }
    })
}

/// A task without which the process is of little use: cancels `broken` when it panics, so that
/// somebody ends the process and a new one takes over.
pub async fn vital(broken: CancellationToken, task: impl Future<Output = ()>) {
    let alarm = broken.drop_guard();
    task.await;
    alarm.disarm();
}

/// Logs and counts a panic that was caught, with the name of what it ended.
pub fn note_panic(name: &'static str, panic: &(dyn Any + Send)) {
    metrics::counter!("sterna_core_task_panics_total").increment(1);
    let said = panic.downcast_ref::<&str>().copied();
    let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(task = name, panic = said.unwrap_or("of no text"), "task panicked");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_panic_of_a_vital_task_breaks_the_process() {
        let (tasks, broken) = (Tasks::new(), CancellationToken::new());
        tasks.spawn("vital", vital(broken.clone(), async {}));
        tasks.spawn("not vital", async { panic!("on purpose") });
        while !tasks.is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(!broken.is_cancelled());
        tasks.spawn("vital", vital(broken.clone(), async { panic!("on purpose") }));
        broken.cancelled().await;
        assert!(tasks.shutdown(Duration::from_secs(10)).await);
    }
}
