//! What a lane keeps, gives away and gives up.

use std::sync::Arc;

use metrics_util::debugging::DebuggingRecorder;
use sterna_proto::{ChannelId, ClientId, Offset, SessionId, UserId};

use super::*;
use crate::config::QueueLimits;
use crate::identity::Identity;
use crate::link::Caller;

fn command(channel: &str, verb: Verb) -> LinkCommand {
    let identity = Identity {
        user: UserId::new("alice").unwrap(),
        permissions: Vec::new(),
        expires_at_ms: None,
        issued_at_ms: None,
        operator: false,
    };
    let client_id = ClientId::new("phone").unwrap();
    let channel = ChannelId::new(channel).unwrap();
    LinkCommand {
        caller: Arc::new(Caller::new(identity.into(), client_id, SessionId(1), Default::default())),
        key: channel.key(),
        channel,
        hops: 0,
        verb,
    }
}

fn publish(client_seq: u64) -> Verb {
    Verb::Publish(v1::Publish { client_seq, ..Default::default() })
}

fn ask(lane: &Lane, command: LinkCommand) -> oneshot::Receiver<LinkReply> {
    let room = lane.try_room(&command).expect("there is room");
    let (asked, answer) = Asked::new(command, room, Arc::default(), Arc::default());
    lane.push(asked);
    answer
}

fn seqs(asked: &[Asked]) -> Vec<u64> {
    let seq = |asked: &Asked| match &asked.command.verb {
        Verb::Publish(publish) => publish.client_seq,
        _ => 0,
    };
    asked.iter().map(seq).collect()
}

#[tokio::test]
async fn calls_of_a_channel_are_taken_in_their_order_and_the_rest_stays() {
    let lane = Lane::new();
    let answers: Vec<_> = [("a", 1), ("b", 2), ("a", 3), ("a", 0)]
        .into_iter()
        .map(|(channel, seq)| ask(&lane, command(channel, publish(seq))))
        .collect();
    let connected = lane.start();
    lane.next_frames(connected.number, &mut Vec::new(), |_| false).unwrap();
    let later = ask(&lane, command("a", publish(4)));
    let a = ChannelId::new("a").unwrap().key();
    let taken = lane.take(|channel| *channel == a);
    assert_eq!(seqs(&taken), [1, 3, 4]);
    // Nobody would recognise it, and it may have been stored.
    let unknown = answers.into_iter().next_back().unwrap().await.unwrap().unwrap_err();
    assert_eq!(unknown.code, ErrorCode::Unavailable.number());
    assert!(!lane.is_empty(), "the other channel's call is still on its way");
    drop((taken, later));
}

#[tokio::test]
async fn i13_what_is_behind_a_refused_one_goes_no_other_way() {
    let lane = Lane::new();
    let turns: Arc<Turns> = Arc::default();
    let ask = |seq: u64| {
        let publish = v1::Publish { client_seq: seq, ordered: true, ..Default::default() };
        let command = command("a", Verb::Publish(publish));
        let room = lane.try_room(&command).unwrap();
        let (asked, answer) = Asked::new(command, room, turns.clone(), Arc::default());
        lane.push(asked);
        answer
    };
    let connected = lane.start();
    let answers: Vec<_> = (1..=3).map(ask).collect();
    lane.next_frames(connected.number, &mut Vec::new(), |_| false).unwrap();
    let waiting = ask(4);
    let refused = lane.state().sent.remove(&1).unwrap();
    refused.answer(Err(v1::Error::new(ErrorCode::Unavailable, "for the moment")));
    assert!(lane.take(|_| true).is_empty(), "2, 3 and 4 would overtake it");
    for answer in answers.into_iter().chain([waiting]) {
        assert!(answer.await.unwrap().unwrap_err().retryable);
    }
    // It comes again, and what follows it.
    let _again = [ask(1), ask(2)];
    assert_eq!(seqs(&lane.take(|_| true)), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_connection_for_too_long_is_refused() {
    let lane = Lane::new();
    let patience = Duration::from_secs(5);
    let old = ask(&lane, command("a", Verb::Info));
    tokio::time::advance(patience).await;
    let new = ask(&lane, command("a", Verb::Info));
    lane.expire(Instant::now(), patience);
    assert!(old.await.unwrap().unwrap_err().retryable);
    assert_eq!(lane.take(|_| true).len(), 1);
    drop(new);
}

#[tokio::test]
async fn i12_a_lane_has_room_by_number_and_by_bytes() {
    let lane = Lane::new();
    let large = Verb::Publish(v1::Publish {
        payload: vec![0; sterna_proto::limits::PAYLOAD_BYTES].into(),
        ..Default::default()
    });
    let large = command("a", large);
    let mut answers = Vec::new();
    while let Some(room) = lane.try_room(&large) {
        let (asked, answer) = Asked::new(large.clone(), room, Arc::default(), Arc::default());
        lane.push(asked);
        answers.push(answer);
    }
    let held = answers.len() * sterna_proto::limits::PAYLOAD_BYTES;
    assert!(held <= LANE_WEIGHT * WEIGHT_BYTES, "{held} bytes");
    lane.take(|_| true).into_iter().for_each(|asked| asked.answer(Err(v1::Error::default())));
    assert!(lane.try_room(&large).is_some(), "an answer makes room");
}

#[tokio::test]
async fn i12_detaches_that_wait_are_bounded() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let lane = Lane::new();
        let channel = ChannelId::new("a").unwrap().key();
        lane.detach(channel);
        assert!(lane.state().detaches.is_empty(), "a peer without a link knows of no interest");
        let _connected = lane.start();
        (0..=LANE_DETACHES).for_each(|_| lane.detach(channel));
        assert_eq!(lane.state().detaches.len(), LANE_DETACHES);
    });
    let dropped = snapshotter.snapshot().into_vec();
    let dropped = dropped.iter().map(|(key, ..)| key.key().name());
    assert!(dropped.into_iter().any(|name| name == "sterna_link_detaches_dropped_total"));
}

#[tokio::test]
async fn i5_a_detach_is_forgotten_when_somebody_has_attached_since() {
    let lane = Lane::new();
    let connected = lane.start();
    let channel = ChannelId::new("a").unwrap().key();
    let mut out = Vec::new();
    lane.detach(channel);
    lane.next_frames(connected.number, &mut out, |wanted| *wanted == channel).unwrap();
    assert!(out.is_empty(), "the attach may have gone out before");
    lane.detach(channel);
    lane.next_frames(connected.number, &mut out, |_| false).unwrap();
    assert_eq!(out.len(), 1);
}

/// Keeps what is sent, and ends the lane with the first of it.
struct Keeps(Vec<wire::Frame>);

impl FrameSender for Keeps {
    async fn send(&mut self, frames: &mut Vec<wire::Frame>) -> Result<(), LaneError> {
        self.0.append(frames);
        Err(LaneError::Lost("enough".into()))
    }
}

/// Brings nothing.
struct Silent;

impl FrameReceiver for Silent {
    async fn receive(&mut self, _: &mut Vec<wire::Frame>) -> Result<(), LaneError> {
        std::future::pending().await
    }
}

/// Nobody wanted the channel, then its way changed, then somebody wants it again.
#[tokio::test(start_paused = true)]
async fn i9_a_detach_goes_out_though_somebody_has_attached_by_another_way_since() {
    use crate::link::ports::LinkPorts;
    let channel = ChannelId::new("a").unwrap().key();
    for leads in [true, false] {
        let ports = Arc::new(LinkPorts::default());
        let interests = Interests::new(ports.clone(), &QueueLimits::default());
        let (link, _pushes) = ports.open(8, 1 << 20);
        let (lane, mut keeps) = (Lane::new(), Keeps(Vec::new()));
        let mut silent = Silent;
        let running = lane.run(&mut keeps, &mut silent, &interests, |_: &ChannelKey| leads);
        let wanting = async {
            // The lane has its connection, and sends when this waits.
            lane.detach(channel);
            interests.add(channel, link, false);
        };
        let ran = async { tokio::join!(running, wanting) };
        let ended = tokio::time::timeout(Duration::from_secs(1), ran).await.is_ok();
        assert_eq!(ended, !leads);
        let told = keeps.0.iter().filter(|one| matches!(one.body, Some(Body::Detach(_)))).count();
        assert_eq!(told, usize::from(!leads));
    }
}

#[tokio::test]
async fn an_attach_whose_asker_is_gone_is_not_sent_again() {
    let lane = Lane::new();
    let connected = lane.start();
    let verb = Verb::Attach {
        subscribe: v1::Subscribe::default(),
        turn: 1,
        again: false,
        held_upto: None,
        replaces: None,
    };
    let (gone, waits) = (ask(&lane, command("a", verb.clone())), ask(&lane, command("a", verb)));
    lane.next_frames(connected.number, &mut Vec::new(), |_| false).unwrap();
    drop(gone);
    assert_eq!(lane.take(|_| true).len(), 1);
    drop(waits);
}

#[test]
fn a_call_weighs_at_least_one_and_never_more_than_a_lane() {
    let verb = Verb::MoveCursor { delivered: Offset(1), read: Offset(1) };
    assert_eq!(weight(&command("a", verb)), 1);
    let huge = v1::Publish { payload: vec![0; 1 << 25].into(), ..Default::default() };
    assert_eq!(weight(&command("a", Verb::Publish(huge))), LANE_WEIGHT as u32);
}

/// Its asker has gone meanwhile, and may have been taken out of the channel by another way.
#[tokio::test]
async fn who_has_left_does_not_attach_any_more() {
    let lane = Lane::new();
    let attach = || {
        let subscribe = v1::Subscribe::default();
        command(
            "a",
            Verb::Attach { subscribe, turn: 1, again: true, held_upto: None, replaces: None },
        )
    };
    let waiting = [ask(&lane, attach()), ask(&lane, attach())];
    let [gone, _still_there] = waiting;
    drop(gone);
    let mut out = Vec::new();
    let connected = lane.start();
    lane.next_frames(connected.number, &mut out, |_| true).unwrap();
    assert_eq!(out.len(), 1);
}

/// A link is dialled anew as soon as it is known that its peer is another process. Whoever drives the
/// connection to the old one may be behind with what it does, and hear of it late.
#[tokio::test(start_paused = true)]
async fn i13_a_connection_that_has_been_replaced_takes_nothing_with_it() {
    let lane = Lane::new();
    let mut answers: Vec<_> = (1..=2).map(|seq| ask(&lane, command("a", publish(seq)))).collect();
    let interests = Interests::new(Arc::default(), &QueueLimits::default());
    let (mut to_old, mut to_new) = (Written::default(), Written::default());
    let (mut from_old, mut from_new) = (Silent, Silent);
    let leads = |_: &ChannelKey| true;
    let mut old = Box::pin(lane.run(&mut to_old, &mut from_old, &interests, leads));
    assert!(futures_util::poll!(&mut old).is_pending());
    let mut new = Box::pin(lane.run(&mut to_new, &mut from_new, &interests, leads));
    assert!(futures_util::poll!(&mut new).is_pending());
    answers.push(ask(&lane, command("a", publish(3))));
    // Woken in place of the newer one, perhaps.
    let ended = futures_util::poll!(&mut old);
    assert!(matches!(ended, std::task::Poll::Ready(LaneError::Superseded)), "{ended:?}");
    drop(old);
    assert!(futures_util::poll!(&mut new).is_pending());
    answers.push(ask(&lane, command("a", publish(4))));
    assert!(futures_util::poll!(&mut new).is_pending());
    // The lane has a connection still: nothing has waited for one.
    tokio::time::advance(Duration::from_secs(60)).await;
    lane.expire(Instant::now(), Duration::from_secs(5));
    assert!(answers.iter_mut().all(|answer| answer.try_recv().is_err()), "nobody is refused");
    drop(new);
    assert_eq!((to_old.seqs(), to_new.seqs()), (vec![1, 2], vec![1, 2, 3, 4]));
}

/// Takes everything.
#[derive(Default)]
struct Written(Vec<wire::Frame>);

impl Written {
    fn seqs(self) -> Vec<u64> {
        let calls = self.0.into_iter().filter_map(|frame| match frame.body {
            Some(Body::Call(call)) => frames::command(call).ok(),
            _ => None,
        });
        let seq = |command: LinkCommand| match command.verb {
            Verb::Publish(publish) => publish.client_seq,
            _ => 0,
        };
        calls.map(seq).collect()
    }
}

impl FrameSender for Written {
    async fn send(&mut self, frames: &mut Vec<wire::Frame>) -> Result<(), LaneError> {
        self.0.append(frames);
        Ok(())
    }
}
