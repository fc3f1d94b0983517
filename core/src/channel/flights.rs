//! Pages of the log that many ask for at once, as after a restart: each is read once, and whoever
//! asks meanwhile gets the same answer. Shared by all shards of a node.
//!
//! Nobody leads: whoever is polled drives the read, so who gives up strands nobody, and a read that
//! nobody waits for any more ends. What is asked for has been committed before, so the answer is the
//! same for all, but for what is trimmed meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use futures_util::FutureExt as _;
use futures_util::future::Shared;
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{
    BoxFuture, PageLimit, PublicationLog, ReadError, Record, StorageError, StorageErrorKind,
};

use crate::vitals::tally::Tally;

/// Readers of pages that wait at a time. Full: refused as unavailable, retryable.
pub const PAGE_READERS: usize = 16_384;

/// How long one of them waits.
const PAGE_PATIENCE: Duration = Duration::from_secs(20);

type Reading = Shared<BoxFuture<'static, Result<Arc<[Record]>, ReadError>>>;

/// See the module.
#[derive(Debug)]
pub struct Flights {
    log: Arc<dyn PublicationLog>,
    tally: Arc<Tally>,
    open: Arc<Mutex<Open>>,
    max_readers: usize,
    patience: Duration,
}

#[derive(Debug, Default)]
struct Open {
    channels: HashMap<ChannelKey, Vec<Flight>, RandomState>,
    readers: usize,
    last: u64,
}

/// One read that is under way.
#[derive(Debug)]
struct Flight {
    number: u64,
    after: Offset,
    limit: PageLimit,
    reading: Reading,
    readers: usize,
}

/// Records that follow an offset, which others may have, too.
#[derive(Debug, Default)]
pub(crate) struct Page {
    records: Arc<[Record]>,
    count: usize,
}

impl std::ops::Deref for Page {
    type Target = [Record];

    fn deref(&self) -> &[Record] {
        &self.records[..self.count]
    }
}

impl Flights {
    pub fn new(log: Arc<dyn PublicationLog>, tally: Arc<Tally>) -> Self {
        let (max_readers, patience) = (PAGE_READERS, PAGE_PATIENCE);
        Self { log, tally, open: Arc::default(), max_readers, patience }
    }

    /// The records after an offset. The caller knows that there are as many as the limit says, or
    /// that those which are missing have been trimmed.
    pub(crate) async fn read(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        let (seat, reading) = self.board(channel, after, limit)?;
        let read = tokio::time::timeout(self.patience, reading).await;
        // Whoever asks from here on asks the log: a failure is told once, to all who wait.
        seat.land();
        let records = read.unwrap_or_else(|_| Err(late(self.patience).into()))?;
        let count = records.len().min(limit.records.max(1));
        Ok(Page { records, count })
    }

    /// Nobody joins what is being read of the channel: something of it is to be seen no more.
    pub(crate) fn forget(&self, channel: ChannelKey) {
        lock(&self.open).channels.remove(&channel);
    }

    /// A place in a read that brings all that is asked for.
    fn board(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> Result<(Seat, Reading), ReadError> {
        let mut open = lock(&self.open);
        if open.readers >= self.max_readers {
            metrics::counter!("sterna_core_page_reads_total", "result" => "refused").increment(1);
            return Err(full().into());
        }
        open.readers += 1;
        open.last += 1;
        let number = open.last;
        let flights = open.channels.entry(channel).or_default();
        let found = flights.iter_mut().find(|flight| flight.brings(after, limit));
        self.tally.on_page_read(found.is_some());
        let flight = match found {
            Some(flight) => flight,
            None => {
                let log = self.log.clone();
                let read = async move { Ok(log.read(channel, after, limit).await?.into()) };
                let reading = read.boxed().shared();
                flights.push_mut(Flight { number, after, limit, reading, readers: 0 })
            }
        };
        flight.readers += 1;
        let seat = Seat { open: self.open.clone(), channel, flight: flight.number };
        Ok((seat, flight.reading.clone()))
    }
}

impl Flight {
    /// A page ends by its bytes where it ends alone, if it begins at the same place.
    fn brings(&self, after: Offset, limit: PageLimit) -> bool {
        self.after == after
            && self.limit.records >= limit.records
            && self.limit.payload_bytes == limit.payload_bytes
    }
}

/// One who waits for a read.
struct Seat {
    open: Arc<Mutex<Open>>,
    channel: ChannelKey,
    flight: u64,
}

impl Seat {
    /// The read is over, or this one has no patience left.
    fn land(self) {
        let mut open = lock(&self.open);
        open.end(self.channel, |flight| flight.number == self.flight);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        open.readers -= 1;
        let number = self.flight;
        let left = |flight: &mut Flight| {
            flight.readers -= usize::from(flight.number == number);
            flight.readers == 0
        };
        open.end(self.channel, left);
    }
}

impl Open {
    fn end(&mut self, channel: ChannelKey, mut over: impl FnMut(&mut Flight) -> bool) {
        let Some(flights) = self.channels.get_mut(&channel) else { return };
        flights.retain_mut(|flight| !over(flight));
        if flights.is_empty() {
            self.channels.remove(&channel);
        }
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    // Counts and lists are changed in steps that do not panic.
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

fn late(patience: Duration) -> StorageError {
    let message = format!("a page was not read within {patience:?}");
    StorageError::new(StorageErrorKind::Unavailable, "core", message)
}

fn full() -> StorageError {
    let message = "too many pages are being read";
    StorageError::new(StorageErrorKind::Unavailable, "core", message)
}

#[cfg(test)]
#[path = "flights_tests.rs"]
mod tests;
