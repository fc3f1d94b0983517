//! Tails and pages of segments that were read lately, bounded by their size. Segments never change,
//! so what is here is never wrong; it is forgotten when others need the room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sterna_storage::SegmentKey;

use crate::format::{Block, Page, RunEntry, Tail};

#[derive(Debug)]
pub(crate) struct Kept {
    most_bytes: usize,
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    parts: BTreeMap<Name, (Part, u64)>,
    /// By when they were used last.
    by_use: BTreeMap<u64, Name>,
    uses: u64,
    bytes: usize,
}

/// A segment's tail, or one of its pages.
type Name = (SegmentKey, Option<usize>);

#[derive(Debug, Clone)]
enum Part {
    Tail(Arc<Tail>),
    Page(Arc<Vec<RunEntry>>),
}

impl Kept {
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self { most_bytes, shelf: Mutex::default() }
    }

    pub(crate) fn tail(&self, key: SegmentKey) -> Option<Arc<Tail>> {
        match self.shelf().find((key, None)) {
            Some(Part::Tail(tail)) => Some(tail),
            _ => None,
        }
    }

    pub(crate) fn page(&self, key: SegmentKey, page: usize) -> Option<Arc<Vec<RunEntry>>> {
        match self.shelf().find((key, Some(page))) {
            Some(Part::Page(runs)) => Some(runs),
            _ => None,
        }
    }

    pub(crate) fn keep_tail(&self, tail: Arc<Tail>) {
        let name = (tail.header.key, None);
        self.shelf().keep(name, Part::Tail(tail), self.most_bytes);
    }

    pub(crate) fn keep_page(&self, key: SegmentKey, page: usize, runs: Arc<Vec<RunEntry>>) {
        self.shelf().keep((key, Some(page)), Part::Page(runs), self.most_bytes);
    }

    /// All that is here of a segment.
    pub(crate) fn forget(&self, key: SegmentKey) {
        let mut shelf = self.shelf();
        let names: Vec<Name> = shelf
            .parts
            .range((key, None)..=(key, Some(usize::MAX)))
            .map(|(name, _)| *name)
            .collect();
        for name in names {
            shelf.forget(name);
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // Nothing here panics half-way through a change.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn find(&mut self, name: Name) -> Option<Part> {
        let (part, used) = self.parts.get_mut(&name)?;
        self.by_use.remove(used);
        self.uses += 1;
        *used = self.uses;
        self.by_use.insert(self.uses, name);
        Some(part.clone())
    }

    fn keep(&mut self, name: Name, part: Part, most_bytes: usize) {
        self.forget(name);
        let size = part.bytes();
        if size > most_bytes {
            return;
        }
        while self.bytes + size > most_bytes {
            let Some((_, oldest)) = self.by_use.first_key_value() else { break };
            let oldest = *oldest;
            self.forget(oldest);
        }
        self.uses += 1;
        self.by_use.insert(self.uses, name);
        self.parts.insert(name, (part, self.uses));
        self.bytes += size;
        self.tell();
    }

    fn forget(&mut self, name: Name) {
        if let Some((part, used)) = self.parts.remove(&name) {
            self.by_use.remove(&used);
            self.bytes -= part.bytes();
            self.tell();
        }
    }

    fn tell(&self) {
        metrics::gauge!("sterna_storage_object_index_bytes").set(self.bytes as f64);
    }
}

impl Part {
    /// Near enough.
    fn bytes(&self) -> usize {
        match self {
            Self::Tail(tail) => {
                size_of::<Tail>()
                    + size_of_val::<[Block]>(&tail.blocks)
                    + size_of_val::<[Page]>(&tail.pages)
            }
            Self::Page(runs) => size_of_val::<[RunEntry]>(runs) + size_of::<Name>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_least_used_go_first_and_the_bound_holds() {
        let sample = testing::segment(&testing::runs(4, 40, 300));
        let tail = testing::tail_of(&sample);
        let runs = Arc::new(testing::runs_of(&sample, &tail));
        let tail = Arc::new(tail);
        let size = Part::Page(runs.clone()).bytes();
        let kept = Kept::new(3 * size);
        let key = tail.header.key;
        for page in 1..=3 {
            kept.keep_page(key, page, runs.clone());
        }
        assert!(kept.page(key, 1).is_some());
        kept.keep_page(key, 4, runs.clone());
        let found: Vec<_> = (1..=4).filter(|page| kept.page(key, *page).is_some()).collect();
        assert_eq!(found, [1, 3, 4], "2 was not used for the longest time");
        kept.keep_page(key, 4, runs);
        let shelf = kept.shelf();
        assert_eq!((shelf.bytes, shelf.parts.len(), shelf.by_use.len()), (3 * size, 3, 3));
        drop(shelf);
        kept.forget(SegmentKey { segment: key.segment + 1, ..key });
        assert!(kept.page(key, 4).is_some(), "another segment was forgotten");
        kept.forget(key);
        let shelf = kept.shelf();
        assert_eq!((shelf.bytes, shelf.parts.len(), shelf.by_use.len()), (0, 0, 0));
        drop(shelf);
        let small = Kept::new(10);
        small.keep_tail(tail);
        assert!(small.tail(key).is_none(), "what does not fit at all is not kept");
    }
}
