//! A pass over the sessions that follow a channel. Pure.
//!
//! Publications are given to a slice of the sessions at a time, whose connections then write before the
//! next slice is given its own: what belongs to a session is still in the processor's cache when its
//! connection looks at it. Given to a thousand first, it would have to be fetched twice.
//!
//! What is published while a pass is under way joins it: it is given to the sessions that are left
//! together with what went before, which they write at once, and the pass goes round until those have
//! had it, too, to whom it was not given then. What may not join, or is no publication, waits behind the
//! pass.

use std::collections::VecDeque;

use sterna_proto::ChannelKey;

use crate::link::LinkPush;
use crate::worker::classes::{Follower, Followers};

/// What is given to a session at a time: a fraction of an outbox, of its bytes and of its frames, since
/// every push weighs something.
pub(super) const BURST_BYTES: usize = 32 * 1024;

/// Sessions that are given publications before their connections get to write. A delivery touches
/// some 12 KB on its way through a session and the kernel, and a core's own cache has about 1 MiB.
const SLICE_SESSIONS: usize = 32;

/// Of one channel.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) channel: ChannelKey,
    followers: Followers,
    /// The session that has its turn next.
    at: usize,
    /// What is given, in its order. Whoever came first has the fewest sessions left.
    run: Vec<OnItsWay>,
    /// Of these, those that joined since the followers were last looked at.
    newcomers: usize,
    /// Of all in `run`.
    weight: usize,
    /// What comes when it is over.
    behind: Vec<LinkPush>,
}

/// A publication, or several with consecutive offsets.
#[derive(Debug)]
pub(super) struct OnItsWay {
    pub(super) push: LinkPush,
    weight: usize,
    /// Sessions that have not had it.
    left: usize,
}

impl Pass {
    /// A pass that begins with this.
    pub(super) fn begin(push: LinkPush) -> Self {
        let mut pass = Self {
            channel: push.channel(),
            followers: Followers::default(),
            at: 0,
            run: Vec::with_capacity(1),
            newcomers: 0,
            weight: 0,
            behind: Vec::new(),
        };
        pass.join(push);
        pass
    }

    /// This comes behind what went before: to each session in the same turn, or when the pass is over.
    pub(super) fn follow(&mut self, push: LinkPush) {
        let joins = matches!(push, LinkPush::Deliver { .. });
        if joins && self.behind.is_empty() && self.weight < BURST_BYTES {
            self.join(push);
        } else {
            self.behind.push(push);
        }
    }

    fn join(&mut self, push: LinkPush) {
        let weight = push.weight();
        self.weight += weight;
        self.newcomers += 1;
        self.run.push(OnItsWay { push, weight, left: self.followers.sessions.len() });
    }

    /// What has joined since the followers were last looked at.
    pub(super) fn newcomers(&self) -> impl Iterator<Item = &LinkPush> {
        self.run[self.run.len() - self.newcomers..].iter().map(|it| &it.push)
    }

    /// Those who follow the channel now. If they are others than before, all that is on its way goes
    /// once round them all: who has had it already ignores it, and nobody is left out.
    pub(super) fn look_at_followers(&mut self, now: impl FnOnce(&mut Followers) -> bool) {
        if std::mem::take(&mut self.newcomers) > 0 && now(&mut self.followers) {
            let followers = self.followers.sessions.len();
            // Goes on about where it was, or those in the back would wait for as long as others come.
            self.at = if self.at < followers { self.at } else { 0 };
            self.run.iter_mut().for_each(|it| it.left = followers);
        }
    }

    /// Whose turn it is, and what they are given.
    pub(super) fn turn(&self) -> (&[Follower], &[OnItsWay]) {
        let turn = &self.followers.sessions[self.at..self.at + self.turn_len()];
        (turn, &self.run)
    }

    /// Their turn is over. Returns what everybody has had now.
    pub(super) fn advance(&mut self) -> impl Iterator<Item = LinkPush> {
        let len = self.turn_len();
        self.at += len;
        if self.at == self.followers.sessions.len() {
            self.at = 0;
        }
        self.run.iter_mut().for_each(|it| it.left -= len);
        let done = self.run.iter().take_while(|it| it.left == 0).count();
        let done = self.run.drain(..done);
        self.weight -= done.as_slice().iter().map(|it| it.weight).sum::<usize>();
        done.map(|it| it.push)
    }

    /// Never beyond the last session of what came first, so that nobody is given anything twice.
    fn turn_len(&self) -> usize {
        let left = self.run.first().map_or(0, |it| it.left);
        SLICE_SESSIONS.min(left).min(self.followers.sessions.len() - self.at)
    }

    pub(super) fn is_over(&self) -> bool {
        self.run.is_empty()
    }

    /// Whether there is more than one turn of sessions.
    pub(super) fn is_long(&self) -> bool {
        self.followers() > SLICE_SESSIONS
    }

    /// Sessions that follow the channel.
    pub(super) fn followers(&self) -> usize {
        self.followers.sessions.len()
    }
}

/// The passes that are under way, each of a channel of its own, in turn.
#[derive(Debug, Default)]
pub(super) struct Passes(VecDeque<Pass>);

impl Passes {
    pub(super) fn of(&mut self, channel: ChannelKey) -> Option<&mut Pass> {
        self.0.iter_mut().find(|pass| pass.channel == channel)
    }

    pub(super) fn add(&mut self, pass: Pass) {
        self.0.push_back(pass);
    }

    /// The one that has its turn, to be [put back](Self::put_back) then.
    pub(super) fn next(&mut self) -> Option<Pass> {
        self.0.pop_front()
    }

    /// Its turn is over. Returns what waited behind it if that was the last.
    pub(super) fn put_back(&mut self, pass: Pass) -> Vec<LinkPush> {
        if pass.is_over() {
            return pass.behind;
        }
        self.0.push_back(pass);
        Vec::new()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
#[path = "pass_tests.rs"]
mod tests;
