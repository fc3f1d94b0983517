//! What is kept of channels when their segments are written again.
//!
//! Nobody may look for what is dropped: first the channel's row says that its archive begins later,
//! and only what lies before what the row says is left out. What no row refers to, or not yet, is
//! kept as it is.

use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{ArchivedChange, ArchivedError, PageLimit, SegmentKey, StorageError};

use crate::Archiver;
use crate::archiver::CHANNELS_AT_ONCE;
use crate::chain::Tail;
use crate::entry::SegmentInfo;
use crate::merge::Indexes;

/// Of one channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    /// What lies before is dropped.
    pub(crate) first: Offset,
    /// What of the rest is blanked, ascending.
    pub(crate) redacted: Vec<Offset>,
}

impl Cut {
    pub(crate) fn blanks(&self, offset: Offset) -> bool {
        self.redacted.binary_search(&offset).is_ok()
    }
}

impl Archiver {
    /// In the order asked for.
    pub(crate) async fn cuts(&self, channels: Vec<ChannelKey>) -> Result<Vec<Cut>, StorageError> {
        if self.fates.keep_all() {
            return self.floors(channels).await;
        }
        let fates = self.fates.fates(channels.clone()).await?;
        let rows = self.tiers.archived.archived(channels.clone()).await?;
        let mut cuts = Vec::with_capacity(channels.len());
        let (mut changes, mut raised) = (Vec::new(), Vec::new());
        for ((channel, fate), row) in channels.into_iter().zip(fates).zip(rows) {
            let mut cut = Cut { first: Offset::ZERO, redacted: fate.redacted };
            if let Some(expected) = row {
                let tail = Tail::of_archived(&expected)?;
                let first = fate.first.min(tail.at.last.next());
                cut.first = tail.floor;
                if first > tail.begins() {
                    let archived = Tail { floor: first, ..tail }.to_archived();
                    changes.push(ArchivedChange { channel, expected: Some(expected), archived });
                    raised.push((cuts.len(), first));
                }
            }
            cuts.push(cut);
        }
        if changes.is_empty() {
            return Ok(cuts);
        }
        for (verdict, (place, first)) in
            self.tiers.archived.change_archived(changes).await.into_iter().zip(raised)
        {
            match verdict {
                Ok(()) => cuts[place].first = first,
                // An archiver was there meanwhile; what was dropped before stays dropped.
                Err(ArchivedError::Conflict { .. }) => {}
                Err(ArchivedError::Storage(error)) => return Err(error),
            }
        }
        Ok(cuts)
    }

    /// What was dropped once does not come back.
    async fn floors(&self, channels: Vec<ChannelKey>) -> Result<Vec<Cut>, StorageError> {
        let rows = self.tiers.archived.archived(channels).await?;
        let floor = |row: &_| Ok(Cut { first: Tail::of_archived(row)?.floor, ..Cut::default() });
        rows.iter().map(|row| row.as_ref().map_or_else(|| Ok(Cut::default()), floor)).collect()
    }

    /// Whether a segment is to be written again for what is to be dropped or blanked of it: more than
    /// half of its records, or any payload that is still there and should not.
    pub(crate) async fn is_outlived(&mut self, info: &SegmentInfo) -> Result<bool, StorageError> {
        let mut indexes = Indexes::new(self.tiers.segments.clone(), [info.key]);
        let (mut records, mut dropped) = (0, 0);
        loop {
            let batch = indexes.batch(CHANNELS_AT_ONCE).await.map_err(|(_, error)| error)?;
            if batch.is_empty() {
                return Ok(dropped * 2 > records);
            }
            self.breathe(batch.len()).await;
            let cuts = self.cuts(batch.iter().map(|held| held.channel).collect()).await?;
            for (held, cut) in batch.iter().zip(&cuts) {
                for (_, run) in &held.runs {
                    let first = cut.first.max(run.first);
                    records += run.last.0 + 1 - run.first.0;
                    dropped += first.min(run.last.next()).0 - run.first.0;
                    for offset in cut.redacted.iter().filter(|it| (first..=run.last).contains(it)) {
                        if self.has_payload(info.key, held.channel, *offset).await? {
                            return Ok(true);
                        }
                    }
                }
            }
        }
    }

    async fn has_payload(
        &self,
        segment: SegmentKey,
        channel: ChannelKey,
        offset: Offset,
    ) -> Result<bool, StorageError> {
        let before = Offset(offset.0.saturating_sub(1));
        let page = self.tiers.segments.read(segment, channel, before, ONE).await?;
        Ok(page.first().is_some_and(|record| {
            record.position.offset == offset && !record.body.payload.is_empty()
        }))
    }
}

const ONE: PageLimit = PageLimit { records: 1, payload_bytes: usize::MAX };
