//! What a connection over plain HTTP has to say, until the answer that it is said in takes it. The
//! connection's task puts events in, the task that writes the answer takes them out; both are of one
//! worker.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};

use super::events::{SIGN_OF_LIFE, SIGN_OF_LIFE_EVERY};

/// The side of the connection. What it may put in is bounded by who asks [`bytes`](Self::bytes) first.
#[derive(Debug, Clone)]
pub(crate) struct Outlet(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Bytes>,
    bytes: usize,
    /// Nothing more comes.
    ended: bool,
    /// Nothing more is taken: the answer is whole, or its reader has gone.
    closed: bool,
    writing: Option<Waker>,
    flushing: Option<Waker>,
    receiving: Option<Waker>,
}

/// The body of the answer.
#[derive(Debug)]
pub(crate) struct EventBody {
    outlet: Outlet,
    spoke_at: Instant,
    silence: Pin<Box<Sleep>>,
}

/// Both ends.
pub(crate) fn outlet() -> (Outlet, EventBody) {
    let outlet = Outlet(Rc::default());
    let spoke_at = Instant::now();
    let silence = Box::pin(sleep_until(spoke_at + SIGN_OF_LIFE_EVERY));
    (outlet.clone(), EventBody { outlet, spoke_at, silence })
}

impl Outlet {
    pub(crate) fn put(&self, event: Bytes) {
        let mut state = self.0.borrow_mut();
        if state.closed || state.ended {
            return;
        }
        state.bytes += event.len();
        state.events.push_back(event);
        wake(&mut state.writing);
    }

    /// Forgets what nobody has taken.
    pub(crate) fn clear(&self) {
        let mut state = self.0.borrow_mut();
        state.events = VecDeque::new();
        state.bytes = 0;
    }

    /// The answer ends behind what was put in.
    pub(crate) fn end(&self) {
        let mut state = self.0.borrow_mut();
        state.ended = true;
        wake(&mut state.writing);
    }

    /// Bytes that were not taken.
    pub(crate) fn bytes(&self) -> usize {
        self.0.borrow().bytes
    }

    /// Completes when everything was taken; false: it will not be.
    pub(crate) fn poll_taken(&self, cx: &Context<'_>) -> Poll<bool> {
        let mut state = self.0.borrow_mut();
        if state.bytes == 0 {
            return Poll::Ready(true);
        }
        if state.closed {
            return Poll::Ready(false);
        }
        note(&mut state.flushing, cx);
        Poll::Pending
    }

    /// Completes when nothing more will be taken.
    pub(crate) fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.borrow_mut();
        if state.closed {
            return Poll::Ready(());
        }
        note(&mut state.receiving, cx);
        Poll::Pending
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let mut state = this.outlet.0.borrow_mut();
        if let Some(event) = state.events.pop_front() {
            state.bytes -= event.len();
            wake(&mut state.flushing);
            this.spoke_at = Instant::now();
            return Poll::Ready(Some(Ok(Frame::data(event))));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        note(&mut state.writing, cx);
        drop(state);
        while this.silence.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let due = this.spoke_at + SIGN_OF_LIFE_EVERY;
            if now >= due {
                this.spoke_at = now;
                this.silence.as_mut().reset(now + SIGN_OF_LIFE_EVERY);
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(SIGN_OF_LIFE)))));
            }
            // Something was said since it was set.
            this.silence.as_mut().reset(due);
        }
        Poll::Pending
    }
}

impl Drop for EventBody {
    fn drop(&mut self) {
        let mut state = self.outlet.0.borrow_mut();
        state.closed = true;
        wake(&mut state.flushing);
        wake(&mut state.receiving);
    }
}

fn note(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt as _;
    use http_body_util::BodyExt as _;
    use tokio::time::timeout;

    use super::*;

    async fn taken(body: &mut EventBody) -> Option<Bytes> {
        body.frame().await.map(|frame| frame.unwrap().into_data().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_put_in_comes_out_in_order_to_the_end() {
        let (outlet, mut body) = outlet();
        outlet.put(Bytes::from("a"));
        outlet.put(Bytes::from("bc"));
        assert_eq!(outlet.bytes(), 3);
        assert!(poll_fn(|cx| outlet.poll_taken(cx)).now_or_never().is_none());
        assert_eq!(taken(&mut body).await.unwrap(), "a");
        assert_eq!(taken(&mut body).await.unwrap(), "bc");
        assert!(poll_fn(|cx| outlet.poll_taken(cx)).await);
        assert!(body.frame().now_or_never().is_none());
        outlet.end();
        outlet.put(Bytes::from("late"));
        assert_eq!(taken(&mut body).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_filled_with_comments_and_nothing_else_is() {
        let (outlet, mut body) = outlet();
        let started = Instant::now();
        assert_eq!(taken(&mut body).await.unwrap(), SIGN_OF_LIFE);
        assert_eq!(started.elapsed(), SIGN_OF_LIFE_EVERY);
        assert!(timeout(SIGN_OF_LIFE_EVERY / 2, body.frame()).await.is_err());
        outlet.put(Bytes::from("a"));
        assert_eq!(taken(&mut body).await.unwrap(), "a");
        let spoke = Instant::now();
        assert_eq!(taken(&mut body).await.unwrap(), SIGN_OF_LIFE);
        assert_eq!(spoke.elapsed(), SIGN_OF_LIFE_EVERY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_has_gone_is_noticed_by_who_writes_and_by_who_receives() {
        let (outlet, body) = outlet();
        outlet.put(Bytes::from("a"));
        let mut flushed = Box::pin(poll_fn(|cx| outlet.poll_taken(cx)));
        let mut closed = Box::pin(poll_fn(|cx| outlet.poll_closed(cx)));
        assert!(flushed.as_mut().now_or_never().is_none());
        assert!(closed.as_mut().now_or_never().is_none());
        drop(body);
        assert!(!flushed.await);
        closed.await;
        outlet.clear();
        assert_eq!(outlet.bytes(), 0);
    }
}
