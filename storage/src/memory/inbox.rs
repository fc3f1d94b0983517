//! Inboxes in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use sterna_proto::{ChannelKey, UserId};

use super::{MemoryStore, page};
use crate::{InboxChange, InboxEntry, InboxState, InboxStore, Pts, StorageError};

impl InboxStore for MemoryStore {
    fn mark_dirty(
        &self,
        user: UserId,
        channels: Vec<ChannelKey>,
    ) -> BoxFuture<'_, Result<Pts, StorageError>> {
        let mut content = self.content();
        if channels.is_empty() {
            return ready(Ok(content.inboxes.get(&user).map_or(Pts::ZERO, |inbox| inbox.head)))
                .boxed();
        }
        let inbox = content.inboxes.entry(user).or_default();
        channels.into_iter().for_each(|channel| inbox.mark(channel));
        ready(Ok(inbox.head)).boxed()
    }

    fn inbox_head(&self, user: UserId) -> BoxFuture<'_, Result<Pts, StorageError>> {
        let head = self.content().inboxes.get(&user).map_or(Pts::ZERO, |inbox| inbox.head);
        ready(Ok(head)).boxed()
    }

    fn inbox(
        &self,
        user: UserId,
        after: Pts,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InboxEntry>, StorageError>> {
        let content = self.content();
        let found = content.inboxes.get(&user).map(|inbox| inbox.entries(after, limit));
        ready(Ok(found.unwrap_or_default())).boxed()
    }

    fn inbox_state(
        &self,
        user: UserId,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<Option<InboxState>, StorageError>> {
        let content = self.content();
        let found = content.inboxes.get(&user).and_then(|inbox| inbox.states.get(&channel));
        ready(Ok(found.cloned())).boxed()
    }

    fn inbox_states(
        &self,
        user: UserId,
        after: Option<ChannelKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InboxState>, StorageError>> {
        let content = self.content();
        let inbox = content.inboxes.get(&user);
        let found = inbox.map(|inbox| page(&inbox.states, after.as_ref(), limit));
        ready(Ok(found.unwrap_or_default())).boxed()
    }

    fn change_inbox(
        &self,
        user: UserId,
        channel: ChannelKey,
        change: InboxChange,
    ) -> BoxFuture<'_, Result<InboxState, StorageError>> {
        let mut content = self.content();
        let state = content.inboxes.entry(user).or_default().state(channel);
        state.merge(&change);
        ready(Ok(state.clone())).boxed()
    }

    fn remove_from_inbox(
        &self,
        user: UserId,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        let mut content = self.content();
        let removed = content.inboxes.get_mut(&user).is_some_and(|inbox| inbox.remove(channel));
        ready(Ok(removed)).boxed()
    }

    fn set_pulled(
        &self,
        user: UserId,
        channel: ChannelKey,
        pulled: bool,
    ) -> BoxFuture<'_, Result<(), StorageError>> {
        let mut content = self.content();
        let inbox = content.inboxes.entry(user).or_default();
        match pulled {
            true => inbox.pulled.insert(channel),
            false => inbox.pulled.remove(&channel),
        };
        ready(Ok(())).boxed()
    }

    fn pulled(
        &self,
        user: UserId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ChannelKey>, StorageError>> {
        let content = self.content();
        let pulled = content.inboxes.get(&user).map(|inbox| &inbox.pulled);
        let found = pulled.into_iter().flatten().take(limit).copied().collect();
        ready(Ok(found)).boxed()
    }
}

pub(super) type Inboxes = HashMap<UserId, Inbox, ahash::RandomState>;

#[derive(Debug, Default)]
pub(super) struct Inbox {
    head: Pts,
    states: BTreeMap<ChannelKey, InboxState>,
    marked: BTreeMap<Pts, ChannelKey>,
    pulled: BTreeSet<ChannelKey>,
}

impl Inbox {
    fn mark(&mut self, channel: ChannelKey) {
        self.head = self.head.next();
        let head = self.head;
        let before = std::mem::replace(&mut self.state(channel).last_pts, head);
        self.marked.remove(&before);
        self.marked.insert(head, channel);
    }

    fn state(&mut self, channel: ChannelKey) -> &mut InboxState {
        self.states.entry(channel).or_insert_with(|| InboxState::new(channel))
    }

    fn entries(&self, after: Pts, limit: usize) -> Vec<InboxEntry> {
        let following = self.marked.range((Bound::Excluded(after), Bound::Unbounded)).take(limit);
        following.map(|(pts, channel)| InboxEntry { pts: *pts, channel: *channel }).collect()
    }

    fn remove(&mut self, channel: ChannelKey) -> bool {
        let Some(state) = self.states.remove(&channel) else { return false };
        self.marked.remove(&state.last_pts);
        true
    }
}
