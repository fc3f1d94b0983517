//! What is measured: a store full of yesterday's publications, tiers on a disk, and how long it takes
//! to open every channel.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use sterna_proto::{ChannelId, ChannelKey, ClientId, Offset, PublicationId, UserId};
use sterna_storage::{Append, NewRecord, Origin, PageLimit, PublicationLog, Stores};
use sterna_storage_archive::{ArchiveConfig, Archiver, TieredLog, Tiers, Unpressed, WriteTimes};
use sterna_storage_object::{ObjectConfig, ObjectSegments, Place};
use sterna_storage_rocks::{Durability, RocksConfig, RocksStore};

use crate::bench::args::ArchiveBenchArgs;

/// Records of one append while the store is filled.
const BATCH: usize = 500;

/// What opening a chat asks for.
pub(super) const PAGE: PageLimit = PageLimit { records: 50, payload_bytes: 1 << 20 };

/// Words of which payloads are made: they pack about as well as chats do.
const WORDS: &[&str] = &[
    "the", "tern", "flies", "from", "pole", "to", "and", "back", "every", "year", "see", "you",
    "tomorrow", "at", "nine", "ok", "thanks", "which", "train", "did", "take", "home", "late",
    "again", "photo", "of", "harbour", "meeting", "moved", "please", "call", "when", "free",
];

/// A store and what was put into it.
pub(super) struct Bed {
    pub(super) stores: Stores,
    pub(super) channels: Vec<ChannelKey>,
    pub(super) payloads: Vec<Bytes>,
    pub(super) random: StdRng,
}

impl Bed {
    /// An empty one in a folder.
    pub(super) fn new(directory: &Path, args: &ArchiveBenchArgs) -> Result<Self> {
        let mut config = RocksConfig::new(directory);
        config.durability = Durability::Os;
        let stores = RocksStore::open(config)?.stores();
        let key = |n| -> Result<ChannelKey> { Ok(ChannelId::new(&format!("room:{n}"))?.key()) };
        let channels = (0..args.channels).map(key).collect::<Result<_>>()?;
        Ok(Self { stores, channels, payloads: Vec::new(), random: StdRng::seed_from_u64(7) })
    }

    /// Publications of yesterday, evenly over the channels: the `slice`th of so many equal shares.
    pub(super) async fn fill(
        &mut self,
        args: &ArchiveBenchArgs,
        slice: u64,
        slices: u64,
    ) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let yesterday = now.saturating_sub(Duration::from_secs(24 * 3600)).as_millis() as u64;
        for (channel, key) in (0..args.channels).zip(self.channels.clone()) {
            let begin = args.publications * channel / args.channels;
            let end = args.publications * (channel + 1) / args.channels;
            let at = |share: u64| begin + (end - begin) * share / slices;
            let mut expected = self.stores.log.head(key).await?.map(|head| head.position);
            let all: Vec<u64> = (at(slice)..at(slice + 1)).collect();
            for some in all.chunks(BATCH) {
                let records = some.iter().map(|n| self.record(args, *n, yesterday));
                let records = records.collect::<Result<Vec<_>>>()?;
                let append = Append::new(key, expected, records);
                expected = Some(self.stores.log.append(vec![append]).await.remove(0)?.position);
            }
        }
        Ok(())
    }

    fn record(&mut self, args: &ArchiveBenchArgs, n: u64, since_ms: u64) -> Result<NewRecord> {
        let payload = text(&mut self.random, args.payload as usize);
        self.payloads.push(payload.clone());
        Ok(NewRecord {
            id: PublicationId(n + 1),
            sender: UserId::new("alice")?,
            origin: Some(Origin { client_id: ClientId::new("phone")?, client_seq: n + 1 }),
            client_msg_id: Bytes::copy_from_slice(&self.random.random::<[u8; 16]>()),
            server_ts_ms: since_ms + n,
            client_ts_ms: since_ms + n,
            kind: 0,
            target_offset: Offset::ZERO,
            payload,
        })
    }

    /// The tiers with an archive in a folder, of whose index nothing is in memory.
    pub(super) fn tiers(&self, archive: &Path) -> Result<Tiers> {
        let place = Place::Files { root: archive.to_owned() };
        let segments = Arc::new(ObjectSegments::open(ObjectConfig::new(place))?);
        Ok(Tiers {
            log: self.stores.log.clone(),
            archived: self.stores.archived.clone(),
            manifest: self.stores.manifest.clone(),
            segments,
        })
    }

    /// How long the newest page of each channel takes, in an order of chance.
    pub(super) async fn open_all(&mut self, log: &dyn PublicationLog) -> Result<Times> {
        self.time_all(async |channel| {
            let head = log.head(channel).await?.context("every channel was filled")?;
            let after = Offset(head.position.offset.0.saturating_sub(PAGE.records as u64));
            Ok(log.read(channel, after, PAGE).await?.len())
        })
        .await
    }

    /// The same of whatever opens a channel and says how many publications it has got.
    pub(super) async fn time_all(
        &mut self,
        mut open: impl AsyncFnMut(ChannelKey) -> Result<usize>,
    ) -> Result<Times> {
        let mut order = self.channels.clone();
        order.shuffle(&mut self.random);
        let mut took = Vec::with_capacity(order.len());
        for channel in order {
            let began = Instant::now();
            let found = open(channel).await?;
            took.push(began.elapsed());
            anyhow::ensure!(found > 0, "a channel is empty");
        }
        took.sort_unstable();
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
        Ok(Times { p50: at(0.5), p99: at(0.99) })
    }
}

#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) p50: Duration,
    pub(super) p99: Duration,
}

pub(super) fn tiered(tiers: &Tiers) -> TieredLog {
    TieredLog::new(tiers.clone(), Arc::new(WriteTimes::new(Duration::from_secs(1))))
}

/// Archives everything at once, and waits for nobody.
pub(super) fn archiver(tiers: &Tiers) -> Archiver {
    let when = ArchiveConfig {
        after: Duration::from_secs(3600),
        grace: Duration::ZERO,
        keep_newest: 0,
        records_per_second: u32::MAX,
        ..ArchiveConfig::default()
    };
    Archiver::new(tiers.clone(), when, Arc::new(Unpressed))
}

fn text(random: &mut StdRng, bytes: usize) -> Bytes {
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        text.push_str(WORDS.choose(random).copied().unwrap_or("tern"));
        text.push(' ');
    }
    text.truncate(bytes);
    text.into()
}

/// Bytes of all files below a folder.
pub(super) fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
