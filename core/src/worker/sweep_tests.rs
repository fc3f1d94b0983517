//! What owners say of the ends of channels, while publications are on their way and otherwise.

use std::sync::Arc;

use sterna_proto::v1::{command, push, reply};
use sterna_proto::{ChannelId, Position};
use sterna_storage::memory::MemoryStore;

use super::table::tests::{config, session};
use super::*;
use crate::clock::SystemClock;
use crate::fanout::hub::Slot;
use crate::session::{Effect, OutgoingBody};

const NEWS: &str = "news";

/// A session on a worker that nothing else runs on.
struct Alone {
    worker: Worker,
    slot: Slot,
    generation: u64,
}

impl Alone {
    async fn start() -> Self {
        let config = config();
        let stores = MemoryStore::new().stores();
        let node = Node::start(config.clone(), stores, Arc::new(SystemClock)).await.unwrap();
        let worker = Worker::new(&node, 0);
        let mut session = session(ResumeTicket::random(), "bob", &config);
        let subscribe = v1::Subscribe { channel: NEWS.into(), ..Default::default() };
        let verb = Some(command::Verb::Subscribe(subscribe));
        session.handle_command(v1::Command { id: 1, verb }, Instant::now(), 0).unwrap();
        answer(&mut session, 1);
        session.take_frames(&mut Vec::new(), usize::MAX);
        let (slot, generation, _) = worker.inner.table.borrow_mut().insert(session);
        Self { worker, slot, generation }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Session) -> T) -> T {
        act(self.worker.inner.table.borrow_mut().session(self.slot, self.generation).unwrap())
    }

    /// Another owner says that the channel ends here.
    fn moves(&self, head: u64) {
        self.with(|session| {
            session.handle_moved(ChannelId::new(NEWS).unwrap().key());
            answer(session, head);
        });
    }

    /// Offsets up to which gaps were named.
    fn gaps(&self) -> Vec<u64> {
        let mut frames = Vec::new();
        self.with(|session| session.take_frames(&mut frames, usize::MAX));
        let gap = |body| match body {
            OutgoingBody::Own(frame) => match frame.body {
                Some(v1::frame::Body::Push(v1::Push { event: Some(push::Event::Gap(gap)) })) => {
                    Some(gap.upto_offset)
                }
                _ => None,
            },
            OutgoingBody::Shared(_) => None,
        };
        frames.into_iter().filter_map(|frame| gap(frame.body)).collect()
    }
}

/// Answers the call that the session has made: the log of the channel ends at this offset.
fn answer(session: &mut Session, head: u64) {
    let token = std::iter::from_fn(|| session.poll_effect()).find_map(|effect| match effect {
        Effect::Call { token, .. } => Some(token),
        _ => None,
    });
    let position = Some(Position::new(1, head).into());
    let page = v1::Subscribed { channel: NEWS.into(), live: true, position, ..Default::default() };
    session.handle_reply(token.unwrap(), Ok(reply::Result::Subscribed(page)));
}

#[tokio::test]
async fn i5_what_was_missed_is_named_by_the_next_sweep() {
    let alone = Alone::start().await;
    alone.moves(1);
    alone.worker.sweep();
    assert!(alone.gaps().is_empty(), "it has had that");
    alone.moves(3);
    assert!(alone.gaps().is_empty());
    alone.worker.sweep();
    assert_eq!(alone.gaps(), [3]);
}

#[tokio::test]
async fn i5_what_may_be_on_its_way_has_two_sweeps_to_come_and_no_longer() {
    let alone = Alone::start().await;
    alone.worker.inner.giving.set(true);
    alone.moves(3);
    alone.worker.sweep();
    assert!(alone.gaps().is_empty());
    alone.worker.sweep();
    assert_eq!(alone.gaps(), [3]);
}

#[tokio::test]
async fn i12_a_session_without_a_connection_keeps_no_ends() {
    let alone = Alone::start().await;
    alone.worker.inner.giving.set(true);
    alone.moves(3);
    assert!(alone.with(|session| session.has_ends()));
    alone.with(Session::on_detached);
    assert!(!alone.with(|session| session.has_ends()));
}
