//! Members who are to be told again that something is new in a channel, because what they were told
//! of it last was before the latest: their mark was waiting already, and a device that looks may have
//! looked since. Pure.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use ahash::RandomState;
use sterna_proto::{ChannelKey, UserId};

/// How long others of the same channel and member are waited for: a busy channel tells a device that
/// looks twice a second, not with each publication.
const AGAIN: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug)]
pub(super) struct Tells {
    waiting: HashSet<(UserId, ChannelKey), RandomState>,
    /// When they are due, with a number to tell those of one moment apart.
    due: BTreeMap<(Instant, u64), (UserId, ChannelKey)>,
    last_serial: u64,
    max: usize,
}

/// No room: the member's devices learn of it with their next look.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Tells {
    pub(super) fn new(max: usize) -> Self {
        Self { waiting: HashSet::default(), due: BTreeMap::new(), last_serial: 0, max }
    }

    /// The member is to be told, with all others of the channel that come until then.
    pub(super) fn later(
        &mut self,
        user: UserId,
        channel: ChannelKey,
        now: Instant,
    ) -> Result<(), Full> {
        let entry = (user, channel);
        if self.waiting.contains(&entry) {
            return Ok(());
        }
        if self.waiting.len() >= self.max {
            return Err(Full);
        }
        self.waiting.insert(entry.clone());
        self.last_serial += 1;
        self.due.insert((now + AGAIN, self.last_serial), entry);
        Ok(())
    }

    /// The next one whose time has come.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(UserId, ChannelKey)> {
        let first = self.due.first_entry().filter(|entry| entry.key().0 <= now)?;
        let entry = first.remove();
        self.waiting.remove(&entry);
        Some(entry)
    }

    /// Those of channels in these slots are due now: another owner knows nothing of them.
    pub(super) fn hurry(&mut self, slots: &HashSet<u16>, now: Instant) {
        let of_slots = |(_, channel): &(UserId, ChannelKey)| slots.contains(&channel.slot());
        let later = self.due.split_off(&(now, u64::MAX));
        for ((at, serial), entry) in later {
            let at = if of_slots(&entry) { now } else { at };
            self.due.insert((at, serial), entry);
        }
    }

    /// The shard ends: nobody is told any more.
    pub(super) fn end(&mut self) {
        *self = Self::new(0);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_proto::ChannelId;

    #[test]
    fn i12_each_is_told_once_for_all_that_came_and_in_order_within_bounds() {
        let (mut tells, start) = (Tells::new(2), Instant::now());
        let channel = ChannelId::new("room:1").unwrap().key();
        let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| UserId::new(name).unwrap());
        let soon = start + AGAIN / 2;
        tells.later(alice.clone(), channel, start).unwrap();
        tells.later(bob.clone(), channel, soon).unwrap();
        tells.later(alice.clone(), channel, soon).unwrap();
        assert_eq!(tells.later(carol, channel, soon), Err(Full));
        assert_eq!(tells.poll(soon), None);
        assert_eq!(tells.poll(start + AGAIN), Some((alice.clone(), channel)));
        assert_eq!(tells.poll(start + AGAIN), None, "bob's time has not come");
        tells.later(alice.clone(), channel, start + AGAIN).unwrap();
        assert_eq!(tells.poll(soon + AGAIN), Some((bob, channel)));
        assert_eq!(tells.poll(start + 2 * AGAIN), Some((alice.clone(), channel)), "told once more");
        assert_eq!((tells.len(), tells.due.len()), (0, 0));
        let other = (0..99).map(|n| ChannelId::new(&format!("room:{n}")).unwrap().key());
        let other = other.into_iter().find(|other| other.slot() != channel.slot()).unwrap();
        tells.later(alice.clone(), other, start).unwrap();
        tells.later(alice.clone(), channel, start).unwrap();
        tells.hurry(&HashSet::from([channel.slot()]), start);
        assert_eq!(tells.poll(start), Some((alice.clone(), channel)), "its owner changes");
        assert_eq!((tells.poll(start), tells.len()), (None, 1));
        tells.end();
        assert_eq!(
            (tells.poll(start + AGAIN), tells.later(alice, channel, start)),
            (None, Err(Full))
        );
    }
}
