//! A publication log that fails on command, for tests of what stands on it. It decides nothing
//! itself: what is not scripted goes to the log behind it.

use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sterna_proto::{ChannelKey, Offset, Position};
use tokio::sync::watch;

use crate::{
    Append, AppendError, Head, LogLayer, NewRecord, PageLimit, PublicationLog, ReadError, Record,
    StorageError, StorageErrorKind,
};

mod rows;
mod script;
mod segments;

pub use rows::{FaultyArchived, FaultyManifest};
pub use script::Script;
pub use segments::FaultySegments;

/// When a scripted failure strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultPoint {
    /// Nothing is stored.
    BeforeAppend,
    /// The append took effect, and the caller does not hear of it: an unknown outcome.
    AfterAppend,
}

/// Wraps a log; share it by `Arc` between the test and the code under test.
#[derive(Debug)]
pub struct FaultyLog {
    inner: Arc<dyn PublicationLog>,
    faults: Mutex<Vec<Fault>>,
    /// Looks at heads that are still to fail.
    unreadable: AtomicUsize,
    gate: watch::Sender<Gate>,
    reads: watch::Sender<Gate>,
    read_faults: Mutex<Vec<StorageErrorKind>>,
}

impl FaultyLog {
    pub fn new(inner: Arc<dyn PublicationLog>) -> Self {
        let (faults, gate, reads, read_faults) = Default::default();
        Self { inner, faults, unreadable: AtomicUsize::new(0), gate, reads, read_faults }
    }

    /// The next `count` calls of `append` or `raise_epoch` fail; behind what was scripted before.
    pub fn fail_appends(&self, count: usize, point: FaultPoint, kind: StorageErrorKind) {
        self.faults().extend(std::iter::repeat_n(Fault { point, kind }, count));
    }

    /// The next `count` calls of `head` fail: what became of an append cannot be found out.
    pub fn fail_heads(&self, count: usize) {
        self.unreadable.store(count, Ordering::Relaxed);
    }

    /// From now on appends wait, and have no effect, until [`release_appends`](Self::release_appends).
    pub fn hold_appends(&self) {
        self.gate.send_modify(|gate| gate.held = true);
    }

    /// Lets those that wait and all later ones through.
    pub fn release_appends(&self) {
        self.gate.send_modify(|gate| gate.held = false);
    }

    /// How many calls of `append` and `raise_epoch` have been made, failed ones included.
    pub fn append_calls(&self) -> usize {
        self.gate.borrow().calls
    }

    /// How many of them wait to be released.
    pub fn appends_waiting(&self) -> usize {
        self.gate.borrow().waiting
    }

    /// Completes once that many calls have been made.
    pub async fn wait_for_append_calls(&self, count: usize) {
        self.wait_for(|gate| gate.calls >= count).await;
    }

    /// Completes once that many appends wait to be released.
    pub async fn wait_for_appends_waiting(&self, count: usize) {
        self.wait_for(|gate| gate.waiting >= count).await;
    }

    /// From now on reads of pages wait until [`release_reads`](Self::release_reads).
    pub fn hold_reads(&self) {
        self.reads.send_modify(|gate| gate.held = true);
    }

    /// Lets those that wait and all later ones through.
    pub fn release_reads(&self) {
        self.reads.send_modify(|gate| gate.held = false);
    }

    /// The next `count` reads of pages fail, once they are let through.
    pub fn fail_reads(&self, count: usize, kind: StorageErrorKind) {
        let mut faults = self.read_faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.extend(std::iter::repeat_n(kind, count));
    }

    /// How many reads of pages have been asked for, failed ones included.
    pub fn read_calls(&self) -> usize {
        self.reads.borrow().calls
    }

    /// How many of them wait to be released.
    pub fn reads_waiting(&self) -> usize {
        self.reads.borrow().waiting
    }

    /// Completes once that many reads wait to be released.
    pub async fn wait_for_reads_waiting(&self, count: usize) {
        wait_for(&self.reads, |gate| gate.waiting >= count).await;
    }

    async fn enter_read(&self) -> Result<(), StorageError> {
        self.reads.send_modify(|gate| gate.calls += 1);
        if self.reads.borrow().held {
            let _waiting = Waiting::new(&self.reads);
            wait_for(&self.reads, |gate| !gate.held).await;
        }
        let mut faults = self.read_faults.lock().unwrap_or_else(PoisonError::into_inner);
        match faults.pop() {
            Some(kind) => Err(StorageError::new(kind, "faulty", "a scripted failure")),
            None => Ok(()),
        }
    }

    /// Counts the call, waits at the gate and says which fault strikes. The fault is drawn at the
    /// call, so that the script follows the order of the calls.
    async fn enter(&self) -> Option<Fault> {
        let fault = {
            let mut faults = self.faults();
            if faults.is_empty() { None } else { Some(faults.remove(0)) }
        };
        self.gate.send_modify(|gate| gate.calls += 1);
        if self.gate.borrow().held {
            let _waiting = Waiting::new(&self.gate);
            self.wait_for(|gate| !gate.held).await;
        }
        fault
    }

    async fn wait_for(&self, condition: impl FnMut(&Gate) -> bool) {
        wait_for(&self.gate, condition).await;
    }

    fn faults(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
impl LogLayer for FaultyLog {
    fn behind(&self) -> &dyn PublicationLog {
        &*self.inner
    }

    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Vec<Result<Head, AppendError>>> {
        async move {
            let count = appends.len();
            let Some(fault) = self.enter().await else { return self.inner.append(appends).await };
            if fault.point == FaultPoint::AfterAppend {
                // A verdict that is not a success is passed on: nothing took effect there.
                let verdicts = self.inner.append(appends).await;
                return verdicts.into_iter().map(|verdict| verdict.and(fault.strike())).collect();
            }
            (0..count).map(|_| fault.strike()).collect()
        }
        .boxed()
    }

    fn head(&self, channel: ChannelKey) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        let less = |left: usize| left.checked_sub(1);
        if self.unreadable.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
            let error = StorageError::new(StorageErrorKind::Unavailable, "faulty", "as scripted");
            return std::future::ready(Err(error)).boxed();
        }
        self.inner.head(channel)
    }

    fn read(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        async move {
            self.enter_read().await?;
            self.inner.read(channel, after, limit).await
        }
        .boxed()
    }

    fn raise_epoch(
        &self,
        channel: ChannelKey,
        expected: Position,
        marker: NewRecord,
    ) -> BoxFuture<'_, Result<Head, AppendError>> {
        async move {
            let fault = self.enter().await;
            match fault {
                None => self.inner.raise_epoch(channel, expected, marker).await,
                Some(fault) if fault.point == FaultPoint::AfterAppend => {
                    self.inner.raise_epoch(channel, expected, marker).await.and(fault.strike())
                }
                Some(fault) => fault.strike(),
            }
        }
        .boxed()
    }
}

#[derive(Debug, Clone, Copy)]
struct Fault {
    point: FaultPoint,
    kind: StorageErrorKind,
}

impl Fault {
    fn strike(self) -> Result<Head, AppendError> {
        Err(StorageError::new(self.kind, "faulty", "a scripted failure").into())
    }
}

#[derive(Debug, Default)]
struct Gate {
    held: bool,
    calls: usize,
    waiting: usize,
}

async fn wait_for(gate: &watch::Sender<Gate>, condition: impl FnMut(&Gate) -> bool) {
    let mut gate = gate.subscribe();
    gate.wait_for(condition).await.unwrap_or_else(|_| unreachable!("the log owns the sender"));
}

/// Counts one call as waiting, also when its caller gives up.
struct Waiting<'a>(&'a watch::Sender<Gate>);

impl<'a> Waiting<'a> {
    fn new(gate: &'a watch::Sender<Gate>) -> Self {
        gate.send_modify(|gate| gate.waiting += 1);
        Self(gate)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|gate| gate.waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use sterna_proto::{ChannelId, ChannelKey, Offset, PublicationId, UserId};

    use super::{FaultPoint, FaultyLog};
    use crate::{
        Append, AppendError, MemoryStore, NewRecord, PublicationLog as _, StorageErrorKind,
    };

    #[tokio::test]
    async fn scripted_failures_strike_before_or_after_the_append() {
        let (log, channel) = faulty();
        log.fail_appends(1, FaultPoint::BeforeAppend, StorageErrorKind::Unavailable);
        log.fail_appends(1, FaultPoint::AfterAppend, StorageErrorKind::Unknown);
        for (kind, stored) in [(StorageErrorKind::Unavailable, 0), (StorageErrorKind::Unknown, 1)] {
            match log.append(vec![wish(channel)]).await.remove(0) {
                Err(AppendError::Storage(error)) => assert_eq!(error.kind, kind),
                other => panic!("scripted to fail: {other:?}"),
            }
            let head = log.head(channel).await.unwrap();
            assert_eq!(head.map_or(0, |head| head.position.offset.0), stored);
        }
        let verdict = log.append(vec![wish(channel)]).await.remove(0);
        assert!(matches!(verdict, Err(AppendError::Conflict { .. })), "{verdict:?}");
        assert_eq!(log.append_calls(), 3);
    }

    #[tokio::test]
    async fn held_appends_have_no_effect_until_released() {
        let (log, channel) = faulty();
        log.hold_appends();
        let mut append = pin!(log.append(vec![wish(channel)]));
        let mut context = Context::from_waker(Waker::noop());
        assert!(append.as_mut().poll(&mut context).is_pending());
        log.wait_for_appends_waiting(1).await;
        assert_eq!(log.head(channel).await.unwrap(), None);
        log.release_appends();
        assert!(matches!(append.as_mut().poll(&mut context), Poll::Ready(all) if all[0].is_ok()));
        assert_eq!(log.appends_waiting(), 0);
    }

    fn faulty() -> (FaultyLog, ChannelKey) {
        let channel = ChannelId::new("room").unwrap().key();
        (FaultyLog::new(Arc::new(MemoryStore::new())), channel)
    }

    fn wish(channel: ChannelKey) -> Append {
        let record = NewRecord {
            id: PublicationId(1),
            sender: UserId::new("alice").unwrap(),
            origin: None,
            client_msg_id: bytes::Bytes::new(),
            server_ts_ms: 1,
            client_ts_ms: 1,
            kind: 0,
            target_offset: Offset::ZERO,
            payload: bytes::Bytes::new(),
        };
        Append::new(channel, None, vec![record])
    }
}
