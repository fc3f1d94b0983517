//! What a resume has lost: publications that the recovery after it could not bring, by the gaps that its
//! client is told (I5). For an operator who looks; nothing is decided by it. Pure.

use std::collections::HashSet;

use ahash::RandomState;
use sterna_proto::v1::RecoveryOrder;
use sterna_proto::{ChannelKey, Position, v1};

use crate::session::session::{Effect, Session, channel_id};

/// Channels of a resume that do not follow yet. At most as many as a Hello names.
#[derive(Debug)]
pub(super) struct Recovering {
    open: HashSet<ChannelKey, RandomState>,
    lost: u64,
}

impl Session {
    /// The session goes on with this connection. To be called once, before its Hello is handled.
    pub fn start_recovering(&mut self, subscriptions: &[v1::Subscribe]) {
        let open = subscriptions.iter().filter(|it| is_to_be_recovered(it));
        let open = open.filter_map(|it| channel_id(&it.channel).ok()).map(|it| it.key()).collect();
        self.recovering = Some(Box::new(Recovering { open, lost: 0 }));
        self.finish_recovering();
    }

    /// A page was given to the client, who steps over the gap in it.
    pub(super) fn note_gap(&mut self, key: ChannelKey, gap: Option<&v1::Gap>) {
        if let (Some(recovering), Some(gap)) = (&mut self.recovering, gap)
            && recovering.open.contains(&key)
        {
            recovering.lost += gap.upto_offset.saturating_sub(gap.after_offset);
        }
    }

    /// The channel follows again, or is not wanted or not permitted any more.
    pub(super) fn on_recovered(&mut self, key: ChannelKey) {
        if let Some(recovering) = &mut self.recovering
            && recovering.open.remove(&key)
        {
            self.finish_recovering();
        }
    }

    fn finish_recovering(&mut self) {
        let is_over = |recovering: &mut Box<Recovering>| recovering.open.is_empty();
        if let Some(recovering) = self.recovering.take_if(is_over) {
            self.effects.push_back(Effect::Recovered { lost: recovering.lost });
        }
    }
}

/// Whoever has received nothing, or wants the newest first and leaves the rest to history, or is in the
/// background and is told no more than where the channel ends, misses nothing by the resume.
fn is_to_be_recovered(subscribe: &v1::Subscribe) -> bool {
    let since = subscribe.since.map_or(Position::EARLIEST, Into::into);
    since != Position::EARLIEST
        && subscribe.order() == RecoveryOrder::OldestFirst
        && subscribe.activity() != v1::Activity::Background
}
