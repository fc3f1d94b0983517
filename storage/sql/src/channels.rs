//! Channels and memberships, each in the place of its channel.

use futures_util::FutureExt as _;
use mysql_async::{Conn, Error, Row, Value};
use sterna_proto::{ChannelId, ChannelKey, UserId};
use sterna_storage::{
    BoxFuture, ChannelRecord, ChannelStore, Created, Membership, MembershipChange, StorageError,
};

use crate::SqlStore;
use crate::batch::batches;
use crate::columns::{Columns, key, limit, number, repeat, text};
use crate::engine::{rows, run};
use crate::failure::{DUPLICATE_KEY, Failure};

impl ChannelStore for SqlStore {
    fn create(
        &self,
        record: ChannelRecord,
        members: Vec<Membership>,
    ) -> BoxFuture<'_, Result<Created, StorageError>> {
        async move {
            let place = self.engine.places.locate(record.name.key().slot());
            let creation = Creation {
                channels: self.engine.places.table(place, "channels"),
                memberships: self.engine.places.table(place, "memberships"),
                record,
                members,
            };
            let created =
                self.engine.transact(place, &creation, |conn, args| create(conn, args).boxed());
            created.await
        }
        .boxed()
    }

    fn channel(
        &self,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<Option<ChannelRecord>, StorageError>> {
        async move {
            let place = self.engine.places.locate(channel.slot());
            let table = self.engine.places.table(place, "channels");
            let sql = format!("SELECT {CHANNEL} FROM {table} WHERE channel = ?");
            let found = self.engine.read(place, &sql, vec![key(channel)]).await?.pop();
            found.map(decode_channel).transpose()
        }
        .boxed()
    }

    /// Every table has to be asked for its next names: for operators, not for the message path.
    fn channels(
        &self,
        after: Option<ChannelId>,
        wish: usize,
    ) -> BoxFuture<'_, Result<Vec<ChannelRecord>, StorageError>> {
        async move {
            let after = after.as_ref().map_or("", ChannelId::as_str);
            let mut found = Vec::new();
            for place in self.engine.places.all() {
                let table = self.engine.places.table(place, "channels");
                let sql =
                    format!("SELECT {CHANNEL} FROM {table} WHERE name > ? ORDER BY name LIMIT ?");
                let params = vec![text(after), limit(wish)];
                for row in self.engine.read(place, &sql, params).await? {
                    found.push(decode_channel(row)?);
                }
            }
            found.sort_unstable_by(|one, other| one.name.cmp(&other.name));
            found.truncate(wish);
            Ok(found)
        }
        .boxed()
    }

    fn member(
        &self,
        channel: ChannelKey,
        user: UserId,
    ) -> BoxFuture<'_, Result<Option<Membership>, StorageError>> {
        async move {
            let condition = "channel = ? AND user = ?";
            let params = vec![key(channel), text(user.as_str())];
            Ok(self.select_members(channel, condition, params).await?.pop())
        }
        .boxed()
    }

    fn members(
        &self,
        channel: ChannelKey,
        after: Option<UserId>,
        wish: usize,
    ) -> BoxFuture<'_, Result<Vec<Membership>, StorageError>> {
        async move {
            let after = after.as_ref().map_or("", UserId::as_str);
            let params = vec![key(channel), text(after), limit(wish)];
            let condition = "channel = ? AND user > ? ORDER BY user LIMIT ?";
            self.select_members(channel, condition, params).await
        }
        .boxed()
    }

    fn member_count(&self, channel: ChannelKey) -> BoxFuture<'_, Result<u64, StorageError>> {
        async move {
            let place = self.engine.places.locate(channel.slot());
            let table = self.engine.places.table(place, "memberships");
            let sql = format!("SELECT COUNT(*) FROM {table} WHERE channel = ?");
            let counted = self.engine.read(place, &sql, vec![key(channel)]).await?.pop();
            counted.map_or(Ok(0), |row| Columns::of("memberships", row).take())
        }
        .boxed()
    }
}

impl SqlStore {
    async fn select_members(
        &self,
        channel: ChannelKey,
        condition: &str,
        params: Vec<Value>,
    ) -> Result<Vec<Membership>, StorageError> {
        let place = self.engine.places.locate(channel.slot());
        let table = self.engine.places.table(place, "memberships");
        let sql = format!("SELECT user, role, since_ms FROM {table} WHERE {condition}");
        let found = self.engine.read(place, &sql, params).await?;
        found.into_iter().map(decode_member).collect()
    }
}

/// A channel to be created with its first members, and where.
#[derive(Debug)]
struct Creation {
    channels: String,
    memberships: String,
    record: ChannelRecord,
    members: Vec<Membership>,
}

/// Of several creators one inserts the row; the others wait for it and find it.
async fn create(conn: &mut Conn, creation: &Creation) -> Result<Created, Failure> {
    let Creation { channels, memberships, record, members } = creation;
    let channel = record.name.key();
    let sql = format!("INSERT INTO {channels} ({CHANNEL}, channel) VALUES (?, ?, ?, ?, ?, ?)");
    match run(conn, &sql, encode_channel(record)).await {
        Err(Failure::Sql(Error::Server(said))) if said.code == DUPLICATE_KEY => {
            let sql = format!("SELECT {CHANNEL} FROM {channels} WHERE channel = ? FOR UPDATE");
            let found = rows(conn, &sql, vec![key(channel)]).await?.pop();
            // Of another name with the same key there is none, and channels are never removed.
            let found = found.ok_or(Failure::Sql(Error::Server(said)))?;
            return Ok(Created::Exists(decode_channel(found)?));
        }
        inserted => inserted?,
    };
    for some in batches(members) {
        let params = some.iter().flat_map(|member| encode_member(channel, member)).collect();
        run(conn, &put_members(memberships, some.len()), params).await?;
    }
    Ok(Created::New)
}

/// In one transaction with the append that they come with. One by one, since members change
/// seldom and their order matters.
pub(crate) async fn change_members(
    conn: &mut Conn,
    table: &str,
    changes: &[(ChannelKey, &MembershipChange)],
) -> Result<(), Failure> {
    for (channel, change) in changes {
        let (sql, params) = match change {
            MembershipChange::Set(member) => {
                (put_members(table, 1), encode_member(*channel, member).into())
            }
            MembershipChange::Removed(user) => (
                format!("DELETE FROM {table} WHERE channel = ? AND user = ?"),
                vec![key(*channel), text(user.as_str())],
            ),
        };
        run(conn, &sql, params).await?;
    }
    Ok(())
}

fn put_members(table: &str, count: usize) -> String {
    format!(
        "INSERT INTO {table} (channel, user, role, since_ms) VALUES {} \
         ON DUPLICATE KEY UPDATE role = VALUES(role), since_ms = VALUES(since_ms)",
        repeat("(?, ?, ?, ?)", count, ", ")
    )
}

fn encode_channel(record: &ChannelRecord) -> Vec<Value> {
    vec![
        text(record.name.as_str()),
        Value::Int((record.kind as i32).into()),
        Value::Int((record.access as i32).into()),
        text(record.created_by.as_str()),
        number(record.created_at_ms),
        key(record.name.key()),
    ]
}

fn decode_channel(row: Row) -> Result<ChannelRecord, StorageError> {
    let mut columns = Columns::of("channels", row);
    Ok(ChannelRecord {
        name: columns.name(ChannelId::new)?,
        kind: columns.variant()?,
        access: columns.variant()?,
        created_by: columns.user()?,
        created_at_ms: columns.take()?,
    })
}

fn encode_member(channel: ChannelKey, member: &Membership) -> [Value; 4] {
    let role = Value::Int((member.role as i32).into());
    [key(channel), text(member.user.as_str()), role, number(member.since_ms)]
}

fn decode_member(row: Row) -> Result<Membership, StorageError> {
    let mut columns = Columns::of("memberships", row);
    Ok(Membership { user: columns.user()?, role: columns.variant()?, since_ms: columns.take()? })
}

/// In the order in which they are written and read.
const CHANNEL: &str = "name, kind, access, created_by, created_at_ms";
