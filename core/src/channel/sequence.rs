//! The order of one channel. Pure: publications in, appends out, results in, replies out. The
//! [`shard`](super::shard) does the waiting.
//!
//! I2, I3: offsets are only ever taken from a head that the log store has confirmed, and what the
//! store says about duplicates is final. I4: nothing leaves as committed before the store says so.

use std::collections::{HashMap, VecDeque};

use sterna_proto::{ChannelId, ChannelKey, ErrorCode, Offset, Position, PublicationId, UserId, v1};
use sterna_storage::{Append, AppendError, Duplicate, Head, MembershipChange, NewRecord, Record};

use crate::channel::origins::{Known, Origins};

/// A publication on its way into the log. `T` gets the answer.
#[derive(Debug)]
struct Pending<T> {
    record: NewRecord,
    /// The change of members that the record tells of: they take effect together.
    /// Boxed, since there hardly ever is one.
    change: Option<Box<MembershipChange>>,
    fingerprint: u64,
    ticket: T,
    /// Retransmissions that came while this one was waiting; they get the same answer.
    echoes: Vec<T>,
}

/// What becomes of a publication that was handed in.
#[derive(Debug)]
pub enum Verdict<T> {
    /// The answer comes with a later outcome.
    Waiting,
    /// The answer is known already.
    Answered(T, Answer),
}

/// The answer to one publication.
pub type Answer = Result<v1::Published, v1::Error>;

/// What the result of an append leads to.
#[derive(Debug)]
pub struct Outcome<T> {
    pub answers: Vec<(T, Answer)>,
    /// Newly committed, in order; to be spread.
    pub committed: Vec<Record>,
    pub next: Next,
}

/// What the shard has to do before the next append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Append,
    /// The log has moved without us, or may have: read the head and what lies after ours, then
    /// call [`Sequence::handle_catch_up`].
    CatchUp,
}

/// Sequences one channel.
#[derive(Debug)]
pub struct Sequence<T> {
    name: ChannelId,
    key: ChannelKey,
    head: Option<Head>,
    pending: VecDeque<Pending<T>>,
    in_flight: Vec<Pending<T>>,
    origins: Origins,
    max_pending: usize,
}

impl<T> Sequence<T> {
    /// A channel whose log ends at `head`.
    pub fn new(
        name: ChannelId,
        key: ChannelKey,
        head: Option<Head>,
        window: usize,
        max_pending: usize,
    ) -> Self {
        Self {
            name,
            key,
            head,
            pending: VecDeque::new(),
            in_flight: Vec::new(),
            origins: Origins::new(window),
            max_pending,
        }
    }

    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Nothing before this offset can be read any more.
    pub fn begin_at(&mut self, first: Offset) {
        if let Some(head) = &mut self.head {
            head.first = head.first.max(first.min(head.position.offset.next()));
        }
    }

    /// Whoever has a publication on its way to the log, in their order.
    pub fn under_way(&self) -> impl Iterator<Item = &T> {
        let all = self.in_flight.iter();
        all.flat_map(|pending| std::iter::once(&pending.ticket).chain(&pending.echoes))
    }

    /// Answers publications that are not on their way to the log with an error. Changes of members stay.
    pub fn fail_waiting(&mut self, error: &v1::Error) -> Vec<(T, Answer)> {
        let waiting = std::mem::take(&mut self.pending).into_iter();
        let (failed, rest): (Vec<_>, _) = waiting.partition(|one| one.change.is_none());
        self.pending = rest.into();
        self.give_up(failed, error)
    }

    /// Publications that wait for a commit, those under way among them.
    pub fn pending(&self) -> usize {
        self.pending.len() + self.in_flight.len()
    }

    /// Where the channel ends; the earliest position while it is empty.
    pub fn position(&self) -> Position {
        self.head.as_ref().map_or(Position::EARLIEST, |head| head.position)
    }

    /// Nothing waits and nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.in_flight.is_empty()
    }

    /// Takes a change of members with the record that tells of it.
    pub fn handle_change(
        &mut self,
        record: NewRecord,
        change: MembershipChange,
        ticket: T,
    ) -> Verdict<T> {
        let fingerprint = record.fingerprint();
        self.queue(record, fingerprint, Some(Box::new(change)), ticket)
    }

    /// Takes a publication.
    pub fn handle_publish(&mut self, record: NewRecord, ticket: T) -> Verdict<T> {
        let fingerprint = record.fingerprint();
        if let Some(origin) = &record.origin
            && !sterna_storage::planted!(DedupForgotten)
        {
            if sterna_storage::planted!(DedupByHighest)
                && let Some(highest) = self.origins.later(origin)
            {
                let answer = self.answer_duplicate(highest, highest.fingerprint);
                return Verdict::Answered(ticket, answer);
            }
            match self.origins.get(origin) {
                Some(Known::Stored(stored)) => {
                    return Verdict::Answered(ticket, self.answer_duplicate(stored, fingerprint));
                }
                Some(Known::Waiting) => {
                    let twin = self.in_flight.iter_mut().chain(&mut self.pending);
                    let mut twin = twin.filter(|it| it.record.origin.as_ref() == Some(origin));
                    if let Some(other) = twin.next() {
                        if other.fingerprint != fingerprint {
                            return Verdict::Answered(ticket, Err(conflict()));
                        }
                        other.echoes.push(ticket);
                        return Verdict::Waiting;
                    }
                }
                None => {}
            }
        }
        self.queue(record, fingerprint, None, ticket)
    }

    fn queue(
        &mut self,
        record: NewRecord,
        fingerprint: u64,
        change: Option<Box<MembershipChange>>,
        ticket: T,
    ) -> Verdict<T> {
        if self.pending.len() >= self.max_pending {
            return Verdict::Answered(ticket, Err(busy()));
        }
        if let Some(origin) = &record.origin {
            self.origins.on_waiting(origin);
        }
        let echoes = Vec::new();
        self.pending.push_back(Pending { record, change, fingerprint, ticket, echoes });
        Verdict::Waiting
    }

    /// Takes back what waits of a sender who has lost a right. What is on its way to the log was
    /// sent before that was known. `lost` is asked with whether it changes members.
    pub fn withdraw(&mut self, sender: &UserId, lost: impl Fn(&T, bool) -> bool) -> Vec<T> {
        let waiting = std::mem::take(&mut self.pending).into_iter();
        let (withdrawn, rest): (Vec<_>, _) = waiting.partition(|one| {
            one.record.sender == *sender && lost(&one.ticket, one.change.is_some())
        });
        self.pending = rest.into();
        let given_up = withdrawn.iter().filter_map(|one| one.record.origin.as_ref());
        given_up.for_each(|origin| self.origins.on_given_up(origin));
        withdrawn.into_iter().flat_map(Pending::tickets).collect()
    }

    /// The next append, unless one is under way or nothing waits. What gathers meanwhile goes with
    /// the one after: batches grow by themselves under load and cost no delay without.
    pub fn poll_append(
        &mut self,
        max_records: usize,
        max_bytes: usize,
        now_ms: u64,
    ) -> Option<Append> {
        if !self.in_flight.is_empty() {
            return None;
        }
        let mut last_ts_ms = self.head.as_ref().map_or(0, |head| head.last_ts_ms);
        let mut bytes = 0;
        while self.in_flight.len() < max_records {
            let Some(next) = self.pending.front() else { break };
            bytes += next.record.payload.len();
            if bytes > max_bytes && !self.in_flight.is_empty() {
                break;
            }
            let Some(mut next) = self.pending.pop_front() else { break };
            last_ts_ms = if sterna_storage::planted!(ServerTimeGoesBack) {
                now_ms
            } else {
                last_ts_ms.max(now_ms)
            };
            next.record.server_ts_ms = last_ts_ms;
            self.in_flight.push(next);
        }
        if self.in_flight.is_empty() {
            return None;
        }
        Some(Append {
            channel: self.key,
            expected: self.head.as_ref().map(|head| head.position),
            records: self.in_flight.iter().map(|pending| pending.record.clone()).collect(),
            intents: Vec::new(),
            members: self
                .in_flight
                .iter()
                .filter_map(|pending| pending.change.as_deref().cloned())
                .collect(),
        })
    }

    /// Takes the result of the append under way.
    pub fn handle_result(&mut self, result: Result<Head, AppendError>) -> Outcome<T> {
        if sterna_storage::planted!(UnknownTakenAsStored)
            && let (Some(head), Err(AppendError::Storage(error))) = (&self.head, &result)
            && error.kind == sterna_storage::StorageErrorKind::Unknown
        {
            let mut head = head.clone();
            head.position.offset.0 += self.in_flight.len() as u64;
            return self.on_committed(head);
        }
        if sterna_storage::planted!(ConflictTakenAsStored)
            && let (Some(head), Err(AppendError::Conflict { .. })) = (&self.head, &result)
        {
            let mut head = head.clone();
            head.position.offset.0 += self.in_flight.len() as u64;
            return self.on_committed(head);
        }
        match result {
            Ok(head) => self.on_committed(head),
            Err(AppendError::Conflict { .. }) => Outcome::wait(Next::CatchUp),
            Err(AppendError::Duplicates(found)) => self.on_duplicates(found),
            Err(AppendError::Storage(error)) => match error.kind {
                sterna_storage::StorageErrorKind::Unknown => Outcome::wait(Next::CatchUp),
                _ => self.on_failed(&error),
            },
        }
    }

    /// Takes the head as the store has it now and the records after ours. Whatever of the append
    /// under way is among them was committed after all; the rest is appended again.
    pub fn handle_catch_up(&mut self, head: Option<Head>, records: Vec<Record>) -> Outcome<T> {
        let mut outcome = Outcome::wait(Next::Append);
        // I13: what is left keeps its order. Ids do not tell it, as a node whose number was given to
        // another goes on with lower ones.
        let mut mine: Vec<Option<Pending<T>>> = self.in_flight.drain(..).map(Some).collect();
        let by_id = mine.iter().flatten().map(|pending| pending.record.id).zip(0..);
        let by_id: HashMap<PublicationId, usize> = by_id.collect();
        for record in records {
            let own = by_id.get(&record.body.id).and_then(|at| mine[*at].take());
            if let Some(pending) = own {
                let Pending { fingerprint, ticket, echoes, .. } = pending;
                self.settle((ticket, echoes), fingerprint, &record, &mut outcome);
            } else if !record.redacted {
                // Of what was redacted only the log knows what it was.
                self.remember(&record, record.body.fingerprint());
            }
            outcome.committed.push(record);
        }
        let mut rest: Vec<Pending<T>> = mine.into_iter().flatten().collect();
        if sterna_storage::planted!(BatchReversed) {
            rest.reverse();
        }
        for pending in rest.into_iter().rev() {
            self.pending.push_front(pending);
        }
        self.head = head;
        outcome
    }

    /// Answers everything that waits with an error, for a channel that has to be dropped.
    pub fn fail_all(&mut self, error: &v1::Error) -> Vec<(T, Answer)> {
        let waiting = self.in_flight.drain(..).chain(self.pending.drain(..)).collect();
        self.give_up(waiting, error)
    }

    fn give_up(&mut self, waiting: Vec<Pending<T>>, error: &v1::Error) -> Vec<(T, Answer)> {
        let given_up = waiting.iter().filter_map(|pending| pending.record.origin.as_ref());
        given_up.for_each(|origin| self.origins.on_given_up(origin));
        waiting
            .into_iter()
            .flat_map(|pending| pending.tickets())
            .map(|t| (t, Err(error.clone())))
            .collect()
    }

    fn on_committed(&mut self, head: Head) -> Outcome<T> {
        let count = self.in_flight.len() as u64;
        let mut outcome = Outcome {
            answers: Vec::with_capacity(self.in_flight.len()),
            committed: Vec::with_capacity(self.in_flight.len()),
            next: Next::Append,
        };
        let epoch = head.position.epoch.0;
        let first = head.position.offset.0 + 1 - count;
        let committed: Vec<Pending<T>> = self.in_flight.drain(..).collect();
        for (offset, pending) in (first..).zip(committed) {
            let Pending { record: body, fingerprint, ticket, echoes, .. } = pending;
            let record = Record::new(Position::new(epoch, offset), body);
            self.settle((ticket, echoes), fingerprint, &record, &mut outcome);
            outcome.committed.push(record);
        }
        self.set_head(head);
        outcome
    }

    /// An engine that is asked to append does not say what others have given up meanwhile.
    fn set_head(&mut self, mut head: Head) {
        head.first = head.first.max(self.head.as_ref().map_or(Offset(1), |known| known.first));
        self.head = Some(head);
    }

    fn on_duplicates(&mut self, found: Vec<Duplicate>) -> Outcome<T> {
        let mut outcome = Outcome::wait(Next::Append);
        let mut found: HashMap<usize, Duplicate> =
            found.into_iter().map(|duplicate| (duplicate.index, duplicate)).collect();
        let mut rest = Vec::new();
        let in_flight: Vec<Pending<T>> = self.in_flight.drain(..).collect();
        for (index, pending) in in_flight.into_iter().enumerate() {
            let Some(stored) = found.remove(&index) else {
                rest.push(pending);
                continue;
            };
            let answer = self.answer_duplicate(&stored, pending.fingerprint);
            if let Some(origin) = pending.record.origin.clone() {
                self.origins.on_stored(origin, stored);
            }
            outcome.answers.extend(pending.tickets().map(|ticket| (ticket, answer.clone())));
        }
        for pending in rest.into_iter().rev() {
            self.pending.push_front(pending);
        }
        outcome
    }

    fn on_failed(&mut self, error: &sterna_storage::StorageError) -> Outcome<T> {
        let mut outcome = Outcome::wait(Next::Append);
        let answer = v1::Error::new(
            ErrorCode::Unavailable,
            format!("not stored: {}; try again", error.message),
        );
        // What waits behind fails too: stored, it would have overtaken.
        outcome.answers = self.fail_all(&answer);
        outcome
    }

    /// A pending publication turned out to be this record.
    fn settle(
        &mut self,
        (ticket, echoes): (T, Vec<T>),
        fingerprint: u64,
        record: &Record,
        outcome: &mut Outcome<T>,
    ) {
        self.remember(record, fingerprint);
        outcome.answers.push((ticket, Ok(self.published(record, false))));
        let echoed = echoes.into_iter().map(|ticket| (ticket, Ok(self.published(record, true))));
        outcome.answers.extend(echoed);
    }

    fn remember(&mut self, record: &Record, fingerprint: u64) {
        let Some(origin) = record.body.origin.clone() else { return };
        let stored = Duplicate {
            index: 0,
            position: record.position,
            id: record.body.id,
            server_ts_ms: record.body.server_ts_ms,
            fingerprint,
        };
        self.origins.on_stored(origin, stored);
    }

    fn answer_duplicate(&self, stored: &Duplicate, fingerprint: u64) -> Answer {
        if stored.fingerprint != fingerprint {
            return Err(conflict());
        }
        Ok(published_before(&self.name, stored))
    }

    fn published(&self, record: &Record, duplicate: bool) -> v1::Published {
        v1::Published {
            channel: self.name.to_string(),
            epoch: record.position.epoch.0,
            offset: record.position.offset.0,
            id: record.body.id.0,
            server_ts_ms: record.body.server_ts_ms,
            duplicate,
        }
    }
}

/// The answer for a publication that is stored already.
pub(super) fn published_before(channel: &ChannelId, stored: &Duplicate) -> v1::Published {
    v1::Published {
        channel: channel.to_string(),
        epoch: stored.position.epoch.0,
        offset: stored.position.offset.0,
        id: stored.id.0,
        server_ts_ms: stored.server_ts_ms,
        duplicate: true,
    }
}

impl<T> Pending<T> {
    fn tickets(self) -> impl Iterator<Item = T> {
        std::iter::once(self.ticket).chain(self.echoes)
    }
}

impl<T> Outcome<T> {
    fn wait(next: Next) -> Self {
        Self { answers: Vec::new(), committed: Vec::new(), next }
    }
}

fn conflict() -> v1::Error {
    v1::Error::new(
        ErrorCode::Conflict,
        "this client_seq was used for another publication; count on",
    )
}

fn busy() -> v1::Error {
    v1::Error::new(ErrorCode::Busy, "too many publications wait for this channel")
        .with_retry_after_ms(100)
}

#[cfg(test)]
#[path = "sequence_tests.rs"]
mod tests;
