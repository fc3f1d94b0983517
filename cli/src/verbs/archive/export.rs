//! `sterna archive export`: archived publications as Parquet files, one for each day and shard, in
//! folders that analytics find by themselves: `day=2026-11-29/shard-002a-000.parquet`.
//!
//! Some days of a shard are read together, so that a segment is not read once for each. A file is made
//! aside and comes to its place as a whole. What is held is a row group of each of those days.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::json;
use sterna_bench::progress::Progress;
use sterna_proto::{ChannelId, ChannelKey};
use sterna_storage::{ChannelStore, Record, StorageError};
use sterna_storage_archive::{Export, Fates, SHARDS, Tiers, Wanted, segments_between};
use sterna_storage_object::{Keys, ObjectConfig, Outlet, Place};
use sterna_storage_parquet::{PublicationFile, Row};
use tempfile::NamedTempFile;

use super::{opened, read_config};
use crate::archive::Archive;
use crate::args::{ExportArgs, StoreArgs};
use crate::config::StoreConfig;
use crate::output::{self, Format};
use crate::stores::open_stores;

/// What came of it.
#[derive(Debug, Default)]
struct Report {
    files: u64,
    bytes: u64,
    publications: u64,
    days: HashSet<u64>,
    /// Files of earlier exports that nothing has taken the place of.
    removed: u64,
}

pub(super) fn run(args: &ExportArgs) -> Result<ExitCode> {
    let config = read_config(&args.config)?;
    let Some(settings) = config.archive else {
        bail!("`archive.url` is not set: everything stays in the store");
    };
    let store = config.store.context("this node has no store")?;
    let local = match &store {
        StoreConfig::Sql(_) => None,
        local => Some(open_stores(local, StoreArgs::default()).context(
            "a store of this machine is open at one process at a time: end its node, or export from a \
             backup that is put back elsewhere",
        )?),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let local = local.map(|(stores, _)| stores);
        let (archive, stores) = opened(settings, &store, local).await?;
        export(args, &archive, stores.channels).await
    })
}

async fn export(
    args: &ExportArgs,
    archive: &Archive,
    names: Arc<dyn ChannelStore>,
) -> Result<ExitCode> {
    let outlet =
        Outlet::open(&ObjectConfig::new(place(&args.to, &archive.settings.objects.place)?))?;
    let wanted = Wanted { channels: channels(&args.channels)?, times: times(args)? };
    let bar = Progress::new("looking for segments", 0);
    let mut exporter = Exporter {
        tiers: archive.tiers.clone(),
        fates: archive.fates.clone(),
        names,
        outlet,
        wanted,
        report: Report::default(),
        done: 0,
        all: 0,
        bar: bar.clone(),
    };
    let ended = exporter.run().await;
    bar.done();
    ended?;
    let report = exporter.report;
    output::line(&match Format::of(args.json) {
        Format::Json => json!({
            "files": report.files,
            "bytes": report.bytes,
            "publications": report.publications,
            "days": report.days.len(),
            "removed": report.removed,
        })
        .to_string(),
        Format::Human => format!(
            "{} publications of {} days in {} files, {}",
            report.publications,
            report.days.len(),
            report.files,
            super::bytes(report.bytes)
        ),
    })?;
    Ok(ExitCode::SUCCESS)
}

struct Exporter {
    tiers: Tiers,
    /// What is not to be seen any more.
    fates: Arc<dyn Fates>,
    names: Arc<dyn ChannelStore>,
    outlet: Outlet,
    wanted: Wanted,
    report: Report,
    /// Records that were read, of so many that there are.
    done: u64,
    all: u64,
    bar: Progress,
}

impl Exporter {
    async fn run(&mut self) -> Result<()> {
        let mut windows = Vec::new();
        for shard in 0..SHARDS {
            for (times, records) in self.windows(shard).await? {
                self.all += records;
                windows.push((shard, times, records));
            }
            self.bar.reach(u64::from(shard) + 1, SHARDS.into());
        }
        self.bar.next("publications read".to_owned(), self.all);
        for (shard, times, records) in windows {
            self.window(shard, times).await?;
            self.done += records;
        }
        Ok(())
    }

    /// The days of which a shard has something, some together, and how many records are read for them.
    async fn windows(&self, shard: u16) -> Result<Vec<(Range<u64>, u64)>, StorageError> {
        let times = &self.wanted.times;
        let segments = segments_between(&self.tiers, shard, times).await?;
        let spans = || segments.iter().filter_map(|info| info.sealed);
        let mut windows = Vec::new();
        let mut day = spans().map(|it| it.first_ts_ms.max(times.start) / DAY_MS).min();
        while let Some(first) = day {
            let window = first * DAY_MS..first.saturating_add(DAYS).saturating_mul(DAY_MS);
            let is_in = |it: &sterna_storage::Sealed| {
                it.first_ts_ms < window.end && window.start <= it.last_ts_ms
            };
            let records = spans().filter(is_in).map(|it| it.records).sum();
            let cut = window.start.max(times.start)..window.end.min(times.end);
            windows.push((cut, records));
            let later = spans().filter(|it| it.last_ts_ms >= window.end);
            day = later.map(|it| it.first_ts_ms.max(window.end) / DAY_MS).min();
            day = day.filter(|day| day.saturating_mul(DAY_MS) < times.end);
        }
        Ok(windows)
    }

    async fn window(&mut self, shard: u16, times: Range<u64>) -> Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_window(shard, times.clone()).await {
                // Put together with others while it was read.
                Err(error) if tries < TRIES && is_missing(&error) => continue,
                ended => return ended,
            }
        }
    }

    async fn try_window(&mut self, shard: u16, times: Range<u64>) -> Result<()> {
        let wanted = Wanted { times: times.clone(), ..self.wanted.clone() };
        let fates = self.fates.clone();
        let mut export = Export::begin(self.tiers.clone(), fates, shard, wanted).await?;
        let mut days: BTreeMap<u64, Day> = BTreeMap::new();
        let mut known: Option<(ChannelKey, Option<ChannelId>)> = None;
        while let Some((channel, records)) = export.next().await? {
            let name = match &known {
                Some((key, name)) if *key == channel => name.clone(),
                _ => {
                    let found = self.names.channel(channel).await?.map(|record| record.name);
                    known.insert((channel, found)).1.clone()
                }
            };
            for record in records {
                let day = record.body.server_ts_ms / DAY_MS;
                let file = days.entry(day).or_default();
                file.push(&self.outlet, Row { channel, name: name.clone(), record: own(record) })?;
            }
            self.bar.reach(self.done + export.read(), self.all);
        }
        for day in times.start / DAY_MS..times.end.div_ceil(DAY_MS) {
            let files = days.remove(&day).unwrap_or_default();
            self.place_day(shard, day, files).await?;
        }
        Ok(())
    }

    /// Brings a day's files to their place, and takes away what was there before and is not replaced.
    async fn place_day(&mut self, shard: u16, day: u64, day_files: Day) -> Result<()> {
        let Day { mut files, open, rows } = day_files;
        files.extend(open.map(close).transpose()?);
        let folder = folder_of(day)?;
        let name = |part: usize| format!("{folder}/shard-{shard:04x}-{part:03}.parquet");
        for (part, file) in files.iter().enumerate() {
            let bytes = file.as_file().metadata()?.len();
            let name = name(part);
            let put = self.outlet.put(&name, file.path()).await;
            put.with_context(|| format!("cannot write {name}"))?;
            self.report.files += 1;
            self.report.bytes += bytes;
        }
        let mut part = files.len();
        while self.outlet.remove(&name(part)).await? {
            self.report.removed += 1;
            part += 1;
        }
        if rows > 0 {
            self.report.days.insert(day);
            self.report.publications += rows;
        }
        Ok(())
    }
}

/// The files of one day of a shard.
#[derive(Default)]
struct Day {
    files: Vec<NamedTempFile>,
    open: Option<PublicationFile<NamedTempFile>>,
    rows: u64,
}

impl Day {
    fn push(&mut self, outlet: &Outlet, row: Row) -> Result<()> {
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(PublicationFile::new(workpiece(&outlet.workshop()?)?)?),
        };
        open.push(row)?;
        self.rows += 1;
        if open.bytes() >= FILE_BYTES
            && let Some(full) = self.open.take()
        {
            self.files.push(close(full)?);
        }
        Ok(())
    }
}

fn workpiece(folder: &Path) -> Result<NamedTempFile> {
    let made = tempfile::Builder::new().prefix(".sterna-export-").tempfile_in(folder);
    made.with_context(|| format!("cannot write to {}", folder.display()))
}

fn close(file: PublicationFile<NamedTempFile>) -> Result<NamedTempFile> {
    let file = file.finish()?;
    readable(file.as_file())?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Temporary files are their maker's alone; these are for others.
#[cfg(unix)]
fn readable(file: &File) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(file.set_permissions(std::fs::Permissions::from_mode(0o640))?)
}

#[cfg(not(unix))]
fn readable(_: &File) -> Result<()> {
    Ok(())
}

/// Without the block that it was read from.
fn own(mut record: Record) -> Record {
    let body = &mut record.body;
    body.payload = bytes::Bytes::copy_from_slice(&body.payload);
    body.client_msg_id = bytes::Bytes::copy_from_slice(&body.client_msg_id);
    record
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<StorageError>().is_some_and(StorageError::is_missing)
}

fn folder_of(day: u64) -> Result<String> {
    let at = Timestamp::from_millisecond(i64::try_from(day.saturating_mul(DAY_MS))?)?;
    Ok(format!("day={}", TimeZone::UTC.to_datetime(at).date()))
}

fn channels(names: &[String]) -> Result<Option<HashSet<ChannelKey>>> {
    if names.is_empty() {
        return Ok(None);
    }
    let key = |name: &String| {
        let channel = ChannelId::new(name).with_context(|| format!("`{name}` is no channel"))?;
        Ok(channel.key())
    };
    names.iter().map(key).collect::<Result<_>>().map(Some)
}

fn times(args: &ExportArgs) -> Result<Range<u64>> {
    let since = args.since.as_deref().map(time).transpose()?.unwrap_or(0);
    let until = args.until.as_deref().map(time).transpose()?.unwrap_or(LATEST_MS);
    if since >= until {
        bail!("--since is not before --until");
    }
    Ok(since..until)
}

fn time(text: &str) -> Result<u64> {
    let at = match text.parse::<Timestamp>() {
        Ok(at) => at,
        Err(_) => {
            let date: Date = text.parse().with_context(|| {
                format!("`{text}` is no time: write 2026-11-29, or 2026-11-29T12:00:00Z")
            })?;
            date.to_zoned(TimeZone::UTC)?.timestamp()
        }
    };
    u64::try_from(at.as_millisecond()).with_context(|| format!("`{text}` is before 1970"))
}

/// A folder, or a place of the same kinds as an archive's.
fn place(to: &str, archive: &Place) -> Result<Place> {
    let Some((scheme, rest)) = to.split_once("://") else {
        return Ok(Place::Files { root: std::path::absolute(to)? });
    };
    let (bucket, root) = rest.split_once('/').unwrap_or((rest, ""));
    let (bucket, root) = (bucket.to_owned(), format!("/{}", root.trim_matches('/')));
    if scheme != "file" && bucket.is_empty() {
        bail!("{scheme}:// is followed by a bucket");
    }
    let keys = Keys::Environment;
    Ok(match (scheme, archive.clone()) {
        ("file", _) => Place::Files { root: rest.into() },
        ("s3", Place::S3 { endpoint, region, keys, .. }) => {
            Place::S3 { bucket, root, endpoint, region, keys }
        }
        ("gcs", Place::Gcs { endpoint, keys, .. }) => Place::Gcs { bucket, root, endpoint, keys },
        ("azblob", Place::Azblob { endpoint, keys, .. }) => {
            Place::Azblob { container: bucket, root, endpoint, keys }
        }
        ("s3", _) => Place::S3 { bucket, root, endpoint: None, region: None, keys },
        ("gcs", _) => Place::Gcs { bucket, root, endpoint: None, keys },
        ("azblob", _) => Place::Azblob { container: bucket, root, endpoint: None, keys },
        _ => bail!(
            "write a folder, s3://bucket/folder, gcs://bucket/folder or azblob://container/folder"
        ),
    })
}

const DAY_MS: u64 = 24 * 3600 * 1000;

/// Days that are read together: of each a row group is held.
const DAYS: u64 = 8;

/// A file ends with the row group with which it passes this; the day goes on in another.
const FILE_BYTES: u64 = 512 << 20;

/// Begun anew so often, if segments are replaced all the time.
const TRIES: u32 = 5;

/// The end of the year 9999.
const LATEST_MS: u64 = 253_402_300_799_999;
