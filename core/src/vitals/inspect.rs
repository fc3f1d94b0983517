//! Single sessions and channels, for an operator who asks. Nothing is kept for it but a session's
//! [`Pace`]; who is asked walks over what it has, so this is for people, not for loops.

use std::time::Duration;

use futures_util::future::join_all;
use sterna_proto::{NodeId, Offset, v1};
use sterna_storage::{ChannelRecord, Head};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::channel::shard::ShardCommand;
use crate::link::ports::FarEnd;
use crate::node::Node;
use crate::worker::WorkerControl;

/// Most sessions, and most channels, in one answer.
pub const INSPECTED: usize = 200;

/// How long a shard or a worker may take to answer; without it, the rest is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// Over how long a channel's rate is taken.
pub(crate) const CHANNEL_WINDOW: Duration = Duration::from_secs(10);

/// What is busiest on a node, and what does not keep up.
#[derive(Debug, Default)]
pub struct Inspection {
    /// Those that are behind, then the busiest.
    pub sessions: Vec<SessionReport>,
    /// The busiest of those that the node owns.
    pub channels: Vec<ChannelReport>,
}

/// A session with a connection, as operators see it.
#[derive(Debug, Clone)]
pub struct SessionReport {
    pub session: String,
    pub user: String,
    pub client: String,
    /// As in the metric label `transport`.
    pub transport: &'static str,
    /// Where the client is, as the node sees it.
    pub remote: String,
    /// What it is connected through, where it has said so.
    pub network: v1::Network,
    pub subscriptions: usize,
    /// In lag mode on a channel.
    pub behind: bool,
    /// Frames that the session gets.
    pub frames_per_second: f32,
    /// What waits for its connection.
    pub outbox_frames: usize,
    pub outbox_bytes: usize,
}

/// Most subscriptions of one session that are told.
pub const SUBSCRIPTIONS_TOLD: usize = 100;

/// Everything about one session that an operator may see: no payload, no token.
#[derive(Debug, Clone)]
pub struct SessionDetail {
    pub report: SessionReport,
    /// As clients name it: `sterna.v1.protobuf` or `sterna.v1.json`.
    pub encoding: &'static str,
    /// It has a connection.
    pub attached: bool,
    /// Frames that it was ever given; wraps.
    pub frames: u32,
    /// What its outbox may hold.
    pub max_frames: usize,
    pub max_bytes: usize,
    /// In the order of names, at most [`SUBSCRIPTIONS_TOLD`].
    pub subscriptions: Vec<SubscriptionReport>,
}

/// One subscription, as operators see it.
#[derive(Debug, Clone)]
pub struct SubscriptionReport {
    pub channel: String,
    /// `active`, `foreground` or `background`.
    pub activity: &'static str,
    /// `live`, `attaching` or `behind`.
    pub state: &'static str,
    pub epoch: u32,
    /// The last publication that was given to the connection.
    pub offset: u64,
    /// The newest that was heard of.
    pub head_offset: u64,
}

/// A channel, as operators see it.
#[derive(Debug, Clone)]
pub struct ChannelReport {
    pub channel: String,
    /// The last ten seconds.
    pub publications_per_second: f32,
    pub epoch: u32,
    pub offset: u64,
    /// Links, of this node's workers or of other nodes, to which it is spread.
    pub links: usize,
    /// Users who are in.
    pub present: usize,
    /// Publications that wait for a commit.
    pub pending: usize,
}

/// Everything about one channel that an operator may see: no payload.
#[derive(Debug, Clone, Default)]
pub struct ChannelDetail {
    pub channel: String,
    /// `None`: nobody has created it, and nothing was published.
    pub record: Option<ChannelRecord>,
    pub head: Option<Head>,
    pub members: Option<u64>,
    /// The rest is of the owner's memory; without it nobody uses the channel at the moment.
    pub live: Option<LiveChannel>,
}

/// A channel in its owner's memory.
#[derive(Debug, Clone)]
pub struct LiveChannel {
    pub publications_per_second: f32,
    /// Publications that wait for a commit.
    pub pending: usize,
    /// Users who are in.
    pub present: usize,
    /// The oldest publication that is answered from memory, and how many bytes they all have; `None`:
    /// there is none.
    pub ring: Option<(Offset, usize)>,
    /// Where its publications go.
    pub ways: Vec<FanOutWay>,
}

/// One way out of the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FanOutWay {
    /// `None`: to a worker of this node.
    pub node: Option<NodeId>,
    /// The node is in another region, and spreads it there.
    pub wide: bool,
}

impl FanOutWay {
    /// The way that a link is.
    pub(crate) fn to(far_end: FarEnd) -> Self {
        match far_end {
            FarEnd::Worker => Self { node: None, wide: false },
            FarEnd::Lane(lane) => Self { node: Some(lane.node), wide: lane.wide },
        }
    }
}

/// What came of looking for a channel.
#[derive(Debug)]
pub enum Examined {
    Channel(Box<ChannelDetail>),
    /// That node owns it, or is on the way to who does.
    By(NodeId),
    /// It is not known who does, or they did not answer in time.
    Nowhere,
}

/// How many frames a session gets, smoothed over some seconds, and whether it keeps up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    frames: u32,
    pub per_second: f32,
    pub behind: bool,
}

impl Pace {
    /// Takes the count of all frames so far, which may wrap. True: there were some, so whether the
    /// session keeps up may have changed.
    pub fn observe(&mut self, frames: u32, since_last: Duration) -> bool {
        let more = frames.wrapping_sub(self.frames);
        self.frames = frames;
        let now = f64::from(more) / since_last.as_secs_f64().max(0.001);
        self.per_second += (now as f32 - self.per_second) * NEWEST;
        more > 0
    }
}

/// Weight of the newest look.
const NEWEST: f32 = 0.25;

impl Node {
    /// What is busiest here, at most so many sessions and channels.
    pub async fn inspect(&self, most: usize) -> Inspection {
        let most = most.min(INSPECTED);
        let (sessions, channels) =
            tokio::join!(self.inspect_sessions(most), self.inspect_channels(most));
        Inspection { sessions, channels }
    }

    async fn inspect_sessions(&self, most: usize) -> Vec<SessionReport> {
        let asking = self.controls().into_iter().map(|worker| async move {
            let (reply, answer) = oneshot::channel();
            worker.send(WorkerControl::Inspect { most, reply }).await.ok()?;
            answer.await.ok()
        });
        let mut sessions = gather(asking).await;
        SessionReport::keep_most(&mut sessions, most);
        sessions
    }

    async fn inspect_channels(&self, most: usize) -> Vec<ChannelReport> {
        let asking = self.shards().iter().map(|shard| async move {
            let (reply, answer) = oneshot::channel();
            shard.send(ShardCommand::Inspect { most, reply }).await.ok()?;
            answer.await.ok()
        });
        let mut channels = gather(asking).await;
        ChannelReport::keep_most(&mut channels, most);
        channels
    }
}

/// Everything that is answered in time.
async fn gather<T>(asking: impl Iterator<Item = impl Future<Output = Option<Vec<T>>>>) -> Vec<T> {
    let answers = join_all(asking.map(|asked| timeout(PATIENCE, asked))).await;
    answers.into_iter().filter_map(|answer| answer.ok().flatten()).flatten().collect()
}

impl SessionReport {
    /// Who is behind comes first.
    pub(crate) fn keep_most(sessions: &mut Vec<Self>, most: usize) {
        sessions.sort_unstable_by(|a, b| {
            b.behind.cmp(&a.behind).then(b.frames_per_second.total_cmp(&a.frames_per_second))
        });
        sessions.truncate(most);
    }
}

impl ChannelReport {
    pub(crate) fn keep_most(channels: &mut Vec<Self>, most: usize) {
        channels.sort_unstable_by(|a, b| {
            b.publications_per_second.total_cmp(&a.publications_per_second)
        });
        channels.truncate(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_follows_what_a_session_gets_and_survives_the_counter() {
        let mut frames = u32::MAX - 100;
        let mut pace = Pace { frames, ..Pace::default() };
        for _ in 0..40 {
            frames = frames.wrapping_add(50);
            assert!(pace.observe(frames, Duration::from_millis(500)));
        }
        assert!((99.0..101.0).contains(&pace.per_second), "{pace:?}");
        for _ in 0..40 {
            assert!(!pace.observe(frames, Duration::from_millis(500)));
        }
        assert!(pace.per_second < 0.01, "{pace:?}");
    }
}
