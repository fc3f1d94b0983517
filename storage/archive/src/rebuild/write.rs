//! Writes what was planned into a store that has nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sterna_proto::id::SLOTS;
use sterna_proto::v1::PublicationKind;
use sterna_proto::{Epoch, Offset, PublicationId, UserId};
use sterna_storage::memory::birth_of;
use sterna_storage::{
    Adoption, AppendError, ArchivedChange, ArchivedError, IdBoundStore, ManifestChange, NewRecord,
    PublicationLog, SegmentKey, SegmentState, StorageError, StorageErrorKind,
};

use super::replay::ID_BITS_BELOW_MS;
use super::{AT_ONCE, ChannelPlan, Plan, Step};
use crate::archiver::unix_now_ms;
use crate::entry::{Replaced, SegmentInfo};
use crate::writing::manifest_error;
use crate::{ENGINE, SHARDS};

/// A store without anything in it.
#[derive(Debug, Clone)]
pub struct NewStore {
    pub log: Arc<dyn PublicationLog>,
    pub archived: Arc<dyn sterna_storage::ArchivedStore>,
    pub manifest: Arc<dyn sterna_storage::ManifestStore>,
    pub id_bound: Arc<dyn IdBoundStore>,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// Of every channel, from its first new record on.
    pub epoch: Epoch,
    pub channels: u64,
    pub segments: u64,
}

/// Refuses a store that has channels or an archive.
///
/// # Errors
/// Of kind `Fatal` if it has, or when it does not answer.
pub async fn check_empty(store: &NewStore) -> Result<(), StorageError> {
    for slot in 0..SLOTS {
        if !store.log.slot_heads(slot, None, 1).await?.is_empty() {
            return Err(refused("the store has channels"));
        }
    }
    for shard in 0..SHARDS {
        if !store.manifest.segments(shard, None, 1).await?.is_empty() {
            return Err(refused("the store has an archive"));
        }
    }
    Ok(())
}

/// Writes a plan into an empty store, in an order in which nothing is promised too early: ids first,
/// then what is to be read from, then the heads that lead there. One that was cut off is begun anew in
/// another empty store.
///
/// # Errors
/// When the store is not empty, or does not answer.
pub async fn rebuild(
    store: &NewStore,
    plan: &Plan,
    mut told: impl FnMut(Step),
) -> Result<Rebuilt, StorageError> {
    if !plan.is_acceptable() {
        return Err(refused("not everything can be read, and that was not accepted"));
    }
    check_empty(store).await?;
    let now = SystemTime::now();
    let last = plan.channels.iter().map(|channel| channel.last.epoch.0).max().unwrap_or(0);
    // Epochs are seconds of the clock, so this one lies above all that the lost store may have opened.
    let epoch = birth_of(now).max(Epoch(last.saturating_add(1)));
    let mut ids = Ids::above(plan.highest_id_ms, now);
    ids.reserve(plan.channels.len() as u64, &*store.id_bound).await?;
    for some in plan.segments.chunks(AT_ONCE) {
        let entry = |(key, sealed): &(_, _)| {
            let prepared = SegmentInfo::prepared(*key, unix_now_ms());
            let (state, sealed) = (SegmentState::Published, Some(*sealed));
            let info = SegmentInfo { state, sealed, ..prepared };
            ManifestChange { expected: None, entry: info.to_entry() }
        };
        let changes = some.iter().map(entry).collect();
        store.manifest.change_manifest(changes).await.map_err(manifest_error)?;
    }
    lead_on(store, plan).await?;
    let of = plan.channels.len() as u64;
    let mut done = 0;
    for some in plan.channels.chunks(AT_ONCE) {
        refer(store, some).await?;
        for channel in some {
            adopt(store, channel, epoch, ids.next()).await?;
            done += 1;
            told(Step::Channels { done, of });
        }
    }
    Ok(Rebuilt { epoch, channels: of, segments: plan.segments.len() as u64 })
}

/// Says what holds what segments held that are gone, since links name these still.
async fn lead_on(store: &NewStore, plan: &Plan) -> Result<(), StorageError> {
    let present: BTreeSet<_> = plan.segments.iter().map(|(key, _)| *key).collect();
    let gone = plan.replaced.iter().filter(|(gone, _)| !present.contains(gone));
    let entry = |(gone, by): (&SegmentKey, &SegmentKey)| {
        let now_ms = unix_now_ms();
        let replaced = Some(Replaced { by: Some(*by), at_ms: now_ms });
        let state = SegmentState::Removed;
        let info = SegmentInfo { state, replaced, ..SegmentInfo::prepared(*gone, now_ms) };
        ManifestChange { expected: None, entry: info.to_entry() }
    };
    let changes: Vec<ManifestChange> = gone.map(entry).collect();
    for some in changes.chunks(AT_ONCE) {
        store.manifest.change_manifest(some.to_vec()).await.map_err(manifest_error)?;
    }
    Ok(())
}

/// Says how far channels are archived.
async fn refer(store: &NewStore, channels: &[ChannelPlan]) -> Result<(), StorageError> {
    let change = |plan: &ChannelPlan| ArchivedChange {
        channel: plan.channel,
        expected: None,
        archived: plan.tail.to_archived(),
    };
    let changes = channels.iter().map(change).collect();
    for verdict in store.archived.change_archived(changes).await {
        match verdict {
            Ok(()) => {}
            Err(ArchivedError::Conflict { .. }) => return Err(in_use()),
            Err(ArchivedError::Storage(error)) => return Err(error),
        }
    }
    Ok(())
}

async fn adopt(
    store: &NewStore,
    plan: &ChannelPlan,
    epoch: Epoch,
    id: PublicationId,
) -> Result<(), StorageError> {
    let marker = NewRecord {
        id,
        sender: UserId::new("sterna").map_err(|error| refused(&error.to_string()))?,
        origin: None,
        client_msg_id: Bytes::new(),
        server_ts_ms: unix_now_ms().max(plan.last_ts_ms),
        client_ts_ms: 0,
        kind: PublicationKind::Epoch as i32,
        target_offset: Offset::ZERO,
        payload: Bytes::new(),
    };
    let adoption = Adoption {
        channel: plan.channel,
        last: plan.last,
        last_ts_ms: plan.last_ts_ms,
        epochs: plan.epochs.clone(),
        epoch,
        marker,
        members: plan.members.clone(),
    };
    match store.log.adopt(adoption).await {
        Ok(_) => Ok(()),
        Err(AppendError::Storage(error)) => Err(error),
        Err(_) => Err(in_use()),
    }
}

/// Ids for markers, above any that the lost store may have issued.
struct Ids {
    first_ms: u64,
    issued: u64,
}

impl Ids {
    fn above(highest_ms: u64, now: SystemTime) -> Self {
        let now_ms = u64::try_from(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis());
        let now_ms = now_ms.unwrap_or(u64::MAX).saturating_sub(IDS_BEGIN_UNIX_MS);
        let margin = u64::try_from(LOST_BOUND_MARGIN.as_millis()).unwrap_or(u64::MAX);
        Self { first_ms: highest_ms.max(now_ms).saturating_add(margin), issued: 0 }
    }

    /// Has every generator begin above so many.
    async fn reserve(&self, count: u64, bounds: &dyn IdBoundStore) -> Result<(), StorageError> {
        let bound_ms = self.first_ms + count / IDS_PER_MS + 1;
        for worker in 0..WORKERS {
            let found = bounds.id_bound(worker).await?;
            if found < bound_ms && !bounds.raise_id_bound(worker, found, bound_ms).await? {
                return Err(in_use());
            }
        }
        Ok(())
    }

    fn next(&mut self) -> PublicationId {
        let at_ms = self.first_ms + self.issued / IDS_PER_MS;
        let id = (at_ms << ID_BITS_BELOW_MS) | (self.issued % IDS_PER_MS);
        self.issued += 1;
        PublicationId(id)
    }
}

fn in_use() -> StorageError {
    refused("somebody else writes into the store: end its nodes")
}

fn refused(what: &str) -> StorageError {
    let message = format!("{what}; an archive is put back into an empty store alone");
    StorageError::new(StorageErrorKind::Fatal, ENGINE, message)
}

const WORKERS: u16 = 1024;

const IDS_PER_MS: u64 = 1 << 12;

/// A generator is at most some seconds ahead of its clock, and clocks differ a little.
const LOST_BOUND_MARGIN: Duration = Duration::from_secs(60);

/// 2024-01-01 00:00 UTC.
const IDS_BEGIN_UNIX_MS: u64 = 1_704_067_200_000;
