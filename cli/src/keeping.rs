//! What channels keep: puts what knows of it between the core and its stores, and sees to it that
//! what is too old goes.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use rand::Rng as _;
use sterna_core::{Node, Tasks};
use sterna_proto::{ChannelId, ErrorCode, Offset};
use sterna_storage::{BoxFuture, StorageError, StorageErrorKind, Stores};
use sterna_storage_archive::{Pressure, Unpressed};
use sterna_storage_keeping::{DataKeys, GivesUp, Keeper, KeptLog, RetentionConfig, Sweeper};

use crate::archive::Archive;
use crate::config::ArchiveSettings;

/// Stores as the core gets them, with all that stands before them.
pub(crate) struct Kept {
    pub(crate) archive: Option<Arc<Archive>>,
    pub(crate) sweeping: Sweeping,
}

/// What a node gives up old publications with.
pub(crate) struct Sweeping {
    stores: Stores,
    keys: Option<Arc<DataKeys>>,
    config: RetentionConfig,
    pressure: Arc<dyn Pressure>,
}

/// Opens the archive, if there is one, and puts both before the stores, and between them `caches` of
/// the log, which know of neither. `shared`: other processes work with the same database.
pub(crate) fn open(
    archive: Option<ArchiveSettings>,
    config: RetentionConfig,
    stores: &mut Stores,
    shared: bool,
    caches: impl FnOnce(&mut Stores) -> Result<()>,
) -> Result<Kept> {
    let keeper = Arc::new(Keeper::new(stores.keeping.clone(), shared));
    stores.keeping = keeper.clone();
    let archive = archive.map(|settings| Archive::open(settings, stores, &keeper)).transpose()?;
    let archive = archive.map(Arc::new);
    caches(stores)?;
    stores.log = Arc::new(KeptLog::new(stores.log.clone(), keeper));
    let (keys, pressure) = match &archive {
        Some(archive) => (Some(archive.keys.clone()), archive.pressure()),
        None => (None, Arc::new(Unpressed) as Arc<dyn Pressure>),
    };
    let sweeping = Sweeping { stores: stores.clone(), keys, config, pressure };
    Ok(Kept { archive, sweeping })
}

impl Sweeping {
    /// Sweeps the slots that this node owns, again and again; a node that is alone owns all.
    pub(crate) async fn keep(self, tasks: Tasks, node: Node) {
        let router = node.router().cloned();
        let owns = |slot: u16| router.as_ref().is_none_or(|router| router.owns(slot));
        let every = self.config.every;
        let Self { stores, keys, config, pressure } = self;
        let mut sweeper = Sweeper::new(stores, Arc::new(Owner(node)), keys, config, pressure);
        loop {
            tokio::select! {
                // What it is at may be dropped at any point.
                () = tasks.shutdown_started() => return,
                pause = turn(&mut sweeper, &owns, every) => tokio::select! {
                    () = tasks.shutdown_started() => return,
                    () = tokio::time::sleep(pause) => {}
                },
            }
        }
    }
}

/// One pass; how long to wait for the next.
async fn turn(sweeper: &mut Sweeper, owns: &impl Fn(u16) -> bool, every: Duration) -> Duration {
    let began = tokio::time::Instant::now();
    match sweeper.pass(owns, unix_now_ms()).await {
        Ok(report) => {
            if report.swept > 0 || report.failed > 0 || report.rewrapped > 0 {
                tracing::info!(?report, "what was too old is given up");
            }
            // Nodes that started together drift apart.
            let wait = every.saturating_sub(began.elapsed());
            wait.mul_f64(rand::rng().random_range(0.9..=1.0))
        }
        Err(error) => {
            tracing::warn!(%error, "retention waits; what is too old stays for now");
            every.min(PAUSE)
        }
    }
}

/// The owners of channels, near or far.
#[derive(Debug)]
struct Owner(Node);

impl GivesUp for Owner {
    fn give_up(
        &self,
        channel: ChannelId,
        first: Offset,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        Box::pin(async move {
            match self.0.raise_floor(channel, first).await {
                Ok(()) => Ok(true),
                Err(error) if error.code == ErrorCode::OnHold.number() => Ok(false),
                Err(error) => {
                    let kind = StorageErrorKind::Unavailable;
                    Err(StorageError::new(kind, "retention", error.message))
                }
            }
        })
    }
}

/// The wall clock.
fn unix_now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// After a failure.
const PAUSE: Duration = Duration::from_secs(30);
