//! Takes from the log what lies in the archive.
//!
//! I7: nothing is trimmed before its archive was read back: the segment as a whole when it was
//! written, and here, a grace later and from the log's own end of it, the last record that goes.

use std::time::Duration;

use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{Archived, Head, PageLimit, ReadError, Record, StorageError};

use crate::archiver::unix_now_ms;
use crate::chain::Tail;
use crate::{Archiver, corrupt};

impl Archiver {
    /// Trims a channel as far as it may be; answers how many records went.
    pub(crate) async fn trim(
        &self,
        channel: ChannelKey,
        head: &Head,
        archived: Option<&Archived>,
    ) -> Result<u64, StorageError> {
        let Some(tail) = archived.map(Tail::of_archived).transpose()? else { return Ok(0) };
        let now_ms = unix_now_ms();
        let silent = Duration::from_millis(now_ms.saturating_sub(head.last_ts_ms));
        let keep = if silent < self.config.keep_active { self.config.keep_newest } else { 0 };
        let newest = Offset(head.position.offset.0.saturating_sub(keep));
        let last = tail.settled.upto(now_ms, self.config.grace).min(newest);
        // A few records are not worth a write of the head.
        if last.next() <= head.first || tail.first > head.first {
            return Ok(0);
        }
        let in_log = match self.tiers.log.read(channel, before(last), ONE).await {
            Ok(page) => page,
            // Somebody else trims it.
            Err(ReadError::Trimmed { .. }) => return Ok(0),
            Err(ReadError::Storage(error)) => return Err(error),
        };
        let in_archive = self.archived_record(channel, &tail, last).await?;
        if !is_same(in_log.first(), in_archive.as_ref()) {
            return Err(corrupt(format!(
                "{channel:?}: offset {} is another record in the archive than in the log; nothing \
                 is trimmed, see to `sterna archive verify`",
                last.0
            )));
        }
        let trimmed = self.tiers.log.trim(channel, last.next()).await?;
        let first = trimmed.map_or(head.first, |head| head.first);
        let count = first.0.saturating_sub(head.first.0);
        metrics::counter!("sterna_archive_trimmed_total").increment(count);
        Ok(count)
    }

    async fn archived_record(
        &self,
        channel: ChannelKey,
        tail: &Tail,
        offset: Offset,
    ) -> Result<Option<Record>, StorageError> {
        let segments = &*self.tiers.segments;
        let Some(run) = tail.find(segments, channel, offset).await? else { return Ok(None) };
        let page = segments.read(run.segment, channel, before(offset), ONE).await?;
        Ok(page.into_iter().next())
    }
}

/// A payload that was redacted in the log lies in the archive until that is written anew.
fn is_same(in_log: Option<&Record>, in_archive: Option<&Record>) -> bool {
    let (Some(in_log), Some(in_archive)) = (in_log, in_archive) else { return false };
    if !in_log.body.payload.is_empty() {
        return in_log == in_archive;
    }
    let mut emptied = in_archive.clone();
    (emptied.body.payload, emptied.redacted) = (in_log.body.payload.clone(), in_log.redacted);
    *in_log == emptied
}

fn before(offset: Offset) -> Offset {
    Offset(offset.0.saturating_sub(1))
}

const ONE: PageLimit = PageLimit { records: 1, payload_bytes: usize::MAX };
