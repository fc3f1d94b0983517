//! Answers that are pages: recovery and history. Chosen by offset, not by age: the ring if it
//! reaches back far enough, else the log; one numbering, no seam.

use sterna_proto::v1::reply::Result as Reply;
use sterna_proto::v1::{PresenceState, RecoveryOrder};
use sterna_proto::{ChannelKey, Offset, Position, limits, v1};
use sterna_storage::{Head, PageLimit, ReadError, StorageError};

use crate::channel::flights::{Flights, Page};
use crate::channel::recover::{self, Start};
use crate::channel::ring::{Ring, hides};
use crate::channel::shard::{Call, Shard};
use crate::channel::work::{Done, answer, publication, unavailable};
use crate::fanout::edge_rings::HELD_BYTES;
use crate::link::Verb;
use crate::vitals::tally::HotRing;

impl Shard {
    /// Registers the link's interest first and reads the head then, so that nothing is missed in
    /// between: what is committed from here on is pushed.
    pub(super) fn attach(&mut self, key: ChannelKey, mut call: Call) {
        let Verb::Attach { subscribe, turn, again, held_upto, replaces } = &mut call.command.verb
        else {
            return;
        };
        let (subscribe, turn, again) = (std::mem::take(subscribe), *turn, *again);
        let (held_upto, replaces) = (held_upto.take(), *replaces);
        if subscribe.presence
            && !again
            && let Err(error) = self.may_enter(key, &call)
        {
            return answer(call.reply, Err(error));
        }
        // One that was closed meanwhile would stay for ever.
        if let Some(link) = call.link.filter(|link| self.context.ports.far_end(*link).is_some()) {
            self.add_interest(key, link, subscribe.receipts);
        }
        if subscribe.presence {
            replaces.into_iter().for_each(|former| self.on_replaced(key, &call, former));
            self.set_presence(key, &call, PresenceState::Online, turn, again);
        }
        let Some(state) = self.channels.get(&key) else { return };
        let head = state.sequence.head().cloned();
        let mut plan = plan_recovery(&subscribe, head.as_ref());
        let name = state.name.to_string();
        if let Some((upto, rest)) = held_upto.and_then(|upto| plan.rest(&state.ring, upto)) {
            metrics::counter!("sterna_core_pages_total", "tier" => "edge").increment(1);
            plan.start.after = upto;
            return answer(call.reply, Ok(Reply::Subscribed(plan.page(name, rest))));
        }
        let page = match plan.count {
            0 => Some(Vec::new()),
            count => {
                let page = state.ring.page(plan.start.after, count, limits::PAGE_BYTES);
                self.context.tally.on_ring_lookup(HotRing::Owner, page.is_some());
                page
            }
        };
        if let Some(publications) = page {
            let tier = if plan.count == 0 { "none" } else { "ring" };
            metrics::counter!("sterna_core_pages_total", "tier" => tier).increment(1);
            return answer(call.reply, Ok(Reply::Subscribed(plan.page(name, publications))));
        }
        metrics::counter!("sterna_core_pages_total", "tier" => "log").increment(1);
        let context = self.context.clone();
        self.work.push(Box::pin(async move {
            let reply = match plan.read(&context.flights, key).await {
                Ok(records) => {
                    let page = records.iter().map(|record| publication(&name, record)).collect();
                    Ok(Reply::Subscribed(plan.page(name, page)))
                }
                Err(error) => Err(unavailable(&error)),
            };
            answer(call.reply, reply);
            Done::Answered
        }));
    }

    pub(super) fn history(&mut self, key: ChannelKey, mut call: Call) {
        let Verb::History(history) = &mut call.command.verb else { return };
        let history = std::mem::take(history);
        let Some(state) = self.channels.get(&key) else { return };
        let head = state.sequence.head().cloned();
        let name = state.name.to_string();
        let context = self.context.clone();
        metrics::counter!("sterna_core_pages_total", "tier" => "history").increment(1);
        self.work.push(Box::pin(async move {
            let reply = match read_history(&context.flights, key, &name, &history, head).await {
                Ok(page) => Ok(Reply::History(page)),
                Err(error) => Err(unavailable(&error)),
            };
            answer(call.reply, reply);
            Done::Answered
        }));
    }
}

/// What a recovery will answer, before anything is read.
#[derive(Debug)]
struct Plan {
    start: Start,
    head: Position,
    count: usize,
    gap: Option<(Offset, Offset)>,
}

fn plan_recovery(subscribe: &v1::Subscribe, head: Option<&Head>) -> Plan {
    let end = head.map_or(Position::EARLIEST, |head| head.position);
    let max = recover::page_max(subscribe);
    let Some(since) = subscribe.since else {
        let start = Start { after: end.offset, epoch_change: None };
        return Plan { start, head: end, count: 0, gap: None };
    };
    let mut start = recover::place(since.into(), head);
    if sterna_storage::planted!(RecoveryOffByOne) && start.after < end.offset {
        start.after = start.after.next();
    }
    let mut gap = None;
    let trimmed = recover::trimmed_upto(head);
    if start.after < trimmed {
        gap = Some((start.after, trimmed));
        start.after = trimmed;
    }
    let missing = start.after.distance_to(end.offset);
    if subscribe.order() == RecoveryOrder::NewestFirst && missing > max as u64 {
        let newest = Offset(end.offset.0 - max as u64);
        gap = Some((gap.map_or(start.after, |(after, _)| after), newest));
        start.after = newest;
    }
    Plan { start, head: end, count: missing.min(max as u64) as usize, gap }
}

impl Plan {
    /// What whoever holds everything behind the plan's start, up to a position, is missing beside it;
    /// `None`: the whole page is needed. What comes behind may not take back what is held.
    fn rest(&self, ring: &Ring, upto: Position) -> Option<(Offset, Vec<v1::Publication>)> {
        let (after, head) = (self.start.after, self.head);
        let is_whole = self.gap.is_none()
            && self.start.epoch_change.is_none()
            && after.distance_to(head.offset) == self.count as u64;
        let is_within = after < upto.offset && upto.offset <= head.offset;
        if !is_whole || upto.epoch != head.epoch || !is_within {
            return None;
        }
        if upto.offset == head.offset {
            return Some((upto.offset, Vec::new()));
        }
        let max_bytes = limits::PAGE_BYTES - HELD_BYTES;
        let rest = ring.page(upto.offset, self.count, max_bytes)?;
        let bytes: usize = rest.iter().map(|publication| publication.payload.len()).sum();
        let reaches = rest.last().is_some_and(|last| last.offset == head.offset.0);
        let is_hidden = rest.iter().any(|later| hides(later).is_some());
        (reaches && bytes <= max_bytes && !is_hidden).then_some((upto.offset, rest))
    }

    /// Reads what is planned. What is gone by now, or was gone when the head did not say so yet, is
    /// named as a gap.
    async fn read(&mut self, flights: &Flights, key: ChannelKey) -> Result<Page, StorageError> {
        loop {
            let limit = PageLimit { records: self.count, payload_bytes: limits::PAGE_BYTES };
            match flights.read(key, self.start.after, limit).await {
                Err(ReadError::Trimmed { first }) if first > self.start.after.next() => {
                    self.begin_behind(Offset(first.0 - 1));
                }
                page => return Ok(page?),
            }
        }
    }

    /// Nothing up to this offset can be read.
    fn begin_behind(&mut self, trimmed: Offset) {
        let trimmed = trimmed.min(self.head.offset);
        let after = self.gap.map_or(self.start.after, |(after, _)| after);
        self.gap = Some((after, trimmed));
        self.start.after = trimmed;
        self.count = self.count.min(trimmed.distance_to(self.head.offset) as usize);
    }

    fn page(self, channel: String, publications: Vec<v1::Publication>) -> v1::Subscribed {
        let reached = publications.last().map_or(self.start.after.0, |last| last.offset);
        v1::Subscribed {
            gap: self.gap.map(|(after, upto)| v1::Gap {
                channel: channel.clone(),
                epoch: self.head.epoch.0,
                after_offset: after.0,
                upto_offset: upto.0,
            }),
            channel,
            position: Some(v1::Position { epoch: self.head.epoch.0, offset: reached }),
            publications,
            live: reached == self.head.offset.0,
            head_offset: self.head.offset.0,
            epoch_change: self.start.epoch_change,
            error: None,
        }
    }
}

async fn read_history(
    flights: &Flights,
    key: ChannelKey,
    name: &str,
    history: &v1::History,
    head: Option<Head>,
) -> Result<v1::HistoryPage, StorageError> {
    let end = head.as_ref().map_or(Position::EARLIEST, |head| head.position);
    let since: Position = history.since.unwrap_or_default().into();
    let max = (history.limit as usize).clamp(1, limits::PAGE_PUBLICATIONS);
    let mut page = v1::HistoryPage {
        channel: name.to_owned(),
        epoch: end.epoch.0,
        head_offset: end.offset.0,
        ..Default::default()
    };
    if history.backwards {
        let before = match since.offset {
            Offset::ZERO => end.offset.next(),
            offset => offset.min(end.offset.next()),
        };
        let oldest = recover::trimmed_upto(head.as_ref());
        page.publications = read_backwards(flights, key, name, (oldest, before), max).await?;
        page.more = page.publications.first().is_some_and(|first| first.offset > oldest.0 + 1);
        return Ok(page);
    }
    let start = recover::place(since, head.as_ref());
    let mut after = start.after.max(recover::trimmed_upto(head.as_ref()));
    page.publications = match read_forwards(flights, key, (after, end.offset), max).await {
        Err(ReadError::Trimmed { first }) => {
            after = Offset(first.0.saturating_sub(1)).max(after).min(end.offset);
            read_forwards(flights, key, (after, end.offset), max).await?
        }
        records => records?,
    }
    .iter()
    .map(|record| publication(name, record))
    .collect();
    let reached = page.publications.last().map_or(after.0, |last| last.offset);
    page.more = reached < end.offset.0;
    page.epoch_change = start.epoch_change;
    Ok(page)
}

/// The oldest publications after an offset, up to another one.
async fn read_forwards(
    flights: &Flights,
    key: ChannelKey,
    (after, end): (Offset, Offset),
    max: usize,
) -> Result<Page, ReadError> {
    let missing = after.distance_to(end);
    if missing == 0 {
        return Ok(Page::default());
    }
    let records = missing.min(max as u64) as usize;
    flights.read(key, after, PageLimit { records, payload_bytes: limits::PAGE_BYTES }).await
}

/// The newest publications between two offsets, both left out, oldest first. Read in small steps from the end, so
/// that the byte limit cuts off the old side.
async fn read_backwards(
    flights: &Flights,
    key: ChannelKey,
    name: &str,
    (mut oldest, before): (Offset, Offset),
    max: usize,
) -> Result<Vec<v1::Publication>, StorageError> {
    const STEP: u64 = 32;
    let mut newest_first: Vec<v1::Publication> = Vec::new();
    let mut bytes = 0;
    let mut end = before.0.saturating_sub(1);
    while end > oldest.0 && newest_first.len() < max {
        let step = STEP.min((max - newest_first.len()) as u64);
        let after = end.saturating_sub(step).max(oldest.0);
        let limit = PageLimit { records: (end - after) as usize, payload_bytes: usize::MAX };
        let step = match flights.read(key, Offset(after), limit).await {
            Ok(step) => step,
            // Older ones are gone.
            Err(ReadError::Trimmed { first }) if first.0 > end => break,
            Err(ReadError::Trimmed { first }) => {
                oldest = Offset(first.0.saturating_sub(1)).max(oldest);
                if oldest.0 == after {
                    break;
                }
                continue;
            }
            Err(ReadError::Storage(error)) => return Err(error),
        };
        for record in step.iter().rev() {
            bytes += record.body.payload.len();
            if bytes > limits::PAGE_BYTES && !newest_first.is_empty() {
                newest_first.reverse();
                return Ok(newest_first);
            }
            newest_first.push(publication(name, record));
        }
        end = after;
    }
    newest_first.reverse();
    Ok(newest_first)
}
