//! What a node keeps and finds out for an operator who looks: nothing else asks for it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sterna_proto::{ChannelId, ChannelKey, SessionId};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Channels, Node};
use crate::channel::shard::ShardCommand;
use crate::cluster::view::Route;
use crate::vitals::inspect::{ChannelDetail, Examined, SessionDetail};
use crate::vitals::trace::Traces;
use crate::vitals::{TierLookups, history, journey};
use crate::worker::WorkerControl;

/// How long a worker, a shard or the store may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is kept for whoever may look.
#[derive(Debug, Default)]
pub(super) struct Kept {
    history: history::Kept,
    journeys: journey::Kept,
}

impl Node {
    pub(crate) fn kept_history(&self) -> &history::Kept {
        &self.inner.kept.history
    }

    pub(crate) fn kept_journeys(&self) -> &journey::Kept {
        &self.inner.kept.journeys
    }

    /// Where it was looked for what was read here, the nearest places first.
    pub(crate) fn lookups(&self) -> Vec<TierLookups> {
        let mut all = self.inner.tally.lookups();
        all.extend(self.inner.channels.iter().flat_map(|own| own.context.stores.log.lookups()));
        all.retain(|place| place.hits + place.misses > 0);
        all
    }

    /// Publications that are followed through this node.
    pub fn traces(&self) -> &Arc<Traces> {
        &self.inner.traces
    }

    /// A channel, as its owner has it.
    pub async fn examine_channel(&self, channel: &ChannelId) -> Examined {
        let key = channel.key();
        match self.router().map(|router| router.way(key.slot())) {
            None | Some(Route::Here) => {}
            Some(Route::By(node)) => return Examined::By(node),
            Some(Route::Nowhere) => return Examined::Nowhere,
        }
        let Some(own) = &self.inner.channels else { return Examined::Nowhere };
        let found = timeout(PATIENCE, read_channel(own, channel)).await;
        found.ok().flatten().map_or(Examined::Nowhere, |found| Examined::Channel(Box::new(found)))
    }

    /// Sessions of this node that follow a channel.
    pub async fn count_following(&self, channel: ChannelKey) -> usize {
        let asking = self.controls().into_iter().map(|worker| async move {
            let (reply, answer) = oneshot::channel();
            worker.send(WorkerControl::CountFollowing { channel, reply }).await.ok()?;
            answer.await.ok()
        });
        let answers = join_all(asking.map(|asked| timeout(PATIENCE, asked))).await;
        answers.into_iter().filter_map(|answer| answer.ok().flatten()).sum()
    }

    /// One session of this node, with a connection or without. `None`: it is not here.
    pub async fn examine(&self, session: SessionId) -> Option<SessionDetail> {
        let worker = self.control(self.directory().worker(session)?)?;
        let (reply, answer) = oneshot::channel();
        let asked = async {
            worker.send(WorkerControl::Examine { session, reply }).await.ok()?;
            answer.await.ok().flatten()
        };
        timeout(PATIENCE, asked).await.ok().flatten()
    }
}

/// `None`: the store does not answer, which others say.
async fn read_channel(own: &Channels, channel: &ChannelId) -> Option<ChannelDetail> {
    let (key, stores) = (channel.key(), &own.context.stores);
    let (reply, answer) = oneshot::channel();
    let shard = own.shards.get(usize::from(key.slot()) % own.shards.len().max(1))?;
    shard.send(ShardCommand::Examine { channel: key, reply }).await.ok()?;
    let live = answer.await.ok()?;
    Some(ChannelDetail {
        channel: channel.to_string(),
        record: stores.channels.channel(key).await.ok()?,
        head: stores.log.head(key).await.ok()?,
        members: stores.channels.member_count(key).await.ok(),
        live,
    })
}
