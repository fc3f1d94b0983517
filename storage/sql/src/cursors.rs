//! Delivered and read cursors, each in the place of its channel.

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use mysql_async::{Conn, Row, Value};
use sterna_proto::{ChannelKey, UserId};
use sterna_storage::{BoxFuture, CursorMove, CursorStore, MemberCursor, StorageError};

use crate::SqlStore;
use crate::batch::{batches, padded};
use crate::columns::{Columns, key, limit, number, repeat, text};
use crate::engine::{rows, run};
use crate::failure::Failure;
use crate::place::Place;

impl CursorStore for SqlStore {
    /// One transaction for each place, so a move of one place may be made and one of another not;
    /// whoever asks again merges again.
    fn advance(
        &self,
        moves: Vec<CursorMove>,
    ) -> BoxFuture<'_, Result<Vec<MemberCursor>, StorageError>> {
        async move {
            let mut by_place: BTreeMap<Place, Vec<(usize, CursorMove)>> = BTreeMap::new();
            for (index, wish) in moves.into_iter().enumerate() {
                let place = self.engine.places.locate(wish.channel.slot());
                by_place.entry(place).or_default().push((index, wish));
            }
            let mut moved = Vec::new();
            for (place, moves) in by_place {
                let table = self.engine.places.table(place, "cursors");
                let moves = Moves { table, moves };
                let advanced =
                    self.engine.transact(place, &moves, |conn, moves| advance(conn, moves).boxed());
                moved.extend(advanced.await?);
            }
            moved.sort_unstable_by_key(|(index, _)| *index);
            Ok(moved.into_iter().map(|(_, cursor)| cursor).collect())
        }
        .boxed()
    }

    fn cursor(
        &self,
        channel: ChannelKey,
        user: UserId,
    ) -> BoxFuture<'_, Result<Option<MemberCursor>, StorageError>> {
        async move {
            let params = vec![key(channel), text(user.as_str())];
            Ok(self.select_cursors(channel, "channel = ? AND user = ?", params).await?.pop())
        }
        .boxed()
    }

    fn cursors(
        &self,
        channel: ChannelKey,
        wish: usize,
    ) -> BoxFuture<'_, Result<Vec<MemberCursor>, StorageError>> {
        async move {
            let params = vec![key(channel), limit(wish)];
            self.select_cursors(channel, "channel = ? ORDER BY user LIMIT ?", params).await
        }
        .boxed()
    }
}

impl SqlStore {
    async fn select_cursors(
        &self,
        channel: ChannelKey,
        condition: &str,
        params: Vec<Value>,
    ) -> Result<Vec<MemberCursor>, StorageError> {
        let place = self.engine.places.locate(channel.slot());
        let table = self.engine.places.table(place, "cursors");
        let sql = format!("SELECT {COLUMNS} FROM {table} WHERE {condition}");
        let found = self.engine.read(place, &sql, params).await?;
        found.into_iter().map(|row| decode(row).map(|(_, cursor)| cursor)).collect()
    }
}

/// Moves of one table with their numbers in the call.
#[derive(Debug)]
struct Moves {
    table: String,
    moves: Vec<(usize, CursorMove)>,
}

type Key = (ChannelKey, UserId);

async fn advance(conn: &mut Conn, args: &Moves) -> Result<Vec<(usize, MemberCursor)>, Failure> {
    let Moves { table, moves } = args;
    let wished = moves.iter().map(|(_, wish)| (wish.channel, wish.user.clone()));
    let mut cursors: BTreeMap<Key, MemberCursor> =
        wished.map(|(channel, user)| ((channel, user.clone()), MemberCursor::new(user))).collect();
    lock(conn, table, &mut cursors).await?;
    let mut moved = Vec::with_capacity(moves.len());
    for (index, wish) in moves {
        if let Some(cursor) = cursors.get_mut(&(wish.channel, wish.user.clone())) {
            cursor.merge(wish);
            moved.push((*index, cursor.clone()));
        }
    }
    let rows: Vec<[Value; 4]> =
        cursors.iter().map(|((channel, _), cursor)| encode(*channel, cursor)).collect();
    for some in batches(&rows) {
        // By maximum once more: a row that was not there to be locked may be there now (I8).
        let sql = format!(
            "INSERT INTO {table} ({COLUMNS}) VALUES {} ON DUPLICATE KEY UPDATE \
             delivered = GREATEST(delivered, VALUES(delivered)), \
             `read` = GREATEST(`read`, VALUES(`read`))",
            repeat("(?, ?, ?, ?)", some.len(), ", ")
        );
        run(conn, &sql, some.concat()).await?;
    }
    Ok(moved)
}

/// Locks the cursors in key order and takes over what is stored.
async fn lock(
    conn: &mut Conn,
    table: &str,
    cursors: &mut BTreeMap<Key, MemberCursor>,
) -> Result<(), Failure> {
    let keys: Vec<Key> = cursors.keys().cloned().collect();
    for some in padded(&keys) {
        let sql = format!(
            "SELECT {COLUMNS} FROM {table} FORCE INDEX (PRIMARY) WHERE {} \
             ORDER BY channel, user FOR UPDATE",
            repeat("(channel = ? AND user = ?)", some.len(), " OR ")
        );
        let params = some.iter().flat_map(|(at, user)| [key(*at), text(user.as_str())]);
        for row in rows(conn, &sql, params.collect()).await? {
            let (channel, cursor) = decode(row)?;
            cursors.insert((channel, cursor.user.clone()), cursor);
        }
    }
    Ok(())
}

fn encode(channel: ChannelKey, cursor: &MemberCursor) -> [Value; 4] {
    let user = text(cursor.user.as_str());
    [key(channel), user, number(cursor.delivered.0), number(cursor.read.0)]
}

fn decode(row: Row) -> Result<(ChannelKey, MemberCursor), StorageError> {
    let mut columns = Columns::of("cursors", row);
    let channel = columns.channel()?;
    let user = columns.user()?;
    let (delivered, read) = (columns.offset()?, columns.offset()?);
    Ok((channel, MemberCursor { user, delivered, read }))
}

/// In the order in which they are written and read.
const COLUMNS: &str = "channel, user, delivered, `read`";
