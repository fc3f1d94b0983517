//! What a channel's owner tells of it to an operator who looks.

use sterna_proto::ChannelKey;

use crate::channel::shard::Shard;
use crate::link::ports::{FarEnd, LinkId};
use crate::vitals::inspect::{CHANNEL_WINDOW, FanOutWay, LiveChannel};

impl Shard {
    /// `None`: it is not in memory.
    pub(super) fn examine(&self, channel: &ChannelKey) -> Option<LiveChannel> {
        let state = self.channels.get(channel).filter(|state| state.loaded && !state.released)?;
        Some(LiveChannel {
            publications_per_second: state.ring.rate(self.context.clock.unix_ms(), CHANNEL_WINDOW),
            pending: state.sequence.pending(),
            present: state.presence.user_count(),
            ring: state.ring.extent(),
            ways: state.interest.iter().filter_map(|link| self.way(*link)).collect(),
        })
    }

    /// `None`: the link has just been closed.
    fn way(&self, link: LinkId) -> Option<FanOutWay> {
        Some(match self.context.ports.far_end(link)? {
            FarEnd::Worker => FanOutWay { node: None, wide: false },
            FarEnd::Lane(lane) => FanOutWay { node: Some(lane.node), wide: lane.wide },
        })
    }
}
