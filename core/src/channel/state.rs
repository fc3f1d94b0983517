//! What an owner keeps of one channel.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ahash::RandomState;
use bytes::Bytes;
use sterna_proto::v1::Role;
use sterna_proto::v1::reply::Result as Reply;
use sterna_proto::{ChannelId, ChannelKey, ClientId, Offset, UserId, v1};
use sterna_storage::{ChannelRecord, Head};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::channel::cursors::KnownCursors;
use crate::channel::hints::Hints;
use crate::channel::presence_beacon::PresenceNews;
use crate::channel::recall::Recall;
use crate::channel::ring::Ring;
use crate::channel::sequence::{Answer, Sequence};
use crate::channel::shard::Call;
use crate::channel::spread::Beacon;
use crate::channel::work::{answer, moved};
use crate::config::QueueLimits;
use crate::inbox::Diffusion;
use crate::link::ports::LinkId;
use crate::link::turns::{Turns, out_of_turn};
use crate::link::{Audience, LinkPush, LinkReply, Verb};
use crate::presence::Presence;
use crate::vitals::inspect::{CHANNEL_WINDOW, ChannelReport};

#[derive(Debug)]
pub(crate) struct ChannelState {
    pub name: ChannelId,
    /// `None`: the channel does not exist.
    pub record: Option<ChannelRecord>,
    /// Roles that were looked up; `None` inside: not a member. Correct as of the head that is known
    /// here, because every change of a membership is a record of the log.
    pub roles: HashMap<UserId, Option<Role>, RandomState>,
    /// Counts changes of members: what was looked up before the last one may be old.
    pub role_changes: u64,
    pub sequence: Sequence<PublishTicket>,
    pub key: ChannelKey,
    /// Clients with a publication that was refused for the moment.
    pub turns: Arc<Turns>,
    pub ring: Ring,
    pub presence: Presence,
    pub presence_news: PresenceNews,
    /// When somebody may be missed there.
    pub(super) look_at: Option<std::time::Instant>,
    pub(super) recall: Recall,
    pub(super) hints: Hints,
    pub cursors: KnownCursors,
    pub beacon: Beacon,
    /// How members' inboxes learn of publications; `None`: they look for themselves.
    pub diffusion: Option<Diffusion>,
    /// Who is about to become a member, with an entry in its inbox already.
    pub shown: Option<UserId>,
    /// Links with at least one subscription.
    pub interest: Vec<LinkId>,
    /// Of these, links on which somebody has asked for receipts.
    pub receipt_interest: Vec<LinkId>,
    /// Commands that wait for a look-up; in order, so that none overtakes another.
    pub waiting: VecDeque<Call>,
    /// Record and head have been read.
    pub loaded: bool,
    /// A look-up (load, role, creation) is under way.
    pub looking_up: bool,
    /// The log is being read again after a conflict or an unknown outcome.
    pub catching_up: bool,
    /// Another node owns the channel now.
    pub released: bool,
    /// And does not wait until this one has finished.
    pub given_up: bool,
    pub used_at: Instant,
}

/// Where the answer to a publication goes.
#[derive(Debug)]
pub(crate) struct PublishTicket {
    pub reply: oneshot::Sender<LinkReply>,
    /// Set when the client wants its order kept through refusals.
    pub ordered: Option<(ClientId, u64)>,
    /// The sender, if the channel is theirs to read.
    pub reader: Option<UserId>,
    /// It is the record of a change of members, which commands of the channel wait for.
    pub member_change: bool,
    /// It is a record of the node's own: whoever waits for it hears that it is done.
    pub marker: bool,
    /// Its sender is no operator, and needs the right to it in the channel.
    pub by_role: bool,
}

impl PublishTicket {
    pub fn new(reply: oneshot::Sender<LinkReply>) -> Self {
        let (ordered, reader) = (None, None);
        Self { reply, ordered, reader, member_change: false, marker: false, by_role: false }
    }

    pub fn of_marker(reply: oneshot::Sender<LinkReply>) -> Self {
        Self { marker: true, ..Self::new(reply) }
    }

    /// Who has read the channel, and how far, once the publication has this answer.
    pub fn read_upto(&self, result: &Answer) -> Option<(UserId, Offset)> {
        let published = result.as_ref().ok()?;
        self.reader.clone().map(|user| (user, Offset(published.offset)))
    }
}

impl ChannelState {
    /// Answers a publication, and remembers a refusal.
    pub fn answer(&self, ticket: PublishTicket, result: Answer) {
        match (&result, &ticket.ordered) {
            (Err(error), Some((client, client_seq))) => {
                self.turns.note_error(self.key, client, *client_seq, error);
            }
            (Ok(_), Some((client, client_seq))) if self.given_up => {
                self.turns.note_stored(self.key, client, *client_seq);
            }
            _ => {}
        }
        if result.as_ref().is_ok_and(|published| published.duplicate) {
            metrics::counter!("sterna_core_duplicates_total").increment(1);
        }
        let reply = |published| match ticket.member_change || ticket.marker {
            true => Reply::Done(v1::Done {}),
            false => Reply::Published(published),
        };
        answer(ticket.reply, result.map(reply));
    }

    /// I13: the channel's next owner does not wait for this one any more. What has not begun comes again
    /// there; what is on its way to the log may or may not be stored, so that what is behind it is refused
    /// on its way until that is known. Returns who is to be told.
    #[must_use]
    pub fn give_up(&mut self) -> Vec<(PublishTicket, Answer)> {
        self.given_up = true;
        for (client, client_seq) in self.sequence.under_way().filter_map(|it| it.ordered.as_ref()) {
            self.turns.note_error(self.key, client, *client_seq, &out_of_turn());
        }
        let is_publish = |call: &Call| matches!(call.command.verb, Verb::Publish(_));
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let (refused, rest): (Vec<Call>, _) = waiting.partition(is_publish);
        self.waiting = rest.into();
        refused.into_iter().for_each(|call| self.refuse(call, moved()));
        self.sequence.fail_waiting(&moved())
    }

    /// What an owner that has been given up does not append again.
    #[must_use]
    pub fn left_over(&mut self) -> Vec<(PublishTicket, Answer)> {
        match self.given_up {
            true => self.sequence.fail_all(&moved()),
            false => Vec::new(),
        }
    }

    /// Refuses a command; a refused publication holds back those behind it.
    pub fn refuse(&self, call: Call, error: v1::Error) {
        let refusal = Err(error);
        self.turns.note(&call.command, &refusal);
        answer(call.reply, refusal);
    }

    /// Nothing before this offset is given to anybody any more.
    pub fn give_up_before(&mut self, first: Offset) {
        self.sequence.begin_at(first);
        self.ring.cut_before(first);
    }

    /// Everybody there hears what is published; receipts go where they are wanted.
    /// True: it is a new one.
    pub fn add_interest(&mut self, link: LinkId, receipts: bool) -> bool {
        let is_new = !self.interest.contains(&link);
        if is_new {
            self.interest.push(link);
        }
        if receipts && !self.receipt_interest.contains(&link) {
            self.receipt_interest.push(link);
        }
        is_new
    }

    /// I9: the link wants the channel no more. What it has asked before that and waits for a look-up is
    /// answered, and registers nothing.
    pub fn void_attaches(&mut self, link: LinkId) {
        let of_link = |call: &&mut Call| {
            call.link == Some(link) && matches!(call.command.verb, Verb::Attach { .. })
        };
        self.waiting.iter_mut().filter(of_link).for_each(|call| call.link = None);
    }

    /// True: it was there.
    pub fn remove_interest(&mut self, link: LinkId) -> bool {
        let before = self.interest.len();
        self.interest.retain(|other| *other != link);
        self.receipt_interest.retain(|other| *other != link);
        self.interest.len() < before
    }

    /// The links that want the push.
    pub fn wanting(&self, push: &LinkPush) -> &[LinkId] {
        match push {
            LinkPush::Event { audience: Audience::Receipts, .. } => &self.receipt_interest,
            _ => &self.interest,
        }
    }

    /// For an operator; `None`: nothing happens in it.
    pub fn report(&self, now_ms: u64) -> Option<ChannelReport> {
        let publications_per_second = self.ring.rate(now_ms, CHANNEL_WINDOW);
        let pending = self.sequence.pending();
        if publications_per_second == 0.0 && pending == 0 {
            return None;
        }
        let position = self.sequence.position();
        Some(ChannelReport {
            channel: self.name.to_string(),
            publications_per_second,
            epoch: position.epoch.0,
            offset: position.offset.0,
            links: self.interest.len(),
            present: self.presence.user_count(),
            pending,
        })
    }

    /// What an append owes to inboxes, if anything.
    pub fn inbox_intent(&self) -> Option<Bytes> {
        let written = self.diffusion.as_ref()?.is_written();
        written.then(|| crate::inbox::intent(self.key))
    }

    pub fn new(
        name: ChannelId,
        key: ChannelKey,
        queues: &QueueLimits,
        turns: Arc<Turns>,
        ring: Ring,
    ) -> Self {
        Self {
            record: None,
            roles: HashMap::default(),
            role_changes: 0,
            sequence: Self::sequence(&name, key, None, queues),
            key,
            turns,
            ring,
            presence: Presence::default(),
            presence_news: PresenceNews::default(),
            look_at: None,
            recall: Recall::default(),
            hints: Hints::default(),
            cursors: KnownCursors::default(),
            beacon: Beacon::default(),
            diffusion: None,
            shown: None,
            interest: Vec::new(),
            receipt_interest: Vec::new(),
            waiting: VecDeque::new(),
            loaded: false,
            looking_up: false,
            catching_up: false,
            released: false,
            given_up: false,
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
