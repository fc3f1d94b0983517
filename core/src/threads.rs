//! Threads that serve: each has a runtime of its own, and on it the sessions of one edge worker beside
//! some of the node's shards. A publication between two of one thread never waits for another one, and
//! what is ready on it takes turns of one poll, where threads on one processor take turns of milliseconds.
//! What has nothing to do with these (HTTP, links, passes over the archive, upkeep) stays on the runtime
//! of the process.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use crate::tasks::Tasks;

/// A fixed number of threads. Cheap to clone. They end with [`end`](Self::end), or when nobody has them
/// any more; so what runs on them must not.
#[derive(Debug, Clone)]
pub struct Threads {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    threads: Vec<Thread>,
    ending: CancellationToken,
}

#[derive(Debug)]
struct Thread {
    runtime: Handle,
    work: mpsc::Sender<Begin>,
    /// Taken by whoever waits for its end.
    join: Mutex<Option<JoinHandle<()>>>,
}

/// Starts a local task, on the thread that is to run it.
type Begin = Box<dyn FnOnce(&Tasks) + Send>;

/// Tasks that wait for a thread to begin them.
const BEGINNINGS: usize = 16;

/// What was begun on a thread that ends has so long to come to its own end, and so has what the thread
/// has others do for it, such as reading a file.
const LINGER: Duration = Duration::from_secs(1);

impl Threads {
    /// `count`: at least one, or nothing can run on them.
    pub fn start(count: usize) -> io::Result<Self> {
        let ending = CancellationToken::new();
        // Those that have begun end if another one cannot.
        let guard = ending.clone().drop_guard();
        let threads = (0..count).map(|index| Thread::start(index, ending.clone()));
        let threads = threads.collect::<io::Result<Vec<Thread>>>()?;
        Ok(Self { inner: Arc::new(Inner { threads, ending: guard.disarm() }) })
    }

    pub fn len(&self) -> usize {
        self.inner.threads.len()
    }

    pub fn is_empty(&self) -> bool {
        self.inner.threads.is_empty()
    }

    /// Begins there what must not leave its thread, from its first step to its last. What comes of it
    /// can be waited for; an error: it has panicked, or the thread ended first, or there is none.
    pub async fn begin<T, F>(
        &self,
        index: usize,
        name: &'static str,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> oneshot::Receiver<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let (done, outcome) = oneshot::channel();
        let begin: Begin = Box::new(move |tasks| {
            tasks.spawn_local(name, async move {
                // Whoever has asked may have gone.
                let _ = done.send(make().await);
            });
        });
        if let Some(thread) = self.inner.threads.get(index) {
            // Refused, it is dropped, which is what the other end hears.
            let _ = thread.work.send(begin).await;
        }
        outcome
    }

    /// Where shard `index` runs; shards are spread evenly. `None`: there is no thread.
    pub(crate) fn runtime(&self, index: usize) -> Option<&Handle> {
        let threads = &self.inner.threads;
        threads.get(index.checked_rem(threads.len())?).map(|thread| &thread.runtime)
    }

    /// Waits a while for what was begun there, then ends what is still on them, and joins them. False:
    /// one had not ended at the deadline.
    pub async fn end(&self, deadline: Duration) -> bool {
        self.inner.ending.cancel();
        let taken =
            |thread: &Thread| thread.join.lock().unwrap_or_else(PoisonError::into_inner).take();
        let threads: Vec<_> = self.inner.threads.iter().filter_map(taken).collect();
        let joined = tokio::task::spawn_blocking(move || {
            threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count() == 0
        });
        matches!(tokio::time::timeout(deadline, joined).await, Ok(Ok(true)))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

impl Thread {
    fn start(index: usize, ending: CancellationToken) -> io::Result<Self> {
        let (work, beginnings) = mpsc::channel(BEGINNINGS);
        // The runtime is made where it ends: it must not end where the caller is, in another runtime.
        let (started, start) = std::sync::mpsc::sync_channel(1);
        let join =
            std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                let made = Builder::new_current_thread().enable_all().build();
                let handle = made.as_ref().map(|runtime| runtime.handle().clone());
                let told = started
                    .send(handle.map_err(|error| io::Error::new(error.kind(), error.to_string())));
                if let (Ok(runtime), Ok(())) = (made, told) {
                    LocalSet::new().block_on(&runtime, serve(beginnings, ending));
                    runtime.shutdown_timeout(LINGER);
                }
            })?;
        let runtime = start.recv().map_err(|_| io::Error::other("the thread ended at once"))??;
        Ok(Self { runtime, work, join: Mutex::new(Some(join)) })
    }
}

async fn serve(mut beginnings: mpsc::Receiver<Begin>, ending: CancellationToken) {
    let tasks = Tasks::new();
    loop {
        tokio::select! {
            // What was handed over before the end is begun, and has its time to end.
            biased;
            Some(begin) = beginnings.recv() => begin(&tasks),
            () = ending.cancelled() => break,
        }
    }
    // What has not ended then is dropped.
    tasks.shutdown(LINGER).await;
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn name() -> String {
        std::thread::current().name().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn what_runs_on_a_thread_begins_and_ends_there() {
        let threads = Threads::start(2).unwrap();
        for index in [0, 1] {
            let work = || async {
                let local = Rc::new(name());
                tokio::task::yield_now().await;
                ((*local).clone(), name())
            };
            let expected = format!("worker-{index}");
            let ran = threads.begin(index, "local", work).await.await;
            assert_eq!(ran, Ok((expected.clone(), expected)));
        }
        assert!(threads.begin(2, "nowhere", || async {}).await.await.is_err());
        assert!(threads.end(DEADLINE).await);
        assert!(threads.begin(0, "too late", || async {}).await.await.is_err());
    }

    #[tokio::test]
    async fn a_panic_takes_neither_the_thread_nor_its_other_tasks() {
        let threads = Threads::start(1).unwrap();
        let panics = || async { assert!(name().is_empty(), "on purpose") };
        assert!(threads.begin(0, "panics", panics).await.await.is_err());
        assert_eq!(threads.begin(0, "goes on", || async { 7 }).await.await, Ok(7));
        assert!(threads.end(DEADLINE).await);
    }

    #[tokio::test]
    async fn shards_are_spread_and_run_beside_local_tasks() {
        let threads = Threads::start(3).unwrap();
        let tasks = Tasks::new();
        let (say, mut said) = mpsc::channel(8);
        for index in 0..6 {
            let (say, runtime) = (say.clone(), threads.runtime(index).unwrap());
            let shard = async move { say.send((index, name())).await.unwrap() };
            tasks.spawn_on("shard", shard, runtime);
        }
        drop(say);
        let mut homes = Vec::new();
        while let Some(home) = said.recv().await {
            homes.push(home);
        }
        homes.sort();
        let expected: Vec<_> =
            (0..6).map(|index| (index, format!("worker-{}", index % 3))).collect();
        assert_eq!(homes, expected);
        assert!(Threads::start(0).unwrap().runtime(0).is_none());
    }

    #[tokio::test]
    async fn threads_that_nobody_has_any_more_end_what_was_begun_and_then_themselves() {
        let threads = Threads::start(1).unwrap();
        let (go_on, word) = oneshot::channel::<()>();
        let begun = threads.begin(0, "ends in its own time", || word).await;
        let (held, thread_ended) = oneshot::channel::<()>();
        let shard = async move {
            let _held = held;
            std::future::pending::<()>().await;
        };
        Tasks::new().spawn_on("never ends", shard, threads.runtime(0).unwrap());
        drop(threads);
        go_on.send(()).unwrap();
        assert_eq!(begun.await, Ok(Ok(())));
        assert!(tokio::time::timeout(DEADLINE, thread_ended).await.unwrap().is_err());
    }
}
