//! What a resume has lost, as operators are told it: the gaps in what its recovery brings.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use sterna_core::session::{Effect, ResumeTicket, Session};
use sterna_core::vitals::journey::Way;
use sterna_core::{Node, Worker};
use sterna_proto::v1::{self, command::Verb, push::Event, reply::Result as Reply};
use sterna_proto::{ChannelId, ClientId, ErrorCode, Offset, Position, UserId};
use sterna_storage::memory::MemoryStore;
use support::{TestClient, config, identity, with_workers};
use tokio::time::Instant;

fn from(channel: &str, offset: u64) -> v1::Subscribe {
    let since = (offset > 0).then_some(v1::Position { epoch: 1, offset });
    v1::Subscribe { channel: channel.into(), since, ..Default::default() }
}

/// A session that goes on with a connection whose Hello names these.
struct Resumed {
    session: Session,
    /// Calls that are not answered, by their channels.
    asked: Vec<(String, u32)>,
    lost: Vec<u64>,
}

impl Resumed {
    fn with(subscriptions: Vec<v1::Subscribe>) -> Self {
        let client_id = ClientId::new("phone").unwrap();
        let (ticket, config) = (ResumeTicket::random(), Arc::new(config()));
        let (identity, connection) = (identity("bob"), support::connection());
        let session = Session::new(ticket, identity, client_id, connection, config, Instant::now());
        let mut resumed = Self { session, asked: Vec::new(), lost: Vec::new() };
        resumed.session.start_recovering(&subscriptions);
        resumed.session.handle_hello(subscriptions);
        resumed.carry_out();
        resumed
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.session.poll_effect() {
            match effect {
                Effect::Call { token, command } => {
                    self.asked.push((command.channel.to_string(), token));
                }
                Effect::Recovered { lost } => self.lost.push(lost),
                _ => {}
            }
        }
    }

    fn command(&mut self, verb: Verb) {
        let command = v1::Command { id: 7, verb: Some(verb) };
        self.session.handle_command(command, Instant::now(), 0).unwrap();
        self.carry_out();
    }

    /// The owner's answer to the oldest question about the channel.
    fn answer(&mut self, channel: &str, reply: Result<v1::Subscribed, v1::Error>) {
        let at = self.asked.iter().position(|(of, _)| of == channel).unwrap();
        let (_, token) = self.asked.remove(at);
        self.session.handle_reply(token, reply.map(Reply::Subscribed));
        let mut frames = Vec::new();
        self.session.take_frames(&mut frames, usize::MAX);
        self.carry_out();
    }
}

/// A page up to `offset` of a log that ends at `head`, behind a gap.
fn page(channel: &str, gap: (u64, u64), offset: u64, head: u64) -> v1::Subscribed {
    let (after_offset, upto_offset) = gap;
    let channel = channel.to_owned();
    let gap = v1::Gap { channel: channel.clone(), epoch: 1, after_offset, upto_offset };
    v1::Subscribed {
        channel,
        position: Some(v1::Position { epoch: 1, offset }),
        head_offset: head,
        gap: (upto_offset > after_offset).then_some(gap),
        ..Default::default()
    }
}

#[test]
fn gaps_are_added_up_until_all_channels_follow_again() {
    let mut resumed = Resumed::with(vec![from("room:1", 10), from("room:2", 5), from("room:3", 1)]);
    resumed.answer("room:1", Ok(page("room:1", (10, 40), 40, 90)));
    resumed.answer("room:2", Ok(page("room:2", (0, 0), 9, 9)));
    assert!(resumed.lost.is_empty(), "more of one is to be asked for, another was not answered");
    resumed.command(Verb::Subscribe(from("room:1", 40)));
    resumed.answer("room:1", Ok(page("room:1", (40, 45), 90, 90)));
    resumed.answer("room:3", Err(v1::Error::new(ErrorCode::PermissionDenied, "no member")));
    assert_eq!(resumed.lost, [35]);
    // What is lost later is not lost by the resume.
    resumed.command(Verb::Subscribe(from("room:1", 90)));
    resumed.answer("room:1", Ok(page("room:1", (90, 99), 99, 99)));
    assert_eq!(resumed.lost, [35]);
}

#[test]
fn a_gap_counts_once_also_when_it_was_asked_for_twice() {
    let mut resumed = Resumed::with(vec![from("room:1", 10)]);
    resumed.command(Verb::Subscribe(from("room:1", 10)));
    resumed.answer("room:1", Ok(page("room:1", (10, 40), 50, 50)));
    resumed.answer("room:1", Ok(page("room:1", (10, 40), 50, 50)));
    assert_eq!(resumed.lost, [30]);
}

#[test]
fn who_missed_nothing_by_the_resume_lost_nothing() {
    let newest = v1::RecoveryOrder::NewestFirst.into();
    let background = v1::Activity::Background.into();
    let named = vec![
        from("room:1", 0),
        v1::Subscribe { since: Some(Position::EARLIEST.into()), ..from("room:2", 0) },
        v1::Subscribe { order: newest, ..from("room:3", 10) },
        v1::Subscribe { activity: background, ..from("room:4", 10) },
        from("no name", 10),
    ];
    assert_eq!(Resumed::with(named).lost, [0], "at once");
    assert_eq!(Resumed::with(Vec::new()).lost, [0]);
}

#[test]
fn a_channel_that_is_not_wanted_or_not_permitted_any_more_holds_nothing_up() {
    let leave = |channel: &str| Verb::Unsubscribe(v1::Unsubscribe { channel: channel.into() });
    let mut resumed = Resumed::with(vec![from("room:1", 10)]);
    resumed.command(leave("room:1"));
    assert_eq!(resumed.lost, [0]);
    // Also one whose turn to be asked for has not come.
    let many: Vec<_> = (1..=20).map(|n| from(&format!("room:{n}"), 10)).collect();
    let mut resumed = Resumed::with(many);
    assert!(resumed.asked.len() < 20);
    for n in (1..=20).rev() {
        assert!(resumed.lost.is_empty());
        resumed.command(leave(&format!("room:{n}")));
    }
    assert_eq!(resumed.lost, [0]);
    let mut resumed = Resumed::with(vec![from("room:1", 10)]);
    let key = ChannelId::new("room:1").unwrap().key();
    let (bob, error) = (UserId::new("bob").unwrap(), v1::Error::new(ErrorCode::Internal, "x"));
    resumed.session.handle_evict(key, &bob, Position::new(1, 99), &error);
    resumed.carry_out();
    assert_eq!(resumed.lost, [0]);
}

async fn resume(worker: &Worker, ticket: &[u8], subscribe: v1::Subscribe) -> TestClient {
    let hello = v1::Hello {
        client_id: "bob-phone".into(),
        resume_ticket: ticket.to_vec().into(),
        subscriptions: vec![subscribe],
        ..Default::default()
    };
    let mut bob = TestClient::hello(worker, "bob", hello).await.unwrap();
    assert!(bob.welcome.resumed);
    let Event::Subscribed(_) = bob.push().await else { panic!() };
    bob
}

fn lost(node: &Node, client: &TestClient) -> Vec<Option<u64>> {
    let id = u128::from_str_radix(&client.welcome.session_id, 16).unwrap();
    let legs = node.journey(sterna_proto::SessionId(id));
    assert!(legs.iter().all(|leg| leg.way == Way::Resumed));
    legs.iter().map(|leg| leg.lost).collect()
}

#[test]
fn i5_what_was_trimmed_meanwhile_is_what_a_resume_has_lost() {
    let stores = MemoryStore::new().stores();
    let other = stores.clone();
    with_workers(config(), stores, 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        for seq in 1..=49 {
            alice.publish("room:1", seq, "x").await;
        }
        let epoch = alice.publish("room:1", 50, "x").await.epoch;
        let from = |offset: u64| {
            let since = Some(v1::Position { epoch, offset });
            v1::Subscribe { since, ..from("room:1", 0) }
        };
        let key = ChannelId::new("room:1").unwrap().key();
        other.log.trim(key, Offset(41)).await.unwrap();
        // A node that loads the channel now.
        let mut second = config();
        second.id_worker = 1;
        let second = support::node(second, other).await;
        let worker = Worker::new(&second, 0);
        let bob = TestClient::connect(&worker, "bob").await;
        assert!(lost(&second, &bob).is_empty());
        let ticket = bob.welcome.resume_ticket.clone();
        drop(bob);
        let bob = resume(&worker, &ticket, from(10)).await;
        assert_eq!(lost(&second, &bob), [Some(30)]);
        let ticket = bob.welcome.resume_ticket.clone();
        drop(bob);
        let bob = resume(&worker, &ticket, from(50)).await;
        assert_eq!(lost(&second, &bob), [Some(30), Some(0)]);
        drop(bob);
        assert!(second.shutdown(std::time::Duration::from_secs(5)).await);
    });
}
