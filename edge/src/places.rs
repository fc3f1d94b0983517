//! A bounded number of places for peers who have not shown yet that they mean it: TCP handshakes,
//! HTTP connections without a request. While all are taken and somebody else waits, whoever has had
//! a place for [`GRACE`] has to leave it, so that peers who only hold places cannot keep others out
//! for as long as their deadlines are.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};

/// Nobody has to leave earlier, however many wait: three round trips of a bad mobile path.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// All places. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    wanted: watch::Sender<bool>,
}

/// One of them, until dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    wanted: watch::Receiver<bool>,
    since: Instant,
}

impl Places {
    pub(crate) fn new(count: usize) -> Self {
        let free = Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self { free, wanted: watch::Sender::new(false) }
    }

    /// Waits for a place, which others may have to leave. For one caller at a time, who has somebody
    /// at the door: nobody leaves for nobody.
    pub(crate) async fn take(&self) -> Place {
        let permit = match self.free.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = Waiting::begin(&self.wanted);
                match self.free.clone().acquire_owned().await {
                    Ok(permit) => permit,
                    Err(_) => unreachable!("the semaphore is never closed"),
                }
            }
        };
        Place { _permit: permit, wanted: self.wanted.subscribe(), since: Instant::now() }
    }
}

impl Place {
    /// Whether somebody waits for it.
    pub(crate) fn is_wanted(&self) -> bool {
        *self.wanted.borrow()
    }

    /// Completes when it has to be left.
    pub(crate) async fn due(&mut self) {
        sleep_until(self.since + GRACE).await;
        if self.wanted.wait_for(|wanted| *wanted).await.is_err() {
            // Who gives places away has gone, so nobody waits.
            std::future::pending().await
        }
    }
}

/// Also ends when its caller gives up.
struct Waiting<'a>(&'a watch::Sender<bool>);

impl<'a> Waiting<'a> {
    fn begin(wanted: &'a watch::Sender<bool>) -> Self {
        wanted.send_replace(true);
        Self(wanted)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test(start_paused = true)]
    async fn who_has_had_a_place_for_a_while_leaves_it_to_who_waits() {
        let places = Places::new(1);
        let mut first = places.take().await;
        assert!(timeout(LONG, first.due()).await.is_err(), "nobody waits");
        let mut second = pin!(places.take());
        assert!(second.as_mut().now_or_never().is_none());
        assert!(first.is_wanted());
        assert!(first.due().now_or_never().is_some(), "it has had its time");
        drop(first);
        let mut second = second.await;
        assert!(!second.is_wanted());
        let mut third = pin!(places.take());
        assert!(third.as_mut().now_or_never().is_none());
        let before = Instant::now();
        second.due().await;
        assert_eq!(before.elapsed(), GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_leaves_for_who_has_given_up() {
        let places = Places::new(1);
        let mut first = places.take().await;
        assert!(timeout(GRACE / 2, places.take()).await.is_err());
        assert!(timeout(LONG, first.due()).await.is_err());
    }
}
