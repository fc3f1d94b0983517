//! Takes from the log what lies in the archive.
//!
//! I7: nothing is trimmed before its archive was read back: the segment as a whole when it was
//! written, and here, a grace later and from the log's own end of it, the last record that goes.

use std::time::Duration;

use bytes::Bytes;
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
        if last < tail.floor {
            // The archive gave it up, as whoever answers for it wanted.
            return self.trim_before(channel, head, last.next()).await;
        }
        let in_log = match self.tiers.log.read(channel, before(last), ONE).await {
            Ok(page) => page,
            // Somebody else trims it.
            Err(ReadError::Trimmed { .. }) => return Ok(0),
            Err(ReadError::Storage(error)) => return Err(error),
        };
        let in_archive = self.archived_record(channel, &tail, last).await?;
        let agree = match (in_log.first(), in_archive.as_ref()) {
            (Some(in_log), Some(in_archive)) => {
                is_same(in_log, in_archive) || self.is_blanked(channel, in_log, in_archive).await?
            }
            _ => false,
        };
        if !agree {
            return Err(corrupt(format!(
                "{channel:?}: offset {} is another record in the archive than in the log; nothing \
                 is trimmed, see to `sterna archive verify`",
                last.0
            )));
        }
        self.trim_before(channel, head, last.next()).await
    }

    async fn trim_before(
        &self,
        channel: ChannelKey,
        head: &Head,
        first: Offset,
    ) -> Result<u64, StorageError> {
        let trimmed = self.tiers.log.trim(channel, first).await?;
        let first = trimmed.map_or(head.first, |head| head.first);
        let count = first.0.saturating_sub(head.first.0);
        metrics::counter!("sterna_archive_trimmed_total").increment(count);
        Ok(count)
    }

    /// Of two records that differ one was emptied, as is said of it, and the other was not yet.
    async fn is_blanked(
        &self,
        channel: ChannelKey,
        one: &Record,
        other: &Record,
    ) -> Result<bool, StorageError> {
        let (blank_one, blank_other) = (blank(one), blank(other));
        if blank_one != blank_other || (blank_one != *one && blank_other != *other) {
            return Ok(false);
        }
        let fate = self.fates.fates(vec![channel]).await?.pop().unwrap_or_default();
        Ok(fate.redacted.binary_search(&one.position.offset).is_ok())
    }

    async fn archived_record(
        &self,
        channel: ChannelKey,
        tail: &Tail,
        offset: Offset,
    ) -> Result<Option<Record>, StorageError> {
        let library = &*self.library;
        let Some(run) = tail.find(library, channel, offset).await? else { return Ok(None) };
        let page = library.read(run.segment, channel, before(offset), ONE).await?;
        Ok(page.into_iter().next())
    }
}

/// The same, or emptied in the log: then it is known to be redacted, and whoever reads it from the
/// archive, before that is written anew, is given nothing.
fn is_same(in_log: &Record, in_archive: &Record) -> bool {
    in_log == in_archive || (in_log.body.payload.is_empty() && *in_log == blank(in_archive))
}

fn blank(record: &Record) -> Record {
    let mut record = record.clone();
    (record.body.payload, record.redacted, record.key) = (Bytes::new(), false, 0);
    record
}

fn before(offset: Offset) -> Offset {
    Offset(offset.0.saturating_sub(1))
}

const ONE: PageLimit = PageLimit { records: 1, payload_bytes: usize::MAX };
