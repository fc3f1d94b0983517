//! A change of presence is pushed once and kept nowhere: a link without room drops it, and a link
//! that is lost takes it along. So once presence in a channel has been quiet for the period of
//! beacons, and from time to time while it is not, its owner says what those know who have missed
//! nothing, as a digest. Whose client knows something else tells it of a gap, and it asks for the
//! list (I5). A link that had no room for the beacon is owed it; one that is lost makes its sessions
//! attach again, and then there is another.

use sterna_proto::{ChannelKey, v1};

use crate::channel::shard::Shard;
use crate::link::{Audience, LinkPush};
use crate::push::EncodedPush;

/// Whether those who follow presence are to be told what they should know.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct PresenceNews {
    /// It stands in the list of those that are.
    is_due: bool,
    /// Something was said since beacons were looked at last.
    is_lively: bool,
    /// How often that was so.
    rounds: u8,
}

/// Where presence is never quiet there is a beacon at every so many periods. More seldom than where
/// it is: who has asked for the list while it changes may not know what it says, and asks again.
const LIVELY_ROUNDS: u8 = 4;

impl PresenceNews {
    /// True: it is time for the beacon, whether or not it is quiet.
    fn look(&mut self) -> bool {
        self.rounds += 1;
        !std::mem::take(&mut self.is_lively) || self.rounds >= LIVELY_ROUNDS
    }
}

impl Shard {
    /// Somebody has come, gone, or attached again and may have missed others.
    pub(super) fn want_presence_beacon(&mut self, key: ChannelKey) {
        let Some(state) = self.channels.get_mut(&key) else { return };
        state.presence_news.is_lively = true;
        if !std::mem::replace(&mut state.presence_news.is_due, true) {
            self.owed.presence_beacons.push(key);
        }
    }

    /// In the rhythm of the other beacons.
    pub(super) fn send_presence_beacons(&mut self) {
        for key in std::mem::take(&mut self.owed.presence_beacons) {
            let Some(state) = self.channels.get_mut(&key) else { continue };
            if !state.presence_news.look() {
                self.owed.presence_beacons.push(key);
                continue;
            }
            state.presence_news = PresenceNews::default();
            let audience = Audience::PresenceUnlike { digest: state.presence.digest() };
            let gap = v1::PresenceGap { channel: state.name.to_string() };
            let push = EncodedPush::new(v1::push::Event::PresenceGap(gap));
            let links = state.interest.len() as u64;
            metrics::counter!("sterna_core_presence_beacons_total").increment(links);
            self.spread(key, &LinkPush::Event { channel: key, audience, push });
        }
    }
}
