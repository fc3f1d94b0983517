//! What the records of a channel say: its epochs, its members, its newest times and ids; and whether
//! runs that do not count agree with those that do.

use std::collections::BTreeMap;

use prost::Message as _;
use sterna_proto::v1::{Member, PublicationKind, Role};
use sterna_proto::{ChannelKey, Offset, UserId};
use sterna_storage::{
    EpochStart, Membership, MembershipChange, PageLimit, Record, RunAt, SegmentKey, Segments,
    StorageError,
};

use super::{ChannelPlan, Piece};
use crate::archiver::unix_now_ms;
use crate::chain::{Settled, Tail};
use crate::corrupt;

/// What a channel's records come to.
#[derive(Debug)]
pub(super) struct Replayed {
    pub(super) plan: ChannelPlan,
    pub(super) records: u64,
    /// Milliseconds of the highest id.
    pub(super) highest_id_ms: u64,
    pub(super) sealed: u64,
    pub(super) redactions: u64,
}

/// Reads a chain from its oldest record to its newest.
pub(super) async fn replay(
    segments: &dyn Segments,
    channel: ChannelKey,
    chain: &[Piece],
) -> Result<Replayed, StorageError> {
    let (Some(oldest), Some(newest)) = (chain.first(), chain.last()) else {
        return Err(corrupt(format!("{channel:?}: a chain has runs")));
    };
    let mut found = Found::default();
    for piece in chain {
        let mut reader = Reader::new(segments, channel, piece);
        while let Some(page) = reader.next().await? {
            page.iter().try_for_each(|record| found.note(channel, record))?;
        }
    }
    let last = found.last.as_ref().map(|record| record.position);
    let last = last.ok_or_else(|| corrupt(format!("{channel:?}: its runs are empty")))?;
    let members = found.members.into_values().filter(|change| change.role().is_some()).collect();
    let plan = ChannelPlan {
        channel,
        tail: tail(chain, oldest, newest),
        last,
        last_ts_ms: found.last_ts_ms,
        epochs: found.epochs,
        members,
    };
    let records = newest.at.last.0 - oldest.at.first.0 + 1;
    let highest_id_ms = found.highest_id >> ID_BITS_BELOW_MS;
    let (sealed, redactions) = (found.sealed, found.redactions);
    Ok(Replayed { plan, records, highest_id_ms, sealed, redactions })
}

/// How far the channel is archived. Nothing of it lies in the log.
fn tail(chain: &[Piece], oldest: &Piece, newest: &Piece) -> Tail {
    let jump_of = |at: RunAt| {
        let piece = chain.iter().find(|piece| covers(piece, &at));
        // What a run before a gap jumps to is gone; the links of later runs begin anew.
        piece.and_then(|piece| piece.run.links.jump).filter(|jump| jump.first >= oldest.at.first)
    };
    let at = newest.at;
    let jump = jump_of(at).unwrap_or(at);
    let leap = jump_of(jump).unwrap_or(jump);
    let settled = Settled { upto: at.last, waiting: at.last, since_ms: unix_now_ms() };
    Tail { first: oldest.at.first, floor: Offset::ZERO, at, jump, leap, settled }
}

/// Whether what was in a run is in this one.
fn covers(piece: &Piece, run: &RunAt) -> bool {
    piece.at.first <= run.first && run.last <= piece.at.last
}

/// Segments that are gone and that the links of a chain name, with those that hold what they held.
pub(super) fn replaced(chain: &[Piece]) -> Vec<(SegmentKey, SegmentKey)> {
    let links = chain.iter().flat_map(|piece| [piece.run.links.back, piece.run.links.jump]);
    let holder = |link: RunAt| {
        let exact = chain.iter().any(|piece| piece.at.segment == link.segment);
        let piece = chain.iter().find(|piece| !exact && covers(piece, &link))?;
        Some((link.segment, piece.at.segment))
    };
    links.flatten().filter_map(holder).collect()
}

/// What was read so far.
#[derive(Debug, Default)]
struct Found {
    last: Option<Record>,
    last_ts_ms: u64,
    highest_id: u64,
    epochs: Vec<EpochStart>,
    /// The last change of each user.
    members: BTreeMap<UserId, MembershipChange>,
    sealed: u64,
    redactions: u64,
}

impl Found {
    fn note(&mut self, channel: ChannelKey, record: &Record) -> Result<(), StorageError> {
        let position = record.position;
        let epoch = self.epochs.last().map(|start| start.epoch);
        if epoch.is_some_and(|epoch| epoch > position.epoch) {
            return Err(corrupt(format!("{channel:?}: {position} comes after {epoch:?}")));
        }
        let is_marker = record.body.kind == PublicationKind::Epoch as i32;
        if epoch.is_some_and(|epoch| epoch != position.epoch) && !is_marker {
            return Err(corrupt(format!("{channel:?}: no marker opens the epoch of {position}")));
        }
        if epoch != Some(position.epoch) {
            self.epochs.push(EpochStart { epoch: position.epoch, first: position.offset });
        }
        self.last_ts_ms = self.last_ts_ms.max(record.body.server_ts_ms);
        self.highest_id = self.highest_id.max(record.body.id.0);
        self.redactions += u64::from(record.body.kind == PublicationKind::Redaction as i32);
        self.sealed += u64::from(record.key != 0);
        // What is sealed nobody can read without the database that is lost.
        if record.body.kind == PublicationKind::Membership as i32 && record.key == 0 {
            let change = member_change(record)
                .ok_or_else(|| corrupt(format!("{channel:?}: {position} names no member")))?;
            self.members.insert(change.user().clone(), change);
        }
        self.last = Some(record.clone());
        Ok(())
    }
}

/// What a record says of a member: without a role it was removed.
fn member_change(record: &Record) -> Option<MembershipChange> {
    let member = Member::decode(record.body.payload.clone()).ok()?;
    let user = UserId::new(&member.user).ok()?;
    Some(match member.role() {
        Role::Unspecified => MembershipChange::Removed(user),
        role => {
            let since_ms = record.body.server_ts_ms;
            MembershipChange::Set(Membership { user, role, since_ms })
        }
    })
}

/// Compares runs that do not count with the chain, wherever both are of one epoch; what differs, in
/// words.
pub(super) async fn compare(
    segments: &dyn Segments,
    channel: ChannelKey,
    chain: &[Piece],
    spare: &[Piece],
) -> Result<Option<String>, StorageError> {
    for piece in spare {
        let mut reader = Reader::new(segments, channel, piece);
        while let Some(page) = reader.next().await? {
            if let Some(differs) = differing(segments, channel, chain, &page).await? {
                return Ok(Some(format!(
                    "offset {} is one record in {:?} and another in {:?}",
                    differs.0.0, piece.at.segment, differs.1.segment
                )));
            }
        }
    }
    Ok(None)
}

/// The first record of a page that the chain has in the same epoch and otherwise, and in which run.
async fn differing(
    segments: &dyn Segments,
    channel: ChannelKey,
    chain: &[Piece],
    page: &[Record],
) -> Result<Option<(Offset, RunAt)>, StorageError> {
    let mut rest = page;
    while let Some(first) = rest.first() {
        let offset = first.position.offset;
        let at = chain.partition_point(|piece| piece.at.last < offset);
        let Some(piece) = chain.get(at).filter(|piece| piece.at.first <= offset) else {
            rest = &rest[1..];
            continue;
        };
        let before = Offset(offset.0.saturating_sub(1));
        let limit = PageLimit { records: rest.len(), payload_bytes: PAGE.payload_bytes };
        let counted = segments.read(piece.at.segment, channel, before, limit).await?;
        for (record, counted) in rest.iter().zip(&counted) {
            if record.position.epoch == counted.position.epoch && record != counted {
                return Ok(Some((record.position.offset, piece.at)));
            }
        }
        if counted.is_empty() {
            return Err(corrupt(format!("{:?} does not hold offset {}", piece.at, offset.0)));
        }
        rest = &rest[counted.len().min(rest.len())..];
    }
    Ok(None)
}

/// A run from its beginning to its end.
struct Reader<'a> {
    segments: &'a dyn Segments,
    channel: ChannelKey,
    at: RunAt,
    after: Offset,
}

impl<'a> Reader<'a> {
    fn new(segments: &'a dyn Segments, channel: ChannelKey, piece: &Piece) -> Self {
        let after = Offset(piece.at.first.0.saturating_sub(1));
        Self { segments, channel, at: piece.at, after }
    }

    /// The next records, which follow each other; `None` behind the last.
    async fn next(&mut self) -> Result<Option<Vec<Record>>, StorageError> {
        if self.after >= self.at.last {
            return Ok(None);
        }
        let page = self.segments.read(self.at.segment, self.channel, self.after, PAGE).await?;
        for record in &page {
            if record.position.offset != self.after.next() {
                let offset = record.position.offset.0;
                return Err(corrupt(format!("{:?}: {offset} after {}", self.at, self.after.0)));
            }
            self.after = record.position.offset;
        }
        if page.is_empty() || self.after > self.at.last {
            return Err(corrupt(format!("{:?} ends at offset {}", self.at, self.after.0)));
        }
        Ok(Some(page))
    }
}

/// Of an id: worker and count.
pub(super) const ID_BITS_BELOW_MS: u32 = 22;

const PAGE: PageLimit = PageLimit { records: 500, payload_bytes: 1 << 20 };
