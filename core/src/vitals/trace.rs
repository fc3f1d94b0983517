//! The way of one publication through this node, step by step, for an operator who has asked for the next
//! one of a channel. Nothing is traced otherwise: on the path of a publication this is a look at a flag.
//!
//! Each node tells of its own steps. A node with the publisher recognises the publication by its origin,
//! one that owns the channel by both, one with subscribers alone by its offset.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sterna_proto::{ChannelId, ChannelKey, ClientId, Offset, Position};
use sterna_storage::{NewRecord, Origin, Record};
use tokio::time::Instant;

use crate::link::{LinkCommand, Verb};

/// Traces that a node keeps; the oldest goes when another is asked for.
pub const TRACES: usize = 8;

/// Steps of one trace: more than a publication takes in a node with many workers.
pub const STEPS: usize = 64;

/// How long the next publication is waited for.
pub const WAIT: Duration = Duration::from_secs(60);

/// Where a publication has been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A session of this node has sent it.
    Received,
    /// It is with the channel's owner, in its turn.
    AtOwner,
    /// It was given to the store, with so many others.
    Appending { with: usize },
    /// It is durable and has its place.
    Stored,
    /// Its publisher was told, in so far as this is the owner's to say.
    Answered,
    /// It was put on so many links, to workers of this node and to other nodes.
    Spread { links: usize },
    /// A worker gave it to so many sessions.
    Given { sessions: usize },
}

/// One publication's way.
#[derive(Debug, Clone)]
pub struct Trace {
    pub id: u64,
    pub channel: ChannelId,
    /// Known once it is stored, or delivered here.
    pub position: Option<Position>,
    /// Of the first step.
    pub began: Option<Instant>,
    /// Times since the first step.
    pub steps: Vec<(Duration, Step)>,
    /// It has not been seen, and is not waited for any more.
    pub expired: bool,
}

/// A node's traces.
#[derive(Debug, Default)]
pub struct Traces {
    armed: AtomicBool,
    kept: Mutex<VecDeque<Kept>>,
}

#[derive(Debug)]
struct Kept {
    trace: Trace,
    key: ChannelKey,
    /// Nothing is noted after this.
    until: Instant,
    began: Option<Instant>,
    origin: Option<Origin>,
}

impl Traces {
    /// Whether some publication is waited for: nothing else costs anything.
    pub fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed)
    }

    /// Waits for the channel's next publication.
    pub fn arm(&self, channel: ChannelId, now: Instant) -> u64 {
        let mut kept = self.kept();
        if kept.len() >= TRACES {
            kept.pop_front();
        }
        let (id, key) = (rand::random(), channel.key());
        let trace =
            Trace { id, channel, position: None, began: None, steps: Vec::new(), expired: false };
        let (began, origin) = (None, None);
        kept.push_back(Kept { trace, key, until: now + WAIT, began, origin });
        self.armed.store(true, Ordering::Relaxed);
        id
    }

    /// `None`: it is not kept any more.
    pub fn trace(&self, id: u64, now: Instant) -> Option<Trace> {
        let kept = self.kept();
        let found = kept.iter().find(|kept| kept.trace.id == id)?;
        let expired = found.trace.steps.is_empty() && now > found.until;
        Some(Trace { expired, began: found.began, ..found.trace.clone() })
    }

    /// A step of a publication that has no place yet.
    pub fn note_command(&self, command: &LinkCommand, step: Step) {
        let Verb::Publish(publish) = &command.verb else { return };
        let client_id = &command.caller.origin_id;
        self.note_origin(command.key, client_id, publish.client_seq, step);
    }

    fn note_origin(&self, key: ChannelKey, client_id: &ClientId, client_seq: u64, step: Step) {
        self.for_channel(key, |kept, now| {
            if client_seq == 0 {
                // Known by its place alone.
                return kept.note_first(step, now);
            }
            let origin = Origin { client_id: client_id.clone(), client_seq };
            if kept.origin.is_none() && kept.trace.position.is_none() {
                kept.origin = Some(origin.clone());
            }
            if kept.origin.as_ref() == Some(&origin) && kept.trace.position.is_none() {
                kept.note(step, now);
            }
        });
    }

    /// These are given to the store together.
    pub fn note_append(&self, key: ChannelKey, records: &[NewRecord]) {
        self.for_channel(key, |kept, now| {
            let known = |record: &&NewRecord| kept.is_origin(record.origin.as_ref());
            if kept.origin.is_some() && records.iter().any(|record| known(&record)) {
                kept.note(Step::Appending { with: records.len() - 1 }, now);
            }
        });
    }

    /// These are stored.
    pub fn note_committed(&self, key: ChannelKey, records: &[Record]) {
        self.for_channel(key, |kept, now| {
            let known = |record: &&Record| kept.is_origin(record.body.origin.as_ref());
            if kept.trace.position.is_none()
                && let Some(record) = records.iter().find(known)
            {
                kept.trace.position = Some(record.position);
                kept.note(Step::Stored, now);
            }
        });
    }

    /// The owner has answered what was stored.
    pub fn note_answered(&self, key: ChannelKey) {
        self.for_channel(key, |kept, now| {
            let told = kept.trace.steps.iter().any(|(_, step)| *step == Step::Answered);
            if kept.trace.position.is_some() && !told {
                kept.note(Step::Answered, now);
            }
        });
    }

    /// A step of publications with consecutive offsets.
    pub fn note_delivery(
        &self,
        key: ChannelKey,
        epoch: u32,
        first: Offset,
        count: usize,
        step: Step,
    ) {
        self.for_channel(key, |kept, now| {
            if kept.origin.is_none() && kept.trace.position.is_none() {
                kept.trace.position = Some(Position::new(epoch, first.0));
            }
            let Some(position) = kept.trace.position else { return };
            if position.offset >= first && position.offset.0 < first.0 + count as u64 {
                kept.note(step, now);
            }
        });
    }

    fn for_channel(&self, key: ChannelKey, mut act: impl FnMut(&mut Kept, Instant)) {
        if !self.is_armed() {
            return;
        }
        let now = Instant::now();
        let mut kept = self.kept();
        let mut waiting = false;
        for one in kept.iter_mut().filter(|kept| now <= kept.until) {
            waiting = true;
            if one.key == key {
                act(one, now);
            }
        }
        self.armed.store(waiting, Ordering::Relaxed);
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Of the publication that is followed, or of any if that is not known yet.
    fn is_origin(&self, origin: Option<&Origin>) -> bool {
        self.origin.is_none() || self.origin.as_ref() == origin
    }

    fn note_first(&mut self, step: Step, now: Instant) {
        if self.trace.steps.is_empty() && self.origin.is_none() {
            self.note(step, now);
        }
    }

    fn note(&mut self, step: Step, now: Instant) {
        let began = *self.began.get_or_insert(now);
        if self.trace.steps.len() < STEPS {
            self.trace.steps.push((now - began, step));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use sterna_proto::{PublicationId, UserId};

    fn room(n: u8) -> ChannelId {
        ChannelId::new(&format!("room:{n}")).unwrap()
    }

    fn steps(traces: &Traces, id: u64) -> Vec<Step> {
        let trace = traces.trace(id, Instant::now()).unwrap();
        trace.steps.into_iter().map(|(_, step)| step).collect()
    }

    fn record(client: &str, seq: u64) -> NewRecord {
        let client_id = ClientId::new(client).unwrap();
        NewRecord {
            id: PublicationId(seq),
            sender: UserId::new(client).unwrap(),
            origin: Some(Origin { client_id, client_seq: seq }),
            client_msg_id: Bytes::new(),
            server_ts_ms: 0,
            client_ts_ms: 0,
            kind: 0,
            target_offset: Offset::ZERO,
            payload: Bytes::new(),
        }
    }

    fn stored(offset: u64, body: NewRecord) -> Record {
        Record::new(Position::new(5, offset), body)
    }

    #[test]
    fn the_owner_follows_one_publication_among_others() {
        let (traces, key) = (Traces::default(), room(1).key());
        let [ana, ben] = ["ana", "ben"].map(|name| ClientId::new(name).unwrap());
        traces.note_origin(key, &ana, 1, Step::Received);
        let id = traces.arm(room(1), Instant::now());
        traces.note_origin(room(2).key(), &ben, 1, Step::AtOwner);
        traces.note_origin(key, &ana, 7, Step::AtOwner);
        traces.note_origin(key, &ben, 9, Step::AtOwner);
        let records = [record("ben", 8), record("ana", 7), record("ben", 9)];
        traces.note_append(key, &records[..1]);
        // It fails and is tried again.
        traces.note_append(key, &records);
        traces.note_append(key, &records);
        let [first, second, third] = records;
        traces.note_committed(key, &[stored(28, first)]);
        traces.note_committed(key, &[stored(29, second), stored(30, third)]);
        traces.note_answered(key);
        traces.note_answered(key);
        traces.note_delivery(key, 5, Offset(20), 9, Step::Spread { links: 1 });
        traces.note_delivery(key, 5, Offset(29), 1, Step::Spread { links: 2 });
        traces.note_delivery(key, 5, Offset(28), 3, Step::Given { sessions: 3 });
        let wanted = [
            Step::AtOwner,
            Step::Appending { with: 2 },
            Step::Appending { with: 2 },
            Step::Stored,
            Step::Answered,
            Step::Spread { links: 2 },
            Step::Given { sessions: 3 },
        ];
        assert_eq!(steps(&traces, id), wanted);
        let position = traces.trace(id, Instant::now()).unwrap().position;
        assert_eq!(position, Some(Position::new(5, 29)));
    }

    #[test]
    fn one_without_an_origin_is_known_by_its_place() {
        let (traces, key) = (Traces::default(), room(1).key());
        let id = traces.arm(room(1), Instant::now());
        let api = ClientId::new("http:api").unwrap();
        traces.note_origin(key, &api, 0, Step::AtOwner);
        traces.note_origin(key, &api, 0, Step::AtOwner);
        let body = NewRecord { origin: None, ..record("api", 1) };
        traces.note_committed(key, &[stored(3, body.clone()), stored(4, body)]);
        traces.note_delivery(key, 5, Offset(3), 2, Step::Given { sessions: 1 });
        assert_eq!(steps(&traces, id), [Step::AtOwner, Step::Stored, Step::Given { sessions: 1 }]);
    }

    #[test]
    fn a_node_with_subscribers_alone_knows_it_by_its_offset() {
        let (traces, key) = (Traces::default(), room(1).key());
        let id = traces.arm(room(1), Instant::now());
        traces.note_delivery(key, 5, Offset(7), 2, Step::Given { sessions: 1 });
        traces.note_delivery(key, 5, Offset(9), 1, Step::Given { sessions: 9 });
        traces.note_delivery(key, 5, Offset(7), 1, Step::Given { sessions: 2 });
        let wanted = [Step::Given { sessions: 1 }, Step::Given { sessions: 2 }];
        assert_eq!(steps(&traces, id), wanted);
    }

    #[tokio::test(start_paused = true)]
    async fn i12_traces_end_and_are_few() {
        let (traces, key) = (Traces::default(), room(1).key());
        let first = traces.arm(room(1), Instant::now());
        for n in 2..2 + TRACES as u8 {
            traces.arm(room(n), Instant::now());
        }
        assert!(traces.trace(first, Instant::now()).is_none());
        let last = traces.arm(room(1), Instant::now());
        for n in 0..2 * STEPS as u64 {
            traces.note_delivery(key, 1, Offset(1), 1, Step::Given { sessions: n as usize });
        }
        assert_eq!(steps(&traces, last).len(), STEPS);
        let waits = traces.arm(room(1), Instant::now());
        tokio::time::advance(WAIT + Duration::from_millis(1)).await;
        assert!(traces.trace(waits, Instant::now()).unwrap().expired);
        traces.note_delivery(key, 1, Offset(1), 1, Step::Given { sessions: 1 });
        assert!(!traces.is_armed() && steps(&traces, waits).is_empty());
    }
}
