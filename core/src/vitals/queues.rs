//! How full the queues of a node are, of each kind the fullest. Looks at them from outside, as the
//! [sampler](super::sampler) and operators do.

use tokio::sync::mpsc;

use crate::link::lane::LANE_WEIGHT;
use crate::node::Node;
use crate::vitals::QueueDepth;
use crate::worker::{BACKGROUND_COMMANDS, CONTROL_QUEUE};

impl Node {
    /// Each kind of queue once, under its name in the register of ARCHITECTURE.md.
    pub fn queue_depths(&self) -> Vec<QueueDepth> {
        let queues = &self.config().queues;
        let workers = self.tally().workers();
        let (pushes, push_bytes) = self.ports().fullest();
        let mailbox = self.shards().iter().map(waiting).max().unwrap_or(0);
        let control = self.controls().iter().map(waiting).max().unwrap_or(0);
        let mut depths = vec![
            depth("shard_mailbox", mailbox, queues.shard_mailbox),
            depth("link_pushes", pushes, queues.link_pushes),
            depth("link_push_bytes", push_bytes, queues.link_push_bytes),
            depth("outbox_frames", workers.outbox_frames, queues.outbox_frames),
            depth("BACKGROUND_COMMANDS", workers.background, BACKGROUND_COMMANDS),
            depth("CONTROL_QUEUE", control, CONTROL_QUEUE),
        ];
        if let Some(router) = self.router() {
            depths.push(depth("LANE_WEIGHT", router.fullest_lane(), LANE_WEIGHT));
        }
        depths
    }
}

fn depth(name: &str, depth: usize, bound: usize) -> QueueDepth {
    QueueDepth { name: name.to_owned(), depth: depth as u64, bound: bound as u64 }
}

/// What waits in a mailbox.
fn waiting<T>(sender: &mpsc::Sender<T>) -> usize {
    sender.max_capacity() - sender.capacity()
}
