//! Wakes the one task that waits on its own thread: a flag and a waker, no lock and no atomic
//! operation. A delivery to a thousand sessions wakes a thousand of these.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// Remembers one notification, whether or not somebody waits. For one waiter.
#[derive(Default)]
pub(super) struct Wake {
    notified: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Wake {
    pub(super) fn notify(&self) {
        if !self.notified.replace(true)
            && let Some(waiter) = &*self.waiter.borrow()
        {
            waiter.wake_by_ref();
        }
    }

    /// Waits for a notification and takes it. Cancel-safe.
    pub(super) async fn notified(&self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.notified.replace(false) {
            return Poll::Ready(());
        }
        let mut waiter = self.waiter.borrow_mut();
        match &mut *waiter {
            Some(waiter) => waiter.clone_from(cx.waker()),
            None => *waiter = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wake").field("notified", &self.notified).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[tokio::test(flavor = "current_thread")]
    async fn a_notification_is_kept_until_somebody_waits_and_taken_once() {
        let wake = Wake::default();
        wake.notify();
        wake.notify();
        wake.notified().await;
        let mut again = Box::pin(wake.notified());
        assert!(futures_util::poll!(&mut again).is_pending());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_waits_is_woken_also_after_a_wait_that_was_given_up() {
        let wake = Rc::new(Wake::default());
        drop(Box::pin(wake.notified()));
        let local = tokio::task::LocalSet::new();
        let waits = wake.clone();
        let waiter = local.spawn_local(async move { waits.notified().await });
        local
            .run_until(async {
                tokio::task::yield_now().await;
                wake.notify();
                waiter.await.unwrap();
            })
            .await;
    }
}
