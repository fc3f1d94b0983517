//! What a node can be told. Complete and typed; the composition root reads it from files.

use std::time::Duration;

use sterna_proto::{NodeId, v1};

use crate::cluster::Incarnation;
use crate::inbox::InboxRules;
use crate::threads::Threads;

/// Settings of the channel half and of the sessions.
#[derive(Debug, Clone)]
pub struct CoreConfig {
    pub node: NodeId,
    /// This process, as other nodes tell it from earlier ones of the same name.
    pub incarnation: Incarnation,
    /// Worker number in publication ids, 0–1023; unique in the cluster.
    pub id_worker: u16,
    /// Tasks that own channels; a channel belongs to one of them by its key.
    pub shards: usize,
    /// Where they run, beside the sessions of edge workers; `None`: on the runtime that starts the node.
    /// The node does not keep them: whoever has made them ends them after it.
    pub threads: Option<Threads>,
    /// What an acknowledged publication has survived, as the log store provides it.
    pub durability: v1::Durability,
    /// Whether a channel comes into being when somebody who may publish there does so first.
    pub create_on_first_use: bool,
    /// How long a session outlives its connection.
    pub resume_window: Duration,
    /// How long a session may be without a connection before the members of a channel hear that
    /// it is roaming. Who is back sooner was never away for them.
    pub roaming_after: Duration,
    /// How long until they hear that it is detached.
    pub presence_debounce: Duration,
    /// A channel in which nothing was published for this long tells its subscriptions, once, where
    /// it ends: whoever has lost the last publication learns of it. At most twice as long passes.
    pub beacon_period: Duration,
    /// How often the log is asked whether another node has published to the channels that are owned
    /// here; `None` where there is no other node.
    pub head_watch: Option<Duration>,
    /// Silence after which a client is to send a ping.
    pub heartbeat: Duration,
    /// How long an outbox may stay unwritable before its connection is closed as slow.
    pub slow_after: Duration,
    /// When sessions that follow a channel less closely are told.
    pub activities: Activities,
    /// When inboxes are written and when channels are pulled.
    pub inbox: InboxRules,
    pub rates: Rates,
    pub queues: QueueLimits,
}

/// How much later than an active session those of other classes are told.
#[derive(Debug, Clone, Copy)]
pub struct Activities {
    /// Foreground: what is given to a session waits so long for more to be written with it.
    pub foreground_linger: Duration,
    /// Background: what is published within this time is one beacon of a channel.
    pub background_heads: Duration,
}

impl Default for Activities {
    fn default() -> Self {
        Self {
            foreground_linger: Duration::from_millis(250),
            background_heads: Duration::from_secs(3),
        }
    }
}

/// Token buckets: steady events per second, and the burst on top.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    pub per_second: u32,
    pub burst: u32,
}

#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// Publications of one session.
    pub publish: Rate,
    /// Publications of one user, by all sessions and over HTTP, on all nodes together. Nodes know of
    /// each other's a moment later, so a user at the limit gets a little more.
    pub user_publish: Rate,
    /// All other commands of one session.
    pub command: Rate,
    /// Ephemerals of one session.
    pub ephemeral: Rate,
    /// Syncs of one session, which are charged as commands too.
    pub sync: Rate,
}

/// Bounds of every queue of this crate (I12). The register in ARCHITECTURE.md repeats these
/// numbers with the policy for a full queue, and a test compares the two.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// Commands waiting for one shard. Full: the sender waits `mailbox_patience`, then BUSY.
    pub shard_mailbox: usize,
    pub mailbox_patience: Duration,
    /// Publications of one channel waiting for a commit. Full: BUSY.
    pub channel_pending: usize,
    /// Publications of one channel in one commit, and their bytes. Full: the rest goes with the
    /// next one.
    pub append_batch: usize,
    pub append_bytes: usize,
    /// Pushes on their way to one worker, and their bytes. Full: the channel's publications are
    /// dropped and a head beacon follows; the worker recovers them.
    pub link_pushes: usize,
    pub link_push_bytes: usize,
    /// Head beacons that one shard owes to links without room. Full: dropped and counted; the
    /// channel's own beacon follows once it is quiet.
    pub owed_heads: usize,
    /// Evictions that one shard owes to links without room. Full: everybody in the channel is told
    /// to attach again, and has the right to it looked at again.
    pub owed_evicts: usize,
    /// Cursors of one shard that wait to be written. Full: BUSY; those that move by publishing are
    /// dropped and counted.
    pub cursor_moves: usize,
    /// Marks of one shard that wait to be written into inboxes. Full: the oldest are written at once,
    /// and no further intents are read.
    pub inbox_marks: usize,
    /// Touches that one shard remembers. Full: refused, and the mark is written at once.
    pub inbox_touches: usize,
    /// Frames waiting for one connection. Full: ephemerals go first, then publications (lag mode).
    pub outbox_frames: usize,
    pub outbox_bytes: usize,
    /// Commands of one session waiting for an answer. Full: its connection is not read.
    pub session_calls: usize,
    /// Of these, those whose answer is a page. Full: they wait.
    pub session_pages: usize,
    /// Users present in one channel: each hears of all others, so a thousand that come at once are
    /// told a million times. Full: LIMIT_EXCEEDED; they can subscribe without presence.
    pub present_users: usize,
    /// Publications held for one subscription while its page is on the way. Full: the page is
    /// followed by another.
    pub subscription_held: usize,
    /// Publications that the owner of a channel keeps in memory, their bytes, and for how long.
    pub ring_publications: usize,
    pub ring_bytes: usize,
    pub ring_age: Duration,
    /// What these rings keep alive, of all channels of a node. Full: the coldest shrink.
    pub rings_bytes: usize,
    /// Bytes of the publications that a node keeps of one channel that another one owns and somebody
    /// here follows, and for how long; zero: none.
    pub edge_ring_bytes: usize,
    pub edge_ring_age: Duration,
    /// What these rings keep alive, of all channels together. Full: the coldest shrink.
    pub edge_rings_bytes: usize,
    /// Origins remembered for one channel before the store is asked.
    pub dedup_window: usize,
    /// Detached sessions of one worker. Full: the oldest ends.
    pub detached_sessions: usize,
    /// Channels that one shard keeps in memory. Full: the least recently used idle one is dropped.
    pub shard_channels: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            shard_mailbox: 1024,
            mailbox_patience: Duration::from_millis(50),
            channel_pending: 1024,
            append_batch: 256,
            append_bytes: 1024 * 1024,
            link_pushes: 4096,
            link_push_bytes: 64 * 1024 * 1024,
            owed_heads: 65_536,
            owed_evicts: 4096,
            cursor_moves: 65_536,
            inbox_marks: 65_536,
            inbox_touches: 65_536,
            // Four of the largest commits: a burst alone does not put a session into lag mode.
            outbox_frames: 1024,
            outbox_bytes: 512 * 1024,
            session_calls: 64,
            session_pages: 4,
            present_users: 4096,
            subscription_held: 256,
            ring_publications: 1024,
            ring_bytes: 1024 * 1024,
            ring_age: Duration::from_secs(300),
            rings_bytes: 256 * 1024 * 1024,
            edge_ring_bytes: 256 * 1024,
            edge_ring_age: Duration::from_secs(60),
            edge_rings_bytes: 64 * 1024 * 1024,
            dedup_window: 1024,
            detached_sessions: 100_000,
            shard_channels: 65_536,
        }
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            publish: Rate { per_second: 1000, burst: 5000 },
            user_publish: Rate { per_second: 2000, burst: 10_000 },
            command: Rate { per_second: 500, burst: 2000 },
            ephemeral: Rate { per_second: 50, burst: 100 },
            // An inbox of 10,000 channels in one go, then one look for each touch of some channels.
            sync: Rate { per_second: 5, burst: 60 },
        }
    }
}

impl CoreConfig {
    /// Sensible values for one process on one machine.
    pub fn embedded(node: NodeId, durability: v1::Durability) -> Self {
        Self {
            node,
            incarnation: Incarnation::default(),
            id_worker: 0,
            shards: 4,
            threads: None,
            durability,
            create_on_first_use: true,
            resume_window: Duration::from_secs(120),
            roaming_after: Duration::from_secs(3),
            presence_debounce: Duration::from_secs(15),
            beacon_period: Duration::from_secs(5),
            head_watch: None,
            heartbeat: Duration::from_secs(25),
            slow_after: Duration::from_secs(30),
            activities: Activities::default(),
            inbox: InboxRules::default(),
            rates: Rates::default(),
            queues: QueueLimits::default(),
        }
    }
}
