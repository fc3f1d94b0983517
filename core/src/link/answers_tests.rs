//! A node that asks for everything and takes nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use sterna_proto::link::v1::frame::Body;
use sterna_proto::{ChannelId, ClientId, ErrorCode, NodeId, SessionId, UserId, limits, v1};
use tokio::sync::Semaphore;

use super::*;
use crate::channel::shard::{Call, ShardCommand};
use crate::cluster::testing::node;
use crate::cluster::{ClusterConfig, Incarnation};
use crate::config::QueueLimits;
use crate::identity::Identity;
use crate::link::lane::{FrameReceiver, FrameSender};
use crate::link::ports::{LaneFrom, LinkPorts};
use crate::link::router::Router;
use crate::link::serve::serve;
use crate::link::{Caller, LinkCommand, LinkPush, Verb};

/// The payload of a page, of which it is known how many are kept.
struct Payload(#[allow(dead_code)] Arc<()>);

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &[7; limits::PAGE_BYTES]
    }
}

fn page(kept: &Arc<()>) -> LinkReply {
    let payload = Bytes::from_owner(Payload(kept.clone()));
    let publication = v1::Publication { payload, ..Default::default() };
    Ok(Reply::History(v1::HistoryPage { publications: vec![publication], ..Default::default() }))
}

fn refused(reply: &LinkReply) -> bool {
    reply.as_ref().is_err_and(|error| error.code == ErrorCode::Busy.number() && error.retryable)
}

#[test]
fn i12_pages_without_room_are_refused_and_what_was_done_is_told() {
    let kept = Arc::new(());
    let mut unwritten = Unwritten::new(3 * limits::PAGE_BYTES);
    let done = || Ok(Reply::Published(v1::Published::default()));
    for (id, reply) in [page(&kept), page(&kept), page(&kept), done()].into_iter().enumerate() {
        unwritten.push(id as u64, reply);
    }
    assert_eq!(Arc::strong_count(&kept) - 1, 2, "a third one would be more than fits");
    let mut out = Vec::new();
    unwritten.take(&mut out);
    let replies: Vec<LinkReply> = out.into_iter().map(reply_of).map(|(_, reply)| reply).collect();
    assert!(replies[0].is_ok() && replies[1].is_ok() && refused(&replies[2]) && replies[3].is_ok());
    assert_eq!((unwritten.bytes, unwritten.frames.len()), (0, 0));
    unwritten.push(9, page(&kept));
    assert_eq!(unwritten.frames.len(), 1, "what was written makes room");
}

fn reply_of(frame: wire::Frame) -> (u64, LinkReply) {
    let Some(Body::Answer(answer)) = frame.body else { panic!("an answer") };
    (answer.id, frames::reply(answer))
}

/// Brings calls, and nothing more.
struct Calls(Vec<wire::Frame>);

impl FrameReceiver for Calls {
    async fn receive(&mut self, frames: &mut Vec<wire::Frame>) -> Result<(), LaneError> {
        if self.0.is_empty() {
            std::future::pending::<()>().await;
        }
        frames.append(&mut self.0);
        Ok(())
    }
}

/// Writes only as often as it may.
struct Held {
    may: Arc<Semaphore>,
    written: Arc<Mutex<Vec<wire::Frame>>>,
}

impl FrameSender for Held {
    async fn send(&mut self, frames: &mut Vec<wire::Frame>) -> Result<(), LaneError> {
        self.may.acquire().await.unwrap().forget();
        self.written.lock().unwrap().append(frames);
        Ok(())
    }
}

fn call(id: u64, verb: Verb) -> wire::Frame {
    let identity = Identity {
        user: UserId::new("alice").unwrap(),
        permissions: Vec::new(),
        expires_at_ms: None,
        issued_at_ms: None,
        operator: false,
    };
    let client_id = ClientId::new("phone").unwrap();
    let caller = Caller::new(identity.into(), client_id, SessionId(1), Incarnation(2));
    let channel = ChannelId::new("room:pages").unwrap();
    let (caller, key) = (Arc::new(caller), channel.key());
    frames::call(id, &LinkCommand { caller, channel, key, hops: 0, verb })
}

/// Every so many calls publish, the others ask for a page.
const PUBLISHED: u64 = 8;

const CALLS: u64 = 3 * LANE_ANSWERS as u64;

fn calls() -> Calls {
    let verb = |id: u64| match id.is_multiple_of(PUBLISHED) {
        true => Verb::Publish(v1::Publish { client_seq: id, ..Default::default() }),
        false => Verb::History(v1::History::default()),
    };
    Calls((1..=CALLS).map(|id| call(id, verb(id))).collect())
}

/// Answers what is asked until nothing more comes; how many calls there were.
async fn answer_all(shard: &mut mpsc::Receiver<ShardCommand>, kept: &Arc<()>) -> usize {
    let mut count = 0;
    // Time passes only when there is nothing else to do.
    while let Ok(command) = tokio::time::timeout(Duration::from_secs(1), shard.recv()).await {
        let Some(ShardCommand::Call(Call { command, reply, .. })) = command else { continue };
        let answer = match command.verb {
            Verb::Publish(_) => Ok(Reply::Published(v1::Published::default())),
            _ => page(kept),
        };
        reply.send(answer).unwrap();
        count += 1;
    }
    count
}

/// What one lane costs, whatever is asked on it: so much and no more, until it is read again. Then every
/// call has one answer, and what was done is told as done.
async fn one_lane_that_is_not_read() {
    let (mailbox, mut shard) = mpsc::channel(64);
    let (ports, turns, tally, revocations) = Default::default();
    let config = ClusterConfig::new(node("core", 1));
    let queues = QueueLimits::default();
    let (ports, shards): (Arc<LinkPorts>, _) = (ports, Some([mailbox].into()));
    let router = Router::new(config, queues, shards, ports.clone(), turns, tally, revocations);
    let (name, incarnation) = (NodeId::new("edge").unwrap(), Incarnation(2));
    let from = LaneFrom { node: name.clone(), incarnation, lane: 0, wide: false };
    let (may, written) = (Arc::new(Semaphore::new(0)), Arc::<Mutex<Vec<_>>>::default());
    let mut sender = Held { may: may.clone(), written: written.clone() };
    let (mut receiver, kept) = (calls(), Arc::new(()));
    let asking = async {
        let carried_out = answer_all(&mut shard, &kept).await;
        let read_ahead = LANE_ANSWERS + 2 * CALLS_READ_AHEAD;
        assert!((LANE_ANSWERS..=read_ahead).contains(&carried_out), "{carried_out} calls");
        let pages = Arc::strong_count(&kept) - 1;
        let read_ahead = CALLS_READ_AHEAD * limits::PAGE_BYTES;
        let most = LANE_ANSWER_BYTES + 2 * WRITE_BYTES + read_ahead;
        assert!(pages > 0 && pages * limits::PAGE_BYTES <= most, "{pages} pages are kept");
        let link = ports.near(&name, incarnation, 0).unwrap();
        let push = LinkPush::Moved { channel: ChannelId::new("room:pushed").unwrap().key() };
        let pushed = (0..).take_while(|_| ports.try_send(link, push.clone()).is_ok()).count();
        assert_eq!(pushed, QueueLimits::default().link_pushes, "and no more pushes");
        may.add_permits(Semaphore::MAX_PERMITS / 2);
        let more = answer_all(&mut shard, &kept).await;
        assert_eq!(carried_out + more, CALLS as usize);
    };
    tokio::select! {
        error = serve(&router, from, &mut sender, &mut receiver) => panic!("{error}"),
        () = asking => {}
    }
    let is_answer = |frame: &wire::Frame| matches!(frame.body, Some(Body::Answer(_)));
    let written = std::mem::take(&mut *written.lock().unwrap()).into_iter().filter(is_answer);
    let mut written: Vec<(u64, LinkReply)> = written.map(reply_of).collect();
    written.sort_by_key(|(id, _)| *id);
    assert!(written.iter().map(|(id, _)| *id).eq(1..=CALLS), "each call has one answer");
    for (id, reply) in &written {
        assert!(reply.is_ok() || (refused(reply) && !id.is_multiple_of(PUBLISHED)), "{reply:?}");
    }
    let last = written.last().map(|(_, reply)| reply.is_ok());
    assert_eq!(last, Some(true), "a lane that is read has room again");
}

/// As many as fit between the halves of a lane.
const CALLS_READ_AHEAD: usize = 64;

#[test]
fn i12_a_node_that_asks_for_pages_and_does_not_read_costs_no_more_than_a_bound() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(one_lane_that_is_not_read());
    });
    let counted = snapshotter.snapshot().into_vec();
    let refused = counted.iter().find_map(|(key, _, _, value)| {
        (key.key().name() == "sterna_link_answers_refused_total").then_some(value)
    });
    assert!(matches!(refused, Some(DebugValue::Counter(count)) if *count > 0), "{refused:?}");
}
