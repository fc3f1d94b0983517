//! A segment while it is written: announced, filled, read back whole. What comes of it is said by
//! whoever wrote it, the archiver or the compactor.

use sterna_proto::ChannelKey;
use sterna_storage::{
    Links, ManifestChange, ManifestError, Record, SegmentKey, SegmentState, SegmentWriter,
    StorageError, StorageErrorKind,
};

use crate::archiver::unix_now_ms;
use crate::entry::SegmentInfo;
use crate::{Archiver, ENGINE, corrupt};

/// A segment that is being written.
pub(crate) struct Open {
    pub(crate) info: SegmentInfo,
    writer: Box<dyn SegmentWriter>,
    pub(crate) records: u64,
    pub(crate) runs: u64,
}

impl Open {
    pub(crate) fn begin_run(
        &mut self,
        channel: ChannelKey,
        links: Links,
    ) -> Result<(), StorageError> {
        self.runs += 1;
        self.writer.begin_run(channel, links)
    }

    pub(crate) async fn push(&mut self, record: Record) -> Result<(), StorageError> {
        self.info.weight += record.body.payload.len() as u64 + RECORD_BYTES;
        self.records += 1;
        self.writer.push(record).await
    }

    pub(crate) async fn abort(self) {
        self.writer.abort().await;
    }
}

impl Archiver {
    /// Announces a segment and begins it.
    pub(crate) async fn create(&self, key: SegmentKey) -> Result<Open, StorageError> {
        let info = SegmentInfo::prepared(key, unix_now_ms());
        let change = ManifestChange { expected: None, entry: info.to_entry() };
        self.tiers.manifest.change_manifest(vec![change]).await.map_err(manifest_error)?;
        let writer = self.tiers.segments.create(key).await?;
        Ok(Open { info, writer, records: 0, runs: 0 })
    }

    /// Finishes a segment and reads it back; answers what it is to be published as.
    pub(crate) async fn seal(&self, open: Open) -> Result<SegmentInfo, StorageError> {
        let Open { mut info, writer, records, runs } = open;
        let sealed = writer.finish().await?;
        let read_back = self.tiers.segments.verify(info.key).await?;
        if sealed != read_back || sealed.records != records || sealed.runs != runs {
            return Err(corrupt(format!(
                "{:?} was written as {sealed:?} with {records} records and reads as {read_back:?}; \
                 what it was made from is left as it is",
                info.key
            )));
        }
        (info.state, info.sealed) = (SegmentState::Published, Some(sealed));
        info.made_of.bytes = sealed.bytes;
        Ok(info)
    }

    /// Waits while the log has something better to do, and until this many records may move.
    pub(crate) async fn breathe(&mut self, records: usize) {
        while self.pressure.writes_are_slow() {
            metrics::counter!("sterna_archive_pauses_total").increment(1);
            tokio::time::sleep(PAUSE).await;
        }
        self.pace.take(records).await;
    }
}

pub(crate) fn manifest_error(error: ManifestError) -> StorageError {
    match error {
        ManifestError::Storage(error) => error,
        conflict => StorageError::new(StorageErrorKind::Unavailable, ENGINE, conflict.to_string()),
    }
}

/// What a record takes beside its payload, roughly.
const RECORD_BYTES: u64 = 64;

/// Between two looks whether writes are still slow.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);
