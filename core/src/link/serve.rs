//! The answering end of a lane: another node's calls come in and are carried out here, or passed on
//! towards the owner; answers and pushes go back. To the channels that are owned here, and to the
//! interests of this node, the lane is a link like that of a worker.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sterna_proto::link::v1::{self as wire, frame::Body};
use sterna_proto::{NodeId, UserId};
use tokio::sync::mpsc;

use crate::link::answers::Answers;
use crate::link::asking::{ANSWERED_AT_ONCE, ASKING_FRAMES};
use crate::link::lane::{FrameReceiver, FrameSender, LaneError};
use crate::link::ports::{LaneFrom, LinkId, LinkReceiver};
use crate::link::router::Router;
use crate::link::wire as frames;
use crate::link::{Answering, Calling, LinkPush, LinkReply};
use crate::revocations::Revocation;

/// Pushes written together.
const PUSHES_PER_WRITE: usize = 64;

/// Calls of one lane between the half that reads it and the half that answers, which are polled in turn.
const CALLS_PER_TURN: usize = 64;

/// Serves a lane until its connection ends; to be polled until then, or what the lane has registered
/// stays.
pub async fn serve<S: FrameSender, R: FrameReceiver>(
    router: &Arc<Router>,
    from: LaneFrom,
    sender: &mut S,
    receiver: &mut R,
) -> LaneError {
    let wide = from.wide;
    let (link, pushes) = router.open_link(from);
    let (asked, answers) = mpsc::channel(CALLS_PER_TURN);
    let ended = tokio::select! {
        Err(error) = take_calls(router, link, receiver, asked) => error,
        Err(error) = give_answers(pushes, Answers::new(answers), wide, sender) => error,
    };
    router.close_link(link).await;
    ended
}

async fn take_calls<R: FrameReceiver>(
    router: &Arc<Router>,
    link: LinkId,
    receiver: &mut R,
    asked: mpsc::Sender<(u64, Answering)>,
) -> Result<(), LaneError> {
    let mut received = Vec::new();
    let lost = |_| LaneError::Lost("nobody writes answers any more".into());
    loop {
        receiver.receive(&mut received).await?;
        for body in received.drain(..).filter_map(|frame| frame.body) {
            match body {
                Body::Call(call) => {
                    let id = call.id;
                    let sent = match frames::command(call) {
                        Ok(command) => match router.call(Some(link), command) {
                            Calling::Sent(answer) => Ok(answer),
                            // Later calls of the lane wait behind, which keeps their order.
                            Calling::Waiting(sent) => sent.await,
                        },
                        Err(error) => Err(error),
                    };
                    let answer = sent.unwrap_or_else(|error| answered(Err(error)));
                    asked.send((id, answer)).await.map_err(lost)?;
                }
                Body::Detach(detach) => {
                    router.detach_lane(link, frames::key(&detach.channel)?).await;
                }
                // Of a newer release.
                _ => {}
            }
        }
    }
}

/// An answer that is known.
fn answered(reply: LinkReply) -> Answering {
    use tracing::Instrument as _;
    let (sender, answer) = tokio::sync::oneshot::channel();
    let _ = sender.send(reply);
    crate::link::Answered::new(answer).instrument(tracing::Span::none())
}

async fn give_answers<S: FrameSender>(
    mut pushes: LinkReceiver,
    mut answers: Answers,
    wide: bool,
    sender: &mut S,
) -> Result<(), LaneError> {
    let (mut taken, mut out) = (Vec::new(), Vec::new());
    loop {
        tokio::select! {
            more = answers.more() => more?,
            count = pushes.receive_many(&mut taken, PUSHES_PER_WRITE) => {
                if count == 0 {
                    return Err(LaneError::Lost("the node takes no pushes any more".into()));
                }
                count_copies(&taken, wide);
                taken.drain(..).for_each(|push| frames::push(&push, &mut out));
            }
            // Pushes get their turn all the same.
            () = std::future::ready(()), if !answers.is_empty() => {}
        }
        answers.take(&mut out);
        if !out.is_empty() {
            answers.during(sender.send(&mut out)).await?;
        }
    }
}

/// I9: copies of publications that leave for another node, and how many of them for another region.
fn count_copies(pushes: &[LinkPush], wide: bool) {
    let copies: usize = pushes
        .iter()
        .map(|push| match push {
            LinkPush::Deliver { pushes, .. } => pushes.len(),
            _ => 0,
        })
        .sum();
    let scope = if wide { "wide" } else { "region" };
    metrics::counter!("sterna_link_copies_total", "scope" => scope).increment(copies as u64);
}

/// The node at the other end, as its certificate has it.
#[derive(Debug, Clone)]
pub struct Speaker {
    pub name: NodeId,
    pub edge: bool,
    pub core: bool,
}

impl Speaker {
    /// What it says of itself goes as far as its certificate; what it says of others is checked when
    /// they are dialled.
    fn mask(&self, nodes: &mut [wire::Node]) {
        for node in nodes.iter_mut().filter(|node| node.name == self.name.as_str()) {
            node.edge &= self.edge;
            node.core &= self.core;
        }
    }
}

fn to_wire(revocation: Revocation) -> wire::Revocation {
    let user = revocation.user.map(|user| user.to_string()).unwrap_or_default();
    wire::Revocation { user, before_ms: revocation.before_ms }
}

fn from_wire(revocation: wire::Revocation) -> Option<Revocation> {
    let wire::Revocation { user, before_ms } = revocation;
    if user.is_empty() {
        return Some(Revocation { user: None, before_ms });
    }
    match UserId::new(&user) {
        Ok(user) => Some(Revocation { user: Some(user), before_ms }),
        Err(error) => {
            // Nobody has a token with such a name either.
            tracing::warn!(%error, "a revocation of no user");
            None
        }
    }
}

/// In one frame beside a roster.
const REVOCATIONS_A_FRAME: usize = 500;

/// Exchanges rosters, whose tokens are void, and what operators ask with a peer until the connection ends;
/// the same at both ends.
pub async fn exchange_rosters<S: FrameSender, R: FrameReceiver>(
    router: &Arc<Router>,
    speaker: &Speaker,
    sender: &mut S,
    receiver: &mut R,
) -> LaneError {
    let (asked, questions) = mpsc::channel(ASKING_FRAMES);
    tokio::select! {
        Err(error) = tell_peer(router, speaker, sender, questions) => error,
        Err(error) = hear_peer(router, speaker, receiver, &asked) => error,
    }
}

async fn tell_peer<S: FrameSender>(
    router: &Arc<Router>,
    speaker: &Speaker,
    sender: &mut S,
    mut questions: mpsc::Receiver<wire::Question>,
) -> Result<(), LaneError> {
    let (mut beats, mut news) = (router.beats(), router.revocations().news());
    let mut carrier = router.asking().carry(&speaker.name, speaker.core);
    let mut answering = FuturesUnordered::new();
    let own = router.own().name;
    let mut told = 0;
    loop {
        let (revoked, reached) = router.revocations().since(told, REVOCATIONS_A_FRAME);
        told = reached;
        let (more, revocations) = (revoked.len(), revoked.into_iter().map(to_wire).collect());
        let roster = wire::Roster { nodes: router.roster_to_wire(), revocations };
        sender.send(&mut vec![frames::frame(Body::Roster(roster))]).await?;
        if more == REVOCATIONS_A_FRAME {
            continue;
        }
        loop {
            let frame = tokio::select! {
                changed = beats.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return Err(LaneError::Lost("the node is gone".into())),
                },
                changed = news.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return Err(LaneError::Lost("the node is gone".into())),
                },
                Some(question) = questions.recv(), if answering.len() < ANSWERED_AT_ONCE => {
                    answering.push(router.asking().answer(&own, question));
                    continue;
                }
                Some(answer) = answering.next() => answer,
                Some(frame) = carrier.frames.recv() => frame,
            };
            sender.send(&mut vec![frame]).await?;
        }
    }
}

async fn hear_peer<R: FrameReceiver>(
    router: &Arc<Router>,
    speaker: &Speaker,
    receiver: &mut R,
    asked: &mpsc::Sender<wire::Question>,
) -> Result<(), LaneError> {
    let mut received = Vec::new();
    loop {
        receiver.receive(&mut received).await?;
        for body in received.drain(..).filter_map(|frame| frame.body) {
            match body {
                Body::Roster(mut roster) => {
                    speaker.mask(&mut roster.nodes);
                    router.on_roster(roster.nodes);
                    let revoked = roster.revocations.into_iter().filter_map(from_wire);
                    revoked.for_each(|revocation| router.revocations().add(revocation));
                }
                Body::Told(told) => router.asking().on_told(told),
                Body::Question(question) => {
                    // Whoever asks more than is answered asks again.
                    let dropped = u64::from(asked.try_send(question).is_err());
                    metrics::counter!("sterna_link_questions_dropped_total").increment(dropped);
                }
                // Of a newer release.
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::shard::ShardCommand;
    use crate::cluster::testing::node;
    use crate::cluster::{ClusterConfig, Incarnation};
    use crate::config::QueueLimits;
    use std::time::Duration;
    use sterna_proto::{ChannelId, ChannelKey};

    /// Brings one frame and nothing more.
    struct One(Option<wire::Frame>);

    impl FrameReceiver for One {
        async fn receive(&mut self, frames: &mut Vec<wire::Frame>) -> Result<(), LaneError> {
            match self.0.take() {
                Some(frame) => frames.push(frame),
                None => std::future::pending().await,
            }
            Ok(())
        }
    }

    struct Nowhere;

    impl FrameSender for Nowhere {
        async fn send(&mut self, frames: &mut Vec<wire::Frame>) -> Result<(), LaneError> {
            frames.clear();
            Ok(())
        }
    }

    fn key(name: &str) -> ChannelKey {
        ChannelId::new(name).unwrap().key()
    }

    #[test]
    fn i12_questions_for_which_there_is_no_room_are_dropped_and_counted() {
        let recorder = metrics_util::debugging::DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        metrics::with_local_recorder(&recorder, || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let config = ClusterConfig::new(node("core", 1));
                let (ports, turns, tally, revocations) = Default::default();
                let queues = QueueLimits::default();
                let router = Router::new(config, queues, None, ports, turns, tally, revocations);
                let name = NodeId::new("edge").unwrap();
                let speaker = Speaker { name, edge: true, core: false };
                let (asked, _nobody_answers) = mpsc::channel(1);
                for _ in 0..2 {
                    let question = frames::frame(Body::Question(wire::Question::default()));
                    let mut one = One(Some(question));
                    let heard = hear_peer(&router, &speaker, &mut one, &asked);
                    assert!(futures_util::FutureExt::now_or_never(heard).is_none());
                }
            });
        });
        let counted = snapshotter.snapshot().into_vec();
        let dropped = counted.iter().find_map(|(key, _, _, value)| {
            (key.key().name() == "sterna_link_questions_dropped_total").then_some(value)
        });
        let one = metrics_util::debugging::DebugValue::Counter(1);
        assert_eq!(dropped, Some(&one), "the second one found no room");
    }

    #[tokio::test(start_paused = true)]
    async fn i9_a_shard_without_room_hears_that_a_lane_wants_a_channel_no_more() {
        let (mailbox, mut shard) = mpsc::channel(1);
        mailbox.try_send(ShardCommand::Detach { link: 7, channel: key("room:full") }).unwrap();
        let config = ClusterConfig::new(node("core", 1));
        let (ports, turns, tally, revocations) = Default::default();
        let shards = Some([mailbox].into());
        let queues = QueueLimits::default();
        let router = Router::new(config, queues, shards, ports, turns, tally, revocations);
        let (node, incarnation) = (NodeId::new("edge").unwrap(), Incarnation(2));
        let from = LaneFrom { node, incarnation, lane: 0, wide: false };
        let (mut calls, mut answers) = (One(Some(frames::detach(key("room:left")))), Nowhere);
        // The lane is served first, and finds no room.
        let heard = async {
            let mut heard = Vec::new();
            while heard.len() < 2 {
                let Some(ShardCommand::Detach { channel, .. }) = shard.recv().await else {
                    panic!()
                };
                heard.push(channel);
            }
            heard
        };
        let heard = tokio::select! {
            biased;
            error = serve(&router, from, &mut answers, &mut calls) => panic!("{error}"),
            heard = tokio::time::timeout(Duration::from_secs(1), heard) => heard.unwrap(),
        };
        assert_eq!(heard, [key("room:full"), key("room:left")]);
    }
}
