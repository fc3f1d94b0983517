//! One task that owns a fixed share of all channels. It takes commands from its mailbox, decides
//! at once and never waits inside a decision: everything that takes time (store reads, commits)
//! runs beside it as [`Work`] whose [`Done`] comes back as one more input. So commands of one
//! channel are handled in the order in which they came.
//!
//! Ends when the node shuts down and everything that waited has been committed and answered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sterna_proto::{ChannelKey, Offset, Position, UserId};
use sterna_storage::{BoxFuture, CursorMove, StorageErrorKind, Stores};
use tokio::sync::{mpsc, oneshot, watch};

use crate::channel::state::ChannelState;
use crate::channel::work::Done;
use crate::clock::Clock;
use crate::config::CoreConfig;
use crate::id::IdGenerator;
use crate::link::memory::{LinkId, LinkPorts};
use crate::link::{LinkCommand, LinkPush, LinkReply};
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
    /// Links that missed publications of these channels and are owed a head beacon.
    owed_heads: HashSet<(LinkId, ChannelKey), RandomState>,
    /// Evictions that found no room; nothing of their channel goes to the link before (I11).
    owed_evicts: HashMap<(LinkId, ChannelKey), Vec<LinkPush>, RandomState>,
    /// Cursor moves that wait to be written together; newest per member and channel.
    pub(super) cursor_moves: HashMap<(ChannelKey, UserId), CursorMove, RandomState>,
    writing_cursors: bool,
}

/// Beat of housekeeping: owed heads and cursor writes.
const TICK: Duration = Duration::from_millis(100);

/// Commands taken from the mailbox before appends start and work is looked at.
const COMMANDS_PER_TURN: usize = 256;

impl Shard {
    pub fn new(context: Arc<ShardContext>) -> Self {
        Self {
            context,
            channels: HashMap::default(),
            work: FuturesUnordered::new(),
            owed_heads: HashSet::default(),
            owed_evicts: HashMap::default(),
            cursor_moves: HashMap::default(),
            writing_cursors: false,
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
        self.work.is_empty() && self.cursor_moves.is_empty()
    }

    fn handle(&mut self, command: ShardCommand) {
        match command {
            ShardCommand::Call(call) => self.handle_call(call),
            ShardCommand::Detach { link, channel } => {
                if let Some(state) = self.channels.get_mut(&channel) {
                    state.interest.retain(|other| *other != link);
                }
                self.owed_heads.remove(&(link, channel));
            }
        }
    }

    fn on_tick(&mut self) {
        self.pay_owed_evicts();
        self.pay_owed_heads();
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
        self.work.push(Box::pin(async move {
            let started = tokio::time::Instant::now();
            let result = log.append(vec![append]).await.pop();
            metrics::histogram!("sterna_core_append_seconds").record(started.elapsed());
            Done::Appended { key, result }
        }));
    }

    /// Sends publications to every link with an interest. A link without room gets a head beacon
    /// later instead (I5: a push is only a hint).
    pub(super) fn spread(&mut self, key: ChannelKey, push: &LinkPush) {
        let Some(state) = self.channels.get(&key) else { return };
        for link in &state.interest {
            let owes = self.owed_evicts.contains_key(&(*link, key));
            if !owes && self.context.ports.try_send(*link, push.clone()).is_ok() {
                continue;
            }
            let kind = match push {
                LinkPush::Deliver { .. } | LinkPush::Head { .. } => "deliver",
                LinkPush::Event { .. } => "event",
                LinkPush::Evict { .. } => "evict",
            };
            metrics::counter!("sterna_core_link_dropped_total", "kind" => kind).increment(1);
            match kind {
                "deliver" => drop(self.owed_heads.insert((*link, key))),
                "evict" => self.owed_evicts.entry((*link, key)).or_default().push(push.clone()),
                _ => {}
            }
        }
    }

    /// One for each member that was removed while the link was full, so few.
    fn pay_owed_evicts(&mut self) {
        let ports = &self.context.ports;
        self.owed_evicts.retain(|(link, _), pushes| {
            while let Some(push) = pushes.pop() {
                if ports.try_send(*link, push.clone()).is_err() {
                    pushes.push(push);
                    return true;
                }
            }
            false
        });
    }

    fn pay_owed_heads(&mut self) {
        let (channels, ports) = (&self.channels, &self.context.ports);
        let evicts = &self.owed_evicts;
        self.owed_heads.retain(|(link, channel)| {
            if evicts.contains_key(&(*link, *channel)) {
                return true;
            }
            let Some(state) = channels.get(channel) else { return false };
            let head = state.sequence.position();
            ports.try_send(*link, LinkPush::Head { channel: *channel, head }).is_err()
        });
    }

    pub(super) fn move_cursor(
        &mut self,
        key: ChannelKey,
        user: UserId,
        delivered: Offset,
        read: Offset,
    ) {
        let entry = self.cursor_moves.entry((key, user.clone())).or_insert_with(|| CursorMove {
            channel: key,
            user,
            delivered: Offset::ZERO,
            read: Offset::ZERO,
        });
        entry.delivered = entry.delivered.max(delivered);
        entry.read = entry.read.max(read);
    }

    fn start_cursor_write(&mut self) {
        if self.cursor_moves.is_empty() || self.writing_cursors {
            return;
        }
        self.writing_cursors = true;
        let moves: Vec<CursorMove> = self.cursor_moves.drain().map(|(_, value)| value).collect();
        let cursors = self.context.stores.cursors.clone();
        self.work.push(Box::pin(async move {
            let result = cursors.advance(moves.clone()).await;
            Done::CursorsMoved { moves, result }
        }));
    }

    pub(super) fn on_cursors_written(&mut self) {
        self.writing_cursors = false;
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
