//! One log over two tiers, chosen by offset and never by age.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use sterna_proto::{ChannelKey, Offset, Position};
use sterna_storage::{
    Append, AppendError, BoxFuture, Head, LogLayer, NewRecord, PageLimit, PageRoom, PublicationLog,
    ReadError, Record, StorageError, StorageErrorKind, TierLookups,
};

use tokio::time::Instant;

use crate::Tiers;
use crate::chain::Tail;
use crate::floors::Floors;
use crate::library::Library;
use crate::pressure::WriteTimes;

/// Appends go to the log; pages come from the log as far as it reaches back, and from the archive
/// before that. A head's `first` is the oldest publication of either.
///
/// Heads that come with an append are not looked up in the archive: where nobody has asked yet they
/// say that everything is there, and a page that is not is answered with where the archive begins.
#[derive(Debug)]
pub struct TieredLog {
    tiers: Tiers,
    library: Library,
    floors: Mutex<Floors>,
    writes: Arc<WriteTimes>,
}

impl TieredLog {
    /// `writes` hears how long appends take.
    pub fn new(tiers: Tiers, writes: Arc<WriteTimes>) -> Self {
        let library = Library::new(&tiers);
        Self { tiers, library, floors: Mutex::default(), writes }
    }

    /// What of a channel is archived.
    async fn tail(&self, channel: ChannelKey) -> Result<Option<Tail>, StorageError> {
        let found = self.tiers.archived.archived(vec![channel]).await?.pop().flatten();
        let tail = found.as_ref().map(Tail::of_archived).transpose()?;
        if let Some(tail) = &tail {
            self.floors().insert(channel, tail.begins());
        }
        Ok(tail)
    }

    /// The head of both tiers.
    async fn widen(&self, channel: ChannelKey, head: Head) -> Result<Head, StorageError> {
        if head.first <= Offset(1) {
            return Ok(head);
        }
        let known = self.floors().get(&channel);
        let floor = match known {
            Some(floor) => floor,
            None => match self.tail(channel).await? {
                Some(tail) if tail.at.last.next() >= head.first => tail.begins(),
                // Trimmed, and not by an archiver.
                _ => head.first,
            },
        };
        Ok(Head { first: floor.min(head.first), ..head })
    }

    /// The same without asking anybody.
    fn widen_at_once(&self, channel: ChannelKey, head: Head) -> Head {
        let floor = self.floors().get(&channel).unwrap_or(Offset(1));
        Head { first: floor.min(head.first), ..head }
    }

    fn widen_verdict(
        &self,
        channel: ChannelKey,
        verdict: Result<Head, AppendError>,
    ) -> Result<Head, AppendError> {
        match verdict {
            Ok(head) => Ok(self.widen_at_once(channel, head)),
            Err(AppendError::Conflict { head }) => {
                let head = head.map(|head| self.widen_at_once(channel, head));
                Err(AppendError::Conflict { head })
            }
            other => other,
        }
    }

    /// A page that begins before the log does.
    async fn read_archive(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
        log_begins: Offset,
    ) -> Result<Vec<Record>, ReadError> {
        let gone = |first| Err(ReadError::Trimmed { first });
        let Some(tail) = self.tail(channel).await? else { return gone(log_begins) };
        if after >= tail.at.last {
            return gone(log_begins);
        }
        if after.next() < tail.begins() {
            return gone(tail.begins());
        }
        metrics::counter!("sterna_archive_pages_total").increment(1);
        match self.read_runs(channel, &tail, after, limit).await {
            Err(ReadError::Storage(error)) if error.kind == StorageErrorKind::Corrupt => {
                // Given up, with the runs that held it, since the tail was read?
                match self.tail(channel).await? {
                    Some(tail) if after.next() < tail.begins() => gone(tail.begins()),
                    _ => Err(error.into()),
                }
            }
            page => page,
        }
    }

    /// A page that begins with what the archive gives of a channel.
    async fn read_runs(
        &self,
        channel: ChannelKey,
        tail: &Tail,
        after: Offset,
        limit: PageLimit,
    ) -> Result<Vec<Record>, ReadError> {
        let mut page = Page { records: Vec::new(), room: limit.start(), last: after, limit };
        while page.last < tail.at.last && !page.room.is_full() {
            let (library, wanted) = (&self.library, page.last.next());
            let Some(run) = tail.find(library, channel, wanted).await? else {
                return Err(ReadError::Trimmed { first: tail.begins() });
            };
            let read = library.read(run.segment, channel, page.last, page.left()).await?;
            if read.is_empty() {
                let message = format!("{channel:?}: {run:?} has no offset {}", wanted.0);
                return Err(crate::corrupt(message).into());
            }
            if !page.add(read)? {
                return Ok(page.records);
            }
        }
        if !page.room.is_full() {
            match self.tiers.log.read(channel, page.last, page.left()).await {
                Ok(read) => drop(page.add(read)?),
                // Archived meanwhile: the next page has it.
                Err(ReadError::Trimmed { .. }) if !page.records.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(page.records)
    }

    fn floors(&self) -> std::sync::MutexGuard<'_, Floors> {
        self.floors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A page that is put together from several reads.
struct Page {
    records: Vec<Record>,
    room: PageRoom,
    last: Offset,
    limit: PageLimit,
}

impl Page {
    /// What another read may bring. Its first record comes whatever its size.
    fn left(&self) -> PageLimit {
        let bytes: usize = self.records.iter().map(|record| record.body.payload.len()).sum();
        PageLimit {
            records: self.limit.records.saturating_sub(self.records.len()),
            payload_bytes: self.limit.payload_bytes.saturating_sub(bytes),
        }
    }

    /// False: the page is full. What does not follow is damage, since both tiers are dense (I2).
    fn add(&mut self, read: Vec<Record>) -> Result<bool, ReadError> {
        let got_on = !read.is_empty();
        for record in read {
            let offset = record.position.offset;
            if offset != self.last.next() {
                let message = format!("offset {} comes after {}", offset.0, self.last.0);
                return Err(crate::corrupt(message).into());
            }
            if !self.room.take(record.body.payload.len()) {
                return Ok(false);
            }
            self.last = offset;
            self.records.push(record);
        }
        Ok(got_on)
    }
}

/// What is not said here is of the log alone: heads for whoever archives it, what is found, trimmed and
/// redacted. What lies in the archive is hidden by whoever knows of it.
impl LogLayer for TieredLog {
    fn behind(&self) -> &dyn PublicationLog {
        &*self.tiers.log
    }

    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Vec<Result<Head, AppendError>>> {
        async move {
            let channels: Vec<ChannelKey> = appends.iter().map(|append| append.channel).collect();
            let began = Instant::now();
            let verdicts = self.tiers.log.append(appends).await;
            self.writes.note(began.elapsed());
            let widen = |(channel, verdict)| self.widen_verdict(channel, verdict);
            channels.into_iter().zip(verdicts).map(widen).collect()
        }
        .boxed()
    }

    fn head(&self, channel: ChannelKey) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        async move {
            match self.tiers.log.head(channel).await? {
                Some(head) => self.widen(channel, head).await.map(Some),
                None => Ok(None),
            }
        }
        .boxed()
    }

    fn heads(
        &self,
        channels: Vec<ChannelKey>,
    ) -> BoxFuture<'_, Result<Vec<Option<Head>>, StorageError>> {
        async move {
            let heads = self.tiers.log.heads(channels.clone()).await?;
            let mut widened = Vec::with_capacity(heads.len());
            for (channel, head) in channels.into_iter().zip(heads) {
                widened.push(match head {
                    Some(head) => Some(self.widen(channel, head).await?),
                    None => None,
                });
            }
            Ok(widened)
        }
        .boxed()
    }

    fn read(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        async move {
            match self.tiers.log.read(channel, after, limit).await {
                Err(ReadError::Trimmed { first }) => {
                    self.read_archive(channel, after, limit, first).await
                }
                page => page,
            }
        }
        .boxed()
    }

    fn raise_epoch(
        &self,
        channel: ChannelKey,
        expected: Position,
        marker: NewRecord,
    ) -> BoxFuture<'_, Result<Head, AppendError>> {
        async move {
            let raised = self.tiers.log.raise_epoch(channel, expected, marker).await;
            self.widen_verdict(channel, raised)
        }
        .boxed()
    }

    fn lookups(&self) -> Vec<TierLookups> {
        let mut all = self.tiers.log.lookups();
        all.extend(self.tiers.segments.lookups());
        all
    }
}
