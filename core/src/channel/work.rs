//! What a shard waits for, and what it does when that is done.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sterna_proto::{ChannelKey, ErrorCode, Offset, UserId, v1};
use sterna_storage::volatile::Route;
use sterna_storage::{
    AppendError, ChannelRecord, CursorMove, Head, MemberCursor, Membership, PageLimit,
    PublicationLog, Record, StorageError,
};

use crate::channel::keep::KeptNow;
use crate::channel::members;
use crate::channel::rehome::Heads;
use crate::channel::ring::{hides, published};
use crate::channel::sequence::{Answer, Next, Outcome};
use crate::channel::shard::Shard;
use crate::channel::state::PublishTicket;
use crate::inbox::InboxDone;
use crate::link::{LinkPush, LinkReply};
use crate::push::{EncodedPush, SharedPush};
use crate::vitals::trace::Step;
use crate::volatile::Recalled;

/// Pause before a log that could not be read is read again.
const CATCH_UP_RETRY: Duration = Duration::from_millis(500);

/// A finished piece of work.
#[derive(Debug)]
pub(crate) enum Done {
    Loaded {
        key: ChannelKey,
        result: Result<(Option<ChannelRecord>, Option<Head>), StorageError>,
    },
    RoleFound {
        key: ChannelKey,
        user: UserId,
        /// As it was when the role was looked up.
        role_changes: u64,
        result: Result<Option<Membership>, StorageError>,
    },
    Created {
        key: ChannelKey,
        result: Result<(ChannelRecord, Vec<Membership>), StorageError>,
    },
    /// There are ids to issue again.
    IdsReady {
        key: ChannelKey,
        result: Result<(), StorageError>,
    },
    /// One verdict each, `None` where the engine gave none.
    Appended {
        results: Vec<(ChannelKey, Option<Result<Head, AppendError>>)>,
    },
    CaughtUp {
        key: ChannelKey,
        result: Result<Missed, StorageError>,
    },
    CursorsMoved {
        moves: Vec<CursorMove>,
        result: Result<Vec<MemberCursor>, StorageError>,
    },
    HeadsFound {
        result: Result<Heads, StorageError>,
    },
    Inbox(InboxDone),
    /// Who is about to become a member has an entry in its inbox.
    Shown {
        key: ChannelKey,
        user: UserId,
        result: Result<(), StorageError>,
    },
    /// Where others have said that the channel is listened to; `None`: nobody could be asked.
    RouteFound {
        key: ChannelKey,
        route: Option<Arc<Route>>,
    },
    /// Who was present when others owned the channel.
    PresenceRecalled {
        key: ChannelKey,
        recalled: Option<Recalled>,
    },
    /// An order about what the channel keeps.
    Kept {
        key: ChannelKey,
        result: Result<KeptNow, v1::Error>,
        reply: tokio::sync::oneshot::Sender<LinkReply>,
    },
    /// The work has answered its call itself.
    Answered,
}

impl Shard {
    pub(super) fn on_done(&mut self, done: Done) {
        match done {
            Done::Loaded { key, result } => self.on_loaded(key, result),
            Done::RoleFound { key, user, role_changes, result } => {
                self.on_looked_up(key, result, |state, membership| {
                    // Otherwise what was found may be old: it is looked up once more.
                    if state.role_changes == role_changes {
                        state.roles.insert(user, membership.map(|m| m.role));
                    }
                });
            }
            Done::Created { key, result } => {
                self.on_looked_up(key, result, |state, (record, members)| {
                    state.record = Some(record);
                    state.roles.extend(members.into_iter().map(|m| (m.user, Some(m.role))));
                });
                self.on_inbox_record(key);
            }
            Done::IdsReady { key, result } => self.on_looked_up(key, result, |_, ()| {}),
            Done::Appended { results } => {
                for (key, result) in results {
                    self.on_appended(key, result);
                }
            }
            Done::CaughtUp { key, result } => self.on_caught_up(key, result),
            Done::CursorsMoved { moves, result } => self.on_cursors_moved(moves, result),
            Done::HeadsFound { result } => self.on_heads_found(result),
            Done::Inbox(done) => self.on_inbox_done(done),
            Done::Shown { key, user, result } => {
                self.on_looked_up(key, result, |state, ()| state.shown = Some(user));
            }
            Done::RouteFound { key, route } => self.on_route_found(key, route),
            Done::PresenceRecalled { key, recalled } => self.on_presence_recalled(key, recalled),
            Done::Kept { key, result, reply } => self.on_kept(key, result, reply),
            Done::Answered => {}
        }
    }

    fn on_loaded(
        &mut self,
        key: ChannelKey,
        result: Result<(Option<ChannelRecord>, Option<Head>), StorageError>,
    ) {
        let queues = self.context.config.queues;
        self.on_looked_up(key, result, |state, (record, head)| {
            state.on_loaded(key, record, head, &queues);
        });
        self.on_inbox_record(key);
    }

    /// A look-up is over: go on with the commands that waited for it, or fail them.
    fn on_looked_up<T>(
        &mut self,
        key: ChannelKey,
        result: Result<T, StorageError>,
        apply: impl FnOnce(&mut crate::channel::state::ChannelState, T),
    ) {
        let Some(state) = self.channels.get_mut(&key) else { return };
        state.looking_up = false;
        match result {
            Ok(found) => {
                apply(state, found);
                self.resume_waiting(key);
            }
            Err(error) => {
                self.note_storage_error(&error);
                let Some(state) = self.channels.get_mut(&key) else { return };
                for call in std::mem::take(&mut state.waiting) {
                    state.refuse(call, unavailable(&error));
                }
            }
        }
    }

    fn on_appended(&mut self, key: ChannelKey, result: Option<Result<Head, AppendError>>) {
        let Some(state) = self.channels.get_mut(&key) else { return };
        let result = result.unwrap_or_else(|| {
            let missing = "the engine gave no verdict on the append";
            Err(StorageError::new(sterna_storage::StorageErrorKind::Unknown, "core", missing)
                .into())
        });
        let failed = match &result {
            Err(AppendError::Storage(error)) => Some(error.clone()),
            _ => None,
        };
        let outcome = state.sequence.handle_result(result);
        let left = match outcome.next {
            Next::Append => state.left_over(),
            Next::CatchUp => Vec::new(),
        };
        if let Some(error) = failed {
            self.note_storage_error(&error);
        }
        self.apply(key, outcome);
        self.fail(key, left);
    }

    fn on_caught_up(&mut self, key: ChannelKey, result: Result<Missed, StorageError>) {
        let Some(state) = self.channels.get_mut(&key) else { return };
        match result {
            Ok(missed) => {
                state.catching_up = false;
                if missed.partly {
                    // Whether what was under way is among the rest is not known here: it is
                    // recognised when it comes again.
                    let failed = state.sequence.fail_all(&outcome_unknown());
                    self.forget_members(key);
                    self.fail(key, failed);
                }
                let Some(state) = self.channels.get_mut(&key) else { return };
                let outcome = state.sequence.handle_catch_up(missed.head, missed.records);
                let left = state.left_over();
                self.apply(key, outcome);
                self.fail(key, left);
            }
            Err(error) => {
                // The outcome stays unknown: whoever asks again is recognised by its origin. No
                // append happens before the log has been read.
                self.note_storage_error(&error);
                let Some(state) = self.channels.get_mut(&key) else { return };
                let failed = state.sequence.fail_all(&unavailable(&error));
                self.start_catch_up(key, CATCH_UP_RETRY);
                self.fail(key, failed);
            }
        }
    }

    pub(super) fn fail(&mut self, key: ChannelKey, failed: Vec<(PublishTicket, Answer)>) {
        if self.answer_all(key, failed) {
            self.resume_waiting(key);
        }
    }

    /// I4: the only place from which publications reach anybody, and only committed ones. Answers
    /// come behind the pushes, so that a publisher who listens hears of both at once.
    pub(super) fn apply(&mut self, key: ChannelKey, outcome: Outcome<PublishTicket>) {
        let Outcome { answers, committed, next } = outcome;
        self.context.traces.note_committed(key, &committed);
        let refused = self.apply_member_changes(key, &committed);
        self.apply_redactions(key, &committed);
        self.spread_committed(key, &committed);
        let resume = self.answer_all(key, refused) | self.answer_all(key, answers);
        self.context.traces.note_answered(key);
        match next {
            Next::Append => self.want_append(key),
            Next::CatchUp => self.start_catch_up(key, Duration::ZERO),
        }
        if resume {
            self.resume_waiting(key);
        }
    }

    fn spread_committed(&mut self, key: ChannelKey, committed: &[Record]) {
        let Some(first) = committed.first().map(|record| record.position) else { return };
        let Some(state) = self.channels.get_mut(&key) else { return };
        let mut pushes: Vec<SharedPush> = Vec::with_capacity(committed.len());
        let now = tokio::time::Instant::now().into_std();
        for record in committed {
            let push = EncodedPush::new(v1::push::Event::Publication(publication(
                state.name.as_str(),
                record,
            )));
            if let Some(hidden) = published(&push).and_then(hides) {
                state.ring.forget(hidden);
                self.context.flights.forget(key);
            }
            state.ring.push(record.position.offset, push.clone(), now);
            pushes.push(push);
        }
        self.rings.on_pushed(key, &mut state.ring);
        self.context.tally.on_published(pushes.len());
        let epoch = first.epoch.0;
        let step = Step::Spread { links: state.interest.len() };
        self.context.traces.note_delivery(key, epoch, first.offset, pushes.len(), step);
        let pushes: Arc<[SharedPush]> = pushes.into();
        self.spread(key, &LinkPush::Deliver { channel: key, epoch, first: first.offset, pushes });
        self.want_beacon(key);
        self.on_inbox_committed(key, committed.len());
        self.seek_hints(key);
        self.rings.lighten(&mut self.channels);
    }

    /// Answers publications and changes of members. True: commands that have waited for a change
    /// can go on.
    #[must_use]
    fn answer_all(&mut self, key: ChannelKey, answers: Vec<(PublishTicket, Answer)>) -> bool {
        let mut readers = Vec::new();
        let Some(state) = self.channels.get_mut(&key) else { return false };
        let mut resume = false;
        for (ticket, result) in answers {
            readers.extend(ticket.read_upto(&result));
            if ticket.member_change {
                (state.looking_up, resume) = (false, true);
            }
            state.answer(ticket, result);
        }
        for (user, offset) in readers {
            self.read_by_sending(key, user, offset);
        }
        resume
    }

    pub(super) fn start_catch_up(&mut self, key: ChannelKey, delay: Duration) {
        let Some(state) = self.channels.get_mut(&key) else { return };
        self.context.tally.on_conflict();
        state.catching_up = true;
        let after = state.sequence.position().offset;
        let log = self.context.stores.log.clone();
        let queues = &self.context.config.queues;
        let max = queues.ring_publications.max(queues.append_batch);
        self.work.push(Box::pin(async move {
            tokio::time::sleep(delay).await;
            let result = read_to_head(log.as_ref(), key, after, max).await;
            Done::CaughtUp { key, result }
        }));
    }
}

/// Answers a call; the asker may be gone, and then its retry finds the result.
pub(crate) fn answer(to: tokio::sync::oneshot::Sender<LinkReply>, reply: LinkReply) {
    let _ = to.send(reply);
}

/// For what comes to an owner that is none any more.
pub(super) fn moved() -> v1::Error {
    let message = "another node owns the channel now; send it again";
    v1::Error::new(ErrorCode::Unavailable, message)
}

fn outcome_unknown() -> v1::Error {
    let message = "another node has published much here meanwhile; send it again";
    v1::Error::new(ErrorCode::Unavailable, message)
}

pub(crate) fn unavailable(error: &StorageError) -> v1::Error {
    let message = format!("the store does not answer ({}); try again", error.message);
    v1::Error::new(ErrorCode::Unavailable, message).with_retry_after_ms(500)
}

/// A stored record as clients see it.
pub(super) fn publication(channel: &str, record: &Record) -> v1::Publication {
    let body = &record.body;
    let member = members::told_by(record);
    v1::Publication {
        channel: channel.to_owned(),
        epoch: record.position.epoch.0,
        offset: record.position.offset.0,
        id: body.id.0,
        sender: body.sender.to_string(),
        payload: if member.is_some() { Bytes::new() } else { body.payload.clone() },
        member,
        server_ts_ms: body.server_ts_ms,
        client_ts_ms: body.client_ts_ms,
        kind: body.kind,
        target_offset: body.target_offset.0,
        client_msg_id: body.client_msg_id.clone(),
        redacted: record.redacted,
    }
}

/// What a channel's owner has missed.
#[derive(Debug)]
pub(crate) struct Missed {
    head: Option<Head>,
    records: Vec<Record>,
    /// More than `records`: the oldest were not read.
    partly: bool,
}

/// The head and the records after an offset; of more than `max` only the newest (I12).
async fn read_to_head(
    log: &dyn PublicationLog,
    key: ChannelKey,
    after: Offset,
    max: usize,
) -> Result<Missed, StorageError> {
    let head = log.head(key).await?;
    let end = head.as_ref().map_or(Offset::ZERO, |head| head.position.offset);
    let mut records: Vec<Record> = Vec::new();
    // Nor what has been trimmed.
    let trimmed = head.as_ref().map_or(0, |head| head.first.0.saturating_sub(1));
    let newest = end.0.saturating_sub(max as u64);
    let mut at = Offset(after.0.max(newest).max(trimmed.min(end.0)));
    let partly = at > after;
    while at < end {
        let limit = PageLimit { records: 500, payload_bytes: 4 << 20 };
        let page = log.read(key, at, limit).await?;
        let Some(last) = page.last() else { break };
        at = last.position.offset;
        records.extend(page.into_iter().take_while(|record| record.position.offset <= end));
    }
    Ok(Missed { head, records, partly })
}
