//! Inboxes, each in the place of its user. The newest place of an inbox has a row of its own, so
//! that no place is given twice, and its lock puts writers of one inbox one behind the other.

use futures_util::FutureExt as _;
use mysql_async::{Conn, Row, Value};
use sterna_proto::{ChannelKey, Offset, UserId};
use sterna_storage::{
    BoxFuture, InboxChange, InboxEntry, InboxState, InboxStore, Pts, StorageError,
};

use crate::SqlStore;
use crate::batch::batches;
use crate::columns::{Columns, key, limit, number, repeat, text};
use crate::engine::{rows, run};
use crate::failure::Failure;

impl InboxStore for SqlStore {
    fn mark_dirty(
        &self,
        user: UserId,
        channels: Vec<ChannelKey>,
    ) -> BoxFuture<'_, Result<Pts, StorageError>> {
        async move {
            if channels.is_empty() {
                return self.inbox_head(user).await;
            }
            let place = self.engine.places.locate_user(&user);
            let args = (self.inbox_tables(&user), user, channels);
            let marked = self.engine.transact(place, &args, |conn, (tables, user, channels)| {
                mark(conn, tables, user, channels).boxed()
            });
            marked.await
        }
        .boxed()
    }

    fn inbox_head(&self, user: UserId) -> BoxFuture<'_, Result<Pts, StorageError>> {
        async move {
            let sql = format!("SELECT pts FROM {} WHERE user = ?", self.inbox_tables(&user).heads);
            let place = self.engine.places.locate_user(&user);
            let found = self.engine.read(place, &sql, vec![text(user.as_str())]).await?.pop();
            found.map_or(Ok(Pts::ZERO), |row| Ok(Pts(Columns::of("inbox_heads", row).take()?)))
        }
        .boxed()
    }

    fn inbox(
        &self,
        user: UserId,
        after: Pts,
        wish: usize,
    ) -> BoxFuture<'_, Result<Vec<InboxEntry>, StorageError>> {
        async move {
            let condition = "last_pts > ? ORDER BY last_pts LIMIT ?";
            let states = self.select_inbox(&user, condition, vec![number(after.0), limit(wish)]);
            let entry =
                |state: InboxState| InboxEntry { pts: state.last_pts, channel: state.channel };
            Ok(states.await?.into_iter().map(entry).collect())
        }
        .boxed()
    }

    fn inbox_state(
        &self,
        user: UserId,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<Option<InboxState>, StorageError>> {
        async move { Ok(self.select_inbox(&user, "channel = ?", vec![key(channel)]).await?.pop()) }
            .boxed()
    }

    fn inbox_states(
        &self,
        user: UserId,
        after: Option<ChannelKey>,
        wish: usize,
    ) -> BoxFuture<'_, Result<Vec<InboxState>, StorageError>> {
        async move {
            let (from, mut params) = match after {
                Some(after) => ("channel > ? ORDER BY", vec![key(after)]),
                None => ("TRUE ORDER BY", Vec::new()),
            };
            params.push(limit(wish));
            self.select_inbox(&user, &format!("{from} channel LIMIT ?"), params).await
        }
        .boxed()
    }

    fn change_inbox(
        &self,
        user: UserId,
        channel: ChannelKey,
        change: InboxChange,
    ) -> BoxFuture<'_, Result<InboxState, StorageError>> {
        async move {
            let place = self.engine.places.locate_user(&user);
            let wish = Wish { tables: self.inbox_tables(&user), user, channel, change };
            self.engine.transact(place, &wish, |conn, wish| make_change(conn, wish).boxed()).await
        }
        .boxed()
    }

    fn remove_from_inbox(
        &self,
        user: UserId,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        async move {
            let table = self.inbox_tables(&user).states;
            let sql = format!("DELETE FROM {table} WHERE user = ? AND channel = ?");
            let params = vec![text(user.as_str()), key(channel)];
            let database = self.engine.places.locate_user(&user).database;
            Ok(self.engine.execute(database, sql, params).await? > 0)
        }
        .boxed()
    }

    fn set_pulled(
        &self,
        user: UserId,
        channel: ChannelKey,
        pulled: bool,
    ) -> BoxFuture<'_, Result<(), StorageError>> {
        async move {
            let table = self.inbox_tables(&user).pulled;
            let sql = match pulled {
                true => format!(
                    "INSERT INTO {table} (user, channel) VALUES (?, ?) \
                     ON DUPLICATE KEY UPDATE channel = channel"
                ),
                false => format!("DELETE FROM {table} WHERE user = ? AND channel = ?"),
            };
            let params = vec![text(user.as_str()), key(channel)];
            let database = self.engine.places.locate_user(&user).database;
            self.engine.execute(database, sql, params).await.map(drop)
        }
        .boxed()
    }

    fn pulled(
        &self,
        user: UserId,
        wish: usize,
    ) -> BoxFuture<'_, Result<Vec<ChannelKey>, StorageError>> {
        async move {
            let table = self.inbox_tables(&user).pulled;
            let sql =
                format!("SELECT channel FROM {table} WHERE user = ? ORDER BY channel LIMIT ?");
            let place = self.engine.places.locate_user(&user);
            let params = vec![text(user.as_str()), limit(wish)];
            let found = self.engine.read(place, &sql, params).await?;
            found.into_iter().map(|row| Columns::of("inbox_pulled", row).channel()).collect()
        }
        .boxed()
    }
}

impl SqlStore {
    fn inbox_tables(&self, user: &UserId) -> Tables {
        let place = self.engine.places.locate_user(user);
        Tables {
            heads: self.engine.places.table(place, "inbox_heads"),
            states: self.engine.places.table(place, "inboxes"),
            pulled: self.engine.places.table(place, "inbox_pulled"),
        }
    }

    async fn select_inbox(
        &self,
        user: &UserId,
        condition: &str,
        mut params: Vec<Value>,
    ) -> Result<Vec<InboxState>, StorageError> {
        let table = self.inbox_tables(user).states;
        let sql = format!("SELECT {STATE} FROM {table} WHERE user = ? AND {condition}");
        params.insert(0, text(user.as_str()));
        let place = self.engine.places.locate_user(user);
        let found = self.engine.read(place, &sql, params).await?;
        found.into_iter().map(decode).collect()
    }
}

#[derive(Debug)]
struct Tables {
    heads: String,
    states: String,
    pulled: String,
}

async fn mark(
    conn: &mut Conn,
    tables: &Tables,
    user: &UserId,
    channels: &[ChannelKey],
) -> Result<Pts, Failure> {
    let Tables { heads, states, .. } = tables;
    let count = channels.len() as u64;
    let user = || text(user.as_str());
    let sql = format!(
        "INSERT INTO {heads} (user, pts) VALUES (?, ?) ON DUPLICATE KEY UPDATE pts = pts + ?"
    );
    run(conn, &sql, vec![user(), number(count), number(count)]).await?;
    let sql = format!("SELECT pts FROM {heads} WHERE user = ? FOR UPDATE");
    let head = rows(conn, &sql, vec![user()]).await?.pop();
    let head: u64 = head.map_or(Ok(count), |row| Columns::of("inbox_heads", row).take())?;
    let first = head - count.min(head) + 1;
    let marks: Vec<[Value; 3]> = channels
        .iter()
        .zip(first..)
        .map(|(channel, pts)| [user(), key(*channel), number(pts)])
        .collect();
    for some in batches(&marks) {
        let sql = format!(
            "INSERT INTO {states} (user, channel, last_pts, muted, pinned, deleted_before, version) \
             VALUES {} ON DUPLICATE KEY UPDATE last_pts = VALUES(last_pts)",
            repeat("(?, ?, ?, FALSE, FALSE, 0, 0)", some.len(), ", ")
        );
        run(conn, &sql, some.concat()).await?;
    }
    Ok(Pts(head))
}

/// A change of one channel in one inbox.
#[derive(Debug)]
struct Wish {
    tables: Tables,
    user: UserId,
    channel: ChannelKey,
    change: InboxChange,
}

async fn make_change(conn: &mut Conn, wish: &Wish) -> Result<InboxState, Failure> {
    let table = &wish.tables.states;
    let names = || vec![text(wish.user.as_str()), key(wish.channel)];
    // So that there is a row to lock: two first changes must not both begin from nothing.
    let sql = format!(
        "INSERT INTO {table} (user, channel, last_pts, muted, pinned, deleted_before, version) \
         VALUES (?, ?, 0, FALSE, FALSE, 0, 0) ON DUPLICATE KEY UPDATE version = version"
    );
    run(conn, &sql, names()).await?;
    let sql = format!("SELECT {STATE} FROM {table} WHERE user = ? AND channel = ? FOR UPDATE");
    let found = rows(conn, &sql, names()).await?.pop();
    let mut state = found.map_or_else(|| Ok(InboxState::new(wish.channel)), decode)?;
    if state.merge(&wish.change) {
        let sql = format!(
            "UPDATE {table} SET muted = ?, pinned = ?, deleted_before = ?, version = ? \
             WHERE user = ? AND channel = ?"
        );
        let mut params = vec![
            state.muted.into(),
            state.pinned.into(),
            number(state.deleted_before.0),
            number(state.version),
        ];
        params.extend(names());
        run(conn, &sql, params).await?;
    }
    Ok(state)
}

fn decode(row: Row) -> Result<InboxState, StorageError> {
    let mut columns = Columns::of("inboxes", row);
    Ok(InboxState {
        channel: columns.channel()?,
        last_pts: Pts(columns.take()?),
        muted: columns.take()?,
        pinned: columns.take()?,
        deleted_before: Offset(columns.take()?),
        version: columns.take()?,
    })
}

/// In the order in which they are read.
const STATE: &str = "channel, last_pts, muted, pinned, deleted_before, version";
