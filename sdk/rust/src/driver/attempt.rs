//! One attempt at a connection: candidates of both transports race to be established, then one
//! after the other may say Hello, so that two Hellos of one session never cross. The winner is the
//! first WELCOME.

use std::time::Duration;

use sterna_proto::v1;
use tokio::time::Instant;

use crate::options::Transport;
use crate::session::Greeting;
use crate::session::race::Plan;
use crate::transport::{Link, LinkEnd, LinkId, Target};

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) target: Target,
    pub(super) purpose: Purpose,
    /// Not started yet.
    pub(super) planned: Vec<(Transport, Instant)>,
    /// Started, not established.
    pub(super) connecting: Vec<Link>,
    /// Established, waiting for their turn to say Hello.
    pub(super) ready: Vec<Link>,
    pub(super) greeting: Option<Greeted>,
    pub(super) give_up_at: Instant,
    pub(super) last_end: Option<LinkEnd>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// There is no connection.
    Connect,
    /// The active connection is about to end or seems dead.
    Replace,
    /// The active connection is a WebSocket; is there QUIC?
    Upgrade,
}

/// A candidate whose Hello was sent.
#[derive(Debug)]
pub(super) struct Greeted {
    pub(super) link: Link,
    pub(super) greeting: Greeting,
    pub(super) deadline: Instant,
    /// Pushes on lanes may overtake the Welcome.
    pub(super) early: Vec<v1::Frame>,
    /// There were more of them than are kept.
    pub(super) lost_early: bool,
}

/// What the loss of a candidate leaves.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost {
    NotOurs,
    Candidate(Transport),
}

impl Greeted {
    /// The Hello was sent.
    pub(super) fn new(link: Link, greeting: Greeting, now: Instant) -> Self {
        let deadline = now + HELLO_TIMEOUT;
        Self { link, greeting, deadline, early: Vec::new(), lost_early: false }
    }

    pub(super) fn keep_early(&mut self, frame: v1::Frame) {
        if self.early.len() < EARLY_FRAMES {
            self.early.push(frame);
        } else {
            self.lost_early = true;
        }
    }
}

impl Attempt {
    pub(super) fn new(target: Target, purpose: Purpose, plan: Plan, now: Instant) -> Self {
        let Plan(plan) = plan;
        let planned = plan.into_iter().map(|(transport, after)| (transport, now + after)).collect();
        Self {
            target,
            purpose,
            planned,
            connecting: Vec::new(),
            ready: Vec::new(),
            greeting: None,
            give_up_at: now + ATTEMPT_TIMEOUT,
            last_end: None,
        }
    }

    /// The transports whose time has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Transport> {
        let (due, later): (Vec<_>, Vec<_>) = self.planned.drain(..).partition(|(_, at)| *at <= now);
        self.planned = later;
        due.into_iter().map(|(transport, _)| transport).collect()
    }

    /// A candidate failed: nobody waits for its head start any more.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.planned.iter_mut().for_each(|(_, at)| *at = now);
    }

    pub(super) fn on_established(&mut self, id: LinkId) -> Option<Transport> {
        let at = self.connecting.iter().position(|link| link.id == id)?;
        let link = self.connecting.swap_remove(at);
        let transport = link.transport;
        self.ready.push(link);
        Some(transport)
    }

    /// Forgets a candidate that has ended.
    pub(super) fn on_ended(&mut self, id: LinkId, end: LinkEnd) -> Lost {
        let mut lost = Lost::NotOurs;
        for links in [&mut self.connecting, &mut self.ready] {
            if let Some(at) = links.iter().position(|link| link.id == id) {
                lost = Lost::Candidate(links.swap_remove(at).transport);
            }
        }
        if let Some(greeted) = self.greeting.take_if(|greeted| greeted.link.id == id) {
            lost = Lost::Candidate(greeted.link.transport);
        }
        if lost != Lost::NotOurs {
            self.last_end = Some(match self.last_end.take() {
                Some(older) => older.or_untrusted(end),
                None => end,
            });
        }
        lost
    }

    /// The candidate that may say Hello next: QUIC before WebSocket where both are ready.
    pub(super) fn take_ready(&mut self) -> Option<Link> {
        if self.greeting.is_some() {
            return None;
        }
        let best = self.ready.iter().position(|link| link.transport == Transport::Quic);
        (!self.ready.is_empty()).then(|| self.ready.swap_remove(best.unwrap_or(0)))
    }

    /// A Hello is overdue: nobody waits for a head start any more.
    pub(super) fn hurry_if_overdue(&mut self, now: Instant) {
        if self.greeting.as_ref().is_some_and(|greeted| greeted.deadline <= now) {
            self.hurry(now);
        }
    }

    /// A Hello that nobody answers makes room for a candidate that waits for its turn. Without one it
    /// waits as long as the attempt: a node that is late because many come at once would only get
    /// more to do by another Hello, for which it would need as long.
    pub(super) fn take_unanswered(&mut self, now: Instant) -> Option<Greeted> {
        let is_awaited = !self.ready.is_empty();
        self.greeting.take_if(|greeted| is_awaited && greeted.deadline <= now)
    }

    pub(super) fn is_exhausted(&self, now: Instant) -> bool {
        let nothing_left = self.planned.is_empty()
            && self.connecting.is_empty()
            && self.ready.is_empty()
            && self.greeting.is_none();
        nothing_left || now >= self.give_up_at
    }

    /// After a WebSocket has won: what is left to become QUIC.
    pub(super) fn into_upgrade(mut self) -> Option<Self> {
        self.planned.clear();
        self.connecting.retain(|link| link.transport == Transport::Quic);
        self.ready.retain(|link| link.transport == Transport::Quic);
        self.purpose = Purpose::Upgrade;
        (!self.connecting.is_empty() || !self.ready.is_empty()).then_some(self)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let planned = self.planned.iter().map(|(_, at)| *at).min();
        let is_awaited = !self.ready.is_empty() || !self.planned.is_empty();
        let greeting = self.greeting.as_ref().filter(|_| is_awaited);
        let hello = greeting.map(|greeted| greeted.deadline);
        [planned, hello, Some(self.give_up_at)].into_iter().flatten().min()
    }
}

/// Per attempt, with a little for the Hello at its end.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(12);
/// A server answers a Hello at once; a candidate that does not lets another one try that is ready.
const HELLO_TIMEOUT: Duration = Duration::from_secs(3);
/// Pushes kept until the Welcome; after more, the subscriptions are asked for anew.
pub(super) const EARLY_FRAMES: usize = 64;
