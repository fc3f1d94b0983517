//! What operators ask of other nodes: any node tells them of all. A question goes over the lane of
//! rosters, to whom it is meant or to a node that has a link there, and its answer comes back the same
//! way. Nothing else in the system waits for one.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use sterna_proto::link::v1::{self as wire, frame::Body};
use sterna_proto::{ErrorCode, NodeId, limits, v1};
use tokio::sync::{mpsc, oneshot};

use crate::link::wire::frame;

/// Questions of a node without an answer. Full: refused.
pub const QUESTIONS: usize = 256;

/// Frames of questions and answers that wait for one link. Full: refused, or not answered.
pub const ASKING_FRAMES: usize = 64;

/// Questions of one link that are answered at a time. Full: the rest waits, and `ASKING_FRAMES` more.
pub const ANSWERED_AT_ONCE: usize = 8;

/// How long whoever asked waits.
pub const ASKING_PATIENCE: Duration = Duration::from_secs(5);

/// Nodes that pass a question on.
const MAX_HOPS: u32 = 2;

/// Largest answer: with its frame it still goes over a link.
const TOLD_BYTES: usize = limits::LINK_FRAME_BYTES / 2;

/// What an operator wants to know of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// As in the HTTP API, from `/api/v1/operate/` on.
    pub path: String,
    /// Of a POST; a GET has none.
    pub body: Option<Bytes>,
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Of the HTTP API.
    pub status: u16,
    /// JSON.
    pub body: Bytes,
}

/// Who answers questions about this node. They come from operators of other nodes, who may look.
pub trait Answerer: Send + Sync + Debug {
    fn answer(&self, question: Question) -> BoxFuture<'static, Told>;
}

/// Questions under way, and the links that can carry some.
#[derive(Debug, Default)]
pub struct Asking {
    answerer: OnceLock<Arc<dyn Answerer>>,
    links: Mutex<HashMap<NodeId, Vec<LinkTo>, RandomState>>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Told>, RandomState>>,
    last: AtomicU64,
}

#[derive(Debug)]
struct LinkTo {
    core: bool,
    frames: mpsc::Sender<wire::Frame>,
}

/// A link that can carry questions, for as long as this is kept.
#[derive(Debug)]
pub(super) struct Carrier<'a> {
    asking: &'a Asking,
    peer: NodeId,
    /// What is to be sent.
    pub(super) frames: mpsc::Receiver<wire::Frame>,
}

impl Asking {
    /// From here on questions about this node are answered. The first one stays.
    pub fn set_answerer(&self, answerer: Arc<dyn Answerer>) {
        let _ = self.answerer.set(answerer);
    }

    /// Asks a node, which may be this one.
    ///
    /// # Errors
    /// Retryable, when no way leads there or nobody answers in time.
    pub async fn ask(
        &self,
        own: &NodeId,
        node: &NodeId,
        question: Question,
    ) -> Result<Told, v1::Error> {
        if own == node {
            return Ok(self.answer_here(question).await);
        }
        self.pass_on(node, question, 0).await
    }

    /// Answers a question of a peer: here, or from the node that is meant.
    pub(super) fn answer(
        self: &Arc<Self>,
        own: &NodeId,
        asked: wire::Question,
    ) -> BoxFuture<'static, wire::Frame> {
        let wire::Question { id, node, path, body, hops } = asked;
        let question = Question { path, body };
        if node == own.as_str() {
            let told = self.answer_here(question);
            return told.map(move |told| told.into_frame(id)).boxed();
        }
        let asking = self.clone();
        async move {
            let told = match NodeId::new(&node) {
                Ok(node) if hops < MAX_HOPS => asking.pass_on(&node, question, hops + 1).await,
                _ => Err(no_way(&node)),
            };
            told.unwrap_or_else(Told::of_error).into_frame(id)
        }
        .boxed()
    }

    fn answer_here(&self, question: Question) -> BoxFuture<'static, Told> {
        match self.answerer.get() {
            Some(answerer) => answerer.answer(question),
            None => ready(Told::of_error(no_answer())).boxed(),
        }
    }

    async fn pass_on(
        &self,
        node: &NodeId,
        question: Question,
        hops: u32,
    ) -> Result<Told, v1::Error> {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let Question { path, body } = question;
        let asked = wire::Question { id, node: node.to_string(), path, body, hops };
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = lock(&self.waiting);
            if waiting.len() >= QUESTIONS {
                let message = "too many questions to other nodes are without an answer; ask again";
                return Err(v1::Error::new(ErrorCode::Busy, message).with_retry_after_ms(500));
            }
            waiting.insert(id, reply);
        }
        let _waiting = Waiting { asking: self, id };
        if !self.send(node, frame(Body::Question(asked))) {
            return Err(no_way(node.as_str()));
        }
        match tokio::time::timeout(ASKING_PATIENCE, answer).await {
            Ok(Ok(told)) => Ok(told),
            _ => Err(no_answer()),
        }
    }

    /// Straight there if there is a link, else to a core, which has links to all edges of its region
    /// and to all cores.
    fn send(&self, node: &NodeId, frame: wire::Frame) -> bool {
        let links = self.links();
        // The newest first: of an older one it may not be known yet that it is gone.
        let straight = links.get(node).into_iter().flat_map(|links| links.iter().rev());
        let others = links.iter().filter(|(peer, _)| *peer != node);
        let cores = others.flat_map(|(_, links)| links.iter().rev()).filter(|link| link.core);
        let has_room = straight.chain(cores).find_map(|link| link.frames.try_reserve().ok());
        let Some(room) = has_room else { return false };
        room.send(frame);
        true
    }

    pub(super) fn on_told(&self, told: wire::Told) {
        let Some(reply) = lock(&self.waiting).remove(&told.id) else { return };
        let status = u16::try_from(told.status).unwrap_or(502);
        // Whoever asked may have gone.
        let _ = reply.send(Told { status, body: told.body });
    }

    /// A link to this peer can carry questions from here on.
    pub(super) fn carry(&self, peer: &NodeId, core: bool) -> Carrier<'_> {
        let (sender, frames) = mpsc::channel(ASKING_FRAMES);
        let link = LinkTo { core, frames: sender };
        self.links().entry(peer.clone()).or_default().push(link);
        Carrier { asking: self, peer: peer.clone(), frames }
    }

    fn links(&self) -> MutexGuard<'_, HashMap<NodeId, Vec<LinkTo>, RandomState>> {
        lock(&self.links)
    }
}

impl Drop for Carrier<'_> {
    fn drop(&mut self) {
        self.frames.close();
        let mut links = self.asking.links();
        if let Some(to_peer) = links.get_mut(&self.peer) {
            to_peer.retain(|link| !link.frames.is_closed());
            if to_peer.is_empty() {
                links.remove(&self.peer);
            }
        }
    }
}

/// A question that is given up is forgotten.
struct Waiting<'a> {
    asking: &'a Asking,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.asking.waiting).remove(&self.id);
    }
}

impl Told {
    /// A refusal, as the HTTP API has it.
    fn of_error(error: v1::Error) -> Self {
        let body = format!(
            "{{\"error\":{{\"code\":{},\"name\":{:?},\"message\":{:?},\"retryable\":{}}}}}",
            error.code, error.name, error.message, error.retryable
        );
        Self { status: 503, body: body.into() }
    }

    fn into_frame(self, id: u64) -> wire::Frame {
        let told = match self.body.len() <= TOLD_BYTES {
            true => self,
            false => Self::of_error(v1::Error::new(ErrorCode::TooLarge, "too much for a link")),
        };
        frame(Body::Told(wire::Told { id, status: told.status.into(), body: told.body }))
    }
}

fn no_way(node: &str) -> v1::Error {
    let message = format!("no way leads to node {node} at the moment; is it running?");
    v1::Error::new(ErrorCode::Unavailable, message).with_retry_after_ms(1000)
}

fn no_answer() -> v1::Error {
    let message = "the node does not answer; ask again, or ask it itself";
    v1::Error::new(ErrorCode::Unavailable, message).with_retry_after_ms(1000)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Echo(&'static str);

    impl Answerer for Echo {
        fn answer(&self, question: Question) -> BoxFuture<'static, Told> {
            let body = format!("{} {}", self.0, question.path).into();
            ready(Told { status: 200, body }).boxed()
        }
    }

    fn node(name: &str) -> NodeId {
        NodeId::new(name).unwrap()
    }

    fn question() -> Question {
        Question { path: "session?session=1".into(), body: None }
    }

    fn asked(frame: Option<wire::Frame>) -> wire::Question {
        match frame.and_then(|frame| frame.body) {
            Some(Body::Question(question)) => question,
            other => panic!("a question: {other:?}"),
        }
    }

    fn told(frame: wire::Frame) -> wire::Told {
        match frame.body {
            Some(Body::Told(told)) => told,
            other => panic!("an answer: {other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_goes_straight_or_by_a_core_and_its_answer_comes_back() {
        let (edge, core, far) = (Asking::default(), Arc::new(Asking::default()), node("far"));
        let far_end = Arc::new(Asking::default());
        far_end.set_answerer(Arc::new(Echo("far says")));
        let mut to_core = edge.carry(&node("core"), true);
        let mut to_far = core.carry(&far, false);
        let own = node("edge");
        let asking = edge.ask(&own, &far, question());
        let carrying = async {
            let passed = asked(to_core.frames.recv().await);
            let at_core = core.answer(&node("core"), passed);
            let by_core = async {
                let passed = asked(to_far.frames.recv().await);
                assert_eq!(passed.hops, 1);
                core.on_told(told(far_end.answer(&far, passed).await));
            };
            let (back, ()) = tokio::join!(at_core, by_core);
            edge.on_told(told(back));
        };
        let (answer, ()) = tokio::join!(asking, carrying);
        let answer = answer.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"far says session?session=1"[..]));
        assert!(lock(&edge.waiting).is_empty() && lock(&core.waiting).is_empty());
        // Straight, once there is a link, and over the newest.
        let _gone = edge.carry(&far, false);
        let mut straight = edge.carry(&far, false);
        let _ = edge.ask(&node("edge"), &far, question()).now_or_never();
        assert_eq!(asked(straight.frames.recv().await).hops, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_there_or_silent_is_told_and_nothing_is_kept() {
        let asking = Asking::default();
        let far = node("far");
        let refused = asking.ask(&node("own"), &far, question()).await.unwrap_err();
        assert!(refused.retryable && refused.message.contains("far"), "{refused:?}");
        let carrier = asking.carry(&far, false);
        let refused = asking.ask(&node("own"), &far, question()).await.unwrap_err();
        assert!(refused.message.contains("does not answer"), "{refused:?}");
        assert!(lock(&asking.waiting).is_empty());
        drop(carrier);
        assert!(asking.links().is_empty());
        let nobody = asking.ask(&far, &far, question()).await.unwrap();
        assert_eq!(nobody.status, 503, "nobody answers for this node");
    }

    #[tokio::test(start_paused = true)]
    async fn i12_questions_and_answers_are_bounded() {
        let asking = Arc::new(Asking::default());
        let far = node("far");
        let _carrier = asking.carry(&far, false);
        for _ in 0..ASKING_FRAMES {
            assert!(asking.send(&far, frame(Body::Told(wire::Told::default()))));
        }
        assert!(!asking.send(&far, frame(Body::Told(wire::Told::default()))));
        let large = Told { status: 200, body: vec![0; TOLD_BYTES + 1].into() };
        assert_eq!(told(large.into_frame(1)).status, 503);
        for id in 0..QUESTIONS as u64 {
            lock(&asking.waiting).insert(1000 + id, oneshot::channel().0);
        }
        let busy = asking.ask(&node("own"), &far, question()).await.unwrap_err();
        assert_eq!(busy.code, ErrorCode::Busy.number());
        // A question that has been passed on is not passed on for ever.
        let lost =
            wire::Question { id: 1, node: "other".into(), hops: MAX_HOPS, ..Default::default() };
        assert_eq!(told(asking.answer(&node("own"), lost).await).status, 503);
    }
}
