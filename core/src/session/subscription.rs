//! One session's place in one channel. Pure.
//!
//! I5, I13: what is pushed is contiguous. A publication that does not follow the last one is
//! never passed on; the subscription falls behind instead and the client, told where, asks. One in
//! the background falls behind by being told nothing but where the channel ends.

use std::collections::VecDeque;

use sterna_proto::{ChannelId, ChannelKey, Offset, Position, limits, v1};

use crate::push::SharedPush;
use crate::session::Lane;
use crate::vitals::inspect::SubscriptionReport;

#[derive(Debug)]
pub struct Subscription {
    pub channel: ChannelId,
    pub presence: bool,
    pub receipts: bool,
    /// Digest of who is present as the client knows it; `None`: it has not asked, or is to ask again.
    pub(super) present_known: Option<u64>,
    /// The client keeps a list, right or not: what it is told of a gap may be lost with its connection.
    pub(super) keeps_list: bool,
    activity: v1::Activity,
    key: ChannelKey,
    mode: Mode,
    /// The last publication given to the connection.
    position: Position,
    /// The newest offset heard of.
    head_seen: Offset,
    /// Where the channel ended when its owner looked at the right to it last (I11).
    allowed_at: Position,
    held: VecDeque<(Offset, SharedPush)>,
    max_held: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The page of this call is on its way; pushes are held.
    Attaching {
        call: u32,
    },
    Live,
    /// Lag mode: the client knows the gap and will ask.
    Behind,
}

/// What to do with a publication.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Give it to the connection.
    Push,
    /// The client has it, or it is held for later.
    Nothing,
    /// It does not follow: the subscription has fallen behind.
    Gap,
    /// Behind already: let the client know how far.
    Beacon,
}

impl Subscription {
    pub fn new(channel: ChannelId, key: ChannelKey, max_held: usize) -> Self {
        Self {
            channel,
            presence: false,
            receipts: false,
            present_known: None,
            keeps_list: false,
            activity: v1::Activity::Active,
            key,
            mode: Mode::Behind,
            position: Position::EARLIEST,
            head_seen: Offset::ZERO,
            allowed_at: Position::EARLIEST,
            held: VecDeque::new(),
            max_held,
        }
    }

    /// The lane of the channel: the same for every session.
    pub fn lane(&self) -> Lane {
        Lane::Channel(self.key.0[15] % limits::LANES as u8)
    }

    /// Lag mode: the client has to ask. In the background it need not.
    pub fn is_behind(&self) -> bool {
        self.mode == Mode::Behind && !self.is_background()
    }

    pub(super) fn is_background(&self) -> bool {
        self.activity == v1::Activity::Background
    }

    /// The client follows the channel in another way from here on. What it was not given meanwhile
    /// is a gap.
    pub fn set_activity(&mut self, activity: v1::Activity) -> Delivery {
        let was_background = self.is_background();
        self.activity = activity;
        if self.is_background() {
            self.drop_held();
        }
        if was_background && self.is_behind() { Delivery::Gap } else { Delivery::Nothing }
    }

    /// A page was asked for; what is pushed meanwhile is held.
    pub fn on_attach_started(&mut self, call: u32) {
        self.mode = Mode::Attaching { call };
        self.held.clear();
    }

    /// The page of this call is the one that is waited for: no newer one is on its way.
    pub(super) fn expects(&self, call: u32) -> bool {
        self.mode == Mode::Attaching { call }
    }

    /// The owner has looked at the right to the channel, and will say when it ends. Not so while a page
    /// is on its way: that may become a refusal.
    pub(super) fn is_let_in(&self) -> bool {
        !matches!(self.mode, Mode::Attaching { .. })
    }

    /// The owner has looked at the right to the channel, whose log ended here.
    pub fn on_allowed(&mut self, head: Position) {
        self.allowed_at = self.allowed_at.max(head);
    }

    pub fn allowed_at(&self) -> Position {
        self.allowed_at
    }

    /// Takes a publication from the hub.
    pub fn handle_delivery(&mut self, epoch: u32, offset: Offset, push: &SharedPush) -> Delivery {
        if self.is_background() {
            return self.note_head(Position { epoch: sterna_proto::Epoch(epoch), offset });
        }
        self.head_seen = self.head_seen.max(offset);
        match self.mode {
            Mode::Attaching { .. } => {
                self.hold(offset, push);
                Delivery::Nothing
            }
            Mode::Behind => Delivery::Beacon,
            Mode::Live if offset <= self.position.offset => {
                if sterna_storage::planted!(LatePushTaken) {
                    Delivery::Push
                } else {
                    Delivery::Nothing
                }
            }
            Mode::Live if offset == self.position.offset.next() => {
                self.position = Position { epoch: sterna_proto::Epoch(epoch), offset };
                Delivery::Push
            }
            Mode::Live => {
                self.mode = Mode::Behind;
                Delivery::Gap
            }
        }
    }

    /// Takes a head beacon from the link.
    pub fn handle_head(&mut self, head: Position) -> Delivery {
        if self.is_background() {
            return self.note_head(head);
        }
        self.head_seen = self.head_seen.max(head.offset);
        match self.mode {
            Mode::Live if head.offset > self.position.offset => {
                self.mode = Mode::Behind;
                Delivery::Gap
            }
            Mode::Behind => Delivery::Beacon,
            Mode::Attaching { .. } | Mode::Live => Delivery::Nothing,
        }
    }

    /// In the background: takes where the channel ends. What lies before it is the client's to ask
    /// for, once it wants it.
    pub fn note_head(&mut self, head: Position) -> Delivery {
        let is_news = head.offset > self.head_seen;
        self.head_seen = self.head_seen.max(head.offset);
        if self.mode == Mode::Live && head.offset > self.position.offset {
            self.mode = Mode::Behind;
        }
        match self.mode {
            Mode::Live | Mode::Behind if is_news => Delivery::Beacon,
            // While attaching, the page says it.
            _ => Delivery::Nothing,
        }
    }

    /// Takes the answer of `call`, which was asked in the background and only says where the channel
    /// ends, while the client stays at `since`.
    pub fn handle_end(
        &mut self,
        call: u32,
        page: &mut v1::Subscribed,
        since: Position,
    ) -> Vec<SharedPush> {
        let is_expected = self.expects(call);
        let end: Position = page.position.unwrap_or_default().into();
        page.position = Some(since.into());
        let follow = self.handle_page(call, page);
        if since == end || !is_expected {
            return follow;
        }
        // Of another epoch, or beyond the end: only the owner can say what is left of it.
        (self.position, self.mode) = (since, Mode::Behind);
        page.live = self.is_background();
        Vec::new()
    }

    /// Takes the page of `call`, decides whether pushes follow it (and says so in the page), and
    /// returns those that were held.
    pub fn handle_page(&mut self, call: u32, page: &mut v1::Subscribed) -> Vec<SharedPush> {
        if !self.expects(call) {
            // An older page: a newer one is on its way, or has overtaken it on another link. Whoever
            // reads that nothing follows asks again, so nothing does.
            page.live = false;
            if self.mode == Mode::Live {
                self.mode = Mode::Behind;
            }
            return Vec::new();
        }
        self.position = page.position.unwrap_or_default().into();
        self.head_seen = self.head_seen.max(Offset(page.head_offset));
        let mut follow = Vec::new();
        for (offset, push) in std::mem::take(&mut self.held) {
            // Nothing follows the last offset that there is.
            if offset > self.position.offset && offset == self.position.offset.next() {
                self.position.offset = offset;
                follow.push(push);
            } else if sterna_storage::planted!(SpliceDuplicate) {
                follow.push(push);
            }
        }
        if sterna_storage::planted!(SpliceGap) {
            follow.clear();
        }
        page.live = self.position.offset >= self.head_seen;
        page.head_offset = self.head_seen.0;
        if page.live {
            self.mode = Mode::Live;
            return follow;
        }
        self.position = page.position.unwrap_or_default().into();
        self.mode = Mode::Behind;
        // Heads follow, and the client asks for more when it wants it.
        page.live = self.is_background();
        Vec::new()
    }

    /// Publications from this one on were dropped from the outbox.
    pub fn on_dropped(&mut self, first: Offset) {
        self.position.offset = Offset(first.0.saturating_sub(1)).min(self.position.offset);
        self.mode = Mode::Behind;
        self.held.clear();
    }

    /// Nobody waits for what is held.
    pub fn drop_held(&mut self) {
        self.held = VecDeque::new();
    }

    /// What the client is missing, to be told with lag mode.
    pub fn gap(&self) -> v1::Gap {
        v1::Gap {
            channel: self.channel.to_string(),
            epoch: self.position.epoch.0,
            after_offset: self.position.offset.0,
            upto_offset: self.head_seen.0,
        }
    }

    pub fn head(&self) -> v1::Head {
        v1::Head {
            channel: self.channel.to_string(),
            epoch: self.position.epoch.0,
            offset: self.head_seen.0,
        }
    }

    /// For an operator.
    pub fn report(&self) -> SubscriptionReport {
        SubscriptionReport {
            channel: self.channel.to_string(),
            activity: match self.activity {
                v1::Activity::Background => "background",
                v1::Activity::Foreground => "foreground",
                _ => "active",
            },
            state: match self.mode {
                Mode::Attaching { .. } => "attaching",
                Mode::Live => "live",
                Mode::Behind => "behind",
            },
            epoch: self.position.epoch.0,
            offset: self.position.offset.0,
            head_offset: self.head_seen.0,
        }
    }

    fn hold(&mut self, offset: Offset, push: &SharedPush) {
        let follows = self.held.back().is_none_or(|(last, _)| offset == last.next());
        if follows && self.held.len() < self.max_held {
            self.held.push_back((offset, push.clone()));
        }
        // Otherwise head_seen alone keeps the page from being taken for the end.
    }
}

#[cfg(test)]
#[path = "subscription_tests.rs"]
mod tests;
