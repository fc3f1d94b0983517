//! Where newcomers wait while a worker is busy. The costly step of a handshake begins for one of them
//! at a time, and between two everything else that is ready on the worker has its turn: who is in
//! hardly feels who comes, and newcomers have all the time that is left. With nobody in front they pass
//! without waiting.
//!
//! They go in their order while that is a matter of [`IN_ORDER`]. When more come than there is time for,
//! as when a crowd reconnects, all would wait until their patience ends, and all work on them would be
//! for nothing: who has waited for longer goes after all others, the newest first.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use metrics::{Histogram, histogram};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::Instant;

/// How long newcomers wait in their order: what a burst takes that the worker has time for, and less
/// than anybody's patience.
const IN_ORDER: Duration = Duration::from_millis(500);

/// When somebody came, and a number that tells apart who came at one time.
type Place = (Instant, u64);

/// The turnstile of one worker. Who waits is bounded by those who let them come this far: the
/// listeners' bounds on handshakes in progress.
#[derive(Debug)]
pub(crate) struct Turnstile {
    state: RefCell<State>,
    /// Somebody has passed, so that the next one has to wait for a turn of the others.
    passed: Notify,
    /// Of those, too, who gave up.
    waits: Histogram,
}

#[derive(Debug, Default)]
struct State {
    /// Nobody passes before all others had their turn.
    closed: bool,
    waiting: BTreeMap<Place, Waker>,
    arrivals: u64,
}

impl Turnstile {
    pub(crate) fn new() -> Self {
        Self {
            state: RefCell::default(),
            passed: Notify::new(),
            waits: histogram!("sterna_edge_turnstile_seconds"),
        }
    }

    /// Completes when the caller may go on. It may give up at any time.
    pub(crate) async fn pass(&self) {
        Passing { turnstile: self, since: Instant::now(), place: None }.await;
    }

    /// Lets those through who wait. To be run as one local task of the worker, which it never ends.
    pub(crate) async fn run(&self) {
        loop {
            self.passed.notified().await;
            loop {
                // Comes back behind all that is ready, and behind what the kernel has for us.
                yield_now().await;
                if !self.let_one_through() {
                    break;
                }
            }
        }
    }

    /// False: nobody waits, and the next one finds it open.
    fn let_one_through(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let next = state.take_next(Instant::now());
        state.closed = next.is_some();
        if let Some(waker) = &next {
            waker.wake_by_ref();
        }
        next.is_some()
    }
}

impl State {
    fn take_next(&mut self, now: Instant) -> Option<Waker> {
        let in_order = now.checked_sub(IN_ORDER).map(|since| (since, 0));
        let oldest = in_order.and_then(|since| self.waiting.range(since..).next());
        match oldest.map(|(place, _)| *place) {
            Some(place) => self.waiting.remove(&place),
            None => self.waiting.pop_last().map(|(_, waker)| waker),
        }
    }
}

/// One who wants through.
struct Passing<'a> {
    turnstile: &'a Turnstile,
    since: Instant,
    /// If it has to wait.
    place: Option<Place>,
}

impl Future for Passing<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.turnstile.state.borrow_mut();
        match self.place {
            None if state.closed => {
                let place = (self.since, state.arrivals);
                state.arrivals += 1;
                state.waiting.insert(place, cx.waker().clone());
                drop(state);
                self.place = Some(place);
                Poll::Pending
            }
            None => {
                state.closed = true;
                self.turnstile.passed.notify_one();
                Poll::Ready(())
            }
            Some(place) => match state.waiting.get_mut(&place) {
                Some(waker) => {
                    waker.clone_from(cx.waker());
                    Poll::Pending
                }
                None => Poll::Ready(()),
            },
        }
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        self.turnstile.waits.record(self.since.elapsed());
        if let Some(place) = self.place {
            self.turnstile.state.borrow_mut().waiting.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::rc::Rc;

    use futures_util::FutureExt as _;
    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    /// What happens on a worker, in its order.
    type Story = Rc<RefCell<Vec<String>>>;

    async fn on_a_worker(work: impl Future<Output = ()>) {
        LocalSet::new().run_until(work).await;
    }

    fn started() -> Rc<Turnstile> {
        let turnstile = Rc::new(Turnstile::new());
        let running = turnstile.clone();
        spawn_local(async move { running.run().await });
        turnstile
    }

    fn newcomer(turnstile: &Rc<Turnstile>, story: &Story, name: usize) {
        let (turnstile, story) = (turnstile.clone(), story.clone());
        spawn_local(async move {
            turnstile.pass().await;
            story.borrow_mut().push(format!("newcomer {name}"));
        });
    }

    /// As with bytes that have come already.
    async fn ready_again() {
        let mut was_polled = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut was_polled, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    #[tokio::test]
    async fn newcomers_go_in_order_and_everybody_who_is_in_has_a_turn_between_two() {
        on_a_worker(async {
            let (turnstile, story) = (started(), Story::default());
            let all_in = Rc::new(Cell::new(false));
            for name in 0..200 {
                let (story, all_in) = (story.clone(), all_in.clone());
                spawn_local(async move {
                    while !all_in.get() {
                        story.borrow_mut().push(format!("session {name}"));
                        ready_again().await;
                    }
                });
            }
            (0..5).for_each(|name| newcomer(&turnstile, &story, name));
            let newcomers = |story: &Story| -> Vec<String> {
                let of_newcomers = |said: &&String| said.starts_with("newcomer");
                story.borrow().iter().filter(of_newcomers).cloned().collect()
            };
            while newcomers(&story).len() < 5 {
                yield_now().await;
            }
            all_in.set(true);
            assert_eq!(newcomers(&story), [0, 1, 2, 3, 4].map(|name| format!("newcomer {name}")));
            let story = story.borrow();
            let turns = story.split(|said| said.starts_with("newcomer"));
            for turn in turns.skip(1).take(4) {
                let mut seen: Vec<&String> = turn.iter().collect();
                seen.sort();
                seen.dedup();
                assert_eq!(seen.len(), 200, "sessions that had a turn");
            }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_waited_for_long_goes_after_all_others_the_newest_first() {
        on_a_worker(async {
            let (turnstile, story) = (Rc::new(Turnstile::new()), Story::default());
            let came_at = [0, 0, 200, 400, 800, 900];
            let start = Instant::now();
            for (name, at) in came_at.into_iter().enumerate() {
                tokio::time::sleep_until(start + Duration::from_millis(at)).await;
                newcomer(&turnstile, &story, name);
                yield_now().await;
            }
            tokio::time::sleep_until(start + Duration::from_millis(901)).await;
            while turnstile.let_one_through() {
                yield_now().await;
            }
            let order = [0, 4, 5, 3, 2, 1].map(|name| format!("newcomer {name}"));
            assert_eq!(*story.borrow(), order, "the first finds it open; 3 has waited for 501 ms");
        })
        .await;
    }

    #[tokio::test]
    async fn who_gives_up_is_not_waited_for_and_leaves_nothing_behind() {
        on_a_worker(async {
            let turnstile = started();
            turnstile.pass().await;
            let mut stays = Box::pin(turnstile.pass());
            assert!(stays.as_mut().now_or_never().is_none());
            for _ in 0..1000 {
                assert!(turnstile.pass().now_or_never().is_none());
            }
            assert_eq!(turnstile.state.borrow().waiting.len(), 1);
            // Let through, and gone before it went: nobody else waits for longer than a turn.
            {
                let mut goes = pin!(turnstile.pass());
                assert!(goes.as_mut().now_or_never().is_none());
                assert!(stays.as_mut().now_or_never().is_none());
                let first = *turnstile.state.borrow().waiting.first_key_value().unwrap().0;
                assert!(turnstile.let_one_through());
                assert!(
                    !turnstile.state.borrow().waiting.contains_key(&first),
                    "the one who stays"
                );
            }
            assert_eq!(turnstile.state.borrow().waiting.len(), 0);
            drop(stays);
            while turnstile.state.borrow().closed {
                yield_now().await;
            }
            assert!(turnstile.pass().now_or_never().is_some());
        })
        .await;
    }

    #[tokio::test]
    async fn with_nobody_in_front_nobody_waits() {
        on_a_worker(async {
            let turnstile = started();
            for _ in 0..3 {
                assert!(turnstile.pass().now_or_never().is_some());
                while turnstile.state.borrow().closed {
                    yield_now().await;
                }
            }
        })
        .await;
    }
}
