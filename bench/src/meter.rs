//! Counts what all clients of one run see, and how long it took. One thread; shared by `Rc`.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::Notify;

/// What a payload begins with: when it was sent, in nanoseconds since the meter was made, as 16
/// hexadecimal digits. Text, so that peers that speak JSON carry it too.
pub const STAMP_BYTES: usize = 16;

#[derive(Debug)]
pub struct Meter {
    began: Instant,
    delivered: Cell<u64>,
    published: Cell<u64>,
    acked: Cell<u64>,
    refused: Cell<u64>,
    ended: Cell<u64>,
    last_refusal: RefCell<String>,
    /// Deliveries that somebody waits for.
    awaited: Cell<u64>,
    reached: Notify,
    delivery: RefCell<Histogram<u64>>,
    ack: RefCell<Histogram<u64>>,
}

/// What was counted so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub published: u64,
    pub acked: u64,
    pub delivered: u64,
    pub refused: u64,
    pub ended: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Self::since(Instant::now())
    }
}

impl Meter {
    /// Its times count from then, so that it understands the payloads of another meter.
    #[must_use]
    pub fn since(began: Instant) -> Self {
        Self {
            began,
            delivered: Cell::default(),
            published: Cell::default(),
            acked: Cell::default(),
            refused: Cell::default(),
            ended: Cell::default(),
            last_refusal: RefCell::default(),
            awaited: Cell::new(u64::MAX),
            reached: Notify::new(),
            delivery: RefCell::new(histogram()),
            ack: RefCell::new(histogram()),
        }
    }
}

/// Nanoseconds up to ten minutes, three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3)
        .unwrap_or_else(|_| unreachable!("these bounds are allowed"))
}

impl Meter {
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// A payload of `bytes` that knows when it was sent.
    #[must_use]
    pub fn payload(&self, bytes: usize) -> Vec<u8> {
        self.payload_due(Instant::now(), bytes)
    }

    /// The same when it was due at `due`, however late it is sent: what waits before it is sent
    /// counts as its delay.
    #[must_use]
    pub fn payload_due(&self, due: Instant, bytes: usize) -> Vec<u8> {
        let sent = due.saturating_duration_since(self.began).as_nanos() as u64;
        let mut payload = format!("{sent:016x}").into_bytes();
        payload.resize(bytes.max(STAMP_BYTES), b'x');
        payload
    }

    pub(crate) fn on_publish(&self) {
        self.published.set(self.published.get() + 1);
    }

    pub(crate) fn on_delivery(&self, payload: &[u8]) {
        let delivered = self.delivered.get() + 1;
        self.delivered.set(delivered);
        let now = self.began.elapsed().as_nanos() as u64;
        if let Some(sent) = stamp(payload) {
            self.delivery.borrow_mut().saturating_record(now.saturating_sub(sent));
        }
        if delivered >= self.awaited.get() {
            self.reached.notify_waiters();
        }
    }

    pub(crate) fn on_ack(&self, took: Option<Duration>) {
        self.acked.set(self.acked.get() + 1);
        if let Some(took) = took {
            self.ack.borrow_mut().saturating_record(took.as_nanos() as u64);
        }
    }

    pub(crate) fn on_refusal(&self, why: &str) {
        self.refused.set(self.refused.get() + 1);
        why.clone_into(&mut self.last_refusal.borrow_mut());
    }

    pub(crate) fn on_end(&self) {
        self.ended.set(self.ended.get() + 1);
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            published: self.published.get(),
            acked: self.acked.get(),
            delivered: self.delivered.get(),
            refused: self.refused.get(),
            ended: self.ended.get(),
        }
    }

    #[must_use]
    pub fn last_refusal(&self) -> String {
        self.last_refusal.borrow().clone()
    }

    /// Waits until so much was delivered in all. For one waiter.
    pub async fn delivered(&self, wanted: u64) {
        loop {
            let reached = self.reached.notified();
            if self.delivered.get() >= wanted {
                return;
            }
            self.awaited.set(wanted);
            reached.await;
        }
    }

    /// Takes the times of deliveries and of acknowledgements since the last call.
    pub fn take_times(&self) -> (Percentiles, Percentiles) {
        let take = |from: &RefCell<Histogram<u64>>| {
            let percentiles = Percentiles::of(&from.borrow());
            from.borrow_mut().reset();
            percentiles
        };
        (take(&self.delivery), take(&self.ack))
    }
}

fn stamp(payload: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(payload.get(..STAMP_BYTES)?).ok()?, 16).ok()
}

/// In microseconds.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Percentiles {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Percentiles {
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_knows_when_it_was_sent() {
        let meter = Meter::default();
        let payload = meter.payload(128);
        assert_eq!(payload.len(), 128);
        meter.on_delivery(&payload);
        meter.on_delivery(b"short");
        assert_eq!(meter.counts().delivered, 2);
        let (deliveries, _) = meter.take_times();
        assert_eq!(deliveries.count, 1);
        assert!(deliveries.max > 0.0 && deliveries.max < 60e6, "{deliveries:?}");
        assert_eq!(meter.take_times().0.count, 0);
    }

    #[tokio::test]
    async fn whoever_waits_for_deliveries_is_woken_by_the_last() {
        let meter = Meter::default();
        let deliver = async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
                meter.on_delivery(b"");
            }
        };
        tokio::join!(meter.delivered(3), deliver);
        assert_eq!(meter.counts().delivered, 3);
    }
}
