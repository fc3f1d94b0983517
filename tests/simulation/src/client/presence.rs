//! Who is present as a client believes it: it asks for the list once it is subscribed, takes every
//! change that it is told of, and asks again when it is told of a gap.

use std::collections::BTreeMap;
use std::time::Duration;

use sterna_proto::v1::{self, command::Verb};
use tokio::time::Instant;

use super::{Client, State};
use crate::store::user_number;
use crate::wire::Wire;

/// Users with their states.
pub type Believed = BTreeMap<u32, v1::PresenceState>;

/// Pause before a list that was refused is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(300);

/// What a client knows of one channel.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    believed: Believed,
    /// The list is to be asked for, not before then.
    wanted: Option<Instant>,
    /// The command under way that asks for it.
    asked: Option<u32>,
    /// This connection is subscribed.
    attached: bool,
}

impl Watch {
    pub fn new() -> Self {
        let wanted = Some(Instant::now());
        Self { believed: Believed::new(), wanted, asked: None, attached: false }
    }

    pub fn wake_at(&self) -> Option<Instant> {
        self.wanted.filter(|_| self.attached && self.asked.is_none())
    }

    pub fn on_attached(&mut self) {
        self.attached = true;
    }

    pub fn on_disconnected(&mut self) {
        (self.attached, self.asked) = (false, None);
    }

    /// The subscription has ended or was refused. A list is of use only once there is another: who
    /// comes before it is told of to nobody here.
    pub fn on_left(&mut self) {
        self.on_disconnected();
        self.on_gap();
    }

    /// What is believed may not be so.
    pub fn on_gap(&mut self) {
        self.wanted.get_or_insert_with(Instant::now);
    }

    pub fn on_change(&mut self, member: &v1::PresenceMember) {
        let user = user_number(&member.user);
        match member.state() {
            v1::PresenceState::Offline => self.believed.remove(&user),
            state => self.believed.insert(user, state),
        };
    }

    fn on_listed(&mut self, list: &v1::PresenceList) {
        (self.wanted, self.asked) = (None, None);
        let members = list.members.iter();
        self.believed = members.map(|member| (user_number(&member.user), member.state())).collect();
    }
}

impl Client {
    /// Who is present in a channel, as far as the client knows; `None`: it is about to ask.
    pub fn believed(&self, channel: usize) -> Option<Believed> {
        let watch = &self.state.borrow().places[channel].watch;
        watch.wanted.is_none().then(|| watch.believed.clone())
    }

    pub(super) fn ask_for_lists(&self, state: &mut State, wire: &Wire, now: Instant) {
        for channel in 0..state.places.len() {
            if state.places[channel].watch.wake_at().is_some_and(|at| at <= now) {
                let id = state.take_id();
                state.places[channel].watch.asked = Some(id);
                let query = v1::PresenceQuery { channel: self.names.name(channel).to_string() };
                wire.send(v1::Command { id, verb: Some(Verb::Presence(query)) });
            }
        }
    }

    pub(super) fn on_listed(&self, state: &mut State, id: u32, list: &v1::PresenceList) {
        let watch = &mut state.places[self.names.index(&list.channel)].watch;
        if watch.asked == Some(id) {
            watch.on_listed(list);
        }
    }

    /// True: it was a list that was asked for.
    pub(super) fn on_list_refused(&self, state: &mut State, id: u32) -> bool {
        let mut watches = state.places.iter_mut().map(|place| &mut place.watch);
        let Some(watch) = watches.find(|watch| watch.asked == Some(id)) else { return false };
        (watch.asked, watch.wanted) = (None, Some(Instant::now() + ASK_AGAIN));
        true
    }
}
