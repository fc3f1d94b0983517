//! `sterna bench archive`: what archiving costs beside packing alone, what putting segments together
//! does, what a publication takes in each tier, and how long the newest page of a channel takes where
//! it lies: in its owner's memory, in a cache, in the log, in the archive.

mod bed;
mod compaction;
mod hot;
mod page;
mod report;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sterna_bench::progress::Progress;
use sterna_bench_raw::pack;

use crate::bench::args::ArchiveBenchArgs;
use crate::output;

use bed::{Bed, Times, archiver, size, tiered};
use compaction::Compaction;
use hot::Hot;

/// Steps of a round that are told.
const STEPS: u64 = 6;

pub(crate) async fn run(args: &ArchiveBenchArgs) -> Result<ExitCode> {
    let home = match &args.directory {
        Some(directory) => tempfile::tempdir_in(directory),
        None => tempfile::tempdir(),
    }
    .context("cannot make a directory for the stores")?;
    let bar = args.shown.progress("filling a store");
    let mut best: Option<Round> = None;
    for round in 0..args.rounds {
        let directory = home.path().join(round.to_string());
        fs::create_dir(&directory)?;
        bar.next(format!("round {} of {}", round + 1, args.rounds), STEPS);
        let found = measure(args, &directory, &bar).await?;
        fs::remove_dir_all(&directory)?;
        best = Some(match best {
            Some(best) => best.better_of(found),
            None => found,
        });
    }
    bar.done();
    let Some(best) = best else { return Ok(ExitCode::FAILURE) };
    if let Some(file) = &args.shown.report {
        fs::write(file, best.page(args).html())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    output::line(&if args.shown.json { best.json(args) } else { best.text(args) })?;
    Ok(ExitCode::SUCCESS)
}

/// What one round found.
struct Round {
    packed: pack::Packed,
    archived: Duration,
    trimmed: Duration,
    /// As they lie on the disk.
    warm_bytes: u64,
    cold_bytes: u64,
    hot: Hot,
    warm: Times,
    cold_first: Times,
    cold_again: Times,
    compaction: Compaction,
}

impl Round {
    /// The round that archived faster counts, and of putting together the one that was faster at that.
    fn better_of(self, other: Self) -> Self {
        let (mut best, rest) =
            if other.archived < self.archived { (other, self) } else { (self, other) };
        if rest.compaction.took < best.compaction.took {
            best.compaction = rest.compaction;
        }
        best
    }
}

async fn measure(args: &ArchiveBenchArgs, directory: &Path, bar: &Progress) -> Result<Round> {
    let mut bed = Bed::new(&directory.join("store"), args)?;
    bed.fill(args, 0, 1).await?;
    bar.step();
    let packed = pack::pack(directory, bed.payloads.iter().map(|payload| &payload[..]))?;
    let warm_bytes = size(&directory.join("store"))?;
    let log = bed.stores.log.clone();
    let warm = bed.open_all(&*log).await?;
    bar.step();
    let hot = Hot::measure(args, &mut bed, &directory.join("pages")).await?;
    bar.step();
    let archive = directory.join("archive");
    let tiers = bed.tiers(&archive)?;
    let log = tiered(&tiers);
    let mut archiver = archiver(&tiers);
    let began = Instant::now();
    let report = archiver.pass(|_| true, |_, _, _| {}).await?;
    let archived = began.elapsed();
    anyhow::ensure!(report.records == args.publications, "{report:?}");
    bar.step();
    let began = Instant::now();
    let report = archiver.pass(|_| true, |_, _, _| {}).await?;
    let trimmed = began.elapsed();
    anyhow::ensure!(report.trimmed == args.publications, "{report:?}");
    // Nothing of the index is in memory.
    let cold_log = tiered(&bed.tiers(&archive)?);
    let cold_first = bed.open_all(&cold_log).await?;
    let cold_again = bed.open_all(&log).await?;
    bar.step();
    let cold_bytes = size(&archive)?;
    drop((archiver, log, cold_log, tiers, bed));
    let compaction = Compaction::measure(args, directory).await?;
    bar.step();
    Ok(Round {
        packed,
        archived,
        trimmed,
        warm_bytes,
        cold_bytes,
        hot,
        warm,
        cold_first,
        cold_again,
        compaction,
    })
}
