//! One worker's subscriptions: which of its sessions want which channel. Pure, single-threaded; a
//! publication enters a worker once and a plain loop over [`Hub::sessions`] delivers it.

use std::collections::HashMap;

use ahash::RandomState;
use sterna_proto::ChannelKey;

/// Index of a session in its worker's table.
pub type Slot = u32;

#[derive(Debug, Default)]
pub struct Hub {
    channels: HashMap<ChannelKey, Vec<Slot>, RandomState>,
}

/// Whether the hub still wants a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    Kept,
    /// The last subscription is gone: detach from the owner.
    Lost,
}

impl Hub {
    pub fn join(&mut self, channel: ChannelKey, session: Slot) {
        let sessions = self.channels.entry(channel).or_default();
        if !sessions.contains(&session) {
            sessions.push(session);
        }
    }

    pub fn leave(&mut self, channel: ChannelKey, session: Slot) -> Interest {
        let Some(sessions) = self.channels.get_mut(&channel) else { return Interest::Kept };
        sessions.retain(|other| *other != session);
        if !sessions.is_empty() {
            return Interest::Kept;
        }
        self.channels.remove(&channel);
        Interest::Lost
    }

    /// The sessions subscribed to a channel.
    pub fn sessions(&self, channel: &ChannelKey) -> &[Slot] {
        let sessions = self.channels.get(channel).map_or(&[][..], Vec::as_slice);
        if sterna_storage::planted!(HubSkipsLast) && sessions.len() > 1 {
            return &sessions[..sessions.len() - 1];
        }
        sessions
    }

    pub fn channel_count(&self) -> usize {
        self.channels.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_proto::ChannelId;

    #[test]
    fn interest_is_lost_with_the_last_subscription() {
        let key = ChannelId::new("room:1").unwrap().key();
        let mut hub = Hub::default();
        hub.join(key, 1);
        hub.join(key, 2);
        hub.join(key, 1);
        assert_eq!(hub.sessions(&key), [1, 2]);
        assert_eq!(hub.leave(key, 1), Interest::Kept);
        assert_eq!(hub.leave(key, 1), Interest::Kept);
        assert_eq!(hub.leave(key, 2), Interest::Lost);
        assert_eq!(hub.channel_count(), 0);
    }
}
