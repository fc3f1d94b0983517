//! Datagrams that wait for their time, bounded in items and bytes. Pure: the UDP task asks what is
//! due and sends it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Most datagrams on their way; more are dropped, as by a router with a full buffer.
pub(crate) const SCHEDULED_DATAGRAMS: usize = 16_384;
/// Most bytes on their way.
pub(crate) const SCHEDULED_BYTES: usize = 16 * 1024 * 1024;

/// Something with a size that waits.
pub(crate) trait Weighed {
    fn byte_len(&self) -> usize;
}

/// Items ordered by the time at which they are due, then by arrival.
#[derive(Debug)]
pub(crate) struct Schedule<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    bytes: usize,
    arrivals: u64,
}

impl<T: Weighed> Schedule<T> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), bytes: 0, arrivals: 0 }
    }

    /// False: full, and the item is gone.
    pub(crate) fn try_add(&mut self, due: Instant, item: T) -> bool {
        let bytes = self.bytes + item.byte_len();
        if self.heap.len() >= SCHEDULED_DATAGRAMS || bytes > SCHEDULED_BYTES {
            return false;
        }
        self.bytes = bytes;
        self.arrivals += 1;
        self.heap.push(Reverse(Entry { due, arrival: self.arrivals, item }));
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.due)
    }

    /// The first item that is due at `now`.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<T> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        self.bytes -= entry.item.byte_len();
        Some(entry.item)
    }
}

#[derive(Debug)]
struct Entry<T> {
    due: Instant,
    arrival: u64,
    item: T,
}

impl<T> Entry<T> {
    fn key(&self) -> (Instant, u64) {
        (self.due, self.arrival)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    impl Weighed for Vec<u8> {
        fn byte_len(&self) -> usize {
            self.as_slice().len()
        }
    }

    #[test]
    fn items_come_out_by_time_and_then_by_arrival() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut schedule = Schedule::new();
        for (due, name) in [(later, 1u8), (now, 2), (now, 3)] {
            assert!(schedule.try_add(due, vec![name]));
        }
        assert_eq!(schedule.take_due(now), Some(vec![2]));
        assert_eq!(schedule.take_due(now), Some(vec![3]));
        assert_eq!(schedule.take_due(now), None);
        assert_eq!(schedule.next_due(), Some(later));
        assert_eq!(schedule.take_due(later), Some(vec![1]));
        assert!(schedule.is_empty());
    }

    #[test]
    fn items_and_bytes_are_bounded() {
        let now = Instant::now();
        let mut schedule = Schedule::new();
        let accepted =
            (0..SCHEDULED_DATAGRAMS + 5).filter(|_| schedule.try_add(now, vec![0u8; 1])).count();
        assert_eq!(accepted, SCHEDULED_DATAGRAMS);
        let mut schedule = Schedule::new();
        assert!(schedule.try_add(now, vec![0u8; SCHEDULED_BYTES]));
        assert!(!schedule.try_add(now, vec![0u8; 1]));
        schedule.take_due(now);
        assert!(schedule.try_add(now, vec![0u8; 1]));
    }
}
