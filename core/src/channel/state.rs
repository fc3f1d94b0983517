//! What an owner keeps of one channel.

use std::collections::{HashMap, VecDeque};

use ahash::RandomState;
use sterna_proto::v1::Role;
use sterna_proto::v1::reply::Result as Reply;
use sterna_proto::{ChannelId, ChannelKey, ClientId, UserId, v1};
use sterna_storage::{ChannelRecord, Head};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::channel::ring::Ring;
use crate::channel::sequence::{Answer, Sequence};
use crate::channel::shard::Call;
use crate::channel::work::answer;
use crate::config::QueueLimits;
use crate::link::memory::LinkId;
use crate::link::{LinkReply, Verb};
use crate::order::OrderGate;
use crate::presence::Presence;

#[derive(Debug)]
pub(super) struct ChannelState {
    pub name: ChannelId,
    /// `None`: the channel does not exist.
    pub record: Option<ChannelRecord>,
    /// Roles that were looked up; `None` inside: not a member. Correct because every change of a
    /// membership goes through the channel's owner.
    pub roles: HashMap<UserId, Option<Role>, RandomState>,
    pub sequence: Sequence<PublishTicket>,
    /// Clients with a publication that was refused for the moment.
    pub order: OrderGate<ClientId>,
    pub ring: Ring,
    pub presence: Presence,
    /// Links with at least one subscription.
    pub interest: Vec<LinkId>,
    /// Commands that wait for a look-up; in order, so that none overtakes another.
    pub waiting: VecDeque<Call>,
    /// Record and head have been read.
    pub loaded: bool,
    /// A look-up (load, role, creation) is under way.
    pub looking_up: bool,
    /// The log is being read again after a conflict or an unknown outcome.
    pub catching_up: bool,
    pub used_at: Instant,
}

/// Where the answer to a publication goes.
#[derive(Debug)]
pub(super) struct PublishTicket {
    pub reply: oneshot::Sender<LinkReply>,
    /// Set when the client wants its order kept through refusals.
    pub ordered: Option<(ClientId, u64)>,
}

impl ChannelState {
    /// Refuses a command; a refused publication holds back those behind it.
    pub fn refuse(&mut self, call: Call, error: v1::Error) {
        let ordered = match &call.command.verb {
            Verb::Publish(publish) if publish.ordered && publish.client_seq > 0 => {
                let client_id = call.command.client_id.of_user(&call.command.identity.user);
                Some((client_id, publish.client_seq))
            }
            _ => None,
        };
        self.answer(PublishTicket { reply: call.reply, ordered }, Err(error));
    }

    /// Answers a publication, and remembers a refusal.
    pub fn answer(&mut self, ticket: PublishTicket, result: Answer) {
        if let (Err(error), Some((client, client_seq))) = (&result, ticket.ordered)
            && error.retryable
        {
            self.order.on_refused(client, client_seq, Instant::now());
        }
        if result.as_ref().is_ok_and(|published| published.duplicate) {
            metrics::counter!("sterna_core_duplicates_total").increment(1);
        }
        answer(ticket.reply, result.map(Reply::Published));
    }

    pub fn new(name: ChannelId, key: ChannelKey, queues: &QueueLimits) -> Self {
        Self {
            record: None,
            roles: HashMap::default(),
            sequence: Self::sequence(&name, key, None, queues),
            order: OrderGate::default(),
            ring: Ring::new(queues.ring_publications, queues.ring_bytes),
            presence: Presence::default(),
            interest: Vec::new(),
            waiting: VecDeque::new(),
            loaded: false,
            looking_up: false,
            catching_up: false,
            used_at: Instant::now(),
            name,
        }
    }

    pub fn on_loaded(
        &mut self,
        key: ChannelKey,
        record: Option<ChannelRecord>,
        head: Option<Head>,
        queues: &QueueLimits,
    ) {
        self.loaded = true;
        self.record = record;
        self.sequence = Self::sequence(&self.name, key, head, queues);
    }

    /// Nothing would be lost by forgetting it.
    pub fn is_idle(&self) -> bool {
        self.sequence.is_idle()
            && self.interest.is_empty()
            && self.presence.is_empty()
            && self.waiting.is_empty()
            && !self.looking_up
            && !self.catching_up
    }

    fn sequence(
        name: &ChannelId,
        key: ChannelKey,
        head: Option<Head>,
        queues: &QueueLimits,
    ) -> Sequence<PublishTicket> {
        Sequence::new(name.clone(), key, head, queues.dedup_window, queues.channel_pending)
    }
}
