//! What a channel's owner tells of it to an operator who looks.

use sterna_proto::ChannelKey;

use crate::channel::shard::Shard;
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
            ways: state
                .interest
                .iter()
                // One that is missing has just been closed.
                .filter_map(|link| self.context.ports.far_end(*link).map(FanOutWay::to))
                .collect(),
        })
    }
}
