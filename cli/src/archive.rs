//! Puts an archive behind the store, and keeps it: what nobody needs at hand goes there by itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::Rng as _;
use serde_json::{Value, json};
use sterna_core::Tasks;
use sterna_core::link::router::Router;
use sterna_storage::StorageError;
use sterna_storage::Stores;
use sterna_storage_archive::{
    Archiver, Collected, PassReport, Pressure, Status, TieredLog, Tiers, Verified, WriteTimes,
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
    /// What channels have given up.
    pub(crate) fates: Arc<StoredFates>,
    settings: ArchiveSettings,
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

    /// Goes once over the slots that this node owns, and collects what never came to be. `told` hears
    /// how many shards are done. May be dropped at any point.
    pub(crate) async fn pass_now(
        &self,
        owns: &impl Fn(u16) -> bool,
        mut told: impl FnMut(u16),
    ) -> Result<(PassReport, Collected), StorageError> {
        let mut archiver = self.archiver.lock().await;
        let report = archiver.pass(owns, |done, _, _| told(done)).await?;
        let collected = archiver.collect().await?;
        Ok((report, collected))
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

    /// One pass; how long to wait for the next.
    async fn turn(&self, owns: &impl Fn(u16) -> bool) -> Duration {
        let began = tokio::time::Instant::now();
        let every = self.settings.when.every;
        match self.pass_now(owns, |_| {}).await {
            Ok((report, collected)) => {
                if report.segments > 0 || report.trimmed > 0 || report.failed > 0 {
                    tracing::info!(?report, ?collected, "old publications were archived");
                }
                // Nodes that started together drift apart.
                let wait = every.saturating_sub(began.elapsed());
                wait.mul_f64(rand::rng().random_range(0.9..=1.0))
            }
            Err(error) => {
                metrics::counter!("sterna_archive_failures_total").increment(1);
                tracing::warn!(%error, "archiving waits; nothing is lost, the log keeps everything");
                every.min(PAUSE)
            }
        }
    }
}

/// What lies in the archive, as it is told.
pub(crate) fn status_json(found: &Status) -> Value {
    json!({
        "segments": found.segments,
        "records": found.records,
        "runs": found.runs,
        "bytes": found.bytes,
        "prepared": found.prepared,
        "first_ts_ms": found.first_ts_ms,
        "last_ts_ms": found.last_ts_ms,
    })
}

/// What came of a pass.
pub(crate) fn passed_json(report: &PassReport, collected: &Collected) -> Value {
    json!({
        "channels": report.channels,
        "segments": report.segments,
        "records": report.records,
        "bytes": report.bytes,
        "trimmed": report.trimmed,
        "lost_runs": report.lost_runs,
        "failed": report.failed,
        "removed": collected.removed + collected.late,
    })
}

/// What came of reading all of it again.
pub(crate) fn verified_json(verified: &Verified) -> Value {
    json!({
        "segments": verified.segments,
        "bytes": verified.bytes,
        "channels": verified.channels,
        "runs": verified.runs,
        "damages": verified.damages,
    })
}

/// After a failure.
const PAUSE: Duration = Duration::from_secs(30);
