//! Puts an archive behind the store, and keeps it: what nobody needs at hand goes there by itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sterna_core::Tasks;
use sterna_core::link::router::Router;
use sterna_storage::StorageError;
use sterna_storage::Stores;
use sterna_storage_archive::{
    Archiver, CLASSES, Collected, Compacted, PassReport, Pressure, SizeClass, Status, TieredLog,
    Tiers, Turn, Verified, WriteTimes,
};
use sterna_storage_keeping::{DataKeys, Keeper, SealedSegments, StoredFates};
use sterna_storage_object::ObjectSegments;
use tokio::sync::Mutex;

use crate::config::ArchiveSettings;

/// What a node archives with.
#[derive(Debug)]
pub(crate) struct Archive {
    pub(crate) tiers: Tiers,
    /// What payloads are sealed with.
    pub(crate) keys: Arc<DataKeys>,
    /// What is to be dropped or blanked when segments are written again, and is not exported.
    pub(crate) fates: Arc<StoredFates>,
    pub(crate) settings: ArchiveSettings,
    writes: Arc<WriteTimes>,
    /// One pass at a time: two would write everything twice, and of each one would count.
    archiver: Mutex<Archiver>,
}

impl Archive {
    /// Opens the archive. From here on the log that the stores name reads from it as well.
    pub(crate) fn open(
        settings: ArchiveSettings,
        stores: &mut Stores,
        keeper: &Arc<Keeper>,
    ) -> Result<Self> {
        let segments = ObjectSegments::open(settings.objects.clone())
            .context("cannot open the archive in `archive.url`")?;
        let roots = settings.roots.clone();
        let keys = Arc::new(DataKeys::new(keeper.clone(), roots, settings.encrypt));
        let segments = SealedSegments::new(Arc::new(segments), keys.clone());
        let tiers = Tiers {
            log: stores.log.clone(),
            archived: stores.archived.clone(),
            manifest: stores.manifest.clone(),
            segments: Arc::new(segments),
        };
        let writes = Arc::new(WriteTimes::new(settings.slow_write));
        stores.log = Arc::new(TieredLog::new(tiers.clone(), writes.clone()));
        let fates = Arc::new(StoredFates::new(keeper.clone()));
        let archiver = Archiver::new(tiers.clone(), settings.when.clone(), writes.clone());
        let archiver = Mutex::new(archiver.with_fates(fates.clone()));
        Ok(Self { tiers, keys, fates, settings, writes, archiver })
    }

    /// Whether the log has something better to do.
    pub(crate) fn pressure(&self) -> Arc<dyn Pressure> {
        self.writes.clone()
    }

    /// Goes once over the slots that this node owns, puts segments together, and collects what never
    /// came to be. `told` hears what it is at and how many shards are done. May be dropped at any point.
    pub(crate) async fn pass_now(
        &self,
        owns: &impl Fn(u16) -> bool,
        mut told: impl FnMut(&'static str, u16),
    ) -> Result<Passed, StorageError> {
        let mut archiver = self.archiver.lock().await;
        let report = archiver.pass(owns, |done, _, _| told("archiving", done)).await?;
        let compacted = if self.settings.when.compact {
            archiver.compact(owns, |done, _, _| told("putting segments together", done)).await?
        } else {
            Compacted::default()
        };
        Ok(Passed { report, compacted, collected: archiver.collect().await? })
    }

    /// Archives the slots that this node owns, again and again; a node that is alone owns all.
    pub(crate) async fn keep(self: Arc<Self>, tasks: Tasks, router: Option<Arc<Router>>) {
        let owns = |slot: u16| router.as_ref().is_none_or(|router| router.owns(slot));
        loop {
            tokio::select! {
                // What it is at may be dropped at any point.
                () = tasks.shutdown_started() => return,
                pause = self.turn(&owns) => tokio::select! {
                    () = tasks.shutdown_started() => return,
                    () = tokio::time::sleep(pause) => {}
                },
            }
        }
    }

    /// What is due; how long to wait for more.
    async fn turn(&self, owns: &impl Fn(u16) -> bool) -> Duration {
        let every = self.settings.when.every;
        match self.archiver.lock().await.turn(owns, |_, _, _| {}).await {
            Ok(turn) => {
                let Turn { passed, compacted, collected, next, .. } = turn;
                if passed.segments > 0 || passed.trimmed > 0 || passed.failed > 0 {
                    tracing::info!(report = ?passed, ?collected, "old publications were archived");
                }
                if compacted.replaced > 0 || compacted.failed > 0 {
                    tracing::info!(report = ?compacted, "segments were put together");
                }
                // What is due a little later comes with it.
                next.max(every / 64)
            }
            Err(error) => {
                metrics::counter!("sterna_archive_failures_total").increment(1);
                tracing::warn!(%error, "archiving waits; nothing is lost, the log keeps everything");
                every.min(PAUSE)
            }
        }
    }
}

/// What came of a pass that was ordered.
#[derive(Debug)]
pub(crate) struct Passed {
    report: PassReport,
    compacted: Compacted,
    collected: Collected,
}

/// What lies in the archive, as it is told.
pub(crate) fn status_json(found: &Status) -> Value {
    let ends = CLASSES.map(Some).into_iter().chain([None]);
    let class = |(class, below): (&SizeClass, Option<u64>)| json!({ "below": below, "segments": class.segments, "bytes": class.bytes });
    let classes: Vec<Value> = found.classes.iter().zip(ends).map(class).collect();
    json!({
        "segments": found.segments,
        "records": found.records,
        "runs": found.runs,
        "bytes": found.bytes,
        "prepared": found.prepared,
        "replaced": found.replaced,
        "replaced_bytes": found.replaced_bytes,
        "saved_segments": found.saved_segments,
        "saved_bytes": found.saved_bytes,
        "classes": classes,
        "first_ts_ms": found.first_ts_ms,
        "last_ts_ms": found.last_ts_ms,
    })
}

/// What came of a pass.
pub(crate) fn passed_json(Passed { report, compacted, collected }: &Passed) -> Value {
    json!({
        "channels": report.channels,
        "segments": report.segments,
        "records": report.records,
        "bytes": report.bytes,
        "trimmed": report.trimmed,
        "lost_runs": report.lost_runs,
        "failed": report.failed,
        "removed": collected.removed + collected.replaced + collected.late,
        "compaction": {
            "replaced": compacted.replaced,
            "segments": compacted.segments,
            "records": compacted.records,
            "dropped": compacted.dropped,
            "read_bytes": compacted.read_bytes,
            "written_bytes": compacted.written_bytes,
            "given_up": compacted.given_up,
            "failed": compacted.failed,
        },
    })
}

/// What came of reading all of it again.
pub(crate) fn verified_json(verified: &Verified) -> Value {
    json!({
        "segments": verified.segments,
        "replaced": verified.replaced,
        "bytes": verified.bytes,
        "channels": verified.channels,
        "runs": verified.runs,
        "damages": verified.damages,
    })
}

/// After a failure.
const PAUSE: Duration = Duration::from_secs(30);
