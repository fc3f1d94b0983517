//! `sterna archive restore`: a store that was lost, rebuilt from the objects of its archive.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use sterna_bench::progress::Progress;
use sterna_storage::Stores;
use sterna_storage_archive::rebuild::{NewStore, Plan, Rebuilt, Step, Survey, plan, rebuild};
use sterna_storage_object::ObjectSegments;

use super::{bytes, read_config};
use crate::args::{ArchiveRestoreArgs, StoreArgs};
use crate::config::StoreConfig;
use crate::output::{self, Format};
use crate::stores::{connect_database, open_stores};

pub(super) fn run(args: &ArchiveRestoreArgs) -> Result<ExitCode> {
    let config = read_config(&args.config)?;
    let Some(settings) = config.archive else { bail!("`archive.url` is not set") };
    let store = config.store.context("this node has no store")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let segments = runtime.block_on(async { ObjectSegments::open(settings.objects) });
    let segments = segments.context("cannot open the archive in `archive.url`")?;
    let bar = Progress::new("segments read again", 0);
    let mut follows = false;
    let planned = runtime.block_on(plan(&segments, args.accept_loss, |step| match step {
        Step::Segments { done, of } => bar.reach(done, of),
        Step::Shards { done, of } | Step::Channels { done, of } => {
            if !std::mem::replace(&mut follows, true) {
                bar.next("channels followed, by shard".to_owned(), of);
            }
            bar.reach(done, of);
        }
    }));
    bar.done();
    let planned = planned?;
    let format = Format::of(args.json);
    if args.dry_run || !planned.is_acceptable() {
        return report(&planned, None, format);
    }
    let local = match &store {
        StoreConfig::Sql(_) => None,
        local => Some(open_stores(local, StoreArgs::default())?.0),
    };
    let written = runtime.block_on(async {
        let stores = match (&store, local) {
            (StoreConfig::Sql(database), _) => {
                connect_database(database, StoreArgs::default()).await?.1
            }
            (_, Some(stores)) => stores,
            (_, None) => bail!("this node has no store"),
        };
        write(stores, &planned).await
    })?;
    report(&planned, Some(written), format)
}

async fn write(stores: Stores, planned: &Plan) -> Result<Rebuilt> {
    let log = stores.log.clone();
    let target = NewStore {
        log: stores.log,
        archived: stores.archived,
        manifest: stores.manifest,
        id_bound: stores.id_bound,
    };
    let bar = Progress::new("channels written", planned.survey.channels);
    let written = rebuild(&target, planned, |step| {
        if let Step::Channels { done, of } = step {
            bar.reach(done, of);
        }
    });
    let written = written.await;
    bar.done();
    log.close().await?;
    Ok(written?)
}

/// Says what was found and what became of it. Exit code 0 only if nothing is missing.
fn report(planned: &Plan, written: Option<Rebuilt>, format: Format) -> Result<ExitCode> {
    let survey = &planned.survey;
    match format {
        Format::Json => output::line(&as_json(survey, written).to_string())?,
        Format::Human => {
            for told in survey.damages.iter().chain(&survey.refused).chain(&survey.gaps) {
                output::line(told)?;
            }
            output::line(&in_words(survey))?;
            if survey.sealed + survey.redactions > 0 {
                output::line(&format!(
                    "{} payloads are sealed with keys that were in the database: nobody can read \
                     them. {} redactions were in the database, too: what they hid shows again \
                     until it is redacted again",
                    survey.sealed, survey.redactions
                ))?;
            }
            output::line(&match written {
                Some(Rebuilt { epoch, .. }) => format!(
                    "rebuilt; every channel goes on in epoch {}. Names and settings of channels, \
                     cursors, inboxes and first members were in the database alone: create the \
                     channels again before clients come, or those for members are open to all",
                    epoch.0
                ),
                None if planned.is_acceptable() => "nothing was written".to_owned(),
                None => "nothing was written: put the missing objects back, or say --accept-loss \
                         to go on without what they hold"
                    .to_owned(),
            })?;
        }
    }
    let whole = survey.damages.is_empty() && survey.refused.is_empty() && survey.gaps.is_empty();
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn in_words(survey: &Survey) -> String {
    format!(
        "{} segments, {}: {} publications of {} channels in {} runs, {} members; {} runs say \
         nothing more; {} damages, {} channels refused, {} with gaps",
        survey.segments,
        bytes(survey.bytes),
        survey.records,
        survey.channels,
        survey.runs,
        survey.members,
        survey.spare_runs,
        survey.damages.len(),
        survey.refused.len(),
        survey.gaps.len()
    )
}

fn as_json(survey: &Survey, written: Option<Rebuilt>) -> Value {
    json!({
        "segments": survey.segments,
        "bytes": survey.bytes,
        "channels": survey.channels,
        "runs": survey.runs,
        "records": survey.records,
        "members": survey.members,
        "sealed": survey.sealed,
        "redactions": survey.redactions,
        "spare_runs": survey.spare_runs,
        "damages": survey.damages,
        "refused": survey.refused,
        "gaps": survey.gaps,
        "written": written.is_some(),
        "epoch": written.map(|written| written.epoch.0),
    })
}
