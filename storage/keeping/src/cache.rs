//! What is known of channels that were read lately. Pure. Two generations instead of a list in order
//! of use, as with the floors of the archive.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use sterna_proto::{ChannelKey, Offset};
use tokio::time::Instant;

/// Channels remembered; above, those that nobody asked for since are forgotten and looked up again.
pub(crate) const KEPT_CHANNELS: usize = 65_536;

/// Redactions remembered of one channel; of one with more they are looked up for each page.
pub(crate) const REDACTIONS_HELD: usize = 256;

/// What a reader has to know of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// Nothing before this offset is given to anybody.
    pub(crate) floor: Offset,
    pub(crate) redacted: Redacted,
    /// The data key that is not destroyed.
    pub(crate) key: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Redacted {
    None,
    /// All of them, in order.
    These(Arc<[Offset]>),
    /// More than are remembered.
    Many,
}

#[derive(Debug, Clone)]
struct Seen {
    view: View,
    at: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Cache {
    young: HashMap<ChannelKey, Seen, RandomState>,
    old: HashMap<ChannelKey, Seen, RandomState>,
    /// Counts what was forgotten on purpose: what was read before the last time may be old.
    pub(crate) changes: u64,
}

impl Cache {
    /// What was seen at most so long ago; `None`: for ever.
    pub(crate) fn get(&mut self, channel: &ChannelKey, most: Option<Duration>) -> Option<View> {
        let is_fresh = |seen: &Seen| most.is_none_or(|most| seen.at.elapsed() < most);
        if let Some(seen) = self.young.get(channel) {
            return is_fresh(seen).then(|| seen.view.clone());
        }
        let seen = self.old.remove(channel)?;
        let view = is_fresh(&seen).then(|| seen.view.clone());
        self.put(*channel, seen);
        view
    }

    pub(crate) fn insert(&mut self, channel: ChannelKey, view: View) {
        self.put(channel, Seen { view, at: Instant::now() });
    }

    fn put(&mut self, channel: ChannelKey, seen: Seen) {
        if self.young.len() >= KEPT_CHANNELS / 2 && !self.young.contains_key(&channel) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&channel);
        self.young.insert(channel, seen);
    }

    pub(crate) fn forget(&mut self, channel: &ChannelKey) {
        self.changes += 1;
        self.young.remove(channel);
        self.old.remove(channel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(floor: u64) -> View {
        View { floor: Offset(floor), redacted: Redacted::None, key: None }
    }

    fn key(n: usize) -> ChannelKey {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&n.to_be_bytes());
        ChannelKey(key)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_old_is_not_believed_and_what_is_forgotten_is_gone() {
        let mut cache = Cache::default();
        let most = Some(Duration::from_secs(5));
        cache.insert(key(1), view(7));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(cache.get(&key(1), most), Some(view(7)));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!((cache.get(&key(1), most), cache.get(&key(1), None)), (None, Some(view(7))));
        cache.forget(&key(1));
        assert_eq!((cache.get(&key(1), None), cache.changes), (None, 1));
    }

    #[tokio::test]
    async fn what_is_asked_for_stays_and_the_rest_makes_room() {
        let mut cache = Cache::default();
        for n in 0..2 * KEPT_CHANNELS {
            cache.insert(key(n), view(n as u64));
            assert_eq!(cache.get(&key(0), None), Some(view(0)));
            assert!(cache.young.len() + cache.old.len() <= KEPT_CHANNELS);
        }
        assert_eq!(cache.get(&key(1), None), None);
    }
}
