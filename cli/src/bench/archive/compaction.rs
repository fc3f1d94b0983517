//! Putting segments together: an archive that was written in small passes, before and after.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::bed::{Bed, Times, archiver, size, tiered};
use crate::bench::args::ArchiveBenchArgs;

/// As many as are put together at least, so that each shard becomes one segment.
const PASSES: u64 = 8;

/// What it has cost, and what came of it.
pub(super) struct Compaction {
    pub(super) took: Duration,
    pub(super) records: u64,
    /// Segments and bytes of the archive.
    pub(super) before: (u64, u64),
    pub(super) after: (u64, u64),
    /// The newest page of each channel, with nothing of the index in memory.
    pub(super) open_before: Times,
    pub(super) open_after: Times,
}

impl Compaction {
    pub(super) async fn measure(args: &ArchiveBenchArgs, directory: &Path) -> Result<Self> {
        let mut bed = Bed::new(&directory.join("small-store"), args)?;
        let archive = directory.join("small-archive");
        let tiers = bed.tiers(&archive)?;
        let mut archiver = archiver(&tiers);
        let mut segments = 0;
        for pass in 0..PASSES {
            bed.fill(args, pass, PASSES).await?;
            segments += archiver.pass(|_| true, |_, _, _| {}).await?.segments;
        }
        // The log gives up what the last pass has archived.
        archiver.pass(|_| true, |_, _, _| {}).await?;
        let before = (segments, size(&archive)?);
        let open_before = bed.open_all(&tiered(&bed.tiers(&archive)?)).await?;
        let began = Instant::now();
        let done = archiver.compact(|_| true, |_, _, _| {}).await?;
        let took = began.elapsed();
        anyhow::ensure!(done.failed == 0 && done.given_up == 0, "{done:?}");
        archiver.collect().await?;
        let left = segments - done.replaced + done.segments;
        let after = (left, size(&archive)?);
        let open_after = bed.open_all(&tiered(&bed.tiers(&archive)?)).await?;
        Ok(Self { took, records: done.records, before, after, open_before, open_after })
    }
}
