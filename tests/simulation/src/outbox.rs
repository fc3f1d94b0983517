//! What a client still has to get stored, as an SDK keeps it: in order, unacked first after a
//! reconnect, and nothing of a channel while something before it was refused. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::history::Text;

#[derive(Debug)]
pub struct Entry {
    pub channel: usize,
    pub text: Text,
    pub attempt: u32,
    /// All before it in its channel have been answered for good.
    pub settled_below: u64,
    /// The command under way.
    sent: Option<u32>,
}

#[derive(Debug)]
pub struct ClientOutbox {
    entries: VecDeque<Entry>,
    /// Per channel: nothing is sent before.
    held_until: Vec<Option<Instant>>,
    ordered: bool,
    window: usize,
}

impl ClientOutbox {
    pub fn new(channels: usize, ordered: bool, window: usize) -> Self {
        Self { entries: VecDeque::new(), held_until: vec![None; channels], ordered, window }
    }

    pub fn push(&mut self, channel: usize, text: Text) {
        self.entries.push_back(Entry { channel, text, attempt: 0, settled_below: 0, sent: None });
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The next publication to be sent as command `id`.
    pub fn next(&mut self, id: u32, now: Instant) -> Option<&Entry> {
        let channels = self.held_until.len();
        let at = (0..channels).find_map(|channel| self.next_of(channel, now))?;
        let channel = self.entries[at].channel;
        let earliest = self.entries.iter().find(|entry| entry.channel == channel)?.text.seq;
        let entry = &mut self.entries[at];
        (entry.attempt, entry.settled_below) = (entry.attempt + 1, earliest);
        entry.sent = Some(id);
        Some(entry)
    }

    /// When a held channel may be tried again.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        self.held_until.iter().flatten().filter(|until| **until > now).min().copied()
    }

    /// Removes the publication whose command was answered for good.
    pub fn on_settled(&mut self, id: u32) -> Option<Entry> {
        let at = self.position(id)?;
        self.entries.remove(at)
    }

    /// It was refused for the moment: it is sent again after the pause, and what follows it after
    /// it.
    pub fn on_refused(&mut self, id: u32, pause: Duration, now: Instant) -> Option<&Entry> {
        let at = self.position(id)?;
        let entry = &mut self.entries[at];
        entry.sent = None;
        self.held_until[entry.channel] = Some(now + pause);
        Some(&self.entries[at])
    }

    /// The connection is gone, with the answers.
    pub fn on_disconnected(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.sent = None);
        self.held_until.fill(None);
    }

    fn position(&self, id: u32) -> Option<usize> {
        self.entries.iter().position(|entry| entry.sent == Some(id))
    }

    fn next_of(&mut self, channel: usize, now: Instant) -> Option<usize> {
        let of = |entry: &&Entry| entry.channel == channel;
        let sent = self.entries.iter().filter(of).filter(|entry| entry.sent.is_some()).count();
        if let Some(until) = self.held_until[channel] {
            // What follows a refused one is refused as well: wait until all of them are back.
            if now < until || (self.ordered && sent > 0) {
                return None;
            }
            self.held_until[channel] = None;
        }
        if sent >= self.window {
            return None;
        }
        self.entries.iter().position(|entry| entry.channel == channel && entry.sent.is_none())
    }
}
