//! What seldom happens to a connection has a waker of its own, so that a delivery, which mostly is what
//! wakes the task, does not ask after all of it. Bytes of the client on a WebSocket, the timer and the
//! end of the edge are such.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use futures_util::task::AtomicWaker;

/// The waker, and whether it was used.
pub(crate) struct Aside {
    marks: Arc<Marks>,
    waker: Waker,
}

struct Marks {
    marked: AtomicBool,
    task: AtomicWaker,
}

impl Aside {
    pub(crate) fn new() -> Self {
        let marks = Arc::new(Marks { marked: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { waker: Waker::from(marks.clone()), marks }
    }

    /// It is to be looked at when the task is polled next.
    pub(crate) fn mark(&self) {
        self.marks.marked.store(true, Ordering::Relaxed);
    }

    /// To poll it with.
    pub(crate) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }

    /// Whether it is to be looked at now. Whatever wakes it from now on wakes the task.
    pub(crate) fn take(&self, cx: &Context<'_>) -> bool {
        self.marks.task.register(cx.waker());
        // Mostly not: a load is cheaper.
        self.marks.marked.load(Ordering::Relaxed)
            && self.marks.marked.swap(false, Ordering::Acquire)
    }
}

impl Wake for Marks {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.marked.store(true, Ordering::Release);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn what_happens_aside_wakes_the_task_and_is_looked_at_once() {
        let aside = Aside::new();
        let mut looks = 0;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut sender = Some(sender);
        let mut receiver = pin!(receiver);
        let mut polls = 0;
        let received = poll_fn(|cx| {
            polls += 1;
            if aside.take(cx) {
                looks += 1;
                if let Poll::Ready(value) = receiver.as_mut().poll(&mut aside.context()) {
                    return Poll::Ready(value.unwrap());
                }
            }
            match polls {
                // Woken by something else.
                1 | 2 => cx.waker().wake_by_ref(),
                // Nothing but the waker aside is left to wake it.
                3 => sender.take().unwrap().send(7).unwrap(),
                _ => {}
            }
            Poll::Pending
        });
        assert_eq!(received.await, 7);
        assert_eq!((looks, polls), (2, 4), "at first, and when there was something");
    }
}
