//! One task that owns a fixed share of all channels. It takes commands from its mailbox, decides
//! at once and never waits inside a decision: everything that takes time (store reads, commits)
//! runs beside it as [`Work`] whose [`Done`] comes back as one more input. So commands of one
//! channel are handled in the order in which they came.
//!
//! Ends when the node shuts down and everything that waited has been committed and answered.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ahash::RandomState;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use sterna_proto::{ChannelKey, Position};
use sterna_storage::volatile::Partition;
use sterna_storage::{Append, BoxFuture, StorageErrorKind, Stores};
use tokio::sync::{mpsc, oneshot, watch};

use crate::channel::cursors::Cursors;
use crate::channel::flights::Flights;
use crate::channel::heirs::Heirs;
use crate::channel::missed::Awaited;
use crate::channel::rehome::Rehoming;
use crate::channel::ring::Ring;
use crate::channel::rings::{Rings, RingsOf};
use crate::channel::spread::Owed;
use crate::channel::state::ChannelState;
use crate::channel::work::Done;
use crate::clock::Clock;
use crate::cluster::Incarnation;
use crate::config::CoreConfig;
use crate::id::IdGenerator;
use crate::inbox::InboxWork;
use crate::link::ports::{FarEnd, LinkId, LinkPorts};
use crate::link::turns::Turns;
use crate::link::{Link, LinkCommand, LinkReply, Verb};
use crate::tasks::Tasks;
use crate::vitals::inspect::{ChannelReport, LiveChannel};
use crate::vitals::tally::Tally;
use crate::vitals::trace::Traces;
use crate::volatile::Volatile;

/// What comes into a shard's mailbox.
#[derive(Debug)]
pub enum ShardCommand {
    Call(Call),
    /// A link has no subscription to the channel any more.
    Detach {
        link: LinkId,
        channel: ChannelKey,
    },
    /// A link is gone.
    LinkClosed {
        link: LinkId,
        far_end: FarEnd,
    },
    /// Slots that other nodes own from now on, and slots that this node owns again.
    Rehomed {
        lost: Arc<HashSet<u16>>,
        gained: Arc<HashSet<u16>>,
        /// Hears when everything that was begun in the lost ones is finished, or late.
        done: oneshot::Sender<()>,
    },
    /// Processes of edges that are alive.
    EdgesAlive {
        edges: Arc<HashSet<Incarnation>>,
    },
    /// One channel, for an operator; nothing, if it is not in memory.
    Examine {
        channel: ChannelKey,
        reply: oneshot::Sender<Option<LiveChannel>>,
    },
    /// The busiest channels, for an operator.
    Inspect {
        most: usize,
        reply: oneshot::Sender<Vec<ChannelReport>>,
    },
    /// What was told of presence in these partitions is gone.
    TellPresence {
        partitions: Arc<HashSet<Partition>>,
    },
}

/// A command and where its answer goes.
#[derive(Debug)]
pub struct Call {
    /// `None`: from inside the node (HTTP API); no interest is registered.
    pub link: Option<LinkId>,
    pub command: LinkCommand,
    pub reply: oneshot::Sender<LinkReply>,
}

/// What all shards of a node share.
#[derive(Debug)]
pub struct ShardContext {
    pub config: Arc<CoreConfig>,
    pub stores: Stores,
    /// Pages of the log, read for all who ask at once.
    pub flights: Flights,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<IdGenerator>,
    pub ports: Arc<LinkPorts>,
    pub turns: Arc<Turns>,
    pub tally: Arc<Tally>,
    pub traces: Arc<Traces>,
    /// The way to the owners of inboxes, as soon as there is one.
    pub users: OnceLock<Arc<dyn Link>>,
    pub volatile: Arc<Volatile>,
    /// Set once, when storage has failed for good.
    pub failure: watch::Sender<Option<String>>,
}

pub(crate) type Work = BoxFuture<'static, Done>;

#[derive(Debug)]
pub struct Shard {
    pub(crate) context: Arc<ShardContext>,
    /// Which one of the node's shards this is, from 0.
    pub(crate) index: usize,
    pub(crate) channels: HashMap<ChannelKey, ChannelState, RandomState>,
    pub(super) rings: Rings,
    pub(crate) work: FuturesUnordered<Work>,
    pub(crate) owed: Owed,
    pub(super) cursors: Cursors,
    pub(crate) rehoming: Rehoming,
    pub(crate) inbox: InboxWork,
    pub(super) awaited: Awaited,
    pub(super) heirs: Heirs,
    /// Channels whose next append may be due, for the end of this turn.
    due: VecDeque<ChannelKey>,
    /// The node ends: what has begun is finished, and nothing is begun that others can do.
    closing: bool,
}

/// Beat of housekeeping: what is owed, beacons and cursor writes.
const TICK: Duration = Duration::from_millis(100);

/// Commands taken from the mailbox before appends start and work is looked at.
const COMMANDS_PER_TURN: usize = 256;

/// Pieces of finished work that are taken before appends start.
const WORK_PER_TURN: usize = 64;

impl RingsOf for HashMap<ChannelKey, ChannelState, RandomState> {
    fn ring(&mut self, channel: &ChannelKey) -> Option<&mut Ring> {
        self.get_mut(channel).map(|state| &mut state.ring)
    }
}

impl Shard {
    /// `index`: its number among the shards of its node, from 0.
    pub fn new(index: usize, context: Arc<ShardContext>) -> Self {
        let (queues, shards) = (&context.config.queues, context.config.shards.max(1));
        Self {
            index,
            rings: Rings::new("owner", queues.ring_age, queues.rings_bytes / shards),
            inbox: InboxWork::new(&context.config),
            channels: HashMap::default(),
            work: FuturesUnordered::new(),
            owed: Owed::new(context.config.queues.owed_heads),
            cursors: Cursors::default(),
            rehoming: Rehoming::new(),
            awaited: Awaited::default(),
            heirs: Heirs::default(),
            due: VecDeque::new(),
            closing: false,
            context,
        }
    }

    pub async fn run(mut self, mut mailbox: mpsc::Receiver<ShardCommand>, tasks: Tasks) {
        let mut commands = Vec::with_capacity(COMMANDS_PER_TURN);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Made once: what waits for it is listed under a lock.
        let mut shutdown = pin!(tasks.shutdown_started());
        let mut open = true;
        while open || !self.is_idle() {
            tokio::select! {
                taken = mailbox.recv_many(&mut commands, COMMANDS_PER_TURN), if open => {
                    open = taken > 0;
                    commands.drain(..).for_each(|command| self.handle(command));
                }
                Some(done) = self.work.next() => self.on_done_all(done),
                // Once: whoever has been promised room gets to use it before the mailbox is empty.
                () = &mut shutdown, if !self.closing => {
                    self.closing = true;
                    mailbox.close();
                    self.end_telling();
                }
                _ = tick.tick() => self.on_tick(),
            }
            self.start_appends();
        }
    }

    /// What was committed together is answered together.
    fn on_done_all(&mut self, first: Done) {
        self.on_done(first);
        for _ in 1..WORK_PER_TURN {
            let Some(Some(done)) = self.work.next().now_or_never() else { return };
            self.on_done(done);
        }
    }

    fn is_idle(&self) -> bool {
        self.work.is_empty() && self.cursors.is_empty()
    }

    fn handle(&mut self, command: ShardCommand) {
        match command {
            ShardCommand::Call(call) if call.command.verb.is_of_inbox() => {
                self.handle_inbox_call(call);
            }
            ShardCommand::Call(call) if matches!(call.command.verb, Verb::KeepPresence(_)) => {
                self.keep_presence(call);
            }
            ShardCommand::Call(call) => self.handle_call(call),
            ShardCommand::Detach { link, channel } => {
                self.inbox.unwatch(channel, link);
                if let Some(state) = self.channels.get_mut(&channel) {
                    state.void_attaches(link);
                }
                self.remove_interest(channel, link);
                self.owed.debts.on_detach(link, channel);
            }
            ShardCommand::LinkClosed { link, far_end } => {
                self.on_link_closed(link, far_end);
                self.inbox.remove_link(link);
                self.owed.debts.on_closed(link);
            }
            ShardCommand::Rehomed { lost, gained, done } => {
                self.on_rehomed(&lost, &gained, done);
            }
            ShardCommand::EdgesAlive { edges } => self.drop_dead_edges(&edges),
            ShardCommand::TellPresence { partitions } => self.tell_presence_again(&partitions),
            ShardCommand::Examine { channel, reply } => {
                let _ = reply.send(self.examine(&channel));
            }
            ShardCommand::Inspect { most, reply } => {
                // Who has asked may have lost patience.
                let _ = reply.send(self.inspect(most));
            }
        }
    }

    fn on_tick(&mut self) {
        self.pay_owed();
        self.send_beacons(tokio::time::Instant::now());
        self.start_cursor_write();
        self.drop_released();
        if !self.closing {
            // Whoever owns the slots next finds the intents, and follows the channels.
            self.on_inbox_tick(tokio::time::Instant::now());
            self.watch_heads(tokio::time::Instant::now());
        }
        self.drop_missed(tokio::time::Instant::now());
        self.tell_heirs(tokio::time::Instant::now());
        self.rings.expire(&mut self.channels, tokio::time::Instant::now().into_std());
        self.rings.tell();
        self.context.tally.set_shard(self.index, self.channels.len());
        if self.channels.len() > self.context.config.queues.shard_channels {
            self.drop_idle_channels();
        }
    }

    /// The channel's next append starts at the end of this turn, if one is due: what comes in the
    /// same turn goes with it, and the appends of all channels go to the log together.
    pub(super) fn want_append(&mut self, key: ChannelKey) {
        self.due.push_back(key);
    }

    fn start_appends(&mut self) {
        let queues = self.context.config.queues;
        let (mut appends, mut records, mut bytes) = (Vec::new(), 0, 0);
        while let Some(key) = self.due.pop_front() {
            let Some(append) = self.next_append(key) else { continue };
            let of_append = append.records.iter().map(|record| record.payload.len()).sum::<usize>();
            let room = records + append.records.len() <= queues.append_batch
                && bytes + of_append <= queues.append_bytes;
            if !room && !appends.is_empty() {
                self.append(std::mem::take(&mut appends));
                (records, bytes) = (0, 0);
            }
            records += append.records.len();
            bytes += of_append;
            appends.push(append);
        }
        if !appends.is_empty() {
            self.append(appends);
        }
    }

    fn next_append(&mut self, key: ChannelKey) -> Option<Append> {
        let state = self.channels.get_mut(&key)?;
        if state.catching_up {
            return None;
        }
        let queues = &self.context.config.queues;
        let now_ms = self.context.clock.unix_ms();
        let batch = (queues.append_batch, queues.append_bytes);
        let mut append = state.sequence.poll_append(batch.0, batch.1, now_ms)?;
        append.intents.extend(state.inbox_intent());
        metrics::histogram!("sterna_core_append_publications").record(append.records.len() as f64);
        if sterna_storage::planted!(AckBeforeCommit)
            && let Some(mut head) = state.sequence.head().cloned()
        {
            head.position.offset.0 += append.records.len() as u64;
            let result = state.sequence.handle_result(Ok(head));
            let log = self.context.stores.log.clone();
            self.work.push(Box::pin(async move {
                log.append(vec![append]).await;
                Done::Answered
            }));
            self.apply(key, result);
            return None;
        }
        Some(append)
    }

    fn append(&mut self, appends: Vec<Append>) {
        let log = self.context.stores.log.clone();
        let keys: Vec<ChannelKey> = appends.iter().map(|append| append.channel).collect();
        let tally = self.context.tally.clone();
        if self.context.traces.is_armed() {
            for append in &appends {
                self.context.traces.note_append(append.channel, &append.records);
            }
        }
        self.work.push(Box::pin(async move {
            let started = tokio::time::Instant::now();
            let verdicts = log.append(appends).await.into_iter().map(Some);
            tally.on_appended(started.elapsed());
            let verdicts = verdicts.chain(std::iter::repeat_with(|| None));
            Done::Appended { results: keys.into_iter().zip(verdicts).collect() }
        }));
    }

    /// Storage that has failed for good stops the node (I1): it says why and answers nothing more.
    pub(crate) fn note_storage_error(&self, error: &sterna_storage::StorageError) {
        metrics::counter!("sterna_core_storage_errors_total").increment(1);
        if error.kind == StorageErrorKind::Fatal {
            tracing::error!(%error, "storage failed for good; the node stops");
            self.context.failure.send_if_modified(|failure| {
                let first = failure.is_none();
                failure.get_or_insert_with(|| error.to_string());
                first
            });
        } else {
            tracing::warn!(%error, "storage");
        }
    }

    fn inspect(&self, most: usize) -> Vec<ChannelReport> {
        let now_ms = self.context.clock.unix_ms();
        let mut reports: Vec<ChannelReport> =
            self.channels.values().filter_map(|state| state.report(now_ms)).collect();
        ChannelReport::keep_most(&mut reports, most);
        reports
    }

    /// Channels that nobody uses can be read from the store again.
    fn drop_idle_channels(&mut self) {
        let surplus = self.channels.len() - self.context.config.queues.shard_channels;
        let idle = self.channels.iter().filter(|(_, state)| state.is_idle());
        let mut idle: Vec<(tokio::time::Instant, ChannelKey)> =
            idle.map(|(key, state)| (state.used_at, *key)).collect();
        if surplus < idle.len() {
            // Those not used for longest, in no order.
            idle.select_nth_unstable_by_key(surplus, |(used_at, _)| *used_at);
        }
        for (_, key) in idle.into_iter().take(surplus) {
            self.channels.remove(&key);
        }
    }

    pub(super) fn head_position(&self, key: &ChannelKey) -> Position {
        self.channels.get(key).map_or(Position::EARLIEST, |state| state.sequence.position())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::config::Rates;
    use sterna_proto::{NodeId, v1};
    use sterna_storage::MemoryStore;

    #[tokio::test]
    async fn a_shard_that_ends_leaves_time_to_whoever_has_been_promised_room() {
        let node = NodeId::new("test").unwrap();
        let config = CoreConfig::embedded(node, v1::Durability::Memory);
        let (stores, clock) = (MemoryStore::new().stores(), Arc::new(SystemClock));
        let ids = IdGenerator::start(0, clock.clone(), stores.id_bound.clone()).await.unwrap();
        let context = ShardContext {
            config: Arc::new(config),
            flights: Flights::new(stores.log.clone(), Arc::default()),
            stores,
            clock,
            ids: Arc::new(ids),
            ports: Arc::default(),
            turns: Arc::default(),
            tally: Arc::default(),
            traces: Arc::default(),
            users: OnceLock::new(),
            volatile: Arc::new(Volatile::alone(Rates::default().user_publish)),
            failure: watch::Sender::new(None),
        };
        let (mailbox, waiting) = mpsc::channel(1);
        let promised = mailbox.reserve().await.unwrap();
        let tasks = Tasks::new();
        tasks.start_shutdown();
        let shard = Shard::new(0, Arc::new(context)).run(waiting, tasks);
        // On one thread: the shard is polled first, and has to let the other one come.
        tokio::join!(shard, async move {
            tokio::task::yield_now().await;
            drop(promised);
        });
    }
}
