//! The newest publications of one channel, in memory and ready to send. Pure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sterna_proto::{Offset, v1};

use crate::push::SharedPush;

/// A contiguous run of publications that ends at the channel's head. Bounded in items and bytes;
/// the oldest go first.
#[derive(Debug)]
pub struct Ring {
    /// Offset of the front entry; meaningless while empty.
    first: Offset,
    entries: VecDeque<Entry>,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    push: SharedPush,
    bytes: usize,
}

impl Ring {
    pub fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self { first: Offset::ZERO, entries: VecDeque::new(), bytes: 0, max_entries, max_bytes }
    }

    /// Adds the publication that follows the newest one; starts anew if it does not follow.
    pub fn push(&mut self, offset: Offset, push: SharedPush) {
        let follows = self.first.0 + self.entries.len() as u64 == offset.0;
        if !follows && !sterna_storage::planted!(RingKeepsJump) {
            self.clear();
        }
        if self.entries.is_empty() {
            self.first = offset;
        }
        let bytes = payload_len(&push);
        self.bytes += bytes;
        self.entries.push_back(Entry { push, bytes });
        while self.entries.len() > self.max_entries || self.bytes > self.max_bytes {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.bytes;
            self.first = self.first.next();
        }
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// The oldest offset in it, and the bytes of all.
    pub fn extent(&self) -> Option<(Offset, usize)> {
        (!self.entries.is_empty()).then_some((self.first, self.bytes))
    }

    /// The newest publications as they were sent, oldest first, and the first one's offset.
    pub fn newest(&self, most: usize) -> (Offset, Arc<[SharedPush]>) {
        let skip = self.entries.len().saturating_sub(most);
        let pushes = self.entries.iter().skip(skip).map(|entry| entry.push.clone()).collect();
        (Offset(self.first.0 + skip as u64), pushes)
    }

    /// Publications a second within a window that ends now. Where the ring does not reach back that
    /// far, as far as it does.
    pub fn rate(&self, now_ms: u64, window: Duration) -> f32 {
        let at = |entry: &Entry| server_ts_ms(&entry.push);
        let from = now_ms.saturating_sub(window.as_millis() as u64);
        // Times of one channel go up, or nearly so.
        let older = self.entries.partition_point(|entry| at(entry) < from);
        let count = self.entries.len() - older;
        let span = match self.entries.front() {
            Some(oldest) if older == 0 && self.is_full() => now_ms.saturating_sub(at(oldest)),
            _ => window.as_millis() as u64,
        };
        count as f32 * 1000.0 / span.max(1) as f32
    }

    /// Something has had to go, or soon will.
    fn is_full(&self) -> bool {
        self.entries.len() >= self.max_entries || self.bytes * 2 > self.max_bytes
    }

    /// The publications after an offset, oldest first, at most a page; `None` when the ring does
    /// not reach back that far.
    pub fn page(
        &self,
        after: Offset,
        max_entries: usize,
        max_bytes: usize,
    ) -> Option<Vec<v1::Publication>> {
        let start = after.next();
        if self.entries.is_empty() || start < self.first {
            return None;
        }
        let skip = usize::try_from(start.0 - self.first.0).ok()?;
        let mut bytes = 0;
        let page = self.entries.iter().skip(skip).take(max_entries).take_while(|entry| {
            let fits = bytes == 0 || bytes + entry.bytes <= max_bytes;
            bytes += entry.bytes.max(1);
            fits
        });
        Some(page.filter_map(|entry| publication(&entry.push)).collect())
    }
}

fn publication(push: &SharedPush) -> Option<v1::Publication> {
    match &push.frame().body {
        Some(v1::frame::Body::Push(v1::Push {
            event: Some(v1::push::Event::Publication(publication)),
        })) => Some(publication.clone()),
        _ => None,
    }
}

fn server_ts_ms(push: &SharedPush) -> u64 {
    match &push.frame().body {
        Some(v1::frame::Body::Push(v1::Push {
            event: Some(v1::push::Event::Publication(publication)),
        })) => publication.server_ts_ms,
        _ => 0,
    }
}

fn payload_len(push: &SharedPush) -> usize {
    match &push.frame().body {
        Some(v1::frame::Body::Push(v1::Push {
            event: Some(v1::push::Event::Publication(publication)),
        })) => publication.payload.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::EncodedPush;

    fn push(offset: u64, len: usize) -> SharedPush {
        EncodedPush::new(v1::push::Event::Publication(v1::Publication {
            offset,
            payload: vec![0; len].into(),
            ..Default::default()
        }))
    }

    fn offsets(page: Option<Vec<v1::Publication>>) -> Option<Vec<u64>> {
        page.map(|page| page.into_iter().map(|publication| publication.offset).collect())
    }

    #[test]
    fn holds_the_newest_within_both_bounds() {
        let mut ring = Ring::new(4, 100);
        (1..=6).for_each(|offset| ring.push(Offset(offset), push(offset, 10)));
        assert_eq!(offsets(ring.page(Offset(1), 10, 1000)), None);
        assert_eq!(offsets(ring.page(Offset(2), 10, 1000)), Some(vec![3, 4, 5, 6]));
        assert_eq!(offsets(ring.page(Offset(6), 10, 1000)), Some(vec![]));
        ring.push(Offset(7), push(7, 95));
        assert_eq!(offsets(ring.page(Offset(6), 10, 1000)), Some(vec![7]));
        assert_eq!(offsets(ring.page(Offset(5), 10, 1000)), None);
    }

    #[test]
    fn a_page_ends_by_count_or_bytes_but_holds_one() {
        let mut ring = Ring::new(10, 10_000);
        (1..=5).for_each(|offset| ring.push(Offset(offset), push(offset, 100)));
        assert_eq!(offsets(ring.page(Offset(0), 2, 10_000)), Some(vec![1, 2]));
        assert_eq!(offsets(ring.page(Offset(0), 10, 250)), Some(vec![1, 2]));
        assert_eq!(offsets(ring.page(Offset(3), 10, 1)), Some(vec![4]));
    }

    #[test]
    fn a_rate_is_that_of_the_last_seconds_however_short_the_ring_is() {
        let mut ring = Ring::new(40, 10_000);
        let at = |offset: u64, server_ts_ms| {
            EncodedPush::new(v1::push::Event::Publication(v1::Publication {
                offset,
                server_ts_ms,
                ..Default::default()
            }))
        };
        let window = Duration::from_secs(10);
        assert_eq!(ring.rate(0, window), 0.0);
        // One a second.
        (1..=20).for_each(|n| ring.push(Offset(n), at(n, n * 1000)));
        assert_eq!(ring.rate(20_000, window), 1.1);
        assert_eq!(ring.rate(25_000, window), 0.6);
        assert_eq!(ring.rate(60_000, window), 0.0);
        // A hundred a second: the ring reaches back for 0.4 s only.
        (21..=320).for_each(|n| ring.push(Offset(n), at(n, 60_000 + (n - 20) * 10)));
        let rate = ring.rate(63_000, window);
        assert!((95.0..110.0).contains(&rate), "{rate}");
    }

    #[test]
    fn a_jump_starts_anew() {
        let mut ring = Ring::new(10, 10_000);
        ring.push(Offset(1), push(1, 1));
        ring.push(Offset(5), push(5, 1));
        assert_eq!(offsets(ring.page(Offset(0), 10, 100)), None);
        assert_eq!(offsets(ring.page(Offset(4), 10, 100)), Some(vec![5]));
    }
}
