//! Where the archives of channels begin, for those that were asked for lately. Two generations
//! instead of a list in order of use, as with the heads of the embedded engine.

use std::collections::HashMap;

use ahash::RandomState;
use sterna_proto::{ChannelKey, Offset};

/// Channels remembered; above, those that nobody asked for since are forgotten.
pub(crate) const FLOORS: usize = 65_536;

#[derive(Debug, Default)]
pub(crate) struct Floors {
    young: HashMap<ChannelKey, Offset, RandomState>,
    old: HashMap<ChannelKey, Offset, RandomState>,
}

impl Floors {
    pub(crate) fn get(&mut self, channel: &ChannelKey) -> Option<Offset> {
        if let Some(floor) = self.young.get(channel) {
            return Some(*floor);
        }
        let floor = self.old.remove(channel)?;
        self.insert(*channel, floor);
        Some(floor)
    }

    pub(crate) fn insert(&mut self, channel: ChannelKey, floor: Offset) {
        if self.young.len() >= FLOORS / 2 && !self.young.contains_key(&channel) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&channel);
        self.young.insert(channel, floor);
    }
}
