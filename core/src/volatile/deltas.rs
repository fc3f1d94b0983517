//! What owners have to say about presence to those that may come after them: gathered for a moment,
//! the newest of each session, and written as one delta for each partition. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use prost::Message as _;
use sterna_proto::ChannelKey;
use sterna_proto::link::v1 as wire;
use sterna_storage::volatile::{DELTAS_KEPT, Partition, Partitions};

/// Changes that wait to be written. Full: those of the partition are forgotten, and its owners say
/// everything again.
pub const PRESENCE_CHANGES: usize = 16_384;

/// Changes in one delta.
const CHANGES_PER_DELTA: usize = 256;

/// Deltas after which everything is said again, so that what is kept always holds all of it.
const SNAPSHOT_EVERY: u32 = DELTAS_KEPT as u32 / 2;

#[derive(Debug, Default)]
pub struct Deltas {
    pending: HashMap<Partition, Changes>,
    count: usize,
    /// Deltas since everything was said.
    written: HashMap<Partition, u32>,
    incomplete: HashSet<Partition>,
}

/// By channel and session.
type Changes = BTreeMap<(Bytes, Bytes), wire::Present>;

impl Deltas {
    pub fn note(&mut self, partitions: Partitions, change: wire::Present) {
        let Ok(channel) = <[u8; 16]>::try_from(&change.channel[..]) else { return };
        let partition = partitions.of_channel(ChannelKey(channel));
        if self.count >= PRESENCE_CHANGES {
            let forgotten = self.pending.remove(&partition).map_or(0, |changes| changes.len());
            self.count -= forgotten;
            self.incomplete.insert(partition);
            metrics::counter!("sterna_core_presence_changes_dropped_total").increment(1);
            return;
        }
        let changes = self.pending.entry(partition).or_default();
        let key = (change.channel.clone(), change.session.clone());
        if changes.insert(key, change).is_none() {
            self.count += 1;
        }
    }

    /// What is to be written, in its order.
    pub fn take(&mut self) -> Vec<(Partition, Bytes)> {
        self.count = 0;
        let mut deltas = Vec::new();
        for (partition, changes) in std::mem::take(&mut self.pending) {
            let mut changes = changes.into_values().peekable();
            while changes.peek().is_some() {
                let changes = changes.by_ref().take(CHANGES_PER_DELTA).collect();
                let delta = wire::PresenceDelta { changes };
                deltas.push((partition, delta.encode_to_vec().into()));
            }
        }
        deltas
    }

    pub fn on_written(&mut self, partition: Partition, is_done: bool) {
        let written = self.written.entry(partition).or_default();
        *written += 1;
        if !is_done || *written >= SNAPSHOT_EVERY {
            *written = 0;
            self.incomplete.insert(partition);
        }
    }

    /// What was written there is gone.
    pub fn on_lost(&mut self, partition: Partition) {
        self.incomplete.insert(partition);
    }

    pub fn take_incomplete(&mut self) -> HashSet<Partition> {
        std::mem::take(&mut self.incomplete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(channel: u8, session: u8, turn: u64) -> wire::Present {
        let (channel, session) = (vec![channel; 16].into(), vec![session; 16].into());
        wire::Present { channel, session, turn, ..Default::default() }
    }

    #[test]
    fn the_newest_of_each_session_is_written_once() {
        let (mut deltas, partitions) = (Deltas::default(), Partitions::new(1));
        (1..=9).for_each(|turn| deltas.note(partitions, change(1, 1, turn)));
        deltas.note(partitions, change(1, 2, 1));
        let taken = deltas.take();
        assert_eq!(taken.len(), 1);
        let delta = wire::PresenceDelta::decode(taken[0].1.clone()).unwrap();
        assert_eq!(delta.changes, [change(1, 1, 9), change(1, 2, 1)]);
        assert!(deltas.take().is_empty());
    }

    #[test]
    fn what_was_not_written_is_said_again_in_full_and_now_and_then_everything_is() {
        let mut deltas = Deltas::default();
        deltas.on_written(Partition(1), true);
        assert!(deltas.take_incomplete().is_empty());
        deltas.on_written(Partition(2), false);
        deltas.on_lost(Partition(3));
        assert_eq!(deltas.take_incomplete(), HashSet::from([Partition(2), Partition(3)]));
        (0..SNAPSHOT_EVERY).for_each(|_| deltas.on_written(Partition(1), true));
        assert_eq!(deltas.take_incomplete(), HashSet::from([Partition(1)]));
    }

    #[test]
    fn i12_more_than_there_is_room_for_is_forgotten_and_said_again() {
        let recorder = metrics_util::debugging::DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        metrics::with_local_recorder(&recorder, || {
            let (mut deltas, partitions) = (Deltas::default(), Partitions::new(1));
            for n in 0..=PRESENCE_CHANGES {
                let mut change = change(1, 1, 1);
                change.session = (n as u128).to_be_bytes().to_vec().into();
                deltas.note(partitions, change);
            }
            assert!(deltas.take().is_empty());
            assert_eq!(deltas.take_incomplete().len(), 1);
        });
        let told = snapshotter.snapshot().into_vec();
        let name = "sterna_core_presence_changes_dropped_total";
        assert!(told.iter().any(|(key, ..)| key.key().name() == name));
    }
}
