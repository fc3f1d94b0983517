//! What has to be told to clients when acknowledged publications are lost for good: every channel
//! opens an epoch that nobody has seen, and ids go on above all that may have been issued.

use std::ops::ControlFlow;

use bytes::Bytes;
use rocksdb::WriteBatch;
use sterna_proto::v1::PublicationKind;
use sterna_proto::{ChannelKey, Epoch, Offset, PublicationId, UserId};
use sterna_storage::sequence::open_epoch;
use sterna_storage::{Head, NewRecord, SegmentState, StorageError, StorageErrorKind};

use crate::ENGINE;
use crate::database::{Database, msg_key};
use crate::encoding::{Damaged, decode_head, decode_number, encode_head, encode_record, seal};
use crate::id_bounds::{BOUND_PREFIX, FLOOR_KEY, IDS_BEGIN_UNIX_MS};
use crate::inboxes::PTS_FLOOR_KEY;
use crate::manifest::{decode_entry, decode_key};
use crate::open::{BIRTH_KEY, COMMIT_KEY, stage_number};
use crate::options::Family;

/// Gives every channel an epoch above the present one and returns the epoch of later channels. The
/// commit number comes with the last batch: a repair that is interrupted is begun again, and
/// a channel that it had reached gets one more epoch.
pub(crate) fn raise_every_epoch(
    database: &Database,
    birth: Epoch,
    now_ms: u64,
    commit: u64,
) -> Result<Epoch, StorageError> {
    // Epochs of new channels are seconds of the clock, so this one lies above all lost ones too.
    let now_secs = now_ms.saturating_sub(IDS_BEGIN_UNIX_MS) / 1000;
    let newest = Epoch(u32::try_from(now_secs).unwrap_or(u32::MAX).max(birth.0.saturating_add(1)));
    let mut ids = MarkerIds::above(highest_bound(database)?, now_ms);
    let mut after: Option<ChannelKey> = None;
    let mut raised = 0u64;
    loop {
        let heads = some_heads(database, after)?;
        let Some((last, _)) = heads.last() else { break };
        after = Some(*last);
        raised += heads.len() as u64;
        let mut batch = WriteBatch::default();
        for (channel, head) in &heads {
            stage_marker(database, &mut batch, *channel, head, newest, now_ms, ids.issue())?;
        }
        database.write(batch, true)?;
    }
    let mut batch = WriteBatch::default();
    stage_number(database, &mut batch, FLOOR_KEY, ids.floor_ms());
    stage_number(database, &mut batch, PTS_FLOOR_KEY, now_ms.saturating_sub(IDS_BEGIN_UNIX_MS));
    stage_number(database, &mut batch, BIRTH_KEY, u64::from(newest.0));
    stage_number(database, &mut batch, COMMIT_KEY, commit);
    database.write(batch, true)?;
    tracing::warn!(channels = raised, epoch = newest.0, "opened a new epoch in every channel");
    Ok(newest)
}

fn stage_marker(
    database: &Database,
    batch: &mut WriteBatch,
    channel: ChannelKey,
    head: &Head,
    newest: Epoch,
    now_ms: u64,
    id: PublicationId,
) -> Result<(), StorageError> {
    let marker = NewRecord {
        id,
        sender: marker_sender()?,
        origin: None,
        client_msg_id: Bytes::new(),
        server_ts_ms: now_ms.max(head.last_ts_ms),
        client_ts_ms: 0,
        kind: PublicationKind::Epoch as i32,
        target_offset: Offset::ZERO,
        payload: Bytes::new(),
    };
    let epoch = newest.max(Epoch(head.position.epoch.0.saturating_add(1)));
    let opened = open_epoch(head, epoch, vec![marker]);
    for record in &opened.records {
        let key = msg_key(channel, record.position.offset);
        database.stage_put(batch, Family::Msg, &key, &seal(&key, &encode_record(record)));
    }
    let value = seal(&channel.0, &encode_head(&opened.head));
    database.stage_put(batch, Family::Head, &channel.0, &value);
    Ok(())
}

/// Forgets segments that were being written when a copy was made: whoever wrote them may have published
/// them since, and go on. They are nobody's here, so that no collection of this store removes them.
pub(crate) fn forget_unpublished(database: &Database) -> Result<(), StorageError> {
    let mut batch = WriteBatch::default();
    database.scan(Family::Archive, &[], None, |key, content| {
        let entry = decode_key(key).and_then(|segment| decode_entry(segment, content));
        let entry = entry.map_err(|damaged| database.corrupt(Family::Archive, key, damaged))?;
        if entry.state == SegmentState::Prepared {
            database.stage_delete(&mut batch, Family::Archive, key);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    database.write(batch, true)
}

fn marker_sender() -> Result<UserId, StorageError> {
    UserId::new("sterna").map_err(|error| {
        StorageError::new(StorageErrorKind::Fatal, ENGINE, "no name for the marker")
            .with_source(error)
    })
}

fn some_heads(
    database: &Database,
    after: Option<ChannelKey>,
) -> Result<Vec<(ChannelKey, Head)>, StorageError> {
    let mut heads = Vec::new();
    let after = after.map(|channel| channel.0);
    database.scan(
        Family::Head,
        &[],
        after.as_ref().map(<[u8; 16]>::as_slice),
        |key, content| {
            let damage = |damaged| database.corrupt(Family::Head, key, damaged);
            let channel = <[u8; 16]>::try_from(key)
                .map_err(|_| damage(Damaged("not a channel key".to_owned())))?;
            heads.push((ChannelKey(channel), decode_head(content).map_err(damage)?));
            Ok(if heads.len() < HEADS_PER_BATCH {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        },
    )?;
    Ok(heads)
}

fn highest_bound(database: &Database) -> Result<u64, StorageError> {
    let mut highest = 0;
    database.scan(Family::Meta, BOUND_PREFIX, None, |key, content| {
        let bound = decode_number(content)
            .map_err(|damaged| database.corrupt(Family::Meta, key, damaged))?;
        highest = highest.max(bound);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(highest)
}

/// Ids for the markers, above any that a generator may have issued before the loss.
struct MarkerIds {
    first_ms: u64,
    issued: u64,
}

impl MarkerIds {
    /// A lost bound was at most some seconds ahead of the clock of its time.
    fn above(highest_bound_ms: u64, now_ms: u64) -> Self {
        let now_ms = now_ms.saturating_sub(IDS_BEGIN_UNIX_MS);
        let first_ms = highest_bound_ms.max(now_ms).saturating_add(LOST_BOUND_MARGIN_MS);
        Self { first_ms, issued: 0 }
    }

    fn issue(&mut self) -> PublicationId {
        let at_ms = self.first_ms + self.issued / IDS_PER_MS;
        let id = (at_ms << 22) | (self.issued % IDS_PER_MS);
        self.issued += 1;
        PublicationId(id)
    }

    /// Generators go on from here.
    fn floor_ms(&self) -> u64 {
        self.first_ms + self.issued / IDS_PER_MS + 1
    }
}

const HEADS_PER_BATCH: usize = 1_000;
const LOST_BOUND_MARGIN_MS: u64 = 60_000;
const IDS_PER_MS: u64 = 1 << 12;
