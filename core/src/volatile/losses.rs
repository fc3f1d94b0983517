//! When to look whether everything in a partition was lost. Pure. Only partitions in which this node
//! has put something are looked at, each as often as the others.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sterna_storage::volatile::{Boot, Partition, Sentinel};

#[derive(Debug, Default)]
pub struct Losses {
    partitions: BTreeMap<Partition, Look>,
}

#[derive(Debug)]
struct Look {
    boot: Option<Boot>,
    next_at: Instant,
}

impl Losses {
    /// Something is put there from now on.
    pub fn watch(&mut self, partition: Partition, now: Instant) {
        self.partitions.entry(partition).or_insert(Look { boot: None, next_at: now });
    }

    /// Partitions to look at now, at most so many, with what was seen there last.
    pub fn take_due(&mut self, now: Instant, most: usize) -> Vec<(Partition, Option<Boot>)> {
        let due = self.partitions.iter_mut().filter(|(_, look)| look.next_at <= now);
        due.take(most)
            .map(|(partition, look)| {
                look.next_at = now + LOOK_EVERY;
                (*partition, look.boot)
            })
            .collect()
    }

    /// True: everything that was put there is gone.
    pub fn on_looked(&mut self, partition: Partition, seen: Sentinel) -> bool {
        let Sentinel::Lost { now } = seen else { return false };
        if let Some(look) = self.partitions.get_mut(&partition) {
            look.boot = Some(now);
        }
        true
    }

    /// Something may have happened that was not seen: looks at all partitions, one after the other.
    pub fn look_soon(&mut self, now: Instant) {
        let count = self.partitions.len().max(1) as u32;
        for (look, turn) in self.partitions.values_mut().zip(0u32..) {
            look.next_at = now + LOOK_WITHIN * turn / count;
        }
    }
}

/// So long may a flush go unnoticed.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// After an engine was silent.
const LOOK_WITHIN: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i6_every_partition_in_use_is_looked_at_in_its_time() {
        let (start, mut losses) = (Instant::now(), Losses::default());
        assert_eq!(losses.take_due(start, 10), []);
        (0..3).for_each(|at| losses.watch(Partition(at), start));
        let first: Vec<_> = losses.take_due(start, 2);
        assert_eq!(first, [(Partition(0), None), (Partition(1), None)]);
        assert!(losses.on_looked(Partition(0), Sentinel::Lost { now: Boot(7) }));
        assert!(!losses.on_looked(Partition(1), Sentinel::Same));
        assert_eq!(losses.take_due(start, 2), [(Partition(2), None)]);
        assert_eq!(losses.take_due(start + LOOK_EVERY, 1), [(Partition(0), Some(Boot(7)))]);
        losses.look_soon(start + LOOK_EVERY);
        assert_eq!(losses.take_due(start + LOOK_EVERY, 9).len(), 1);
        assert_eq!(losses.take_due(start + LOOK_EVERY + LOOK_WITHIN, 9).len(), 2);
    }
}
