//! What callers may choose: transports, bounds, where a subscription starts, what history returns.

use std::time::Duration;

use sterna_proto::{Position, v1};

/// A way to reach an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Raw QUIC: survives a change of address, and no channel waits for another.
    Quic,
    /// WebSocket over TLS: works wherever the web does.
    WebSocket,
}

impl Transport {
    /// For logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::WebSocket => "websocket",
        }
    }
}

/// Where a subscription starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartFrom {
    /// From now on.
    #[default]
    Latest,
    /// From the first publication that is kept.
    Earliest,
    /// From what follows this position.
    Position(Position),
}

/// In which order a long recovery arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Everything missing, oldest first.
    #[default]
    OldestFirst,
    /// The newest page at once; the hole before it comes as [`Event::Gap`](crate::Event::Gap), to
    /// be filled with `history`.
    NewestFirst,
}

/// How closely a subscription follows its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activity {
    /// Everything at once: the user looks at the channel.
    #[default]
    Active,
    /// Everything, a moment later, so that what comes together is sent together.
    Foreground,
    /// No publications, and nothing that has no position: only
    /// [`Event::Head`](crate::Event::Head), now and then. What was published meanwhile comes, all
    /// of it and in order, once the subscription is in another class.
    Background,
}

impl From<Activity> for v1::Activity {
    fn from(activity: Activity) -> Self {
        match activity {
            Activity::Active => Self::Active,
            Activity::Foreground => Self::Foreground,
            Activity::Background => Self::Background,
        }
    }
}

/// How to subscribe. `Subscribe::default()` is: from now on, active, without presence and receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Subscribe {
    /// Where to start.
    pub from: StartFrom,
    /// Receive joins and leaves, and be listed.
    pub presence: bool,
    /// Receive other members' cursors.
    pub receipts: bool,
    /// In which order a long recovery arrives.
    pub order: Order,
    /// How closely to follow at first;
    /// [`Subscription::set_activity`](crate::Subscription::set_activity) changes it.
    pub activity: Activity,
}

impl Subscribe {
    /// From now on.
    pub fn latest() -> Self {
        Self::default()
    }

    /// From the first publication that is kept.
    pub fn earliest() -> Self {
        Self { from: StartFrom::Earliest, ..Self::default() }
    }

    /// From what follows `position`, which an earlier
    /// [`Subscription::position`](crate::Subscription::position) gave.
    pub fn after(position: Position) -> Self {
        Self { from: StartFrom::Position(position), ..Self::default() }
    }

    /// Receive joins and leaves, and be listed.
    #[must_use]
    pub fn with_presence(self) -> Self {
        Self { presence: true, ..self }
    }

    /// Receive other members' cursors.
    #[must_use]
    pub fn with_receipts(self) -> Self {
        Self { receipts: true, ..self }
    }

    /// Follow this closely at first.
    #[must_use]
    pub fn with_activity(self, activity: Activity) -> Self {
        Self { activity, ..self }
    }

    /// Receive a long recovery in this order.
    #[must_use]
    pub fn with_order(self, order: Order) -> Self {
        Self { order, ..self }
    }
}

/// Which page of a channel to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// Where to begin; `None`: at the beginning of the channel, or at its end when going backwards.
    pub since: Option<Position>,
    /// Publications at most. The server has a limit of its own, by number and by size.
    pub limit: u32,
    /// Read what lies before `since` instead of what follows.
    pub backwards: bool,
}

impl Default for History {
    fn default() -> Self {
        Self { since: None, limit: 100, backwards: false }
    }
}

impl History {
    /// What follows `position`, oldest first.
    pub fn since(position: Position) -> Self {
        Self { since: Some(position), ..Self::default() }
    }

    /// The newest page, still oldest first.
    pub fn newest() -> Self {
        Self { backwards: true, ..Self::default() }
    }

    /// The page that ends before `position`, still oldest first.
    pub fn before(position: Position) -> Self {
        Self { since: Some(position), backwards: true, ..Self::default() }
    }

    /// At most so many publications.
    #[must_use]
    pub fn with_limit(self, limit: u32) -> Self {
        Self { limit, ..self }
    }
}

/// What happens to a publication when the outbox is full or there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutboxPolicy {
    /// Full: the new publication fails with `QueueFull`.
    #[default]
    RejectNew,
    /// Full: the oldest publication that is not on its way fails with `QueueFull`.
    DropOldest,
    /// As `RejectNew`, and without a connection publications fail with `Disconnected`.
    FailWhenOffline,
}

/// Bounds of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Publications at a time. 256 by default.
    pub publications: usize,
    /// Bytes of payload at a time. 1 MiB by default.
    pub bytes: usize,
    /// What happens at the bounds.
    pub policy: OutboxPolicy,
    /// Publications of one channel that may await their reply at a time. Their order holds
    /// whatever the node answers: after a refusal it lets none of them overtake.
    pub channel_window: usize,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self {
            publications: 256,
            bytes: 1024 * 1024,
            policy: OutboxPolicy::RejectNew,
            channel_window: 32,
        }
    }
}

/// What the operating system told about the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NetworkChange {
    /// Another interface or address carries the default route.
    Path,
    /// There was no network, now there is.
    Online,
    /// The device woke up.
    Wake,
}

/// Why a token is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenReason {
    /// For a new connection.
    Connect,
    /// The present one is about to expire.
    Refresh,
    /// The server said that the present one has expired.
    Expired,
}

/// What a token provider is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenRequest {
    /// Why a token is wanted.
    pub reason: TokenReason,
    /// The client that wants it.
    pub client_id: String,
}

impl TokenRequest {
    pub(crate) fn new(reason: TokenReason, client_id: String) -> Self {
        Self { reason, client_id }
    }
}

/// Why a token provider has no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// This user may not connect. Terminal.
    #[error("the token provider refused: {0}")]
    Unauthorized(String),
    /// Not now; asked again with back-off.
    #[error("the token provider failed: {0}")]
    Unavailable(String),
}

/// How a channel is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateChannel {
    /// A group by default.
    pub kind: v1::ChannelKind,
    /// Who may read and publish. Members by default.
    pub access: v1::ChannelAccess,
    /// The first members, beside the one who makes the channel.
    pub members: Vec<v1::Member>,
}

impl Default for CreateChannel {
    fn default() -> Self {
        Self {
            kind: v1::ChannelKind::Group,
            access: v1::ChannelAccess::Members,
            members: Vec::new(),
        }
    }
}

/// Publications (events of every kind, that is) that wait in a subscription for the application.
pub(crate) const RECEIVE_QUEUE_EVENTS: usize = 1024;

/// How long a command waits for its reply. A core that dies is missed for up to 6 s; then edges ask
/// another one what was on its way, or say that they cannot.
pub(crate) const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection is kept in the background: phones give a process about 30 s there.
pub(crate) const BACKGROUND_GRACE: Duration = Duration::from_secs(25);
