//! What channels keep: a row for each of which anything was ordered, one for each redaction, and one
//! for each deed, all in one family.

use futures_util::FutureExt as _;
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::keeping::decide;
use sterna_storage::keeping::stored::{
    Damaged as DamagedRow, decode_author, decode_deed, decode_kept, encode_author, encode_deed,
    encode_kept,
};
use sterna_storage::keeping::{Author, Deed, KeepingError, KeepingStore, Kept, Order, Redaction};
use sterna_storage::{BoxFuture, StorageError};

use crate::RocksStore;
use crate::channels::until_full;
use crate::database::Database;
use crate::encoding::{Damaged, decode_number};
use crate::group::{Group, Sync};
use crate::options::Family;

impl KeepingStore for RocksStore {
    fn kept(&self, channels: Vec<ChannelKey>) -> BoxFuture<'_, Result<Vec<Kept>, StorageError>> {
        self.engine.read(move |database| {
            let find = |channel: &ChannelKey| {
                let found = database.get_as(Family::Kept, &row_key(*channel), kept)?;
                Ok(found.unwrap_or_default())
            };
            channels.iter().map(find).collect()
        })
    }

    fn keep(
        &self,
        channel: ChannelKey,
        order: Order,
        author: Author,
    ) -> BoxFuture<'_, Result<Kept, KeepingError>> {
        let written = self.engine.write(move |group| Ok(keep(group, channel, order, &author)));
        written.map(|outcome| outcome.unwrap_or_else(|error| Err(error.into()))).boxed()
    }

    fn redactions(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Redaction>, StorageError>> {
        self.engine.read(move |database| redactions(database, channel, after, limit))
    }

    fn deeds(
        &self,
        channel: ChannelKey,
        before: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Deed>, StorageError>> {
        self.engine.read(move |database| deeds(database, channel, before, limit))
    }

    fn raise_retention_clock(&self, to_ms: u64) -> BoxFuture<'_, Result<u64, StorageError>> {
        self.engine.write(move |group| {
            let stored = group.get_as(Family::Meta, CLOCK_KEY, decode_number)?.unwrap_or(0);
            if to_ms > stored {
                let row = to_ms.to_be_bytes().into();
                group.put(Sync::Now, Family::Meta, CLOCK_KEY.to_vec(), row);
            }
            Ok(stored.max(to_ms))
        })
    }
}

fn keep(
    group: &mut Group,
    channel: ChannelKey,
    order: Order,
    author: &Author,
) -> Result<Kept, KeepingError> {
    let row = row_key(channel);
    let before = group.get_as(Family::Kept, &row, kept)?.unwrap_or_default();
    let Some(decided) = decide(&before, order, author)? else { return Ok(before) };
    let mut new = Vec::with_capacity(decided.redactions.len());
    for redaction in &decided.redactions {
        let key = redaction_key(channel, redaction.offset);
        if group.get_as(Family::Kept, &key, author_of)?.is_none() {
            new.push((key, encode_author(&redaction.author)));
        }
    }
    new.into_iter().for_each(|(key, row)| group.put(Sync::Now, Family::Kept, key, row));
    if let Some(deed) = &decided.deed {
        let key = deed_key(channel, deed.version);
        group.put(Sync::Now, Family::Kept, key, encode_deed(deed));
    }
    group.put(Sync::Now, Family::Kept, row, encode_kept(&decided.kept));
    Ok(decided.kept)
}

fn redactions(
    database: &Database,
    channel: ChannelKey,
    after: Offset,
    limit: usize,
) -> Result<Vec<Redaction>, StorageError> {
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    let prefix = [REDACTIONS, &channel.0].concat();
    let after = after.0.to_be_bytes();
    database.scan(Family::Kept, &prefix, Some(&after), |key, content| {
        let damage = |damaged| database.corrupt(Family::Kept, key, damaged);
        let offset = Offset(decode_number(&key[prefix.len()..]).map_err(damage)?);
        found.push(Redaction { offset, author: author_of(content).map_err(damage)? });
        Ok(until_full(found.len(), limit))
    })?;
    Ok(found)
}

/// Their keys go down from the latest, so that a scan begins with it.
fn deeds(
    database: &Database,
    channel: ChannelKey,
    before: u64,
    limit: usize,
) -> Result<Vec<Deed>, StorageError> {
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    let prefix = [DEEDS, &channel.0].concat();
    let after = (!before).to_be_bytes();
    database.scan(Family::Kept, &prefix, Some(&after), |key, content| {
        let damage = |damaged| database.corrupt(Family::Kept, key, damaged);
        let version = !decode_number(&key[prefix.len()..]).map_err(damage)?;
        found.push(decode_deed(version, content).map_err(|error| damage(row_error(error)))?);
        Ok(until_full(found.len(), limit))
    })?;
    Ok(found)
}

fn kept(content: &[u8]) -> Result<Kept, Damaged> {
    decode_kept(content).map_err(row_error)
}

fn author_of(content: &[u8]) -> Result<Author, Damaged> {
    decode_author(content).map_err(row_error)
}

fn row_error(DamagedRow(what): DamagedRow) -> Damaged {
    Damaged(what)
}

fn row_key(channel: ChannelKey) -> Vec<u8> {
    [b"c", &channel.0[..]].concat()
}

fn redaction_key(channel: ChannelKey, offset: Offset) -> Vec<u8> {
    [REDACTIONS, &channel.0, &offset.0.to_be_bytes()].concat()
}

fn deed_key(channel: ChannelKey, version: u64) -> Vec<u8> {
    [DEEDS, &channel.0, &(!version).to_be_bytes()].concat()
}

const REDACTIONS: &[u8] = b"r";
const DEEDS: &[u8] = b"d";
const CLOCK_KEY: &[u8] = b"retention_clock";
