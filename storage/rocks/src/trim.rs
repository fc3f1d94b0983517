//! Trimming. The head tells the trim point at once; the records below it are deleted behind it,
//! some in each commit, and how far that has got is noted beside the deletions. A trim that is cut
//! off is finished by the next one of its channel or by the next opening.
//!
//! Each record is deleted by its own key: a range tombstone would have to be looked through by
//! every later read of the family, and a compaction filter over values in blob files makes each
//! compaction read all of them from the disk, which is what those files are there to avoid.

use std::ops::ControlFlow;

use rocksdb::WriteBatch;
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{Head, StorageError};

use crate::database::{Database, msg_key};
use crate::encoding::{Damaged, decode_number, seal};
use crate::group::{Group, Sync};
use crate::options::{CHANNEL_PREFIX_BYTES, Family};

/// What one commit of a trim has reached.
pub(crate) struct Trimmed {
    pub(crate) head: Head,
    /// Records below the trim point are left.
    pub(crate) more: bool,
}

/// Raises the trim point and deletes the next records below it.
pub(crate) fn step(
    group: &mut Group,
    channel: ChannelKey,
    first: Offset,
) -> Result<Option<Trimmed>, StorageError> {
    let row = row_key(channel);
    let Some(before) = group.head(channel)? else { return Ok(None) };
    let cut_off = group.get_as(Family::Meta, &row, decode_number)?.map(Offset);
    let raised = sterna_storage::sequence::trim(&before, first);
    let from = cut_off.unwrap_or(before.first);
    let head = raised.clone().unwrap_or(before);
    if let Some(raised) = raised {
        group.put_head(channel, raised);
    }
    if from >= head.first {
        return Ok(Some(Trimmed { head, more: false }));
    }
    let upto = head.first.min(Offset(from.0.saturating_add(RECORDS_PER_COMMIT)));
    (from.0..upto.0).for_each(|offset| group.delete_record(channel, Offset(offset)));
    let more = upto < head.first;
    if more {
        group.put(Sync::Later, Family::Meta, row, upto.0.to_be_bytes().into());
    } else if cut_off.is_some() {
        group.delete(Sync::Later, Family::Meta, row);
    }
    Ok(Some(Trimmed { head, more }))
}

/// Finishes every trim that was cut off. Before anybody reads or writes.
pub(crate) fn finish_all(database: &Database) -> Result<(), StorageError> {
    let mut cut_off = Vec::new();
    database.scan(Family::Meta, ROW_PREFIX, None, |key, content| {
        let damage = |damaged| database.corrupt(Family::Meta, key, damaged);
        let channel = <[u8; CHANNEL_PREFIX_BYTES]>::try_from(&key[ROW_PREFIX.len()..])
            .map_err(|_| damage(Damaged("not a channel key".to_owned())))?;
        cut_off.push((ChannelKey(channel), decode_number(content).map_err(damage)?));
        Ok(ControlFlow::Continue(()))
    })?;
    for (channel, from) in cut_off {
        let first = database.head(channel)?.map_or(from, |head| head.first.0);
        finish(database, channel, from, first)?;
    }
    Ok(())
}

fn finish(
    database: &Database,
    channel: ChannelKey,
    mut from: u64,
    first: u64,
) -> Result<(), StorageError> {
    let row = row_key(channel);
    while from < first {
        let upto = first.min(from.saturating_add(RECORDS_PER_COMMIT));
        let mut batch = WriteBatch::default();
        for offset in from..upto {
            database.stage_delete(&mut batch, Family::Msg, &msg_key(channel, Offset(offset)));
        }
        database.stage_put(&mut batch, Family::Meta, &row, &seal(&row, &upto.to_be_bytes()));
        database.write(batch, false)?;
        from = upto;
    }
    let mut batch = WriteBatch::default();
    database.stage_delete(&mut batch, Family::Meta, &row);
    database.write(batch, false)
}

fn row_key(channel: ChannelKey) -> Vec<u8> {
    [ROW_PREFIX, &channel.0].concat()
}

const ROW_PREFIX: &[u8] = b"trim/";

/// Small enough that the writes of others do not wait for long.
const RECORDS_PER_COMMIT: u64 = 1_000;
