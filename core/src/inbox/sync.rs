//! What has changed in a user's inbox: read from the stores, so that any core can answer, and from
//! what was touched and is not written yet.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sterna_proto::{ChannelId, ChannelKey, Offset, limits, v1};
use sterna_storage::{Head, InboxState, Pts, StorageError, Stores};

use crate::authz::{self, FirstUse};
use crate::identity::{Action, Identity};

/// Pulled channels whose heads one sync compares. Members of more have to be told otherwise.
const PULLED: usize = limits::PAGE_INBOX_ENTRIES;

/// How far the clocks of two cores may lie apart: so much earlier than now a channel's newest
/// publication counts as seen. Entries that come twice are no harm.
const CLOCKS_MS: u64 = 60_000;

/// Channels that are looked up at a time.
const AT_ONCE: usize = 16;

/// One Sync and what its answer depends on.
#[derive(Debug)]
pub(super) struct Question {
    pub identity: Arc<Identity>,
    pub sync: v1::Sync,
    /// Channels whose marks may not be written yet.
    pub touched: Vec<ChannelId>,
    pub now_ms: u64,
}

/// Answers it.
pub(super) async fn read(stores: &Stores, question: Question) -> Result<v1::Inbox, StorageError> {
    let user = &question.identity.user;
    let limit = match question.sync.limit as usize {
        0 => limits::PAGE_INBOX_ENTRIES,
        wish => wish.min(limits::PAGE_INBOX_ENTRIES),
    };
    // Before the page: what is marked between the two comes again with the next sync.
    let head = stores.inboxes.inbox_head(user.clone()).await?;
    let asked = question.sync.since.unwrap_or_default();
    let start_over = asked.pts > head.0;
    let since = if start_over { v1::InboxPosition::default() } else { asked };
    let mut page = stores.inboxes.inbox(user.clone(), Pts(since.pts), limit + 1).await?;
    let more = page.len() > limit;
    page.truncate(limit);
    let last = page.last().map_or(Pts(since.pts), |entry| entry.pts);
    let mut looked_up = LookUp { stores, identity: &question.identity, full: since.pts == 0 };
    let mut keys: Vec<ChannelKey> = page.iter().map(|entry| entry.channel).collect();
    let mut position = v1::InboxPosition { pts: last.0, looked_ms: since.looked_ms };
    if !more {
        position.pts = last.max(head).0;
        position.looked_ms = question.now_ms.saturating_sub(CLOCKS_MS);
        let known: HashSet<ChannelKey> = keys.iter().copied().collect();
        let touched = question.touched.iter().map(ChannelId::key);
        let pulled = looked_up.pulled(since.looked_ms).await?;
        let mut further: Vec<ChannelKey> = pulled.into_iter().chain(touched).collect();
        let mut seen = known;
        further.retain(|key| seen.insert(*key));
        keys.extend(further);
    }
    let entries = looked_up.entries(keys).await?;
    Ok(v1::Inbox { entries, position: Some(position), more, start_over })
}

/// Entries of one user.
struct LookUp<'a> {
    stores: &'a Stores,
    identity: &'a Identity,
    /// Who asks knows nothing: what is gone need not be told.
    full: bool,
}

impl LookUp<'_> {
    /// Pulled channels in which something was published since.
    async fn pulled(&mut self, looked_ms: u64) -> Result<Vec<ChannelKey>, StorageError> {
        let keys = self.stores.inboxes.pulled(self.identity.user.clone(), PULLED).await?;
        metrics::counter!("sterna_core_inbox_pulls_total").increment(keys.len() as u64);
        if self.full || keys.is_empty() {
            return Ok(keys);
        }
        let heads = self.stores.log.heads(keys.clone()).await?;
        let news =
            |head: &Option<Head>| head.as_ref().is_some_and(|head| head.last_ts_ms >= looked_ms);
        Ok(keys.into_iter().zip(heads).filter(|(_, head)| news(head)).map(|(key, _)| key).collect())
    }

    async fn entries(&self, keys: Vec<ChannelKey>) -> Result<Vec<v1::InboxEntry>, StorageError> {
        let heads = self.stores.log.heads(keys.clone()).await?;
        let found =
            stream::iter(keys.into_iter().zip(heads)).map(|(key, head)| self.entry(key, head));
        let found: Vec<Option<v1::InboxEntry>> = found.buffered(AT_ONCE).try_collect().await?;
        let told = |entry: &v1::InboxEntry| !(self.full && (entry.left || entry.removed));
        Ok(found.into_iter().flatten().filter(told).collect())
    }

    /// I11: `None` for a channel that does not exist or that the access token does not name, and
    /// nothing but the name of one that the user is not a member of.
    async fn entry(
        &self,
        key: ChannelKey,
        head: Option<Head>,
    ) -> Result<Option<v1::InboxEntry>, StorageError> {
        let Some(record) = self.stores.channels.channel(key).await? else { return Ok(None) };
        let (user, name) = (&self.identity.user, &record.name);
        if !self.identity.operator && !self.identity.permits(name, Action::Subscribe) {
            return Ok(None);
        }
        let role = self.stores.channels.member(key, user.clone()).await?.map(|found| found.role);
        let read = (Action::Subscribe, FirstUse::Fails);
        let may = authz::allow(self.identity, name, Some(&record), role, read.0, read.1).is_ok();
        let entry = v1::InboxEntry {
            channel: name.to_string(),
            kind: record.kind.into(),
            ..v1::InboxEntry::default()
        };
        if role.is_none() || !may {
            return Ok(Some(v1::InboxEntry { left: true, ..entry }));
        }
        let state = self.stores.inboxes.inbox_state(user.clone(), key).await?;
        let cursor = self.stores.cursors.cursor(key, user.clone()).await?;
        let state = state.unwrap_or_else(|| InboxState::new(key));
        let read = cursor.map_or(Offset::ZERO, |cursor| cursor.read);
        Ok(Some(filled(entry, &state, read, head.as_ref())))
    }
}

fn filled(
    entry: v1::InboxEntry,
    state: &InboxState,
    read: Offset,
    head: Option<&Head>,
) -> v1::InboxEntry {
    let end = head.map_or(Offset::ZERO, |head| head.position.offset);
    let deleted = Offset(state.deleted_before.0.saturating_sub(1));
    v1::InboxEntry {
        epoch: head.map_or(0, |head| head.position.epoch.0),
        head_offset: end.0,
        last_ts_ms: head.map_or(0, |head| head.last_ts_ms),
        read_offset: read.0,
        unread: end.0.saturating_sub(read.max(deleted).0),
        muted: state.muted,
        pinned: state.pinned,
        deleted_before: state.deleted_before.0,
        removed: state.deleted_before > end,
        ..entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_proto::Position;
    use sterna_storage::EpochStart;

    #[test]
    fn unread_is_what_lies_after_the_cursor_and_was_not_deleted() {
        let position = Position::new(1, 10);
        let first = EpochStart { epoch: position.epoch, first: Offset(1) };
        let head = Head { position, first: Offset(1), last_ts_ms: 5, epochs: vec![first] };
        let key = ChannelId::new("a").unwrap().key();
        for (read, deleted_before, unread, removed) in [
            (0, 0, 10, false),
            (4, 0, 6, false),
            (4, 8, 3, false),
            (9, 8, 1, false),
            (10, 0, 0, false),
            (3, 11, 0, true),
            (12, 0, 0, false),
        ] {
            let state =
                InboxState { deleted_before: Offset(deleted_before), ..InboxState::new(key) };
            let entry = filled(v1::InboxEntry::default(), &state, Offset(read), Some(&head));
            assert_eq!((entry.unread, entry.removed), (unread, removed), "{read} {deleted_before}");
        }
        let silent = filled(v1::InboxEntry::default(), &InboxState::new(key), Offset(0), None);
        assert_eq!((silent.unread, silent.removed), (0, false));
    }
}
