//! The user's inbox: which channels have something new, for a list of chats. Its methods are of
//! [`Client`]; what is read there is pointers, and publications are asked for by
//! [`history`](Client::history) or a subscription.

use futures_util::stream::{self, BoxStream, Stream, StreamExt as _};
use sterna_proto::v1::{self, command::Verb, reply};
use sterna_proto::{ChannelId, Offset, Position};
use tokio::sync::watch;

use crate::client::unexpected;
use crate::{Client, Error};

/// Where a sync has got to. To be stored by applications, and given to the next
/// [`Client::sync`] as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InboxPosition {
    /// Of the latest mark.
    pub pts: u64,
    /// Channels without marks were looked at up to this server time.
    pub looked_ms: u64,
}

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inbox {
    /// One for each channel; what is newest comes last. An entry stands for all that has happened in
    /// its channel and replaces what was known of it.
    pub entries: Vec<InboxEntry>,
    /// Where the next sync goes on.
    pub position: InboxPosition,
    /// The server's inbox is not the one that `since` was of: forget all that was known.
    pub start_over: bool,
}

/// One channel of the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxEntry {
    /// Its name.
    pub channel: String,
    /// Two users, a group, or a broadcast.
    pub kind: v1::ChannelKind,
    /// The newest publication; offset 0 while there is none.
    pub head: Position,
    /// When that was stored, in milliseconds since 1970.
    pub last_ts_ms: u64,
    /// How far the user has read, on any device.
    pub read: Offset,
    /// Publications after that which the user has not deleted, edits and reactions among them.
    pub unread: u64,
    /// The user does not want to be disturbed.
    pub muted: bool,
    /// Stands above others.
    pub pinned: bool,
    /// The user has deleted, for himself, what lies before.
    pub deleted_before: Offset,
    /// Taken out of the inbox; something new brings it back.
    pub removed: bool,
    /// The user is no member any more: nothing else is said.
    pub left: bool,
}

impl From<v1::InboxEntry> for InboxEntry {
    fn from(entry: v1::InboxEntry) -> Self {
        Self {
            kind: entry.kind(),
            head: Position::new(entry.epoch, entry.head_offset),
            last_ts_ms: entry.last_ts_ms,
            read: Offset(entry.read_offset),
            unread: entry.unread,
            muted: entry.muted,
            pinned: entry.pinned,
            deleted_before: Offset(entry.deleted_before),
            removed: entry.removed,
            left: entry.left,
            channel: entry.channel,
        }
    }
}

/// How a channel is to stand in the inbox. What is not said stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InboxChange {
    muted: Option<bool>,
    pinned: Option<bool>,
    deleted_before: Offset,
    remove: bool,
}

impl InboxChange {
    /// Disturbs the user, or not.
    #[must_use]
    pub fn muted(mut self, muted: bool) -> Self {
        self.muted = Some(muted);
        self
    }

    /// Stands above others, or not.
    #[must_use]
    pub fn pinned(mut self, pinned: bool) -> Self {
        self.pinned = Some(pinned);
        self
    }

    /// Deletes, for this user, what lies before the offset. Only moves forward.
    #[must_use]
    pub fn deleted_before(mut self, offset: Offset) -> Self {
        self.deleted_before = offset;
        self
    }

    /// Takes the channel out of the inbox, until there is something new: all that is there is deleted
    /// for this user.
    pub fn removed() -> Self {
        Self { remove: true, ..Self::default() }
    }
}

impl Client {
    /// What has changed in the user's inbox since an earlier sync; `None`: all of it. Entries may
    /// come twice. While there are [`inbox_touches`](Self::inbox_touches), the server tells of what
    /// comes after this sync.
    ///
    /// ```no_run
    /// # async fn example(client: sterna_client::Client) -> Result<(), sterna_client::Error> {
    /// let mut touches = client.inbox_touches();
    /// let mut since = None;
    /// loop {
    ///     let inbox = client.sync(since).await?;
    ///     for entry in &inbox.entries {
    ///         println!("{}: {} unread", entry.channel, entry.unread);
    ///     }
    ///     since = Some(inbox.position);
    ///     if touches.next().await.is_none() {
    ///         return Ok(());
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn sync(&self, since: Option<InboxPosition>) -> Result<Inbox, Error> {
        let mut since = since.unwrap_or_default();
        let mut inbox = Inbox { entries: Vec::new(), position: since, start_over: false };
        loop {
            let position = v1::InboxPosition { pts: since.pts, looked_ms: since.looked_ms };
            let live = self.shared().session().is_inbox_watched();
            let verb = Verb::Sync(v1::Sync { since: Some(position), limit: 0, live });
            let page = match self.call(verb).await? {
                reply::Result::Inbox(page) => page,
                other => return Err(unexpected(&other)),
            };
            if page.start_over {
                inbox.start_over = true;
                inbox.entries.clear();
            }
            inbox.entries.extend(page.entries.into_iter().map(InboxEntry::from));
            let v1::InboxPosition { pts, looked_ms } = page.position.unwrap_or_default();
            since = InboxPosition { pts, looked_ms };
            inbox.position = since;
            if !page.more {
                return Ok(inbox);
            }
        }
    }

    /// Changes how a channel stands in the user's inbox, on all of the user's devices.
    pub async fn change_inbox(
        &self,
        channel: &ChannelId,
        change: InboxChange,
    ) -> Result<(), Error> {
        let verb = Verb::ChangeInbox(v1::ChangeInbox {
            channel: channel.to_string(),
            muted: change.muted,
            pinned: change.pinned,
            deleted_before: change.deleted_before.0,
            remove: change.remove,
        });
        self.call_done(verb).await
    }

    /// Yields whenever a [`sync`](Self::sync) may find something: something is new in a channel that
    /// this client is not subscribed to, or a new connection was made. Begins to tell with the next
    /// sync.
    pub fn inbox_touches(&self) -> InboxTouches {
        InboxTouches(self.shared().change(|session| session.watch_inbox()))
    }
}

/// Tells that the inbox may have changed; any number of changes that were not taken are one.
#[derive(Debug)]
pub struct InboxTouches(watch::Receiver<Option<u64>>);

impl InboxTouches {
    /// Waits for the next one; `None` once the client is closed.
    pub async fn next(&mut self) -> Option<()> {
        self.0.changed().await.ok()?;
        self.0.borrow_and_update().map(drop)
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl Stream<Item = ()> + Send + Unpin {
        let touches = stream::unfold(self, |mut touches| async move {
            touches.next().await.map(|()| ((), touches))
        });
        let touches: BoxStream<'static, ()> = touches.boxed();
        touches
    }
}
