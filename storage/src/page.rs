//! Old pages of logs, kept where they may be lost or damaged at any moment (I6). Whoever reads one
//! checks all of it, and asks the log where a channel begins and ends: a cache is never asked that.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use sterna_proto::{ChannelKey, Epoch, Offset};

use crate::StorageError;

/// Records of a page.
pub const PAGE_RECORDS: u64 = 64;

/// Most bytes of a page; larger ones are not kept.
pub const PAGE_BYTES: usize = 512 * 1024;

/// A page of one epoch of a channel, all of whose records there are: what it holds never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageName {
    pub channel: ChannelKey,
    pub epoch: Epoch,
    /// Counts the pages of a log from 0, whatever their epochs.
    pub number: u64,
}

impl PageName {
    /// The page that an offset is in.
    pub fn of(channel: ChannelKey, epoch: Epoch, offset: Offset) -> Self {
        Self { channel, epoch, number: offset.0.saturating_sub(1) / PAGE_RECORDS }
    }

    /// The page's first offset.
    pub fn first(&self) -> Offset {
        Offset(self.number.saturating_mul(PAGE_RECORDS).saturating_add(1))
    }

    /// The page's last offset.
    pub fn last(&self) -> Offset {
        Offset(self.first().0.saturating_add(PAGE_RECORDS - 1))
    }
}

/// Guarantees, which the conformance suite checks: what was kept last under a name comes back whole or
/// not at all, and not after it was dropped. Every call ends by itself, soon; whoever asks does without.
pub trait PageCache: Send + Sync + Debug + 'static {
    /// What is kept of pages of one channel, in the order asked for.
    fn pages(
        &self,
        names: Vec<PageName>,
    ) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StorageError>>;

    /// Keeps pages of one channel, as long as there is room. Larger ones than [`PAGE_BYTES`] are not.
    fn keep(&self, pages: Vec<(PageName, Bytes)>) -> BoxFuture<'_, Result<(), StorageError>>;

    /// Drops pages of one channel.
    fn drop_pages(&self, names: Vec<PageName>) -> BoxFuture<'_, Result<(), StorageError>>;
}

/// Pages in memory: the oldest go first.
#[derive(Debug)]
pub struct MemoryPages {
    kept: Mutex<Kept>,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Kept {
    pages: HashMap<PageName, Bytes>,
    order: VecDeque<PageName>,
    bytes: usize,
}

impl MemoryPages {
    pub fn new(max_bytes: usize) -> Self {
        Self { kept: Mutex::default(), max_bytes }
    }

    /// Everything is lost.
    pub fn forget(&self) {
        *self.kept() = Kept::default();
    }

    /// Changes what is kept, as damage does.
    pub fn spoil(&self, spoil: impl Fn(&PageName, &Bytes) -> Bytes) {
        self.kept().pages.iter_mut().for_each(|(name, page)| *page = spoil(name, page));
    }

    pub fn len(&self) -> usize {
        self.kept().pages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove(&mut self, name: &PageName) {
        if let Some(page) = self.pages.remove(name) {
            self.bytes -= page.len();
            self.order.retain(|other| other != name);
        }
    }
}

impl PageCache for MemoryPages {
    fn pages(
        &self,
        names: Vec<PageName>,
    ) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StorageError>> {
        let kept = self.kept();
        let found = names.iter().map(|name| kept.pages.get(name).cloned()).collect();
        ready(Ok(found)).boxed()
    }

    fn keep(&self, pages: Vec<(PageName, Bytes)>) -> BoxFuture<'_, Result<(), StorageError>> {
        let mut kept = self.kept();
        for (name, page) in pages.into_iter().filter(|(_, page)| page.len() <= PAGE_BYTES) {
            kept.remove(&name);
            kept.bytes += page.len();
            kept.pages.insert(name, page);
            kept.order.push_back(name);
            while kept.bytes > self.max_bytes {
                let Some(oldest) = kept.order.front().copied() else { break };
                kept.remove(&oldest);
            }
        }
        ready(Ok(())).boxed()
    }

    fn drop_pages(&self, names: Vec<PageName>) -> BoxFuture<'_, Result<(), StorageError>> {
        let mut kept = self.kept();
        names.iter().for_each(|name| kept.remove(name));
        ready(Ok(())).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_proto::ChannelId;

    fn name(number: u64) -> PageName {
        PageName { channel: ChannelId::new("room:1").unwrap().key(), epoch: Epoch(1), number }
    }

    mod conformance {
        crate::page_conformance_suite! {
            std::sync::Arc::new(crate::page::MemoryPages::new(1 << 24))
        }
    }

    #[test]
    fn offsets_are_in_pages_without_a_seam() {
        let channel = name(0).channel;
        for (offset, number) in [(1, 0), (64, 0), (65, 1), (128, 1), (129, 2)] {
            let page = PageName::of(channel, Epoch(1), Offset(offset));
            assert_eq!(page.number, number, "{offset}");
            assert!(page.first().0 <= offset && offset <= page.last().0);
        }
        let end = PageName::of(channel, Epoch(1), Offset(u64::MAX));
        assert_eq!(end.last(), Offset(u64::MAX));
    }

    #[tokio::test]
    async fn i12_the_oldest_pages_go_when_there_is_no_room() {
        let pages = MemoryPages::new(100);
        for number in 0..10 {
            pages.keep(vec![(name(number), vec![0; 30].into())]).await.unwrap();
        }
        let found = pages.pages((0..10).map(name).collect()).await.unwrap();
        assert_eq!(found.iter().filter(|page| page.is_some()).count(), 3);
        assert!(found[9].is_some());
        pages.forget();
        assert!(pages.is_empty());
    }
}
