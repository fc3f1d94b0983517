//! Tiers in memory, with faults, and a log to archive.

// Not every test file uses everything.
#![allow(dead_code)]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sterna_proto::{ChannelId, ChannelKey, Offset, PublicationId, UserId};
use sterna_storage::fault::{FaultyArchived, FaultyManifest, FaultySegments, Script};
use sterna_storage::{
    Append, MemorySegments, MemoryStore, NewRecord, PageLimit, PublicationLog as _,
};
use sterna_storage_archive::{ArchiveConfig, Archiver, TieredLog, Tiers, Unpressed, WriteTimes};

pub struct Bed {
    pub store: MemoryStore,
    /// What is there, whatever fails.
    pub segments: MemorySegments,
    /// In between, with its faults.
    pub faults: Arc<FaultySegments>,
    pub tiers: Tiers,
    /// Whether its calls, and those of the manifest and of the rows, fail, where
    /// [`mortal`](Self::mortal) made them.
    pub script: Arc<Script>,
}

impl Bed {
    pub fn new() -> Self {
        let store = MemoryStore::new();
        let stores = store.stores();
        let segments = MemorySegments::new();
        let faults = Arc::new(FaultySegments::new(Arc::new(segments.clone())));
        let tiers = Tiers {
            log: stores.log,
            archived: stores.archived,
            manifest: stores.manifest,
            segments: faults.clone(),
        };
        Self { store, segments, faults, tiers, script: Arc::default() }
    }

    /// With one script in the way of all that an archiver calls but the log.
    pub fn mortal() -> Self {
        let mut bed = Self::new();
        let (script, inner) = (bed.script.clone(), bed.tiers.clone());
        let segments = Arc::new(bed.segments.clone());
        bed.faults = Arc::new(FaultySegments::following(segments, script.clone()));
        bed.tiers = Tiers {
            log: inner.log,
            archived: Arc::new(FaultyArchived::new(inner.archived, script.clone())),
            manifest: Arc::new(FaultyManifest::new(inner.manifest, script)),
            segments: bed.faults.clone(),
        };
        bed
    }

    pub fn archiver(&self, config: ArchiveConfig) -> Archiver {
        Archiver::new(self.tiers.clone(), config, Arc::new(Unpressed))
    }

    pub fn log(&self) -> TieredLog {
        TieredLog::new(self.tiers.clone(), Arc::new(WriteTimes::new(OLD)))
    }

    /// Publishes with server times that long ago.
    pub async fn publish(&self, name: &str, count: usize, age: Duration) {
        let channel = key(name);
        for _ in 0..count {
            let head = self.store.head(channel).await.unwrap();
            let next = head.as_ref().map_or(1, |head| head.position.offset.0 + 1);
            let record = NewRecord {
                id: PublicationId(next),
                sender: UserId::new("alice").unwrap(),
                origin: None,
                client_msg_id: Bytes::new(),
                server_ts_ms: now_ms() - age.as_millis() as u64,
                client_ts_ms: 1,
                kind: 0,
                target_offset: Offset::ZERO,
                payload: Bytes::from(format!("{name} {next}")),
            };
            let append = Append::new(channel, head.map(|head| head.position), vec![record]);
            self.store.append(vec![append]).await.remove(0).unwrap();
        }
    }
}

/// Archives what is a minute old, and trims at once.
pub fn eager() -> ArchiveConfig {
    ArchiveConfig {
        after: Duration::from_secs(60),
        grace: Duration::ZERO,
        keep_newest: 0,
        records_per_second: u32::MAX,
        ..ArchiveConfig::default()
    }
}

pub const OLD: Duration = Duration::from_secs(3600);

pub const WIDE: PageLimit = PageLimit { records: 1_000_000, payload_bytes: usize::MAX };

pub fn key(name: &str) -> ChannelKey {
    ChannelId::new(name).unwrap().key()
}

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}
