//! The newest page of each channel where it needs no look into the store: in its owner's memory, and
//! in the caches of pages that cores on a database have.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use sterna_core::EncodedPush;
use sterna_core::channel::ring::Ring;
use sterna_proto::{ChannelKey, Offset, v1};
use sterna_storage::page::{PAGE_RECORDS, PageCache};
use sterna_storage::{PublicationLog, Record};
use sterna_storage_pages::CachedLog;
use sterna_storage_redis::{RedisConfig, RedisStore};
use sterna_storage_rocks::PageFiles;

use super::bed::{Bed, PAGE, Times};
use crate::bench::args::ArchiveBenchArgs;

/// Room enough for all pages.
const CACHE_BYTES: u64 = 16 << 30;

/// How long it takes; `None`: there is no such place.
pub(super) struct Hot {
    pub(super) ring: Times,
    /// No channel has as much as a full page: caches keep nothing else.
    pub(super) disk: Option<Times>,
    /// Nobody has named a Redis.
    pub(super) redis: Option<Times>,
}

impl Hot {
    pub(super) async fn measure(
        args: &ArchiveBenchArgs,
        bed: &mut Bed,
        pages: &Path,
    ) -> Result<Self> {
        let ring = from_rings(bed).await?;
        if args.publications / args.channels < PAGE_RECORDS {
            return Ok(Self { ring, disk: None, redis: None });
        }
        let open_files = || -> Result<Arc<dyn PageCache>> {
            Ok(Arc::new(PageFiles::open(pages, CACHE_BYTES, "sterna bench")?))
        };
        let log = bed.stores.log.clone();
        read_through(bed, &log, "local", open_files()?).await?;
        // Opened anew, so that they are in files.
        let disk = Some(from_cache(bed, &log, "local", open_files()?).await?);
        let redis = match &args.redis {
            Some(url) => {
                let mut config = RedisConfig::new(url);
                // What is left there goes by itself in ten minutes.
                config.prefix = format!("sterna-bench-{:016x}:", rand::random::<u64>());
                let redis = Arc::new(RedisStore::open(config)?);
                read_through(bed, &log, "redis", redis.clone()).await?;
                Some(from_cache(bed, &log, "redis", redis).await?)
            }
            None => None,
        };
        Ok(Self { ring, disk, redis })
    }
}

/// From what an owner keeps of its channels, as when they were published just now.
async fn from_rings(bed: &mut Bed) -> Result<Times> {
    let mut rings: HashMap<ChannelKey, (Ring, Offset)> = HashMap::new();
    for channel in bed.channels.clone() {
        let head = bed.stores.log.head(channel).await?.context("every channel was filled")?;
        let after = Offset(head.position.offset.0.saturating_sub(PAGE.records as u64));
        let mut ring = Ring::new(PAGE.records, PAGE.payload_bytes);
        for record in bed.stores.log.read(channel, after, PAGE).await? {
            let offset = record.position.offset;
            ring.push(offset, EncodedPush::new(published(record)), std::time::Instant::now());
        }
        rings.insert(channel, (ring, after));
    }
    bed.time_all(async |channel| {
        let (ring, after) = rings.get(&channel).context("every channel has a ring")?;
        let page = ring.page(*after, PAGE.records, PAGE.payload_bytes);
        Ok(page.context("the ring reaches back")?.len())
    })
    .await
}

fn published(record: Record) -> v1::push::Event {
    v1::push::Event::Publication(v1::Publication {
        channel: "room:bench".into(),
        epoch: record.position.epoch.0,
        offset: record.position.offset.0,
        sender: record.body.sender.as_str().to_owned(),
        payload: record.body.payload,
        ..Default::default()
    })
}

/// Has a cache keep what is read.
async fn read_through(
    bed: &mut Bed,
    log: &Arc<dyn PublicationLog>,
    name: &'static str,
    cache: Arc<dyn PageCache>,
) -> Result<()> {
    let cached = CachedLog::new(log.clone(), vec![(name, cache)]);
    full_pages(bed, &cached).await.map(drop)
}

/// Every page comes from there, or there is no figure.
async fn from_cache(
    bed: &mut Bed,
    log: &Arc<dyn PublicationLog>,
    name: &'static str,
    cache: Arc<dyn PageCache>,
) -> Result<Times> {
    let cached = CachedLog::new(log.clone(), vec![(name, cache)]);
    let times = full_pages(bed, &cached).await?;
    let lookups = cached.lookups();
    let whole = lookups.iter().all(|tier| tier.misses == 0 && tier.hits > 0);
    anyhow::ensure!(whole, "pages were missing in the cache: {lookups:?}");
    Ok(times)
}

/// As the newest page of every channel is read, of those that lie in pages that are full. As everywhere,
/// the log is asked for the head.
async fn full_pages(bed: &mut Bed, log: &dyn PublicationLog) -> Result<Times> {
    bed.time_all(async |channel| {
        let head = log.head(channel).await?.context("every channel was filled")?;
        let end = head.position.offset.0 / PAGE_RECORDS * PAGE_RECORDS;
        let after = Offset(end.saturating_sub(PAGE.records as u64));
        Ok(log.read(channel, after, PAGE).await?.len())
    })
    .await
}
