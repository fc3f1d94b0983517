//! A pass that is cut goes on where it was cut, whoever goes on.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sterna_proto::ChannelKey;
use sterna_storage::{BoxFuture, Head, LogLayer, PublicationLog, StorageError};
use sterna_storage_archive::{ArchiveConfig, Archiver, Tiers, status};
use support::{Bed, OLD, eager, key};

/// Counts how often each slot is gone over.
#[derive(Debug)]
struct Counting {
    inner: Arc<dyn PublicationLog>,
    slots: Mutex<BTreeMap<u16, usize>>,
}

impl Counting {
    /// In front of a bed's log.
    fn before(bed: &mut Bed) -> Arc<Self> {
        let counting = Self { inner: bed.tiers.log.clone(), slots: Mutex::default() };
        let counting = Arc::new(counting);
        bed.tiers = Tiers { log: counting.clone(), ..bed.tiers.clone() };
        counting
    }

    fn visits(&self) -> BTreeMap<u16, usize> {
        std::mem::take(&mut *self.slots.lock().unwrap())
    }
}

impl LogLayer for Counting {
    fn behind(&self) -> &dyn PublicationLog {
        &*self.inner
    }

    fn slot_heads(
        &self,
        slot: u16,
        after: Option<ChannelKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(ChannelKey, Head)>, StorageError>> {
        if after.is_none() {
            *self.slots.lock().unwrap().entry(slot).or_default() += 1;
        }
        self.inner.slot_heads(slot, after, limit)
    }
}

fn node(bed: &Bed, number: u64) -> Archiver {
    bed.archiver(ArchiveConfig { records_per_second: 1, order: number, ..eager() })
}

#[tokio::test(start_paused = true)]
async fn turns_that_are_cut_go_over_every_slot_and_over_none_for_nothing() {
    for seed in 0..10 {
        let mut bed = Bed::new();
        for n in 0..60 {
            bed.publish(&format!("room:{n}"), 3, OLD).await;
        }
        let counting = Counting::before(&mut bed);
        let mut chance = StdRng::seed_from_u64(seed);
        let mut cuts = 0;
        // Each is another process: it knows what the store knows.
        loop {
            let patience = Duration::from_millis(chance.random_range(0..60_000));
            let mut archiver = node(&bed, chance.random_range(0..2));
            match tokio::time::timeout(patience, archiver.turn(|_| true, |_, _, _| {})).await {
                Ok(turn) => {
                    turn.unwrap();
                    break;
                }
                Err(_) => cuts += 1,
            }
        }
        let visits = counting.visits();
        assert_eq!(visits.len(), 2048, "every slot");
        let more: usize = visits.values().map(|visits| visits - 1).sum();
        assert!(cuts > 0 && more <= cuts * 32, "{cuts} cuts, {more} looks for nothing");
        assert_eq!(status(&bed.tiers).await.unwrap().records, 180);
        let turn = node(&bed, 0).turn(|_| true, |_, _, _| {}).await.unwrap();
        assert_eq!((turn.slots, counting.visits().len()), (0, 0), "none is due");
        let every = ArchiveConfig::default().every;
        assert!(turn.next > every / 2 && turn.next <= every, "{:?}", turn.next);
    }
}

#[tokio::test]
async fn what_is_due_again_is_gone_over_again_and_what_is_new_at_once() {
    let mut bed = Bed::new();
    let counting = Counting::before(&mut bed);
    let every = Duration::from_millis(50);
    let mut archiver = bed.archiver(ArchiveConfig { every, ..eager() });
    let mine = |slot: u16| slot < 40;
    assert_eq!(archiver.turn(mine, |_, _, _| {}).await.unwrap().slots, 40);
    let mut patient = bed.archiver(eager());
    let more = patient.turn(|slot| slot < 100, |_, _, _| {}).await.unwrap();
    assert_eq!(more.slots, 60, "what another node had done is left");
    counting.visits();
    tokio::time::sleep(every).await;
    assert_eq!(archiver.turn(mine, |_, _, _| {}).await.unwrap().slots, 40);
    assert_eq!(counting.visits().into_keys().collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_turn_archives_puts_together_and_collects() {
    for compact in [true, false] {
        let bed = Bed::new();
        let config = ArchiveConfig { every: Duration::ZERO, compact, ..eager() };
        let mut archiver = bed.archiver(config);
        let slot = key("room").slot();
        let first = slot / 32 * 32;
        let mut replaced = 0;
        for _ in 0..9 {
            bed.publish("room", 2, OLD).await;
            let turn = archiver.turn(|it| it == slot || it == first, |_, _, _| {}).await.unwrap();
            assert_eq!(turn.passed.records, 2);
            replaced += turn.compacted.replaced;
            assert_eq!(turn.collected.replaced, turn.compacted.replaced);
        }
        let status = status(&bed.tiers).await.unwrap();
        assert_eq!((replaced, status.segments), if compact { (8, 2) } else { (0, 9) });
        assert_eq!(bed.segments.keys().len() as u64, status.segments);
    }
    // Who owns other slots of a shard leaves its segments alone.
    let bed = Bed::new();
    let mut archiver = bed.archiver(ArchiveConfig { every: Duration::ZERO, ..eager() });
    let slot = key("room").slot();
    assert_ne!(slot % 32, 0);
    for _ in 0..9 {
        bed.publish("room", 2, OLD).await;
        let turn = archiver.turn(|it| it == slot, |_, _, _| {}).await.unwrap();
        assert_eq!(turn.compacted.replaced, 0);
    }
}

#[tokio::test]
async fn nodes_have_orders_of_their_own() {
    let bed = Bed::new();
    let mut orders = Vec::new();
    for number in [1, 1, 2] {
        let every = Duration::ZERO;
        let config = ArchiveConfig { every, order: number, ..eager() };
        let mut archiver = bed.archiver(config);
        let mut order = Vec::new();
        let mut slots = 0;
        // One slot of each shard, so that what a turn has done says which shard it was.
        let seen = Mutex::new(Vec::new());
        let owns = |slot: u16| {
            if slot.is_multiple_of(32) {
                seen.lock().unwrap().push(slot / 32);
            }
            slot.is_multiple_of(32)
        };
        archiver.turn(owns, |_, _, turn| slots = turn.slots).await.unwrap();
        order.append(&mut seen.lock().unwrap());
        assert_eq!(slots, 64);
        orders.push(order);
    }
    assert_ne!(orders[0], orders[2]);
    // Unless it became another day in between.
    let mut sorted = orders[0].clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..64).collect::<Vec<_>>());
    assert_ne!(orders[0], sorted);
}
