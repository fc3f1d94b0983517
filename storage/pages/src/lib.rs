//! One log with caches of its old pages in front: a core's own on its disk, one that all cores share,
//! or both. [`CachedLog`] is a [`PublicationLog`] itself; core does not know that there are caches.
//!
//! A cache saves reads of pages and is asked nothing else (I6). For each read the log says where the
//! channel begins, ends and which epochs it went through; a cached page is used only if all of it lies
//! within that and in one epoch, and if its checksum and its positions are right. So what was trimmed
//! is not served, what was replaced is not either, and a cache that is lost, damaged, slow or of
//! another database costs misses.
//!
//! Only full pages are kept, and those never change. A cache that fails is left alone for a while.

mod codec;
#[cfg(test)]
mod fuzz_tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sterna_proto::{ChannelKey, Epoch, Offset, Position};
use sterna_storage::page::{PAGE_BYTES, PAGE_RECORDS, PageCache, PageName};
use sterna_storage::{
    Adoption, AppendError, Head, LogLayer, Lookups, PageLimit, PageRoom, PublicationLog, ReadError,
    Record, StorageError, TierLookups,
};

/// Pages that one read asks caches for. What lies beyond is read from the log.
pub const PAGES_AT_ONCE: u64 = 16;

/// How long a cache that has failed is left alone.
pub const LEFT_ALONE: Duration = Duration::from_secs(5);

/// Longest wait for a cache.
const PATIENCE: Duration = Duration::from_millis(250);

/// See the module.
#[derive(Debug)]
pub struct CachedLog {
    log: Arc<dyn PublicationLog>,
    tiers: Vec<Tier>,
}

/// One cache.
#[derive(Debug)]
struct Tier {
    /// Value of the metric label `tier`.
    name: &'static str,
    cache: Arc<dyn PageCache>,
    silent_until: Mutex<Option<Instant>>,
    lookups: Lookups,
}

/// What a read is about.
struct Wanted {
    channel: ChannelKey,
    after: Offset,
    /// The last offset that belongs to the answer if its bytes do.
    end: Offset,
    limit: PageLimit,
    /// Neighbouring full pages that begin with the first offset's.
    names: Vec<PageName>,
}

/// An answer while it grows.
struct Answer {
    records: Vec<Record>,
    room: PageRoom,
    bytes_left: usize,
    at: Offset,
    /// The next record does not belong to it.
    is_full: bool,
}

impl CachedLog {
    /// Caches are asked in this order, each with the name that metrics have for it.
    pub fn new(
        log: Arc<dyn PublicationLog>,
        caches: Vec<(&'static str, Arc<dyn PageCache>)>,
    ) -> Self {
        let (silent_until, lookups) = (Mutex::default, Lookups::default);
        let tier =
            |(name, cache)| Tier { name, cache, silent_until: silent_until(), lookups: lookups() };
        Self { log, tiers: caches.into_iter().map(tier).collect() }
    }

    /// Gives up the pages that records are in: they are to be seen no more as they were.
    pub async fn forget(
        &self,
        channel: ChannelKey,
        offsets: &[Offset],
    ) -> Result<(), StorageError> {
        let Some(head) = self.log.head(channel).await? else { return Ok(()) };
        let of = |offset: &Offset| {
            let epochs = head.epochs.iter().map(|start| start.epoch);
            epochs.map(|epoch| PageName::of(channel, epoch, *offset)).collect::<Vec<_>>()
        };
        let names: Vec<PageName> = offsets.iter().flat_map(of).collect();
        for tier in &self.tiers {
            tier.cache.drop_pages(names.clone()).await?;
        }
        Ok(())
    }

    async fn read_page(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> Result<Vec<Record>, ReadError> {
        let Some(head) = self.log.head(channel).await? else { return Ok(Vec::new()) };
        let wanted = Wanted::new(channel, &head, after, limit);
        if wanted.names.is_empty() {
            return self.log.read(channel, after, limit).await;
        }
        let mut answer = Answer::new(&wanted);
        let mut found = 0;
        for page in self.look(&wanted.names).await {
            found += 1;
            answer.take(page);
        }
        if found < wanted.names.len() && !answer.is_complete(&wanted) {
            let read = self.fill(&wanted, found).await?;
            answer.take(read);
        }
        while !answer.is_complete(&wanted) {
            let at = answer.at;
            let rest = PageLimit {
                records: at.distance_to(wanted.end) as usize,
                payload_bytes: answer.bytes_left,
            };
            answer.take(self.log.read(channel, at, rest).await?);
            if answer.at == at {
                break;
            }
        }
        Ok(answer.records)
    }

    /// Pages that caches have, up to the first that none has.
    async fn look(&self, names: &[PageName]) -> Vec<Vec<Record>> {
        let mut pages: Vec<Vec<Record>> = Vec::new();
        for (index, tier) in self.tiers.iter().enumerate() {
            let missing = &names[pages.len()..];
            if missing.is_empty() {
                break;
            }
            let found = tier.pages(missing).await;
            if index > 0 && !found.is_empty() {
                self.keep(index, missing, &found).await;
            }
            pages.extend(found);
        }
        pages
    }

    /// Gives pages to the caches that come before this one.
    async fn keep<T: AsRef<[Record]>>(&self, before: usize, names: &[PageName], pages: &[T]) {
        let encoded = names
            .iter()
            .zip(pages)
            .filter_map(|(name, records)| Some((*name, codec::encode(name, records.as_ref())?)));
        let encoded: Vec<(PageName, Bytes)> = encoded.collect();
        for tier in self.tiers[..before].iter().filter(|_| !encoded.is_empty()) {
            tier.keep(encoded.clone()).await;
        }
    }

    /// Reads what caches do not have, from the beginning of a page on, and gives it to them.
    async fn fill(&self, wanted: &Wanted, found: usize) -> Result<Vec<Record>, ReadError> {
        let missing = &wanted.names[found..];
        let from = Offset(missing[0].first().0 - 1);
        let end = missing.last().map_or(wanted.end, |last| last.last().max(wanted.end));
        let limit =
            PageLimit { records: from.distance_to(end) as usize, payload_bytes: 2 * PAGE_BYTES };
        let records = match self.log.read(wanted.channel, from, limit).await {
            // Trimmed since, perhaps only in front of what is wanted.
            Err(ReadError::Trimmed { .. }) => return Ok(Vec::new()),
            read => read?,
        };
        let whole: Vec<&[Record]> = records.chunks_exact(PAGE_RECORDS as usize).collect();
        self.keep(self.tiers.len(), missing, &whole).await;
        Ok(records)
    }
}

impl Wanted {
    fn new(channel: ChannelKey, head: &Head, after: Offset, limit: PageLimit) -> Self {
        let records = limit.records.max(1) as u64;
        let end = Offset(after.0.saturating_add(records)).min(head.position.offset);
        let mut wanted = Self { channel, after, end, limit, names: Vec::new() };
        let mut next = after.0.saturating_add(1);
        while next <= end.0 && (wanted.names.len() as u64) < PAGES_AT_ONCE {
            let Some(name) = full_page(channel, head, Offset(next)) else { break };
            wanted.names.push(name);
            next = name.last().0.saturating_add(1);
        }
        wanted
    }
}

/// The page with an offset, if all of it is there and in one epoch.
fn full_page(channel: ChannelKey, head: &Head, offset: Offset) -> Option<PageName> {
    let epoch = |offset: Offset| -> Option<Epoch> {
        let start = head.epochs.iter().rev().find(|start| start.first <= offset)?;
        Some(start.epoch)
    };
    let name = PageName::of(channel, epoch(offset)?, offset);
    let is_whole = head.first <= name.first() && name.last() <= head.position.offset;
    let is_of_one =
        epoch(name.first()) == Some(name.epoch) && epoch(name.last()) == Some(name.epoch);
    (is_whole && is_of_one).then_some(name)
}

impl Answer {
    fn new(wanted: &Wanted) -> Self {
        Self {
            records: Vec::new(),
            room: wanted.limit.start(),
            bytes_left: wanted.limit.payload_bytes,
            at: wanted.after,
            is_full: false,
        }
    }

    /// Takes what follows, as far as it fits; what lies before is passed over.
    fn take(&mut self, records: Vec<Record>) {
        for record in records {
            let Position { offset, .. } = record.position;
            if offset <= self.at {
                continue;
            }
            let len = record.body.payload.len();
            if self.is_full || !self.room.take(len) {
                self.is_full = true;
                return;
            }
            self.bytes_left = self.bytes_left.saturating_sub(len);
            self.at = offset;
            self.records.push(record);
        }
    }

    fn is_complete(&self, wanted: &Wanted) -> bool {
        self.is_full || self.room.is_full() || self.at >= wanted.end
    }
}

impl Tier {
    /// Pages that are there, up to the first that is not.
    async fn pages(&self, names: &[PageName]) -> Vec<Vec<Record>> {
        if self.is_silent() {
            self.note("silent", names.len());
            return Vec::new();
        }
        let found = match self.bounded(self.cache.pages(names.to_vec())).await {
            Ok(found) => found,
            Err(error) => {
                self.leave_alone(&error);
                self.note("failed", names.len());
                return Vec::new();
            }
        };
        let mut pages = Vec::new();
        for (name, page) in names.iter().zip(found) {
            match page.map(|page| codec::decode(name, page)) {
                Some(Ok(records)) => pages.push(records),
                Some(Err(bad)) => {
                    tracing::warn!(tier = self.name, ?name, ?bad, "a page in a cache is not one");
                    self.note("damaged", 1);
                    break;
                }
                None => break,
            }
        }
        self.note("hit", pages.len());
        self.note("miss", names.len() - pages.len());
        pages
    }

    async fn keep(&self, pages: Vec<(PageName, Bytes)>) {
        if self.is_silent() {
            return;
        }
        if let Err(error) = self.bounded(self.cache.keep(pages)).await {
            self.leave_alone(&error);
        }
    }

    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        let silent = |_| {
            let message = format!("no answer within {PATIENCE:?}");
            Err(StorageError::new(
                sterna_storage::StorageErrorKind::Unavailable,
                self.name,
                message,
            ))
        };
        tokio::time::timeout(PATIENCE, call).await.unwrap_or_else(silent)
    }

    fn is_silent(&self) -> bool {
        self.silent_until().is_some_and(|until| Instant::now() < until)
    }

    fn leave_alone(&self, error: &StorageError) {
        tracing::warn!(tier = self.name, %error, "a cache of pages fails; it is left alone for a while");
        *self.silent_until() = Some(Instant::now() + LEFT_ALONE);
    }

    fn silent_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.silent_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whatever is no hit has to be looked for elsewhere.
    fn note(&self, result: &'static str, pages: usize) {
        let hits = if result == "hit" { pages } else { 0 };
        self.lookups.note(hits, pages - hits);
        let name = "sterna_storage_page_lookups_total";
        metrics::counter!(name, "tier" => self.name, "result" => result).increment(pages as u64);
    }
}

impl LogLayer for CachedLog {
    fn behind(&self) -> &dyn PublicationLog {
        &*self.log
    }

    fn heads(
        &self,
        channels: Vec<ChannelKey>,
    ) -> BoxFuture<'_, Result<Vec<Option<Head>>, StorageError>> {
        self.log.heads(channels)
    }

    fn read(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        self.read_page(channel, after, limit).boxed()
    }

    fn adopt(&self, adoption: Adoption) -> BoxFuture<'_, Result<Head, AppendError>> {
        self.log.adopt(adoption)
    }

    /// A page that was read before and is kept only now has the payloads still: whoever stands before
    /// this log knows what is redacted.
    fn redact(
        &self,
        channel: ChannelKey,
        offsets: Vec<Offset>,
    ) -> BoxFuture<'_, Result<u64, StorageError>> {
        async move {
            let redacted = self.log.redact(channel, offsets.clone()).await?;
            self.forget(channel, &offsets).await?;
            Ok(redacted)
        }
        .boxed()
    }

    fn lookups(&self) -> Vec<TierLookups> {
        let of = |tier: &Tier| tier.lookups.told(format!("{}_pages", tier.name));
        self.tiers.iter().map(of).chain(self.log.lookups()).collect()
    }
}
