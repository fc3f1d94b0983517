//! The newest publications of one channel, in memory and ready to send. Pure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sterna_proto::{Offset, v1};

use crate::push::{EncodedPush, SharedPush};

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
    /// What all rings of its part of the node keep alive.
    all: Weights,
    /// Where it stands among those rings.
    pub(super) listed: Option<Instant>,
}

/// What rings keep alive, roughly, in bytes: all that share it, together.
#[derive(Debug, Clone, Default)]
pub struct Weights(Arc<AtomicUsize>);

impl Weights {
    pub fn total(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// How many rings there are.
    pub fn rings(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

#[derive(Debug)]
struct Entry {
    push: SharedPush,
    bytes: usize,
    at: Instant,
}

impl Entry {
    /// The publication, its encoded form, and what is around them.
    fn weight(&self) -> usize {
        const AROUND: usize = 512;
        2 * self.bytes + AROUND
    }
}

impl Ring {
    pub fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self::among(Weights::default(), max_entries, max_bytes)
    }

    /// One of several that are weighed together.
    pub fn among(all: Weights, max_entries: usize, max_bytes: usize) -> Self {
        let (first, entries) = (Offset::ZERO, VecDeque::new());
        Self { first, entries, bytes: 0, max_entries, max_bytes, all, listed: None }
    }

    /// Adds the publication that follows the newest one; starts anew if it does not follow.
    pub fn push(&mut self, offset: Offset, push: SharedPush, at: Instant) {
        let follows = self.first.0 + self.entries.len() as u64 == offset.0;
        if !follows && !sterna_storage::planted!(RingKeepsJump) {
            self.clear();
        }
        if self.entries.is_empty() {
            self.first = offset;
        }
        let entry = Entry { bytes: payload_len(&push), push, at };
        self.bytes += entry.bytes;
        self.all.0.fetch_add(entry.weight(), Ordering::Relaxed);
        self.entries.push_back(entry);
        while self.entries.len() > self.max_entries || self.bytes > self.max_bytes {
            if !self.drop_oldest() {
                break;
            }
        }
    }

    /// Gives up the oldest publication; false: there is none.
    pub fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.entries.pop_front() else { return false };
        self.bytes -= oldest.bytes;
        self.all.0.fetch_sub(oldest.weight(), Ordering::Relaxed);
        self.first = self.first.next();
        true
    }

    /// Gives up everything that came up to a moment. Returns how much that was.
    pub fn expire(&mut self, upto: Instant) -> usize {
        let mut count = 0;
        while self.oldest_at().is_some_and(|at| at <= upto) && self.drop_oldest() {
            count += 1;
        }
        count
    }

    /// The publication is to be seen no more, and neither is what lies before it here, since a ring
    /// has no holes.
    pub fn forget(&mut self, offset: Offset) {
        while !self.entries.is_empty() && self.first <= offset {
            self.drop_oldest();
        }
    }

    /// The publication at this offset has lost its payload.
    pub fn redact(&mut self, offset: Offset) {
        let Some(at) = offset.0.checked_sub(self.first.0) else { return };
        let entry = usize::try_from(at).ok().and_then(|at| self.entries.get_mut(at));
        let Some(entry) = entry else { return };
        let Some(publication) = publication(&entry.push) else { return };
        let emptied =
            v1::Publication { payload: bytes::Bytes::new(), redacted: true, ..publication };
        let before = entry.weight();
        self.bytes -= std::mem::take(&mut entry.bytes);
        self.all.0.fetch_sub(before - entry.weight(), Ordering::Relaxed);
        entry.push = EncodedPush::new(v1::push::Event::Publication(emptied));
    }

    /// What is before this offset is given up.
    pub fn cut_before(&mut self, first: Offset) {
        while self.first < first && self.drop_oldest() {}
    }

    pub fn clear(&mut self) {
        while self.drop_oldest() {}
    }

    /// When the oldest publication came.
    pub fn oldest_at(&self) -> Option<Instant> {
        self.entries.front().map(|oldest| oldest.at)
    }

    /// The offset that would follow; `None` while nothing is in it.
    pub fn next(&self) -> Option<Offset> {
        (!self.entries.is_empty()).then(|| Offset(self.first.0 + self.entries.len() as u64))
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
        let page = self.slice(after, max_entries, max_bytes)?;
        Some(page.filter_map(|entry| publication(&entry.push)).collect())
    }

    /// The same as they were sent, with the bytes of their payloads.
    pub fn pushes(
        &self,
        after: Offset,
        max_entries: usize,
        max_bytes: usize,
    ) -> Option<(Arc<[SharedPush]>, usize)> {
        let mut bytes = 0;
        let page = self.slice(after, max_entries, max_bytes)?;
        let pushes = page.inspect(|entry| bytes += entry.bytes).map(|entry| entry.push.clone());
        let pushes = pushes.collect();
        Some((pushes, bytes))
    }

    fn slice(
        &self,
        after: Offset,
        max_entries: usize,
        max_bytes: usize,
    ) -> Option<impl Iterator<Item = &Entry>> {
        let start = after.next();
        if self.entries.is_empty() || start < self.first {
            return None;
        }
        let skip = usize::try_from(start.0 - self.first.0).ok()?;
        let mut bytes = 0;
        Some(self.entries.iter().skip(skip).take(max_entries).take_while(move |entry| {
            let fits = bytes == 0 || bytes + entry.bytes <= max_bytes;
            bytes += entry.bytes.max(1);
            fits
        }))
    }
}

/// What it kept alive is not counted any more.
impl Drop for Ring {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What was pushed, as pages have it.
pub(crate) fn publication(push: &SharedPush) -> Option<v1::Publication> {
    published(push).cloned()
}

pub(crate) fn published(push: &SharedPush) -> Option<&v1::Publication> {
    match &push.frame().body {
        Some(v1::frame::Body::Push(v1::Push {
            event: Some(v1::push::Event::Publication(publication)),
        })) => Some(publication),
        _ => None,
    }
}

/// The offset of an earlier publication that is not to be served from memory any more, since this one
/// follows it. What kinds there will be is not known: of one that is not, memory gives up what it is
/// about, and the log says what is left of that.
pub(crate) fn hides(publication: &v1::Publication) -> Option<Offset> {
    use v1::PublicationKind as Kind;
    match Kind::try_from(publication.kind) {
        Ok(Kind::Message | Kind::Edit | Kind::Recall | Kind::Reaction) => None,
        Ok(Kind::Membership | Kind::Epoch) => None,
        _ if publication.target_offset == 0 => Some(Offset(u64::MAX)),
        _ => Some(Offset(publication.target_offset)),
    }
}

fn server_ts_ms(push: &SharedPush) -> u64 {
    published(push).map_or(0, |publication| publication.server_ts_ms)
}

fn payload_len(push: &SharedPush) -> usize {
    published(push).map_or(0, |publication| publication.payload.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(offset: u64, len: usize) -> SharedPush {
        EncodedPush::new(v1::push::Event::Publication(v1::Publication {
            offset,
            payload: vec![0; len].into(),
            ..Default::default()
        }))
    }

    /// Tests of nothing but time say it themselves.
    fn now() -> Instant {
        Instant::now()
    }

    fn offsets(page: Option<Vec<v1::Publication>>) -> Option<Vec<u64>> {
        page.map(|page| page.into_iter().map(|publication| publication.offset).collect())
    }

    #[test]
    fn holds_the_newest_within_both_bounds() {
        let mut ring = Ring::new(4, 100);
        (1..=6).for_each(|offset| ring.push(Offset(offset), push(offset, 10), now()));
        assert_eq!(offsets(ring.page(Offset(1), 10, 1000)), None);
        assert_eq!(offsets(ring.page(Offset(2), 10, 1000)), Some(vec![3, 4, 5, 6]));
        assert_eq!(offsets(ring.page(Offset(6), 10, 1000)), Some(vec![]));
        ring.push(Offset(7), push(7, 95), now());
        assert_eq!(offsets(ring.page(Offset(6), 10, 1000)), Some(vec![7]));
        assert_eq!(offsets(ring.page(Offset(5), 10, 1000)), None);
    }

    #[test]
    fn what_is_redacted_keeps_its_place_and_what_is_given_up_does_not() {
        let mut ring = Ring::new(10, 10_000);
        (3..=6).for_each(|offset| ring.push(Offset(offset), push(offset, 10), now()));
        for elsewhere in [0, 2, 7] {
            ring.redact(Offset(elsewhere));
        }
        ring.redact(Offset(4));
        ring.redact(Offset(4));
        let page = ring.page(Offset(2), 10, 1000).unwrap();
        let told: Vec<(usize, bool)> =
            page.iter().map(|it| (it.payload.len(), it.redacted)).collect();
        assert_eq!(told, [(10, false), (0, true), (10, false), (10, false)]);
        assert_eq!(ring.extent(), Some((Offset(3), 30)));
        ring.cut_before(Offset(5));
        assert_eq!(offsets(ring.page(Offset(3), 10, 1000)), None);
        assert_eq!(offsets(ring.page(Offset(4), 10, 1000)), Some(vec![5, 6]));
        ring.cut_before(Offset(9));
        assert_eq!(ring.extent(), None);
        assert_eq!(ring.all.total(), 0, "what is gone weighs nothing");
        ring.push(Offset(7), push(7, 10), now());
        assert_eq!(ring.extent(), Some((Offset(7), 10)));
    }

    #[test]
    fn a_page_ends_by_count_or_bytes_but_holds_one() {
        let mut ring = Ring::new(10, 10_000);
        (1..=5).for_each(|offset| ring.push(Offset(offset), push(offset, 100), now()));
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
        (1..=20).for_each(|n| ring.push(Offset(n), at(n, n * 1000), now()));
        assert_eq!(ring.rate(20_000, window), 1.1);
        assert_eq!(ring.rate(25_000, window), 0.6);
        assert_eq!(ring.rate(60_000, window), 0.0);
        // A hundred a second: the ring reaches back for 0.4 s only.
        (21..=320).for_each(|n| ring.push(Offset(n), at(n, 60_000 + (n - 20) * 10), now()));
        let rate = ring.rate(63_000, window);
        assert!((95.0..110.0).contains(&rate), "{rate}");
    }

    #[test]
    fn a_jump_starts_anew() {
        let mut ring = Ring::new(10, 10_000);
        ring.push(Offset(1), push(1, 1), now());
        ring.push(Offset(5), push(5, 1), now());
        assert_eq!(offsets(ring.page(Offset(0), 10, 100)), None);
        assert_eq!(offsets(ring.page(Offset(4), 10, 100)), Some(vec![5]));
    }

    #[test]
    fn what_is_too_old_goes_and_what_is_left_is_weighed() {
        let (all, start) = (Weights::default(), now());
        let mut ring = Ring::among(all.clone(), 100, 10_000);
        let other = Ring::among(all.clone(), 100, 10_000);
        for n in 1..=10 {
            ring.push(Offset(n), push(n, 10), start + Duration::from_secs(n));
        }
        let whole = all.total();
        assert_eq!(ring.oldest_at(), Some(start + Duration::from_secs(1)));
        assert_eq!(ring.expire(start + Duration::from_secs(4)), 4);
        assert_eq!(offsets(ring.page(Offset(4), 10, 1000)), Some((5..=10).collect()));
        assert_eq!(offsets(ring.page(Offset(3), 10, 1000)), None);
        assert_eq!(all.total() * 10, whole * 6);
        assert_eq!(ring.expire(start + Duration::from_secs(60)), 6);
        assert_eq!((all.total(), ring.oldest_at(), ring.next()), (0, None, None));
        ring.push(Offset(11), push(11, 10), start);
        drop((ring, other));
        assert_eq!(all.total(), 0);
    }

    #[test]
    fn what_is_forgotten_takes_what_lies_before_it_along() {
        let mut ring = Ring::new(100, 10_000);
        (1..=10).for_each(|n| ring.push(Offset(n), push(n, 10), now()));
        ring.forget(Offset(4));
        assert_eq!(
            offsets(ring.page(Offset(3), 10, 1000)),
            None,
            "what was forgotten is not there"
        );
        assert_eq!(offsets(ring.page(Offset(4), 10, 1000)), Some((5..=10).collect()));
        ring.forget(Offset(2));
        assert_eq!(ring.next(), Some(Offset(11)));
        ring.forget(Offset(20));
        assert_eq!(ring.next(), None);
    }

    #[test]
    fn what_a_later_publication_takes_back_is_known_by_its_kind() {
        let of = |kind, target_offset| {
            hides(&v1::Publication { kind, target_offset, ..Default::default() })
        };
        for kind in (0..=5).filter(|kind| v1::PublicationKind::try_from(*kind).is_ok()) {
            assert_eq!(of(kind, 3), None, "{kind}");
        }
        assert_eq!(of(1000, 3), Some(Offset(3)), "of a newer release");
        assert_eq!(of(1000, 0), Some(Offset(u64::MAX)));
    }

    #[test]
    fn pushes_are_those_of_the_page() {
        let mut ring = Ring::new(10, 10_000);
        (1..=5).for_each(|n| ring.push(Offset(n), push(n, 100), now()));
        let (pushes, bytes) = ring.pushes(Offset(1), 10, 250).unwrap();
        let page: Vec<_> = pushes.iter().filter_map(publication).collect();
        assert_eq!((offsets(Some(page)), bytes), (Some(vec![2, 3]), 200));
    }
}
