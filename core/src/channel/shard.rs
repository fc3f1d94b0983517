//! One task that owns a fixed share of all channels. It takes commands from its mailbox, decides
//! at once and never waits inside a decision: everything that takes time (store reads, commits)
//! runs beside it as [`Work`] whose [`Done`] comes back as one more input. So commands of one
//! channel are handled in the order in which they came.
//!
//! Ends when the node shuts down and everything that waited has been committed and answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sterna_proto::{ChannelKey, Position};
use sterna_storage::{BoxFuture, StorageErrorKind, Stores};
use tokio::sync::{mpsc, oneshot, watch};

use crate::channel::cursors::Cursors;
use crate::channel::spread::Owed;
use crate::channel::state::ChannelState;
use crate::channel::work::Done;
use crate::clock::Clock;
use crate::config::CoreConfig;
use crate::id::IdGenerator;
use crate::link::memory::{LinkId, LinkPorts};
use crate::link::{LinkCommand, LinkReply};
use crate::tasks::Tasks;

/// What comes into a shard's mailbox.
#[derive(Debug)]
pub enum ShardCommand {
    Call(Call),
    /// A link has no subscription to the channel any more.
    Detach {
        link: LinkId,
        channel: ChannelKey,
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
    pub clock: Arc<dyn Clock>,
    pub ids: IdGenerator,
    pub ports: Arc<LinkPorts>,
    /// Set once, when storage has failed for good.
    pub failure: watch::Sender<Option<String>>,
}

pub(super) type Work = BoxFuture<'static, Done>;

#[derive(Debug)]
pub struct Shard {
    pub(super) context: Arc<ShardContext>,
    pub(super) channels: HashMap<ChannelKey, ChannelState, RandomState>,
    pub(super) work: FuturesUnordered<Work>,
    pub(super) owed: Owed,
    pub(super) cursors: Cursors,
}

/// Beat of housekeeping: what is owed, beacons and cursor writes.
const TICK: Duration = Duration::from_millis(100);

/// Commands taken from the mailbox before appends start and work is looked at.
const COMMANDS_PER_TURN: usize = 256;

impl Shard {
    pub fn new(context: Arc<ShardContext>) -> Self {
        Self {
            context,
            channels: HashMap::default(),
            work: FuturesUnordered::new(),
            owed: Owed::default(),
            cursors: Cursors::default(),
        }
    }

    pub async fn run(mut self, mut mailbox: mpsc::Receiver<ShardCommand>, tasks: Tasks) {
        let mut commands = Vec::with_capacity(COMMANDS_PER_TURN);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut open = true;
        while open || !self.is_idle() {
            tokio::select! {
                taken = mailbox.recv_many(&mut commands, COMMANDS_PER_TURN), if open => {
                    open = taken > 0;
                    commands.drain(..).for_each(|command| self.handle(command));
                }
                Some(done) = self.work.next() => self.on_done(done),
                () = tasks.shutdown_started(), if open => mailbox.close(),
                _ = tick.tick() => self.on_tick(),
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.work.is_empty() && self.cursors.is_empty()
    }

    fn handle(&mut self, command: ShardCommand) {
        match command {
            ShardCommand::Call(call) => self.handle_call(call),
            ShardCommand::Detach { link, channel } => {
                if let Some(state) = self.channels.get_mut(&channel) {
                    state.remove_interest(link);
                }
                self.owed.on_detach(link, channel);
            }
        }
    }

    fn on_tick(&mut self) {
        self.pay_owed();
        self.send_beacons(tokio::time::Instant::now());
        self.start_cursor_write();
        metrics::gauge!("sterna_core_owned_channels").set(self.channels.len() as f64);
        if self.channels.len() > self.context.config.queues.shard_channels {
            self.drop_idle_channels();
        }
    }

    /// Starts the next append of a channel, if one is due.
    pub(super) fn start_append(&mut self, key: ChannelKey) {
        let Some(state) = self.channels.get_mut(&key) else { return };
        if state.catching_up {
            return;
        }
        let queues = &self.context.config.queues;
        let now_ms = self.context.clock.unix_ms();
        let batch = (queues.append_batch, queues.append_bytes);
        let Some(append) = state.sequence.poll_append(batch.0, batch.1, now_ms) else { return };
        metrics::histogram!("sterna_core_append_publications").record(append.records.len() as f64);
        let log = self.context.stores.log.clone();
        if sterna_storage::planted!(AckBeforeCommit)
            && let Some(mut head) = state.sequence.head().cloned()
        {
            head.position.offset.0 += append.records.len() as u64;
            let result = state.sequence.handle_result(Ok(head));
            self.work.push(Box::pin(async move {
                log.append(vec![append]).await;
                Done::Answered
            }));
            return self.apply(key, result);
        }
        self.work.push(Box::pin(async move {
            let started = tokio::time::Instant::now();
            let result = log.append(vec![append]).await.pop();
            metrics::histogram!("sterna_core_append_seconds").record(started.elapsed());
            Done::Appended { key, result }
        }));
    }

    /// Storage that has failed for good stops the node (I1): it says why and answers nothing more.
    pub(super) fn note_storage_error(&self, error: &sterna_storage::StorageError) {
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

    /// Channels that nobody uses can be read from the store again.
    fn drop_idle_channels(&mut self) {
        let surplus = self.channels.len() - self.context.config.queues.shard_channels;
        let idle = self.channels.iter().filter(|(_, state)| state.is_idle());
        let mut idle: Vec<(tokio::time::Instant, ChannelKey)> =
            idle.map(|(key, state)| (state.used_at, *key)).collect();
        idle.sort_unstable_by_key(|(used_at, _)| *used_at);
        for (_, key) in idle.into_iter().take(surplus) {
            self.channels.remove(&key);
        }
    }

    pub(super) fn head_position(&self, key: &ChannelKey) -> Position {
        self.channels.get(key).map_or(Position::EARLIEST, |state| state.sequence.position())
    }
}
