//! Channels and memberships. The number of members is kept beside them, in the row of the channel
//! alone, and changes in the same batch.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sterna_proto::{ChannelId, ChannelKey, UserId};
use sterna_storage::{
    BoxFuture, ChannelRecord, ChannelStore, Created, Membership, MembershipChange, StorageError,
};

use crate::RocksStore;
use crate::database::{Database, user_key};
use crate::encoding::{
    decode_channel, decode_member, decode_number, decode_user, encode_channel, encode_member,
};
use crate::group::{Group, Sync};
use crate::options::{CHANNEL_PREFIX_BYTES, Family};

impl ChannelStore for RocksStore {
    fn create(
        &self,
        record: ChannelRecord,
        members: Vec<Membership>,
    ) -> BoxFuture<'_, Result<Created, StorageError>> {
        self.engine.write(move |group| create(group, &record, &members))
    }

    fn channel(
        &self,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<Option<ChannelRecord>, StorageError>> {
        let key = row_key(channel);
        self.engine.look(|database| database.get_as(Family::Channel, &key, decode_channel))
    }

    fn channels(
        &self,
        after: Option<ChannelId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ChannelRecord>, StorageError>> {
        self.engine.read(move |database| list_channels(database, after.as_ref(), limit))
    }

    fn member(
        &self,
        channel: ChannelKey,
        user: UserId,
    ) -> BoxFuture<'_, Result<Option<Membership>, StorageError>> {
        let key = user_key(channel, &user);
        let decode = |content: &[u8]| decode_member(user, content);
        self.engine.look(|database| database.get_as(Family::Member, &key, decode))
    }

    fn members(
        &self,
        channel: ChannelKey,
        after: Option<UserId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Membership>, StorageError>> {
        self.engine.read(move |database| list_members(database, channel, after.as_ref(), limit))
    }

    fn member_count(&self, channel: ChannelKey) -> BoxFuture<'_, Result<u64, StorageError>> {
        self.engine.look(|database| {
            let count = database.get_as(Family::Member, &channel.0, decode_number)?;
            Ok(count.unwrap_or(0))
        })
    }
}

fn create(
    group: &mut Group,
    record: &ChannelRecord,
    members: &[Membership],
) -> Result<Created, StorageError> {
    let channel = record.name.key();
    let row = row_key(channel);
    if let Some(found) = group.get_as(Family::Channel, &row, decode_channel)? {
        return Ok(Created::Exists(found));
    }
    let count = MemberCount::read(group, channel)?;
    let mut new: Vec<&UserId> = Vec::new();
    for member in members {
        if !is_member(group, channel, &member.user)? {
            new.push(&member.user);
        }
    }
    new.sort();
    new.dedup();
    group.put(Sync::Now, Family::Channel, row, encode_channel(record));
    group.put(Sync::Now, Family::Channel, name_key(&record.name), Vec::new());
    members.iter().for_each(|member| stage_member(group, channel, member));
    count.change(group, new.len() as i64);
    Ok(Created::New)
}

/// Changes of members that come with one append. Read before anything of the append is staged.
pub(crate) struct NewMembers {
    count: MemberCount,
    /// The last change of each user, and whether the user was a member before.
    changes: Vec<(MembershipChange, bool)>,
}

impl NewMembers {
    /// `None` if there are none.
    pub(crate) fn read(
        group: &Group,
        channel: ChannelKey,
        changes: Vec<MembershipChange>,
    ) -> Result<Option<Self>, StorageError> {
        if changes.is_empty() {
            return Ok(None);
        }
        let last: BTreeMap<UserId, MembershipChange> =
            changes.into_iter().map(|change| (change.user().clone(), change)).collect();
        let was_member = |(user, change)| Ok((change, is_member(group, channel, &user)?));
        let changes = last.into_iter().map(was_member).collect::<Result<_, StorageError>>()?;
        Ok(Some(Self { count: MemberCount::read(group, channel)?, changes }))
    }

    pub(crate) fn stage(self, group: &mut Group) {
        let channel = self.count.channel;
        let mut difference = 0;
        for (change, was_member) in self.changes {
            difference += i64::from(change.role().is_some()) - i64::from(was_member);
            match change {
                MembershipChange::Set(member) => stage_member(group, channel, &member),
                MembershipChange::Removed(user) => {
                    group.delete(Sync::Now, Family::Member, user_key(channel, &user));
                }
            }
        }
        self.count.change(group, difference);
    }
}

fn is_member(group: &Group, channel: ChannelKey, user: &UserId) -> Result<bool, StorageError> {
    let decode = |content: &[u8]| decode_member(user.clone(), content);
    Ok(group.get_as(Family::Member, &user_key(channel, user), decode)?.is_some())
}

fn stage_member(group: &mut Group, channel: ChannelKey, member: &Membership) {
    let key = user_key(channel, &member.user);
    group.put(Sync::Now, Family::Member, key, encode_member(member));
}

/// Read before anything of its write is staged, since reading may fail.
struct MemberCount {
    channel: ChannelKey,
    count: u64,
}

impl MemberCount {
    fn read(group: &Group, channel: ChannelKey) -> Result<Self, StorageError> {
        let count = group.get_as(Family::Member, &channel.0, decode_number)?.unwrap_or(0);
        Ok(Self { channel, count })
    }

    fn change(self, group: &mut Group, by: i64) {
        let count = self.count.saturating_add_signed(by);
        group.put(Sync::Now, Family::Member, self.channel.0.to_vec(), count.to_be_bytes().into());
    }
}

fn list_channels(
    database: &Database,
    after: Option<&ChannelId>,
    limit: usize,
) -> Result<Vec<ChannelRecord>, StorageError> {
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    let after = after.map(|name| name.as_str().as_bytes());
    database.scan(Family::Channel, NAME_PREFIX, after, |key, _| {
        let damage = |text: &str| {
            database.corrupt(Family::Channel, key, crate::encoding::Damaged(text.to_owned()))
        };
        let name = std::str::from_utf8(&key[NAME_PREFIX.len()..])
            .ok()
            .and_then(|name| ChannelId::new(name).ok())
            .ok_or_else(|| damage("not a channel name"))?;
        let row = database.get_as(Family::Channel, &row_key(name.key()), decode_channel)?;
        found.push(row.ok_or_else(|| damage("a name without its channel"))?);
        Ok(until_full(found.len(), limit))
    })?;
    Ok(found)
}

fn list_members(
    database: &Database,
    channel: ChannelKey,
    after: Option<&UserId>,
    limit: usize,
) -> Result<Vec<Membership>, StorageError> {
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    // The row of the channel alone, with the count, comes first and is passed over.
    let after = after.map_or(&[][..], |user| user.as_str().as_bytes());
    database.scan(Family::Member, &channel.0, Some(after), |key, content| {
        let member = decode_user(&key[CHANNEL_PREFIX_BYTES..])
            .and_then(|user| decode_member(user, content))
            .map_err(|damaged| database.corrupt(Family::Member, key, damaged))?;
        found.push(member);
        Ok(until_full(found.len(), limit))
    })?;
    Ok(found)
}

pub(crate) fn until_full(found: usize, limit: usize) -> ControlFlow<()> {
    if found < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

fn row_key(channel: ChannelKey) -> Vec<u8> {
    [ROW_PREFIX, &channel.0].concat()
}

fn name_key(name: &ChannelId) -> Vec<u8> {
    [NAME_PREFIX, name.as_str().as_bytes()].concat()
}

const ROW_PREFIX: &[u8] = b"k";
const NAME_PREFIX: &[u8] = b"n";
