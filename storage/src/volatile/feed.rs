//! What an engine has heard of routes and a subscriber has not read yet: bounded, because instead
//! of many changes one may say that they were lost.

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;

use super::{Partition, RouteChange, RouteEvent};

/// Changes that wait for one subscriber; one more turns all of them into `Lost`.
pub const CHANGES_HELD: usize = 4096;

/// Both ends of it; clones share it. Losses are read before changes, which came later.
#[derive(Debug, Clone, Default)]
pub struct RouteFeed {
    inner: Arc<Mutex<Inner>>,
}

impl RouteFeed {
    pub fn push_change(&self, change: RouteChange) {
        let mut inner = self.lock();
        inner.changes.push_back(change);
        if inner.changes.len() > CHANGES_HELD {
            let given_up = std::mem::take(&mut inner.changes);
            inner.lost.extend(given_up.into_iter().map(|change| change.partition));
        }
        inner.wake();
    }

    /// Changes of these partitions that wait are forgotten, too.
    pub fn push_lost(&self, partitions: impl IntoIterator<Item = Partition>) {
        let mut inner = self.lock();
        inner.lost.extend(partitions);
        let Inner { changes, lost, .. } = &mut *inner;
        changes.retain(|change| !lost.contains(&change.partition));
        inner.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics half-way through a change of it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_read_by_nobody(&self) -> bool {
        Arc::strong_count(&self.inner) == 1
    }
}

impl Stream for RouteFeed {
    type Item = RouteEvent;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<RouteEvent>> {
        let mut inner = self.lock();
        if let Some(partition) = inner.lost.pop_first() {
            return Poll::Ready(Some(RouteEvent::Lost(partition)));
        }
        if let Some(change) = inner.changes.pop_front() {
            return Poll::Ready(Some(RouteEvent::Changed(change)));
        }
        inner.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[derive(Debug, Default)]
struct Inner {
    changes: VecDeque<RouteChange>,
    lost: BTreeSet<Partition>,
    waker: Option<Waker>,
}

impl Inner {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _};
    use sterna_proto::ChannelKey;

    use super::*;

    #[test]
    fn a_full_feed_says_what_was_lost_instead() {
        let feed = RouteFeed::default();
        (0..=CHANGES_HELD as u64).for_each(|pv| feed.push_change(change(pv)));
        feed.push_change(change(7));
        let read = read_all(feed);
        let mut expected = vec![RouteEvent::Lost(Partition(0)), RouteEvent::Lost(Partition(1))];
        expected.push(RouteEvent::Changed(change(7)));
        assert_eq!(read, expected);
    }

    #[test]
    fn a_loss_takes_the_changes_before_it() {
        let feed = RouteFeed::default();
        (0..4).for_each(|pv| feed.push_change(change(pv)));
        feed.push_lost([Partition(1)]);
        let expected = [
            RouteEvent::Lost(Partition(1)),
            RouteEvent::Changed(change(0)),
            RouteEvent::Changed(change(2)),
        ];
        assert_eq!(read_all(feed), expected);
    }

    fn read_all(mut feed: RouteFeed) -> Vec<RouteEvent> {
        std::iter::from_fn(|| feed.next().now_or_never().flatten()).collect()
    }

    fn change(pv: u64) -> RouteChange {
        let partition = Partition(u16::from(pv % 2 == 1));
        RouteChange { channel: ChannelKey([0; 16]), partition, v: pv, pv }
    }
}
