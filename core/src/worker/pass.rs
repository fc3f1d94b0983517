//! A pass over the sessions that follow a channel. Pure.
//!
//! Publications are given to a slice of the sessions at a time, whose connections then write before the
//! next slice is given its own: what belongs to a session is still in the processor's cache when its
//! connection looks at it. Given to a thousand first, it would have to be fetched twice.
//!
//! What is published while a pass is under way joins it: it is given to the sessions that are left
//! together with what went before, which they write at once, and the pass goes round until those have
//! had it, too, to whom it was not given then.

use crate::link::LinkPush;
use crate::worker::classes::{Follower, Followers};

/// Sessions that are given publications before their connections get to write. A delivery touches
/// some 12 KB on its way through a session and the kernel, and a core's own cache has about 1 MiB.
const SLICE_SESSIONS: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Pass {
    followers: Followers,
    /// The session that has its turn next.
    at: usize,
    /// What is given, in its order. Whoever came first has the fewest sessions left.
    run: Vec<OnItsWay>,
    /// Of these, those that joined since the followers were last looked at.
    newcomers: usize,
    /// How many there were.
    taken: usize,
    /// Of all that there were, and of those in `run`.
    weight: usize,
    run_weight: usize,
}

/// A publication, or several with consecutive offsets.
#[derive(Debug)]
struct OnItsWay {
    push: LinkPush,
    weight: usize,
    /// Sessions that have not had it.
    left: usize,
}

impl Pass {
    /// The next pass begins with this.
    pub(super) fn begin(&mut self, push: LinkPush) {
        *self = Self::default();
        self.join(push);
    }

    /// Everybody is given this, too, behind what went before.
    pub(super) fn join(&mut self, push: LinkPush) {
        let weight = push.weight();
        self.taken += 1;
        self.weight += weight;
        self.run_weight += weight;
        self.newcomers += 1;
        self.run.push(OnItsWay { push, weight, left: self.followers.sessions.len() });
    }

    /// Whether more may join: a session is given at most `bytes` or a little more at a time, and a pass
    /// ends after `pushes`.
    pub(super) fn has_room(&self, bytes: usize, pushes: usize) -> bool {
        self.run_weight < bytes && self.taken < pushes
    }

    /// What has joined since the followers were last looked at.
    pub(super) fn newcomers(&self) -> impl Iterator<Item = &LinkPush> {
        self.run[self.run.len() - self.newcomers..].iter().map(|it| &it.push)
    }

    /// Those who follow the channel now. If they are others than before, all that is on its way begins
    /// anew with the first of them: who has had it already ignores it, and nobody is left out.
    pub(super) fn look_at_followers(&mut self, now: impl FnOnce(&mut Followers) -> bool) {
        if std::mem::take(&mut self.newcomers) > 0 && now(&mut self.followers) {
            self.at = 0;
            self.run.iter_mut().for_each(|it| it.left = self.followers.sessions.len());
        }
    }

    /// Whose turn it is, and what they are given.
    pub(super) fn turn(&self) -> (&[Follower], impl Iterator<Item = &LinkPush> + Clone) {
        let turn = &self.followers.sessions[self.at..self.at + self.turn_len()];
        (turn, self.run.iter().map(|it| &it.push))
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
        self.run_weight -= done.as_slice().iter().map(|it| it.weight).sum::<usize>();
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

    /// Sessions that follow the channel.
    pub(super) fn followers(&self) -> usize {
        self.followers.sessions.len()
    }

    /// How many pushes it had.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// What each session was given.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }
}

#[cfg(test)]
#[path = "pass_tests.rs"]
mod tests;
