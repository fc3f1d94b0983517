//! Puts an archive behind the store, and keeps it: what nobody needs at hand goes there by itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::Rng as _;
use sterna_core::Tasks;
use sterna_core::link::router::Router;
use sterna_storage::Stores;
use sterna_storage_archive::{Archiver, TieredLog, Tiers, WriteTimes};
use sterna_storage_object::ObjectSegments;

use crate::config::ArchiveSettings;

/// What a node archives with.
#[derive(Debug)]
pub(crate) struct Archive {
    pub(crate) tiers: Tiers,
    settings: ArchiveSettings,
    writes: Arc<WriteTimes>,
}

impl Archive {
    /// Opens the archive. From here on the log that the stores name reads from it as well.
    pub(crate) fn open(settings: ArchiveSettings, stores: &mut Stores) -> Result<Self> {
        let segments = ObjectSegments::open(settings.objects.clone())
            .context("cannot open the archive in `archive.url`")?;
        let tiers = Tiers {
            log: stores.log.clone(),
            archived: stores.archived.clone(),
            manifest: stores.manifest.clone(),
            segments: Arc::new(segments),
        };
        let writes = Arc::new(WriteTimes::new(settings.slow_write));
        stores.log = Arc::new(TieredLog::new(tiers.clone(), writes.clone()));
        Ok(Self { tiers, settings, writes })
    }

    pub(crate) fn archiver(&self) -> Archiver {
        Archiver::new(self.tiers.clone(), self.settings.when.clone(), self.writes.clone())
    }

    /// Archives the slots that this node owns, again and again; a node that is alone owns all.
    pub(crate) async fn keep(self, tasks: Tasks, router: Option<Arc<Router>>) {
        let mut archiver = self.archiver();
        let owns = |slot: u16| router.as_ref().is_none_or(|router| router.owns(slot));
        loop {
            tokio::select! {
                // What it is at may be dropped at any point.
                () = tasks.shutdown_started() => return,
                pause = self.turn(&mut archiver, &owns) => tokio::select! {
                    () = tasks.shutdown_started() => return,
                    () = tokio::time::sleep(pause) => {}
                },
            }
        }
    }

    /// One pass; how long to wait for the next.
    async fn turn(&self, archiver: &mut Archiver, owns: &impl Fn(u16) -> bool) -> Duration {
        let began = tokio::time::Instant::now();
        let passed = async {
            let report = archiver.pass(owns, |_, _, _| {}).await?;
            archiver.collect().await.map(|collected| (report, collected))
        };
        let every = self.settings.when.every;
        match passed.await {
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

/// After a failure.
const PAUSE: Duration = Duration::from_secs(30);
