//! Inboxes. The state of a channel in an inbox, the entry at its place and the inbox's newest place
//! change in one batch.

use std::collections::BTreeMap;

use bytes::Buf as _;
use prost::Message;
use sterna_proto::{ChannelKey, Offset, UserId};
use sterna_storage::{
    BoxFuture, InboxChange, InboxEntry, InboxState, InboxStore, Pts, StorageError,
};

use crate::RocksStore;
use crate::channels::until_full;
use crate::database::{Database, users_prefix};
use crate::encoding::{Damaged, decode, decode_number};
use crate::group::{Group, Sync};
use crate::options::Family;

impl InboxStore for RocksStore {
    fn mark_dirty(
        &self,
        user: UserId,
        channels: Vec<ChannelKey>,
    ) -> BoxFuture<'_, Result<Pts, StorageError>> {
        self.engine.write(move |group| mark(group, &user, &channels))
    }

    fn inbox_head(&self, user: UserId) -> BoxFuture<'_, Result<Pts, StorageError>> {
        self.engine.look(|database| {
            let number = |family, key: &[u8]| database.get_as(family, key, decode_number);
            let given = number(Family::Mark, user.as_str().as_bytes())?;
            Ok(newest(given, number(Family::Meta, PTS_FLOOR_KEY)?))
        })
    }

    fn inbox(
        &self,
        user: UserId,
        after: Pts,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InboxEntry>, StorageError>> {
        self.engine.read(move |database| list_entries(database, &user, after, limit))
    }

    fn inbox_state(
        &self,
        user: UserId,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<Option<InboxState>, StorageError>> {
        let key = state_key(&user, channel);
        let decode = |content: &[u8]| decode_state(channel, content);
        self.engine.look(|database| database.get_as(Family::Inbox, &key, decode))
    }

    fn inbox_states(
        &self,
        user: UserId,
        after: Option<ChannelKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InboxState>, StorageError>> {
        self.engine.read(move |database| list_states(database, &user, after, limit))
    }

    fn change_inbox(
        &self,
        user: UserId,
        channel: ChannelKey,
        change: InboxChange,
    ) -> BoxFuture<'_, Result<InboxState, StorageError>> {
        self.engine.write(move |group| {
            let found = state(group, &user, channel)?;
            let new = found.is_none();
            let mut state = found.unwrap_or_else(|| InboxState::new(channel));
            if state.merge(&change) || new {
                put_state(group, &user, &state);
            }
            Ok(state)
        })
    }

    fn remove_from_inbox(
        &self,
        user: UserId,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        self.engine.write(move |group| {
            let Some(found) = state(group, &user, channel)? else { return Ok(false) };
            group.delete(Sync::Now, Family::Inbox, state_key(&user, channel));
            if found.last_pts > Pts::ZERO {
                group.delete(Sync::Now, Family::Mark, mark_key(&user, found.last_pts));
            }
            Ok(true)
        })
    }

    fn set_pulled(
        &self,
        user: UserId,
        channel: ChannelKey,
        pulled: bool,
    ) -> BoxFuture<'_, Result<(), StorageError>> {
        self.engine.write(move |group| {
            let key = pulled_key(&user, channel);
            match pulled {
                true => group.put(Sync::Now, Family::Inbox, key, Vec::new()),
                false => group.delete(Sync::Now, Family::Inbox, key),
            }
            Ok(())
        })
    }

    fn pulled(
        &self,
        user: UserId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ChannelKey>, StorageError>> {
        self.engine.read(move |database| list_pulled(database, &user, limit))
    }
}

fn mark(group: &mut Group, user: &UserId, channels: &[ChannelKey]) -> Result<Pts, StorageError> {
    let head_key = user.as_str().as_bytes().to_vec();
    let given = group.get_as(Family::Mark, &head_key, decode_number)?;
    let mut head = newest(given, group.get_as(Family::Meta, PTS_FLOOR_KEY, decode_number)?);
    let mut marked: BTreeMap<ChannelKey, (Pts, InboxState)> = BTreeMap::new();
    for channel in channels {
        head = head.next();
        if let Some((_, state)) = marked.get_mut(channel) {
            state.last_pts = head;
            continue;
        }
        let found = state(group, user, *channel)?;
        let mut state = found.unwrap_or_else(|| InboxState::new(*channel));
        let before = std::mem::replace(&mut state.last_pts, head);
        marked.insert(*channel, (before, state));
    }
    if marked.is_empty() {
        return Ok(head);
    }
    for (channel, (before, state)) in marked {
        if before > Pts::ZERO {
            group.delete(Sync::Now, Family::Mark, mark_key(user, before));
        }
        group.put(Sync::Now, Family::Mark, mark_key(user, state.last_pts), channel.0.to_vec());
        put_state(group, user, &state);
    }
    group.put(Sync::Now, Family::Mark, head_key, head.0.to_be_bytes().into());
    Ok(head)
}

/// The newest place that may have been given, also by a store whose end is lost.
fn newest(given: Option<u64>, floor: Option<u64>) -> Pts {
    Pts(given.unwrap_or(0).max(floor.unwrap_or(0)))
}

fn state(
    group: &Group,
    user: &UserId,
    channel: ChannelKey,
) -> Result<Option<InboxState>, StorageError> {
    let decode = |content: &[u8]| decode_state(channel, content);
    group.get_as(Family::Inbox, &state_key(user, channel), decode)
}

fn put_state(group: &mut Group, user: &UserId, state: &InboxState) {
    group.put(Sync::Now, Family::Inbox, state_key(user, state.channel), encode_state(state));
}

fn list_entries(
    database: &Database,
    user: &UserId,
    after: Pts,
    limit: usize,
) -> Result<Vec<InboxEntry>, StorageError> {
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    let prefix = users_prefix(user);
    database.scan(Family::Mark, &prefix, Some(&after.0.to_be_bytes()), |key, content| {
        let damage = |damaged| database.corrupt(Family::Mark, key, damaged);
        let pts = decode_number(&key[prefix.len()..]).map_err(damage)?;
        let channel = decode_channel_key(content).map_err(damage)?;
        found.push(InboxEntry { pts: Pts(pts), channel });
        Ok(until_full(found.len(), limit))
    })?;
    Ok(found)
}

fn list_states(
    database: &Database,
    user: &UserId,
    after: Option<ChannelKey>,
    limit: usize,
) -> Result<Vec<InboxState>, StorageError> {
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    let prefix = users_prefix(user);
    let after = after.as_ref().map(|channel| &channel.0[..]);
    database.scan(Family::Inbox, &prefix, after, |key, content| {
        let state = decode_channel_key(&key[prefix.len()..])
            .and_then(|channel| decode_state(channel, content))
            .map_err(|damaged| database.corrupt(Family::Inbox, key, damaged))?;
        found.push(state);
        Ok(until_full(found.len(), limit))
    })?;
    Ok(found)
}

fn list_pulled(
    database: &Database,
    user: &UserId,
    limit: usize,
) -> Result<Vec<ChannelKey>, StorageError> {
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    let prefix = pulled_prefix(user);
    database.scan(Family::Inbox, &prefix, None, |key, _| {
        let channel = decode_channel_key(&key[prefix.len()..])
            .map_err(|damaged| database.corrupt(Family::Inbox, key, damaged))?;
        found.push(channel);
        Ok(until_full(found.len(), limit))
    })?;
    Ok(found)
}

/// user . 0 . channel
fn state_key(user: &UserId, channel: ChannelKey) -> Vec<u8> {
    [&users_prefix(user)[..], &channel.0].concat()
}

/// user . 0 . pts
fn mark_key(user: &UserId, pts: Pts) -> Vec<u8> {
    [&users_prefix(user)[..], &pts.0.to_be_bytes()].concat()
}

/// user . 1 . channel
fn pulled_key(user: &UserId, channel: ChannelKey) -> Vec<u8> {
    [&pulled_prefix(user)[..], &channel.0].concat()
}

fn pulled_prefix(user: &UserId) -> Vec<u8> {
    [user.as_str().as_bytes(), &[1]].concat()
}

pub(crate) fn encode_state(state: &InboxState) -> Vec<u8> {
    StoredState {
        last_pts: state.last_pts.0,
        muted: state.muted,
        pinned: state.pinned,
        deleted_before: state.deleted_before.0,
        version: state.version,
    }
    .encode_to_vec()
}

pub(crate) fn decode_state(channel: ChannelKey, content: &[u8]) -> Result<InboxState, Damaged> {
    let stored: StoredState = decode(content)?;
    Ok(InboxState {
        channel,
        last_pts: Pts(stored.last_pts),
        muted: stored.muted,
        pinned: stored.pinned,
        deleted_before: Offset(stored.deleted_before),
        version: stored.version,
    })
}

pub(crate) fn decode_channel_key(mut bytes: &[u8]) -> Result<ChannelKey, Damaged> {
    let mut key = [0; 16];
    if bytes.len() != key.len() {
        return Err(Damaged("not a channel key".to_owned()));
    }
    bytes.copy_to_slice(&mut key);
    Ok(ChannelKey(key))
}

#[derive(Clone, PartialEq, Message)]
struct StoredState {
    #[prost(uint64, tag = "1")]
    last_pts: u64,
    #[prost(bool, tag = "2")]
    muted: bool,
    #[prost(bool, tag = "3")]
    pinned: bool,
    #[prost(uint64, tag = "4")]
    deleted_before: u64,
    #[prost(uint64, tag = "5")]
    version: u64,
}

/// Left by a repair: no place below it is given any more.
pub(crate) const PTS_FLOOR_KEY: &[u8] = b"pts floor";
