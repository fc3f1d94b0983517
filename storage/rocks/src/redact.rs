//! Redaction: records are put anew without their payloads. The bytes leave the files with the next
//! compaction of theirs, and the write-ahead log with its next turn.

use bytes::Bytes;
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::StorageError;

use crate::group::Group;

/// Empties those that are there. Only records that were answered for can be asked for, so none of
/// them is in the group that is being gathered.
pub(crate) fn records(
    group: &mut Group,
    channel: ChannelKey,
    offsets: &[Offset],
) -> Result<u64, StorageError> {
    let Some(head) = group.head(channel)? else { return Ok(0) };
    // Of this group's trims as well: what they delete must not come back.
    let there = |offset: &&Offset| **offset >= head.first && **offset <= head.position.offset;
    let mut found = Vec::new();
    for offset in offsets.iter().filter(there) {
        found.extend(group.stored_record(channel, *offset)?);
    }
    for record in &mut found {
        if !record.body.payload.is_empty() {
            record.body.payload = Bytes::new();
            group.replace_record(channel, record);
        }
    }
    Ok(found.len() as u64)
}
