//! Cursors. They go through the committer, so that moves merge in one order, but no move is worth
//! a sync of its own.

use sterna_proto::{ChannelKey, UserId};
use sterna_storage::{BoxFuture, CursorMove, CursorStore, MemberCursor, StorageError};

use crate::RocksStore;
use crate::channels::until_full;
use crate::database::user_key;
use crate::encoding::{decode_cursor, decode_user, encode_cursor};
use crate::group::{Group, Sync};
use crate::options::{CHANNEL_PREFIX_BYTES, Family};

impl CursorStore for RocksStore {
    fn advance(
        &self,
        moves: Vec<CursorMove>,
    ) -> BoxFuture<'_, Result<Vec<MemberCursor>, StorageError>> {
        self.engine.write(move |group| moves.iter().map(|wish| advance(group, wish)).collect())
    }

    fn cursor(
        &self,
        channel: ChannelKey,
        user: UserId,
    ) -> BoxFuture<'_, Result<Option<MemberCursor>, StorageError>> {
        let key = user_key(channel, &user);
        let decode = |content: &[u8]| decode_cursor(user, content);
        self.engine.look(|database| database.get_as(Family::Cursor, &key, decode))
    }

    fn cursors(
        &self,
        channel: ChannelKey,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<MemberCursor>, StorageError>> {
        self.engine.read(move |database| {
            let mut found = Vec::new();
            if limit == 0 {
                return Ok(found);
            }
            database.scan(Family::Cursor, &channel.0, None, |key, content| {
                let cursor = decode_user(&key[CHANNEL_PREFIX_BYTES..])
                    .and_then(|user| decode_cursor(user, content))
                    .map_err(|damaged| database.corrupt(Family::Cursor, key, damaged))?;
                found.push(cursor);
                Ok(until_full(found.len(), limit))
            })?;
            Ok(found)
        })
    }
}

/// A call of several moves may fail half-way: those before have merged, which a repetition does
/// not change (I8).
fn advance(group: &mut Group, wish: &CursorMove) -> Result<MemberCursor, StorageError> {
    let key = user_key(wish.channel, &wish.user);
    let decode = |content: &[u8]| decode_cursor(wish.user.clone(), content);
    let found = group.get_as(Family::Cursor, &key, decode)?;
    let mut cursor = found.clone().unwrap_or_else(|| MemberCursor::new(wish.user.clone()));
    cursor.merge(wish);
    if found.as_ref() != Some(&cursor) {
        group.put(Sync::Later, Family::Cursor, key, encode_cursor(&cursor));
    }
    Ok(cursor)
}
