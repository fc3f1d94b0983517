//! Intents. An append leaves what it owes in its channel's partition, where it is of one piece with
//! the records. A hint in the slot's partition leads there, written before the append: where nothing
//! came of that, it leads nowhere. Whoever reads a slot's intents collects them first: each is given
//! the next number of its slot and written under it, with a mark that says from where it was taken, in
//! one conditional write of the slot's partition; then what it was taken from, the mark and the hint go
//! away, in this order.
//!
//! An intent is numbered once: the count of the slot is read first, then the marks, then what is owed,
//! and the write is conditional on that count. Whoever collected meanwhile has raised it. Whoever had
//! collected before has either left the mark, or has forgotten it after what it stood for was gone,
//! which the later look at what is owed does not find then.
//!
//! A hint names a head and the bucket it was in, so it is of use for one append, and never again when
//! the head has moved on. Therefore nothing that is deleted here is ever written anew, and a deletion
//! has the time of what it deletes, which no clock can get wrong.

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use scylla::value::CqlValue;
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{BoxFuture, Intent, IntentStore, PageLimit, StorageError};
use tokio::sync::{Mutex, MutexGuard};

use crate::ScyllaStore;
use crate::columns::{Value, big, bound, bytes, int, integer, key, limit, null, set, small};
use crate::cql::{Bound, Uncertain};
use crate::engine::{AT_ONCE, Engine, now_us};
use crate::failure::{corrupt, overtaken};
use crate::items;
use crate::tip::Look;

impl IntentStore for ScyllaStore {
    fn slots_with_intents(&self) -> BoxFuture<'_, Result<Vec<u16>, StorageError>> {
        self.engine.slots_with_intents().boxed()
    }

    fn intents(
        &self,
        slot: u16,
        after: u64,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Intent>, StorageError>> {
        async move {
            self.engine.collect(slot).await?;
            self.engine.page_of_intents(slot, after, limit).await
        }
        .boxed()
    }

    fn complete_intents(&self, slot: u16, upto: u64) -> BoxFuture<'_, Result<(), StorageError>> {
        self.engine.complete(slot, upto).boxed()
    }
}

/// Whose turn it is to collect in a slot: two of one process would only be in each other's way.
#[derive(Debug)]
pub(crate) struct Turns {
    slots: [Mutex<()>; TURNS],
}

impl Default for Turns {
    fn default() -> Self {
        Self { slots: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Turns {
    async fn wait(&self, slot: u16) -> MutexGuard<'_, ()> {
        self.slots[usize::from(slot) % TURNS].lock().await
    }
}

/// How far a slot's intents are numbered and completed.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    last: Option<i64>,
    completed: Option<i64>,
}

impl Counts {
    fn last(self) -> u64 {
        self.last.unwrap_or(0).cast_unsigned()
    }

    fn completed(self) -> u64 {
        self.completed.unwrap_or(0).cast_unsigned()
    }
}

fn compared(number: Option<i64>) -> Value {
    number.map_or(null(), |number| set(CqlValue::BigInt(number)))
}

/// What leads to the intents of one append.
#[derive(Debug, Clone)]
struct Hint {
    channel: ChannelKey,
    /// The newest record before the append.
    last: i64,
    bucket: i32,
    /// By the clock of whoever put it, in microseconds.
    put_at: i64,
}

impl Hint {
    /// The place of the append, if it took effect.
    fn offset(&self) -> i64 {
        self.last.saturating_add(1)
    }

    fn place(&self) -> CqlValue {
        let channel = CqlValue::Blob(self.channel.0.to_vec());
        CqlValue::Tuple(vec![Some(channel), Some(CqlValue::BigInt(self.offset()))])
    }
}

/// What one append owes.
#[derive(Debug)]
struct Owed {
    hint: Hint,
    items: Vec<Bytes>,
    /// By the clock of the core that appended it: says which of two channels was first.
    stamp: u64,
    written: i64,
    marked: Option<i64>,
}

/// What a look at some hints has found.
#[derive(Debug, Default)]
struct Found {
    owed: Vec<Owed>,
    /// Lead nowhere, now and ever.
    stale: Vec<Hint>,
}

impl Engine {
    /// Says that an append of this bucket, behind `last`, may leave something that is owed.
    pub(crate) async fn hint(
        &self,
        channel: ChannelKey,
        last: Offset,
        bucket: i32,
    ) -> Result<(), StorageError> {
        self.put_hint(channel.slot(), channel.0.to_vec(), last.0, bucket).await
    }

    async fn put_hint(
        &self,
        slot: u16,
        channel: Vec<u8>,
        number: u64,
        bucket: i32,
    ) -> Result<(), StorageError> {
        let at = now_us();
        let values = vec![small(slot), bytes(channel), big(number), int(bucket), big(at), big(at)];
        self.cql.write((&self.hints.put, values)).await
    }

    async fn slots_with_intents(&self) -> Result<Vec<u16>, StorageError> {
        let mut looks: Vec<BoxFuture<'_, Result<Option<u16>, StorageError>>> = Vec::new();
        for mut row in self.cql.rows("intent_hints", (&self.hints.slots, Vec::new())).await? {
            let slot = u16::try_from(row.integer()?).map_err(|_| row.damaged("its slot"))?;
            looks.push(async move { Ok(self.owes(slot).await?.then_some(slot)) }.boxed());
        }
        let found: Vec<Option<u16>> =
            stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await?;
        let mut slots: Vec<u16> = found.into_iter().flatten().collect();
        slots.sort_unstable();
        Ok(slots)
    }

    async fn owes(&self, slot: u16) -> Result<bool, StorageError> {
        let counts = self.counts(slot).await?;
        if counts.last() > counts.completed() {
            return Ok(true);
        }
        self.collect(slot).await?;
        let counts = self.counts(slot).await?;
        Ok(counts.last() > counts.completed())
    }

    async fn counts(&self, slot: u16) -> Result<Counts, StorageError> {
        let found = self.cql.rows("intents", (&self.owed.counts, vec![small(slot)])).await?;
        let Some(mut row) = found.into_iter().next() else { return Ok(Counts::default()) };
        Ok(Counts { last: row.optional(integer)?, completed: row.optional(integer)? })
    }

    /// Numbers whatever the slot's channels owe.
    async fn collect(&self, slot: u16) -> Result<(), StorageError> {
        let _turn = self.turns.wait(slot).await;
        let mut after = (Vec::new(), i64::MAX, i32::MAX);
        loop {
            let hints = self.hints(slot, after.clone()).await?;
            let complete = hints.len() < HINTS_PER_READ;
            let Some(last) = hints.last() else { return Ok(()) };
            after = (last.channel.0.to_vec(), last.last, last.bucket);
            self.collect_some(slot, &hints).await?;
            if complete {
                return Ok(());
            }
        }
    }

    /// Those of channels, behind one of them.
    async fn hints(
        &self,
        slot: u16,
        (channel, last, bucket): (Vec<u8>, i64, i32),
    ) -> Result<Vec<Hint>, StorageError> {
        let values = vec![
            small(slot),
            bytes(channel),
            set(CqlValue::BigInt(last)),
            int(bucket),
            limit(HINTS_PER_READ),
        ];
        let mut hints = Vec::new();
        for mut row in self.cql.rows("intent_hints", (&self.hints.page, values)).await? {
            hints.push(Hint {
                channel: row.channel()?,
                last: row.integer()?,
                bucket: row.int()?,
                put_at: row.integer()?,
            });
        }
        Ok(hints)
    }

    async fn collect_some(&self, slot: u16, hints: &[Hint]) -> Result<(), StorageError> {
        for _ in 0..=self.retries {
            // In this order: see the module.
            let counts = self.counts(slot).await?;
            let marks = self.marks(slot, hints).await?;
            let Found { mut owed, stale } = self.look(hints, &marks).await?;
            self.forget_hints(slot, &stale).await?;
            let (collected, mut left): (Vec<_>, Vec<_>) =
                owed.drain(..).partition(|one| one.marked.is_some());
            self.forget_collected(slot, &collected).await?;
            if left.is_empty() {
                return Ok(());
            }
            in_order(&mut left);
            self.number(slot, counts, &left).await?;
        }
        Err(overtaken("the collection of intents"))
    }

    /// When the marks of some hints were written; those that have none are missing.
    async fn marks(
        &self,
        slot: u16,
        hints: &[Hint],
    ) -> Result<Vec<(ChannelKey, i64, i64)>, StorageError> {
        let places = CqlValue::List(hints.iter().map(Hint::place).collect());
        let mut marks = Vec::new();
        let read = (&self.owed.marks, vec![small(slot), set(places)]);
        for mut row in self.cql.rows("intents", read).await? {
            marks.push((row.channel()?, row.integer()?, row.integer()?));
        }
        Ok(marks)
    }

    /// What the hints lead to. One that leads to the channel's end says nothing yet: its append may
    /// be on the way.
    async fn look(
        &self,
        hints: &[Hint],
        marks: &[(ChannelKey, i64, i64)],
    ) -> Result<Found, StorageError> {
        let by_channel = hints.chunk_by(|one, other| one.channel == other.channel);
        let looks: Vec<BoxFuture<'_, Result<Found, StorageError>>> =
            by_channel.map(|some| self.look_at(some, marks).boxed()).collect();
        let looks = stream::iter(looks).buffered(AT_ONCE);
        looks
            .try_fold(Found::default(), async |mut all, one| {
                all.owed.extend(one.owed);
                all.stale.extend(one.stale);
                Ok(all)
            })
            .await
    }

    async fn look_at(
        &self,
        hints: &[Hint],
        marks: &[(ChannelKey, i64, i64)],
    ) -> Result<Found, StorageError> {
        let mut found = Found::default();
        let Some(first) = hints.first() else { return Ok(found) };
        let tip = self.tip(first.channel, Look::Settled).await?;
        let end = tip.map_or(0, |tip| tip.head.position.offset.0.cast_signed());
        for hint in hints.iter().filter(|hint| hint.last < end) {
            let values =
                vec![key(hint.channel), int(hint.bucket), set(CqlValue::BigInt(hint.offset()))];
            let row = self.cql.rows("log", (&self.extras.intents, values)).await?;
            let Some(mut row) = row.into_iter().next() else {
                found.stale.push(hint.clone());
                continue;
            };
            let items = items::decode(row.bytes()?).ok_or_else(|| row.damaged("its intents"))?;
            let (stamp, written) = (row.bits()?, row.integer()?);
            let place = (hint.channel, hint.offset());
            let mark = marks.iter().find(|(channel, at, _)| (*channel, *at) == place);
            let marked = mark.map(|(_, _, written)| *written);
            found.owed.push(Owed { hint: hint.clone(), items, stamp, written, marked });
        }
        Ok(found)
    }

    /// Gives the next numbers to as much as one write may carry. Whether it did, the caller sees when
    /// it looks again.
    async fn number(&self, slot: u16, counts: Counts, owed: &[Owed]) -> Result<(), StorageError> {
        let mut last = counts.last();
        let mut carried = 0;
        let mut rows: Vec<Bound<'_>> = Vec::new();
        for (index, one) in owed.iter().enumerate() {
            carried += one.items.iter().map(Bytes::len).sum::<usize>();
            if index > 0 && carried > BYTES_PER_WRITE {
                break;
            }
            for payload in &one.items {
                last += 1;
                let values = vec![small(slot), bytes(Vec::new()), big(last), payload_of(payload)];
                rows.push((&self.owed.put, values));
            }
            let (channel, at) = (one.hint.channel, set(CqlValue::BigInt(one.hint.offset())));
            rows.push((&self.owed.put, vec![small(slot), key(channel), at, bytes(Vec::new())]));
        }
        // So that the slot is found when nothing else leads to it any more.
        self.put_hint(slot, Vec::new(), last, 0).await?;
        let raise = vec![big(last), small(slot), compared(counts.last)];
        let mut batch =
            vec![(&self.owed.raise_last, raise), (&self.owed.put_anchor, vec![small(slot)])];
        batch.extend(rows);
        match self.cql.decide(batch).await {
            Ok(_) | Err(Uncertain::Unknown(_)) => Ok(()),
            Err(error) => Err(error.harmless()),
        }
    }

    /// Of what has its number: where it was taken from, then the mark, then what led there.
    async fn forget_collected(&self, slot: u16, owed: &[Owed]) -> Result<(), StorageError> {
        let mut hints = Vec::with_capacity(owed.len());
        let mut marks = Vec::with_capacity(owed.len());
        for one in owed {
            let at = || set(CqlValue::BigInt(one.hint.offset()));
            let written = set(CqlValue::BigInt(one.written));
            let values = vec![written, key(one.hint.channel), int(one.hint.bucket), at()];
            self.cql.write((&self.extras.forget_intents, values)).await?;
            if let Some(marked) = one.marked {
                let marked = set(CqlValue::BigInt(marked));
                let values = vec![marked, small(slot), key(one.hint.channel), at()];
                marks.push((&self.owed.forget_mark, values));
            }
            hints.push(one.hint.clone());
        }
        if !marks.is_empty() {
            self.cql.write_all(marks).await?;
        }
        self.forget_hints(slot, &hints).await
    }

    async fn forget_hints(&self, slot: u16, hints: &[Hint]) -> Result<(), StorageError> {
        if hints.is_empty() {
            return Ok(());
        }
        let number = |number| set(CqlValue::BigInt(number));
        let forget = hints.iter().map(|hint| {
            let (at, last) = (number(hint.put_at), number(hint.last));
            let values = vec![at, small(slot), key(hint.channel), last, int(hint.bucket)];
            (&self.hints.forget, values)
        });
        self.cql.write_all(forget.collect()).await
    }

    async fn page_of_intents(
        &self,
        slot: u16,
        after: u64,
        wish: PageLimit,
    ) -> Result<Vec<Intent>, StorageError> {
        for _ in 0..=self.retries {
            let counts = self.counts(slot).await?;
            let start = after.max(counts.completed());
            if start >= counts.last() {
                return Ok(Vec::new());
            }
            let page = self.intents_after(slot, start, counts.last(), wish).await?;
            if !page.is_empty() {
                return Ok(page);
            }
            // Completed meanwhile, or lost.
            if self.counts(slot).await?.completed() <= start {
                return Err(corrupt(format!("the intent behind number {start} is missing")));
            }
        }
        Err(overtaken("a page of intents"))
    }

    /// Those behind a number, up to another, for as long as there is no hole.
    async fn intents_after(
        &self,
        slot: u16,
        start: u64,
        last: u64,
        wish: PageLimit,
    ) -> Result<Vec<Intent>, StorageError> {
        let most = wish.records.clamp(1, INTENTS_PER_PAGE);
        let values = vec![small(slot), bound(start), limit(most)];
        let mut room = wish.start();
        let mut page: Vec<Intent> = Vec::new();
        for mut row in self.cql.rows("intents", (&self.owed.page, values)).await? {
            let (number, payload) = (row.bits()?, row.bytes()?);
            let follows = page.last().map_or(start, |intent| intent.number) + 1;
            if number != follows || number > last || !room.take(payload.len()) {
                break;
            }
            page.push(Intent { slot, number, payload });
        }
        Ok(page)
    }

    async fn complete(&self, slot: u16, upto: u64) -> Result<(), StorageError> {
        for _ in 0..=self.retries {
            let counts = self.counts(slot).await?;
            let upto = upto.min(counts.last());
            if upto <= counts.completed() {
                // What an earlier call was cut off from.
                return self.forget_completed(slot, counts.completed()).await;
            }
            let raise =
                vec![big(upto), small(slot), compared(counts.last), compared(counts.completed)];
            match self.cql.decide(vec![(&self.owed.raise_completed, raise)]).await {
                Ok(_) | Err(Uncertain::Unknown(_)) => {}
                Err(error) => return Err(error.harmless()),
            }
        }
        Err(overtaken("the completion of intents"))
    }

    /// Deletes what is completed, with the time at which the newest of it was written.
    async fn forget_completed(&self, slot: u16, completed: u64) -> Result<(), StorageError> {
        if completed == 0 {
            return Ok(());
        }
        let values = vec![small(slot), bound(completed)];
        let found = self.cql.rows("intents", (&self.owed.written, values.clone())).await?;
        let Some(mut row) = found.into_iter().next() else { return Ok(()) };
        let mut forget = vec![set(CqlValue::BigInt(row.integer()?))];
        forget.extend(values);
        self.cql.write((&self.owed.forget, forget)).await?;
        let values = vec![small(slot), bound(completed)];
        self.cql.write((&self.hints.forget_of_slot, values)).await
    }
}

/// By time; and what a channel owes in the order of its log, whatever the clocks of its owners said.
fn in_order(owed: &mut [Owed]) {
    owed.sort_by_key(|one| (one.hint.channel, one.hint.last));
    for index in 1..owed.len() {
        if owed[index].hint.channel == owed[index - 1].hint.channel {
            owed[index].stamp = owed[index].stamp.max(owed[index - 1].stamp);
        }
    }
    owed.sort_by_key(|one| one.stamp);
}

fn payload_of(payload: &Bytes) -> Value {
    bytes(payload.to_vec())
}

/// Slots that share a turn are rarely busy at once.
const TURNS: usize = 64;

/// Appends whose intents are collected together.
const HINTS_PER_READ: usize = 100;

/// Payload in one conditional write, beyond the first append's.
const BYTES_PER_WRITE: usize = 256 << 10;

/// Most intents in one page, whatever is asked for; the next page has the rest.
const INTENTS_PER_PAGE: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn owed(channel: u8, last: i64, stamp: u64) -> Owed {
        let hint = Hint { channel: ChannelKey([channel; 16]), last, bucket: 0, put_at: 0 };
        Owed { hint, items: Vec::new(), stamp, written: 0, marked: None }
    }

    #[test]
    fn intents_follow_time_between_channels_and_the_log_within_one() {
        // The clock of channel 1's second owner is behind.
        let mut all = [owed(1, 9, 20), owed(2, 4, 45), owed(1, 3, 50), owed(3, 0, 10)];
        in_order(&mut all);
        let order = all.map(|one| (one.hint.channel.0[0], one.hint.last));
        assert_eq!(order, [(3, 0), (2, 4), (1, 3), (1, 9)]);
    }
}
