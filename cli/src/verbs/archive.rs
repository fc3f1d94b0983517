//! `sterna archive`: what lies in the archive, archiving at once, and whether all of it can be read.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use sterna_bench::progress::Progress;
use sterna_storage_archive::{Progress as Done, Tiers, status, verify};

use crate::archive::Archive;
use crate::args::{ArchiveArgs, ArchiveVerb, StoreArgs};
use crate::config::{Config, StoreConfig};
use crate::output::{self, Format};
use crate::raw_config::{RawConfig, environment};
use crate::stores::{connect_database, open_stores};

pub(crate) fn run(args: &ArchiveArgs) -> Result<ExitCode> {
    let of_verb = match &args.verb {
        ArchiveVerb::Status(of) | ArchiveVerb::Run(of) | ArchiveVerb::Verify(of) => of,
    };
    let raw = RawConfig::gather(&of_verb.config.config, environment(), &of_verb.config.overrides);
    let config = Config::from_raw(raw).map_err(|complaints| {
        complaints.iter().for_each(|it| output::complain(&anyhow::anyhow!("{it}")));
        anyhow::anyhow!("the configuration has {} errors", complaints.len())
    })?;
    let Some(settings) = config.archive else {
        bail!("`archive.url` is not set: everything stays in the store");
    };
    let Some(store) = config.store else { bail!("this node has no store") };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let local = match &store {
        StoreConfig::Sql(_) => None,
        local => Some(open_stores(local, StoreArgs::default()).context(
            "a store of this machine is open at one process at a time; its node archives by itself",
        )?),
    };
    runtime.block_on(async {
        let mut stores = match (&store, local) {
            (StoreConfig::Sql(database), _) => {
                connect_database(database, StoreArgs::default()).await?.1
            }
            (_, Some(stores)) => stores,
            (_, None) => bail!("this node has no store"),
        };
        let archive = Archive::open(settings, &mut stores)?;
        let format = Format::of(of_verb.json);
        match args.verb {
            ArchiveVerb::Status(_) => print_status(&archive.tiers, format).await,
            ArchiveVerb::Run(_) => archive_now(&archive, format).await,
            ArchiveVerb::Verify(_) => print_verified(&archive.tiers, format).await,
        }
    })
}

async fn print_status(tiers: &Tiers, format: Format) -> Result<ExitCode> {
    let found = status(tiers).await?;
    output::line(&match format {
        Format::Json => json!({
            "segments": found.segments,
            "records": found.records,
            "runs": found.runs,
            "bytes": found.bytes,
            "prepared": found.prepared,
            "first_ts_ms": found.first_ts_ms,
            "last_ts_ms": found.last_ts_ms,
        })
        .to_string(),
        Format::Human => format!(
            "{} publications of {} runs in {} segments, {}; {} being written or left behind",
            found.records,
            found.runs,
            found.segments,
            bytes(found.bytes),
            found.prepared
        ),
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn archive_now(archive: &Archive, format: Format) -> Result<ExitCode> {
    let mut archiver = archive.archiver();
    let bar = Progress::new("archiving", 0);
    let passed = archiver.pass(|_| true, |done, of, _| bar.reach(done.into(), of.into())).await;
    let collected = match &passed {
        Ok(_) => archiver.collect().await,
        Err(_) => Ok(Default::default()),
    };
    bar.done();
    let (report, collected) = (passed?, collected?);
    output::line(&match format {
        Format::Json => json!({
            "channels": report.channels,
            "segments": report.segments,
            "records": report.records,
            "bytes": report.bytes,
            "trimmed": report.trimmed,
            "lost_runs": report.lost_runs,
            "failed": report.failed,
            "removed": collected.removed + collected.late,
        })
        .to_string(),
        Format::Human => format!(
            "looked at {} channels: {} publications went into {} segments, {}; {} were taken from \
             the log; {} channels could not be trimmed",
            report.channels,
            report.records,
            report.segments,
            bytes(report.bytes),
            report.trimmed,
            report.failed
        ),
    })?;
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn print_verified(tiers: &Tiers, format: Format) -> Result<ExitCode> {
    let bar = Progress::new("segments read again", 0);
    let mut follows = false;
    let verified = verify(tiers, |progress| match progress {
        Done::Segments { done, of } => bar.reach(done, of),
        Done::Slots { done, of } => {
            if !std::mem::replace(&mut follows, true) {
                bar.next("chains followed".to_owned(), of.into());
            }
            bar.reach(done.into(), of.into());
        }
    });
    let verified = verified.await;
    bar.done();
    let verified = verified?;
    match format {
        Format::Json => output::line(
            &json!({
                "segments": verified.segments,
                "bytes": verified.bytes,
                "channels": verified.channels,
                "runs": verified.runs,
                "damages": verified.damages,
            })
            .to_string(),
        )?,
        Format::Human => {
            for damage in &verified.damages {
                output::line(damage)?;
            }
            output::line(&format!(
                "{} segments, {}, and {} runs of {} channels: {} damages",
                verified.segments,
                bytes(verified.bytes),
                verified.runs,
                verified.channels,
                verified.damages.len()
            ))?;
        }
    }
    Ok(if verified.damages.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}
