//! The commit of one append: a conditional batch in the channel's newest bucket. See the crate's
//! documentation for why it is safe.

use sterna_proto::{ChannelKey, Offset, Position};
use sterna_storage::sequence::{self, Sequenced, sequence, sequence_epoch};
use sterna_storage::{Adoption, Append, AppendError, Head, MembershipChange, NewRecord};

use crate::columns::{Values, big, bytes, int, key};
use crate::cql::{Bound, Uncertain};
use crate::engine::{Engine, now_us};
use crate::failure::{overtaken, unknown};
use crate::items;
use crate::tip::{Look, Tip};
use crate::{members, origins, records};

/// What a caller wants of one channel.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Append(Append),
    OpenEpoch { channel: ChannelKey, expected: Position, marker: NewRecord },
    Adopt(Adoption),
}

pub(crate) type Verdict = Result<Head, AppendError>;

impl Change {
    fn channel(&self) -> ChannelKey {
        match self {
            Self::Append(append) => append.channel,
            Self::OpenEpoch { channel, .. } => *channel,
            Self::Adopt(adoption) => adoption.channel,
        }
    }

    fn expected(&self) -> Option<Position> {
        match self {
            Self::Append(append) => append.expected,
            Self::OpenEpoch { expected, .. } => Some(*expected),
            Self::Adopt(_) => None,
        }
    }

    fn records(&self) -> &[NewRecord] {
        match self {
            Self::Append(append) => &append.records,
            Self::OpenEpoch { marker, .. } => std::slice::from_ref(marker),
            Self::Adopt(adoption) => std::slice::from_ref(&adoption.marker),
        }
    }

    fn intents(&self) -> &[bytes::Bytes] {
        if let Self::Append(append) = self { &append.intents } else { &[] }
    }

    fn members(&self) -> &[MembershipChange] {
        match self {
            Self::Append(append) => &append.members,
            Self::OpenEpoch { .. } => &[],
            Self::Adopt(adoption) => &adoption.members,
        }
    }
}

/// What one attempt came to.
enum Attempt {
    Done(Head),
    /// Somebody has changed the head, or the bucket was full: look again.
    Again,
}

impl Engine {
    /// Commits one change. `order` says where it stands in its call.
    pub(crate) async fn commit(&self, change: Change, order: u64) -> Verdict {
        self.check_open()?;
        let stamp = now_us().saturating_add(order);
        for _ in 0..=self.retries {
            match self.attempt(&change, stamp).await? {
                Attempt::Done(head) => {
                    metrics::counter!("sterna_storage_scylla_commits_total").increment(1);
                    if let Some(changed) = self.changed_by(&change, &head) {
                        self.apply_early(change.channel(), changed).await;
                    }
                    return Ok(head);
                }
                Attempt::Again => {}
            }
        }
        Err(overtaken("an append").into())
    }

    async fn attempt(&self, change: &Change, stamp: u64) -> Result<Attempt, AppendError> {
        let channel = change.channel();
        let tip = self.tip(channel, Look::Settled).await?;
        // Before anything is prepared for it; what follows compares again, at the commit.
        let head = tip.as_ref().map(|tip| &tip.head);
        if change.expected() != head.map(|head| head.position) {
            metrics::counter!("sterna_storage_scylla_conflicts_total").increment(1);
            return Err(AppendError::Conflict { head: head.cloned() });
        }
        if let Some(tip) = &tip
            && (tip.sealed || self.is_full(tip))
        {
            self.roll(channel, tip).await?;
            return Ok(Attempt::Again);
        }
        let sequenced = self.place(change, tip.as_ref()).await?;
        self.announce(change, tip.as_ref()).await?;
        let tag: u64 = rand::random();
        let batch = self.batch(change, tip.as_ref(), &sequenced, stamp, tag);
        match self.cql.decide(batch).await {
            Ok(true) => Ok(Attempt::Done(sequenced.head)),
            Ok(false) if self.is_ours(channel, tip.as_ref(), &sequenced, tag).await? => {
                Ok(Attempt::Done(sequenced.head))
            }
            Ok(false) => Ok(Attempt::Again),
            Err(Uncertain::Refused(error)) => Err(error.into()),
            Err(Uncertain::Unknown(error)) => Err(unknown(error).into()),
        }
    }

    /// The record with changes of members, if there are any.
    fn changed_by(&self, change: &Change, head: &Head) -> Option<Offset> {
        let records = change.records().len() as u64;
        let first = Offset(head.position.offset.0.saturating_sub(records).saturating_add(1));
        (!change.members().is_empty()).then_some(first)
    }

    fn is_full(&self, tip: &Tip) -> bool {
        let records = (tip.head.position.offset.0 + 1).saturating_sub(tip.base.0);
        records >= self.bucket_records || tip.bytes >= self.bucket_bytes
    }

    /// Decides, from what is stored, at which places the records would be.
    async fn place(&self, change: &Change, tip: Option<&Tip>) -> Result<Sequenced, AppendError> {
        let stored = match tip {
            Some(tip) => {
                let origins = change.records().iter().filter_map(|record| record.origin.as_ref());
                self.stored(change.channel(), tip, origins.collect()).await?
            }
            None => origins::Stored::default(),
        };
        let head = tip.map(|tip| &tip.head);
        let find = |origin: &_| Ok(stored.get(origin).cloned());
        match change.clone() {
            Change::Append(append) => sequence(append, head, self.birth, find),
            Change::OpenEpoch { expected, marker, .. } => {
                sequence_epoch(expected, marker, head, find)
            }
            Change::Adopt(adoption) => sequence::adopt(adoption, head),
        }
    }

    /// Writes what leads to the append once it has taken effect, and leads nowhere if it does not.
    async fn announce(&self, change: &Change, tip: Option<&Tip>) -> Result<(), AppendError> {
        let channel = change.channel();
        if tip.is_none() {
            let values = vec![crate::columns::small(channel.slot()), key(channel)];
            self.cql.write((&self.lists.put_slot_channel, values)).await?;
        }
        if !change.intents().is_empty() {
            let last = tip.map_or(Offset::ZERO, |tip| tip.head.position.offset);
            self.hint(channel, last, tip.map_or(0, |tip| tip.bucket)).await?;
        }
        Ok(())
    }

    /// The statements of the append: the condition with the new head, then all that comes with it.
    fn batch<'a>(
        &'a self,
        change: &Change,
        tip: Option<&Tip>,
        sequenced: &Sequenced,
        stamp: u64,
        tag: u64,
    ) -> Vec<Bound<'a>> {
        let channel = change.channel();
        let place = place_of(channel, tip);
        let at = sequenced.records.first().map_or(Offset::ZERO, |record| record.position.offset);
        let mut batch = Vec::with_capacity(2 * sequenced.records.len() + 3);
        batch.push(self.head_of(change, tip, sequenced, at));
        if tip.is_none() {
            batch.push((&self.heads.put_anchor, place.clone()));
        }
        for (index, record) in sequenced.records.iter().enumerate() {
            let tag = (index == 0).then_some(tag);
            batch.push((&self.rows.put_record, records::encode(&place, record, tag)));
            if let Some(values) = origins::encode(&place, record) {
                batch.push((&self.rows.put_origin, values));
            }
        }
        let mut put = |statement, items: Vec<u8>, last: u64| {
            let mut values = place.clone();
            values.extend([big(at.0), bytes(items), big(last)]);
            batch.push((statement, values));
        };
        if !change.members().is_empty() {
            let previous = tip.map_or(0, |tip| tip.changed.0);
            put(&self.extras.put_members, members::encode(change.members()), previous);
        }
        if !change.intents().is_empty() {
            put(&self.extras.put_intents, items::encode(change.intents()), stamp);
        }
        batch
    }

    /// The statement that compares and sets the head.
    fn head_of<'a>(
        &'a self,
        change: &Change,
        tip: Option<&Tip>,
        sequenced: &Sequenced,
        at: Offset,
    ) -> Bound<'a> {
        let channel = change.channel();
        let head = sequenced.head.clone();
        let added = change.records().iter().map(|record| record.payload.len() as u64).sum::<u64>();
        let changes = !change.members().is_empty();
        let changed = if changes { at } else { tip.map_or(Offset::ZERO, |tip| tip.changed) };
        let Some(tip) = tip else {
            // The first record's: of an adopted channel the ones before lie elsewhere.
            let (base, bytes) = (at, added);
            let first = Tip { bucket: 0, base, head, changed, bytes, sealed: false };
            return (&self.heads.begin, first.beginning(channel));
        };
        let mut values = vec![
            big(head.position.offset.0),
            big(head.position.epoch.0),
            big(head.last_ts_ms),
            bytes(crate::tip::encode_epochs(&head.epochs)),
            big(changed.0),
            big(tip.bytes.saturating_add(added)),
        ];
        values.extend(tip.unchanged(channel));
        (&self.heads.advance, values)
    }

    /// Whether the append took effect although its condition is said not to have held: a node may
    /// have proposed it, lost its ballot, and been asked again when another had finished it.
    async fn is_ours(
        &self,
        channel: ChannelKey,
        tip: Option<&Tip>,
        sequenced: &Sequenced,
        tag: u64,
    ) -> Result<bool, AppendError> {
        let Some(first) = sequenced.records.first() else { return Ok(false) };
        let offset = first.position.offset;
        // Settles what is under way, so that the row is there if it ever will be.
        self.tip(channel, Look::Settled).await?;
        let mut values = place_of(channel, tip);
        values.push(big(offset.0));
        let found = self.cql.rows("log", (&self.rows.tag, values)).await?;
        let Some(mut row) = found.into_iter().next() else { return Ok(false) };
        Ok(row.optional(crate::columns::integer)? == Some(tag.cast_signed()))
    }
}

/// The keys of the bucket that an append goes to.
fn place_of(channel: ChannelKey, tip: Option<&Tip>) -> Values {
    vec![key(channel), int(tip.map_or(0, |tip| tip.bucket))]
}
