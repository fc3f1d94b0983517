//! The link inside one process: commands go straight into the mailbox of the channel's shard,
//! pushes into a bounded queue of the worker.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sterna_proto::{ChannelKey, ErrorCode, v1};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument as _;

use crate::channel::shard::{Call, ShardCommand};
use crate::link::{Answered, Calling, Link, LinkCommand, LinkPush, Verb};

/// Number of a link on its node.
pub type LinkId = u16;

/// The downward ends of all links of a node.
#[derive(Debug, Default)]
pub struct LinkPorts {
    ports: RwLock<Vec<Port>>,
}

#[derive(Debug)]
struct Port {
    pushes: mpsc::Sender<LinkPush>,
    bytes: Arc<AtomicUsize>,
    max_bytes: usize,
}

/// Pushes on their way to one worker.
#[derive(Debug)]
pub struct LinkReceiver {
    pushes: mpsc::Receiver<LinkPush>,
    bytes: Arc<AtomicUsize>,
}

/// The link has no room, or is gone.
#[derive(Debug, PartialEq, Eq)]
pub struct NoRoom;

impl LinkPorts {
    /// Opens a link for at most so many pushes and bytes.
    pub fn open(&self, max_pushes: usize, max_bytes: usize) -> (LinkId, LinkReceiver) {
        let (sender, receiver) = mpsc::channel(max_pushes);
        let bytes = Arc::new(AtomicUsize::new(0));
        let mut ports = self.ports.write().unwrap_or_else(PoisonError::into_inner);
        let id = u16::try_from(ports.len()).unwrap_or(u16::MAX);
        ports.push(Port { pushes: sender, bytes: bytes.clone(), max_bytes });
        (id, LinkReceiver { pushes: receiver, bytes })
    }

    /// How many links there are.
    pub fn count(&self) -> usize {
        self.ports.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn try_send(&self, link: LinkId, push: LinkPush) -> Result<(), NoRoom> {
        let ports = self.ports.read().unwrap_or_else(PoisonError::into_inner);
        let port = ports.get(usize::from(link)).ok_or(NoRoom)?;
        let len = push.weight();
        if port.bytes.load(Ordering::Relaxed) + len > port.max_bytes {
            return Err(NoRoom);
        }
        port.bytes.fetch_add(len, Ordering::Relaxed);
        port.pushes.try_send(push).map_err(|_| {
            port.bytes.fetch_sub(len, Ordering::Relaxed);
            NoRoom
        })
    }
}

impl LinkReceiver {
    /// The next pushes, at most `max`; none when the node is gone. Cancel-safe.
    pub async fn receive(&mut self, out: &mut Vec<LinkPush>, max: usize) -> usize {
        let count = self.pushes.recv_many(out, max).await;
        let len: usize = out[out.len() - count..].iter().map(LinkPush::weight).sum();
        self.bytes.fetch_sub(len, Ordering::Relaxed);
        count
    }
}

/// The upward end.
#[derive(Debug, Clone)]
pub struct MemoryLink {
    shards: Arc<[mpsc::Sender<ShardCommand>]>,
    link: Option<LinkId>,
    patience: Duration,
}

impl MemoryLink {
    /// `link`: where pushes go; `None` for callers that only ask.
    pub fn new(
        shards: Arc<[mpsc::Sender<ShardCommand>]>,
        link: Option<LinkId>,
        patience: Duration,
    ) -> Self {
        Self { shards, link, patience }
    }

    /// The shard of a channel: by its placement slot, so that a slot never spans two.
    fn shard(&self, key: ChannelKey) -> &mpsc::Sender<ShardCommand> {
        &self.shards[usize::from(key.slot()) % self.shards.len()]
    }
}

impl Link for MemoryLink {
    fn call(&self, command: LinkCommand) -> Calling {
        let mailbox = self.shard(command.key);
        let (reply, answer) = oneshot::channel();
        let answer = Answered::new(answer).instrument(span_of(&command.verb));
        let call = ShardCommand::Call(Call { link: self.link, command, reply });
        match mailbox.try_send(call) {
            // Closed: the other end of the answer is gone too, and that is what it says.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Calling::Sent(answer),
            Err(mpsc::error::TrySendError::Full(call)) => {
                let (mailbox, patience) = (mailbox.clone(), self.patience);
                Calling::Waiting(Box::pin(async move {
                    if mailbox.send_timeout(call, patience).await.is_err() {
                        metrics::counter!("sterna_core_mailbox_busy_total").increment(1);
                        return Err(busy());
                    }
                    Ok(answer)
                }))
            }
        }
    }

    fn detach(&self, channel: ChannelKey) {
        if let Some(link) = self.link {
            // Not told, the owner goes on sending and is told again with the next push.
            let _ = self.shard(channel).try_send(ShardCommand::Detach { link, channel });
        }
    }
}

/// A publication's time from here to its answer, for traces; nothing unless they are asked for.
fn span_of(verb: &Verb) -> tracing::Span {
    match verb {
        Verb::Publish(_) => tracing::debug_span!("publish"),
        _ => tracing::Span::none(),
    }
}

fn busy() -> v1::Error {
    v1::Error::new(ErrorCode::Busy, "the channel's owner is busy; try again")
        .with_retry_after_ms(100)
}
