//! Heads of recently written channels, so that an append to a busy channel reads nothing. Two
//! generations instead of a list in order of use: when the young one is full it becomes the old
//! one, and what the old one held and nobody asked for since is forgotten.

use std::collections::HashMap;

use ahash::RandomState;
use sterna_proto::ChannelKey;
use sterna_storage::Head;

#[derive(Debug)]
pub(crate) struct HeadCache {
    young: HashMap<ChannelKey, Head, RandomState>,
    old: HashMap<ChannelKey, Head, RandomState>,
    generation_limit: usize,
}

impl HeadCache {
    /// Holds at most `limit` heads.
    pub(crate) fn new(limit: usize) -> Self {
        let generation_limit = (limit / 2).max(1);
        Self { young: HashMap::default(), old: HashMap::default(), generation_limit }
    }

    pub(crate) fn head(&mut self, channel: &ChannelKey) -> Option<Head> {
        if let Some(head) = self.young.get(channel) {
            return Some(head.clone());
        }
        let head = self.old.remove(channel)?;
        self.insert(*channel, head.clone());
        Some(head)
    }

    pub(crate) fn insert(&mut self, channel: ChannelKey, head: Head) {
        if self.young.len() >= self.generation_limit && !self.young.contains_key(&channel) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&channel);
        self.young.insert(channel, head);
    }
}

#[cfg(test)]
mod tests {
    use sterna_proto::{Offset, Position};

    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let mut cache = HeadCache::new(8);
        let busy = ChannelKey([255; 16]);
        cache.insert(busy, head(1));
        for n in 0..100 {
            cache.insert(ChannelKey([n; 16]), head(u64::from(n)));
            assert_eq!(cache.head(&busy), Some(head(1)), "after {n} others");
            assert!(cache.young.len() + cache.old.len() <= 8);
        }
        assert_eq!(cache.head(&ChannelKey([0; 16])), None);
        assert_eq!(cache.head(&ChannelKey([99; 16])), Some(head(99)));
    }

    #[test]
    fn the_newest_head_is_the_one_that_is_found() {
        let mut cache = HeadCache::new(2);
        let (one, other) = (ChannelKey([1; 16]), ChannelKey([2; 16]));
        cache.insert(one, head(1));
        cache.insert(other, head(1));
        cache.insert(one, head(2));
        assert_eq!(cache.head(&one), Some(head(2)));
        assert_eq!(cache.head(&other), Some(head(1)));
        assert_eq!(cache.head(&one), Some(head(2)));
    }

    fn head(offset: u64) -> Head {
        Head {
            position: Position::new(1, offset),
            first: Offset(1),
            last_ts_ms: 0,
            epochs: Vec::new(),
        }
    }
}
