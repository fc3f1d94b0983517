//! How closely a client follows a channel: it changes its mind now and then. In the background it is
//! told where the channel ends and asks for nothing; what it has missed it hears of when it comes
//! forward.

use std::time::Duration;

use sterna_proto::v1::{self, Activity, command::Verb};
use tokio::time::Instant;

use super::receive::ASK_AGAIN;
use super::{Client, State};
use crate::history::{At, What};
use crate::wire::Wire;

/// What a client wants of one channel, and what its node was told.
#[derive(Debug, Clone, Default)]
pub(super) struct Closeness {
    pub wanted: Activity,
    /// To be said, not before then.
    say_at: Option<Instant>,
    /// Commands under way that say it.
    saying: Vec<u32>,
    /// The history says that the node may take this connection to be in the background.
    is_noted: bool,
}

impl Closeness {
    pub fn is_background(&self) -> bool {
        self.wanted == Activity::Background
    }

    pub fn say_at(&self) -> Option<Instant> {
        self.say_at
    }

    /// The next connection says it with its Hello.
    pub fn on_disconnected(&mut self) {
        (self.say_at, self.is_noted) = (None, false);
        self.saying.clear();
    }

    fn take_said(&mut self, id: u32) -> bool {
        let before = self.saying.len();
        self.saying.retain(|said| *said != id);
        self.saying.len() < before
    }
}

impl Client {
    /// Everybody looks again, so that everybody is to have everything.
    pub fn come_forward(&self) {
        let mut state = self.state.borrow_mut();
        for channel in 0..state.places.len() {
            if state.places[channel].closeness.is_background() {
                self.follow(&mut state, channel, Activity::Active);
            }
        }
    }

    pub(super) fn follow(&self, state: &mut State, channel: usize, wanted: Activity) {
        let closeness = &mut state.places[channel].closeness;
        closeness.wanted = wanted;
        closeness.say_at = Some(Instant::now());
        self.note_background(state, channel, wanted == Activity::Background);
        self.wake.notify_one();
    }

    pub(super) fn say_activities(&self, state: &mut State, wire: &Wire, now: Instant) {
        for channel in 0..state.places.len() {
            if state.places[channel].closeness.say_at.is_none_or(|at| at > now) {
                continue;
            }
            let id = state.take_id();
            let closeness = &mut state.places[channel].closeness;
            closeness.say_at = None;
            closeness.saying.push(id);
            let name = self.names.name(channel).to_string();
            let set = v1::SetActivity { channel: name, activity: closeness.wanted.into() };
            wire.send(v1::Command { id, verb: Some(Verb::SetActivity(set)) });
        }
    }

    /// A page or an answer shows that the node knows. Only then nothing is left on its way that was
    /// sent to who is in the background.
    pub(super) fn on_known(&self, state: &mut State, channel: usize) {
        let closeness = &state.places[channel].closeness;
        if !closeness.is_background() && closeness.saying.is_empty() {
            self.note_background(state, channel, false);
        }
    }

    pub(super) fn on_said(&self, state: &mut State, id: u32) {
        let said = |place: &mut super::Place| place.closeness.take_said(id);
        if let Some(channel) = state.places.iter_mut().position(said) {
            self.on_known(state, channel);
        }
    }

    /// True: it was a change that was refused. Where the node knows of no subscription, the next one
    /// says it.
    pub(super) fn on_unsaid(&self, state: &mut State, id: u32, error: &v1::Error) -> bool {
        let said = |place: &mut super::Place| place.closeness.take_said(id);
        let Some(channel) = state.places.iter_mut().position(said) else { return false };
        let pause = Duration::from_millis(u64::from(error.retry_after_ms.max(20)));
        match error.retryable {
            true => {
                self.book.note(What::ActivityRefused);
                state.places[channel].closeness.say_at = Some(Instant::now() + pause);
            }
            false => self.ask(state, channel, ASK_AGAIN),
        }
        true
    }

    /// With the Hello of a new connection.
    pub(super) fn note_backgrounds(&self, state: &mut State) {
        for channel in 0..state.places.len() {
            let closeness = &mut state.places[channel].closeness;
            // What was noted was of the connection before.
            closeness.is_noted = false;
            let is_background = closeness.is_background();
            self.note_background(state, channel, is_background);
        }
    }

    /// Coming forward is noted when the node has heard of it.
    fn note_background(&self, state: &mut State, channel: usize, begins: bool) {
        let connection = state.connection;
        let closeness = &mut state.places[channel].closeness;
        let ends = !begins && closeness.is_noted && closeness.saying.is_empty();
        let is_unsaid = closeness.say_at.is_some();
        if (begins && !closeness.is_noted) || (ends && !is_unsaid) {
            closeness.is_noted = begins;
            let at = At { client: self.number, connection, channel };
            self.book.note(What::Background { at, begins });
        }
    }
}
