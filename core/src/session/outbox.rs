//! The bounded queue to one connection. Pure.
//!
//! I12: when it is full, ephemerals go first, then publications: they are in the log, so nothing
//! is lost by dropping them, only named (lag mode). Replies are never dropped; their number is
//! bounded by the commands a session may have open.

use std::collections::{HashMap, VecDeque};

use sterna_proto::v1::{self, frame::Body, push::Event, reply::Result as Reply};
use sterna_proto::{ChannelId, ChannelKey, Offset};

use crate::push::Encoding;
use crate::session::{Lane, Outgoing, OutgoingBody};

/// What may happen to a frame when room is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Stays, whatever happens.
    Control,
    /// May be dropped: the log has it.
    Publication { channel: ChannelKey, offset: Offset },
    /// May be dropped, and a newer one of the same key replaces it.
    Ephemeral { channel: ChannelKey, key: u64 },
    /// The same of presence, which is remembered when it is dropped.
    Presence { channel: ChannelKey, key: u64 },
    /// A newer one of the same channel replaces it.
    Head { channel: ChannelKey },
    /// Stays; where it begins is put right when publications before it are dropped.
    Gap { channel: ChannelKey },
    /// Stays; what it tells may have to be asked for again before it goes out.
    Answer { number: u32 },
}

/// No room even without ephemerals.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

#[derive(Debug)]
pub struct Outbox {
    frames: VecDeque<Entry>,
    bytes: usize,
    /// Frames that were ever added; wraps.
    added: u32,
    /// Those that are likely to come before any are taken.
    expected: u32,
    max_frames: usize,
    max_bytes: usize,
    /// Channels of which presence was dropped: at most those in which the session is present.
    lost_presence: Vec<ChannelKey>,
}

#[derive(Debug)]
struct Entry {
    outgoing: Outgoing,
    class: Class,
    bytes: usize,
}

impl Outbox {
    pub fn new(max_frames: usize, max_bytes: usize) -> Self {
        let (frames, lost_presence) = Default::default();
        Self { frames, bytes: 0, added: 0, expected: 0, max_frames, max_bytes, lost_presence }
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Frames that were ever added; wraps.
    pub fn added(&self) -> u32 {
        self.added
    }

    /// Frames that wait, and their bytes.
    pub fn depth(&self) -> (usize, usize) {
        (self.frames.len(), self.bytes)
    }

    /// Full as far as droppable frames are concerned.
    pub fn is_full(&self) -> bool {
        self.frames.len() >= self.max_frames || self.bytes >= self.max_bytes
    }

    /// So many frames are likely to come before any are taken: room for them is made at once, with the
    /// first. Growing to it would copy what waits again and again.
    pub fn expect(&mut self, frames: usize) {
        self.expected = u32::try_from(frames.min(self.max_frames)).unwrap_or(u32::MAX);
    }

    /// Adds a frame. Publications are refused when there is no room for them, ephemerals are
    /// dropped silently (and counted), control frames always fit.
    pub fn push(
        &mut self,
        outgoing: Outgoing,
        class: Class,
        encoding: Encoding,
    ) -> Result<(), Full> {
        let bytes = encoded_len(&outgoing, encoding);
        match class {
            Class::Control | Class::Gap { .. } | Class::Answer { .. } => {}
            Class::Head { .. } => self.remove_twin(class),
            Class::Ephemeral { .. } | Class::Presence { .. } => {
                self.remove_twin(class);
                if !self.has_room(bytes) {
                    note_lost(&mut self.lost_presence, class);
                    metrics::counter!("sterna_core_outbox_dropped_total", "class" => "ephemeral")
                        .increment(1);
                    return Ok(());
                }
            }
            Class::Publication { .. } => {
                if !self.has_room(bytes) {
                    self.drop_ephemerals();
                }
                if !self.has_room(bytes) {
                    return Err(Full);
                }
            }
        }
        self.bytes += bytes;
        self.added = self.added.wrapping_add(1);
        if self.frames.len() == self.frames.capacity() {
            self.frames.reserve(self.expected as usize);
        }
        self.frames.push_back(Entry { outgoing, class, bytes });
        Ok(())
    }

    /// Whether presence of the channel was dropped, since this was asked last.
    pub fn take_lost_presence(&mut self, channel: ChannelKey) -> bool {
        let at = self.lost_presence.iter().position(|lost| *lost == channel);
        at.map(|at| self.lost_presence.swap_remove(at)).is_some()
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        (self.frames, self.lost_presence) = Default::default();
        self.bytes = 0;
    }

    /// Moves frames out, oldest first, until `max_bytes` is reached; at least one if there is one.
    pub fn take(&mut self, out: &mut Vec<Outgoing>, max_bytes: usize) {
        self.take_while(out, max_bytes, |_| true);
    }

    /// The same, but stops at an answer that may not leave yet, and returns its number.
    pub fn take_while(
        &mut self,
        out: &mut Vec<Outgoing>,
        max_bytes: usize,
        mut leaves: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let mut bytes = 0;
        self.expected = 0;
        while let Some(entry) = self.frames.front() {
            if bytes > 0 && bytes + entry.bytes > max_bytes {
                break;
            }
            if let Class::Answer { number } = entry.class
                && !leaves(number)
            {
                return Some(number);
            }
            bytes += entry.bytes;
            let Some(entry) = self.frames.pop_front() else { break };
            self.bytes -= entry.bytes;
            out.push(entry.outgoing);
        }
        if self.frames.is_empty() {
            // An idle session keeps no buffer.
            self.frames = VecDeque::new();
        }
        None
    }

    /// Puts a newer answer in place of one that waits.
    pub fn replace_answer(&mut self, number: u32, outgoing: Outgoing, encoding: Encoding) {
        let is_it = |entry: &&mut Entry| entry.class == Class::Answer { number };
        let Some(entry) = self.frames.iter_mut().find(is_it) else { return };
        self.bytes -= entry.bytes;
        entry.bytes = encoded_len(&outgoing, encoding);
        entry.outgoing = outgoing;
        self.bytes += entry.bytes;
    }

    /// Drops all publications and says, for each channel, which was the first.
    pub fn drop_publications(&mut self) -> HashMap<ChannelKey, Offset> {
        let mut first = HashMap::new();
        let before = self.frames.len();
        let bytes = &mut self.bytes;
        self.frames.retain_mut(|entry| {
            if let Class::Gap { channel } = entry.class
                && let Some(first) = first.get(&channel)
            {
                begin_gap_at(&mut entry.outgoing, *first);
            }
            let Class::Publication { channel, offset } = entry.class else { return true };
            first.entry(channel).or_insert(offset);
            *bytes -= entry.bytes;
            false
        });
        let dropped = (before - self.frames.len()) as u64;
        metrics::counter!("sterna_core_outbox_dropped_total", "class" => "publication")
            .increment(dropped);
        first
    }

    /// Drops what was pushed of one channel, for a subscription that has ended.
    pub fn drop_channel(&mut self, gone: ChannelKey) {
        let bytes = &mut self.bytes;
        self.frames.retain(|entry| {
            let of_channel = matches!(entry.class,
                Class::Publication { channel, .. }
                | Class::Ephemeral { channel, .. }
                | Class::Presence { channel, .. }
                | Class::Head { channel }
                | Class::Gap { channel } if channel == gone);
            if of_channel {
                *bytes -= entry.bytes;
            }
            !of_channel
        });
        self.take_lost_presence(gone);
    }

    /// I11: what waits of a channel whose reader has lost the right is answered by the error instead.
    pub fn refuse_pages(&mut self, channel: ChannelKey, error: &v1::Error, encoding: Encoding) {
        self.refuse(encoding, |frame| {
            refuse_subscribed(frame, channel, error) || refuse_answer(frame, channel, error)
        });
    }

    /// The same of pages of subscriptions alone.
    pub fn refuse_subscribed(
        &mut self,
        channel: ChannelKey,
        error: &v1::Error,
        encoding: Encoding,
    ) {
        self.refuse(encoding, |frame| refuse_subscribed(frame, channel, error));
    }

    fn refuse(&mut self, encoding: Encoding, refuse: impl Fn(&mut v1::Frame) -> bool) {
        let bytes = &mut self.bytes;
        for entry in &mut self.frames {
            let OutgoingBody::Own(frame) = &mut entry.outgoing.body else { continue };
            if refuse(frame) {
                *bytes -= entry.bytes;
                entry.bytes = encoded_len(&entry.outgoing, encoding);
                *bytes += entry.bytes;
            }
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.frames.len() < self.max_frames && self.bytes + bytes <= self.max_bytes
    }

    fn remove_twin(&mut self, class: Class) {
        if let Some(at) = self.frames.iter().position(|entry| entry.class == class)
            && let Some(entry) = self.frames.remove(at)
        {
            self.bytes -= entry.bytes;
        }
    }

    fn drop_ephemerals(&mut self) {
        let before = self.frames.len();
        let (bytes, lost) = (&mut self.bytes, &mut self.lost_presence);
        self.frames.retain(|entry| {
            let stays = !matches!(entry.class, Class::Ephemeral { .. } | Class::Presence { .. });
            if !stays {
                note_lost(lost, entry.class);
                *bytes -= entry.bytes;
            }
            stays
        });
        let dropped = (before - self.frames.len()) as u64;
        metrics::counter!("sterna_core_outbox_dropped_total", "class" => "ephemeral")
            .increment(dropped);
    }
}

/// A gap that waits behind publications which go now begins with the first of them.
fn begin_gap_at(outgoing: &mut Outgoing, first: Offset) {
    if let OutgoingBody::Own(frame) = &mut outgoing.body
        && let Some(Body::Push(v1::Push { event: Some(Event::Gap(gap)) })) = &mut frame.body
    {
        gap.after_offset = gap.after_offset.min(first.0.saturating_sub(1));
    }
}

fn note_lost(lost: &mut Vec<ChannelKey>, class: Class) {
    if let Class::Presence { channel, .. } = class
        && !lost.contains(&channel)
    {
        lost.push(channel);
    }
}

/// Whether the frame was the page of a subscription to the channel.
fn refuse_subscribed(frame: &mut v1::Frame, channel: ChannelKey, error: &v1::Error) -> bool {
    match &mut frame.body {
        Some(Body::Reply(v1::Reply { result: Some(result), .. })) => match result {
            Reply::Subscribed(page) if is_named(&page.channel, channel) => {
                *result = Reply::Error(error.clone());
                true
            }
            _ => false,
        },
        Some(Body::Push(v1::Push { event: Some(Event::Subscribed(page)) }))
            if is_named(&page.channel, channel) =>
        {
            let (channel, error) = (std::mem::take(&mut page.channel), Some(error.clone()));
            *page = v1::Subscribed { channel, error, ..Default::default() };
            true
        }
        _ => false,
    }
}

/// Whether the frame told publications or presence of the channel to who had asked.
fn refuse_answer(frame: &mut v1::Frame, channel: ChannelKey, error: &v1::Error) -> bool {
    let Some(Body::Reply(v1::Reply { result: Some(result), .. })) = &mut frame.body else {
        return false;
    };
    let told = match result {
        Reply::History(page) => is_named(&page.channel, channel),
        Reply::Presence(list) => is_named(&list.channel, channel),
        _ => false,
    };
    if told {
        *result = Reply::Error(error.clone());
    }
    told
}

fn is_named(name: &str, channel: ChannelKey) -> bool {
    ChannelId::new(name).is_ok_and(|it| it.key() == channel)
}

fn encoded_len(outgoing: &Outgoing, encoding: Encoding) -> usize {
    match (&outgoing.body, outgoing.lane) {
        // For JSON an estimate, which is enough for a bound.
        (OutgoingBody::Own(frame), _) => sterna_proto::codec::encoded_len(frame),
        (OutgoingBody::Shared(push), Lane::Datagram) => push.encoded(Encoding::Protobuf).len(),
        (OutgoingBody::Shared(push), _) => push.encoded(encoding).len(),
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
