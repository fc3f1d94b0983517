//! What happened in one schedule, in order: the only thing the checker sees. Written by the clients
//! and by the store; every entry carries the virtual time.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sterna_proto::{Position, v1};
use tokio::time::Instant;

use crate::plan::Fault;

/// Who said it, and which of its publications it is: the payload of every publication here, so
/// that each is told from every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text {
    pub client: u32,
    pub seq: u64,
}

impl Text {
    /// The marker that opens an epoch is nobody's.
    pub const MARKER: u32 = u32::MAX;
    /// Changes of members are told apart by their ids.
    const MEMBERS: u32 = u32::MAX - 2;
    /// A payload that no client has made.
    const FOREIGN: Self = Self { client: u32::MAX - 1, seq: 0 };

    pub fn to_bytes(self) -> bytes::Bytes {
        format!("{}/{}", self.client, self.seq).into()
    }

    /// What a record says.
    pub fn of(kind: i32, id: u64, payload: &[u8]) -> Self {
        match kind == i32::from(v1::PublicationKind::Membership) {
            true => Self { client: Self::MEMBERS, seq: id },
            false => Self::from_bytes(payload),
        }
    }

    fn from_bytes(payload: &[u8]) -> Self {
        let parse = || {
            let (client, seq) = std::str::from_utf8(payload).ok()?.split_once('/')?;
            Some(Self { client: client.parse().ok()?, seq: seq.parse().ok()? })
        };
        parse().unwrap_or(Self::FOREIGN)
    }
}

/// A publication at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Item {
    pub position: Position,
    pub id: u64,
    pub server_ts_ms: u64,
    pub text: Text,
}

impl From<&v1::Publication> for Item {
    fn from(publication: &v1::Publication) -> Self {
        Self {
            position: Position::new(publication.epoch, publication.offset),
            id: publication.id,
            server_ts_ms: publication.server_ts_ms,
            text: Text::of(publication.kind, publication.id, &publication.payload),
        }
    }
}

/// Where something was received: one client's connection, one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct At {
    pub client: u32,
    pub connection: u32,
    pub channel: usize,
}

/// An answer to Subscribe.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Page {
    pub since: Position,
    pub position: Position,
    pub items: Vec<Item>,
    pub live: bool,
    pub head: u64,
    /// The hole that the page names.
    pub gap: Option<(u64, u64)>,
    /// Set when the history was replaced: what lies above never existed.
    pub keep_upto: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum What {
    /// A client sends its publication for the `attempt`-th time.
    Sent {
        channel: usize,
        text: Text,
        attempt: u32,
    },
    Acked {
        channel: usize,
        text: Text,
        position: Position,
        duplicate: bool,
    },
    Refused {
        channel: usize,
        text: Text,
        attempt: u32,
        code: u32,
        retryable: bool,
    },
    Page {
        at: At,
        page: Page,
    },
    Pushed {
        at: At,
        item: Item,
    },
    Gap {
        at: At,
        after: u64,
        upto: u64,
    },
    Head {
        at: At,
        offset: u64,
    },
    /// The client may be in the background from here on, as far as its node knows, or is not.
    Background {
        at: At,
        begins: bool,
    },
    /// A node was not ready to hear how closely a channel is followed.
    ActivityRefused,
    /// Changes of presence were not pushed.
    PresenceGap {
        at: At,
    },
    /// The application of a client has it.
    Delivered {
        client: u32,
        channel: usize,
        position: Position,
        text: Text,
    },
    /// The application forgets what never existed in the new epoch.
    Rewound {
        client: u32,
        channel: usize,
        upto: u64,
    },
    History {
        channel: usize,
        since: u64,
        items: Vec<Item>,
        more: bool,
    },
    Receipt {
        client: u32,
        channel: usize,
        user: u32,
        delivered: u64,
        read: u64,
    },
    /// The log's commit.
    Committed {
        channel: usize,
        item: Item,
    },
    /// A backup was put back: the log ends at `upto`, a new epoch begins, with a
    /// marker unless the channel is empty.
    Restored {
        channel: usize,
        upto: u64,
        marker: Option<Item>,
    },
    CursorStored {
        channel: usize,
        user: u32,
        delivered: u64,
        read: u64,
    },
    Opened {
        client: u32,
        user: u32,
        session: u32,
        resumed: bool,
    },
    Closed {
        client: u32,
        code: u16,
    },
    Revoked {
        user: u32,
    },
    /// Somebody came with another user's ticket.
    TicketStolen {
        resumed: bool,
    },
    /// Removing the member was acknowledged.
    Evicted {
        channel: usize,
        user: u32,
    },
    /// The member is about to be added again.
    Readmitted {
        channel: usize,
        user: u32,
    },
    /// A publication left the node for a user that is no member.
    Leaked {
        client: u32,
        channel: usize,
        offset: u64,
    },
    /// Publications have left one node for another, by their places in the plan.
    Crossed {
        from: usize,
        to: usize,
        channel: usize,
        first: Position,
        count: usize,
    },
    /// No client is left.
    Deserted,
    FaultBegan(Fault),
    FaultEnded(Fault),
    /// Faults are over; what was disturbed has to heal.
    Healed,
    /// What the log holds in the end, channel by channel.
    Final {
        channel: usize,
        items: Vec<Item>,
    },
    /// What the run itself found wrong.
    Wrong(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    pub at_ms: u64,
    pub what: What,
}

/// Collects the history of one schedule; cheap to clone.
#[derive(Debug, Clone)]
pub struct Book {
    start: Instant,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Book {
    /// An empty history that begins now.
    pub fn start() -> Self {
        Self { start: Instant::now(), events: Arc::default() }
    }

    pub fn note(&self, what: What) {
        let at_ms = self.start.elapsed().as_millis() as u64;
        self.lock().push(Event { at_ms, what });
    }

    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Equal for equal histories, in every process.
pub fn hash(events: &[Event]) -> u64 {
    let mut hasher = DefaultHasher::new();
    events.hash(&mut hasher);
    hasher.finish()
}
