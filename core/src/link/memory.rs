//! The link inside one process: commands go straight into the mailbox of the channel's shard,
//! pushes into a bounded queue of the worker ([`ports`](super::ports)).

use std::sync::Arc;
use std::time::Duration;

use sterna_proto::{ChannelKey, ErrorCode, v1};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument as _;

use crate::channel::shard::{Call, ShardCommand};
use crate::link::ports::LinkId;
use crate::link::{Answered, Calling, Link, LinkCommand, Verb};

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
}

/// The mailbox of a channel's shard: by its placement slot, so that a slot never spans two.
pub(crate) fn mailbox(
    shards: &[mpsc::Sender<ShardCommand>],
    key: ChannelKey,
) -> &mpsc::Sender<ShardCommand> {
    &shards[usize::from(key.slot()) % shards.len()]
}

impl Link for MemoryLink {
    fn call(&self, command: LinkCommand) -> Calling {
        let shard = mailbox(&self.shards, command.key);
        let (reply, answer) = oneshot::channel();
        let answer = Answered::new(answer).instrument(span_of(&command.verb));
        let call = ShardCommand::Call(Call { link: self.link, command, reply });
        match shard.try_send(call) {
            // Closed: the other end of the answer is gone too, and that is what it says.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Calling::Sent(answer),
            Err(mpsc::error::TrySendError::Full(call)) => {
                let (shard, patience) = (shard.clone(), self.patience);
                Calling::Waiting(Box::pin(async move {
                    if shard.send_timeout(call, patience).await.is_err() {
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
            let _ = mailbox(&self.shards, channel).try_send(ShardCommand::Detach { link, channel });
        }
    }
}

/// A publication's time from here to its answer, for traces; nothing unless they are asked for.
pub(super) fn span_of(verb: &Verb) -> tracing::Span {
    match verb {
        Verb::Publish(_) => tracing::debug_span!("publish"),
        _ => tracing::Span::none(),
    }
}

pub(super) fn busy() -> v1::Error {
    v1::Error::new(ErrorCode::Busy, "the channel's owner is busy; try again")
        .with_retry_after_ms(100)
}
