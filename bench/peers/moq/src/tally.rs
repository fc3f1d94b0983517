//! What all subscribers together have seen.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::timeout;

pub(crate) struct Tally {
    began: Instant,
    delivered: Cell<u64>,
    /// Deliveries that somebody waits for.
    awaited: Cell<u64>,
    reached: Notify,
    times: RefCell<Histogram<u64>>,
}

impl Tally {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            began: Instant::now(),
            delivered: Cell::new(0),
            awaited: Cell::new(u64::MAX),
            reached: Notify::new(),
            times: RefCell::new(Histogram::new_with_bounds(1, LONGEST_NS, 3)?),
        })
    }

    /// Text that knows when it was sent: nanoseconds as 16 hexadecimal digits, as in every payload of
    /// `sterna bench`.
    pub(crate) fn payload(&self, bytes: usize) -> Vec<u8> {
        let mut payload = format!("{:016x}", self.now()).into_bytes();
        payload.resize(bytes.max(STAMP_BYTES), b'x');
        payload
    }

    pub(crate) fn on_delivery(&self, payload: &[u8]) {
        let now = self.now();
        let stamp = payload.get(..STAMP_BYTES).and_then(|it| std::str::from_utf8(it).ok());
        if let Some(sent) = stamp.and_then(|text| u64::from_str_radix(text, 16).ok()) {
            self.times.borrow_mut().saturating_record(now.saturating_sub(sent));
        }
        self.delivered.set(self.delivered.get() + 1);
        if self.delivered.get() >= self.awaited.get() {
            self.reached.notify_waiters();
        }
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.get()
    }

    /// Waits until so much has come in all. `false`: it does not come, since for a while nothing has.
    pub(crate) async fn reaches(&self, wanted: u64) -> bool {
        loop {
            let reached = self.reached.notified();
            let before = self.delivered.get();
            if before >= wanted {
                return true;
            }
            self.awaited.set(wanted);
            if timeout(SILENCE, reached).await.is_err() && self.delivered.get() == before {
                return false;
            }
        }
    }

    /// Takes the times since the last call, in microseconds.
    pub(crate) fn take_times(&self) -> Value {
        let mut times = self.times.borrow_mut();
        let at = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
        let taken = json!({ "p50": at(0.5), "p99": at(0.99), "p999": at(0.999) });
        times.reset();
        taken
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }
}

const STAMP_BYTES: usize = 16;
const LONGEST_NS: u64 = 600_000_000_000;

/// What has not come after so long without any delivery was dropped.
const SILENCE: Duration = Duration::from_secs(3);
