//! The session against replies that come late, refusals and a path that is stuck.

use super::*;
use sterna_proto::v1::reply;
use sterna_proto::{ErrorCode, Position};

use crate::options::{RECEIVE_QUEUE_EVENTS, Transport};

fn channel(n: usize) -> ChannelId {
    ChannelId::new(&format!("room:{n}")).unwrap()
}

fn connected(now: Instant) -> Session {
    let mut session =
        Session::new("phone".into(), String::new(), OutboxLimits::default(), 1, TIMEOUT);
    welcome(&mut session, now);
    session
}

fn welcome(session: &mut Session, now: Instant) {
    let (greeting, _) = session.hello("token".into());
    session.handle_welcome(greeting, v1::Welcome::default(), Transport::Quic, now);
}

fn reply(session: &mut Session, id: u32, result: reply::Result, now: Instant) {
    session.handle_frame(v1::Frame::reply(id, result), now);
}

fn refuse(session: &mut Session, id: u32, code: ErrorCode, now: Instant) {
    reply(session, id, reply::Result::Error(v1::Error::new(code, "no")), now);
}

fn subscribed(n: usize, offset: u64) -> v1::Subscribed {
    v1::Subscribed {
        channel: channel(n).to_string(),
        position: Some(Position::new(1, offset).into()),
        live: true,
        head_offset: offset,
        ..v1::Subscribed::default()
    }
}

/// What is sent now, by id.
fn sent(session: &mut Session, now: Instant) -> Vec<(u32, Verb)> {
    let commands = session.poll_command(now);
    commands.into_iter().map(|(_, command)| (command.id, command.verb.unwrap())).collect()
}

fn only_id(commands: &[(u32, Verb)]) -> u32 {
    assert_eq!(commands.len(), 1, "{commands:?}");
    commands[0].0
}

fn position(session: &Session, n: usize) -> Option<Position> {
    session.subscriptions[&channel(n)].machine.position()
}

#[test]
fn a_subscription_hears_nothing_of_the_one_before_it() {
    let now = Instant::now();
    for late in [
        reply::Result::Error(v1::Error::new(ErrorCode::NotSubscribed, "left meanwhile")),
        reply::Result::Subscribed(subscribed(1, 50)),
    ] {
        for reply_first in [true, false] {
            let mut session = connected(now);
            let first = session.subscribe(&channel(1), Subscribe::latest()).unwrap();
            let ask = only_id(&sent(&mut session, now));
            session.unsubscribe(&channel(1), &first);
            session.subscribe(&channel(1), Subscribe::earliest()).unwrap();
            let leave = only_id(&sent(&mut session, now));
            if reply_first {
                reply(&mut session, ask, late.clone(), now);
                reply(&mut session, leave, reply::Result::Done(v1::Done {}), now);
            } else {
                reply(&mut session, leave, reply::Result::Done(v1::Done {}), now);
                reply(&mut session, ask, late.clone(), now);
            }
            assert_eq!(position(&session, 1), Some(Position::EARLIEST));
            let ask = only_id(&sent(&mut session, now));
            reply(&mut session, ask, reply::Result::Subscribed(subscribed(1, 0)), now);
            assert_eq!(position(&session, 1), Some(Position::new(1, 0)));
        }
    }
}

#[test]
fn a_hello_answers_only_for_the_subscriptions_it_named() {
    let now = Instant::now();
    let mut session = connected(now);
    let first = session.subscribe(&channel(1), Subscribe::latest()).unwrap();
    session.handle_disconnected();
    let (greeting, _) = session.hello("token".into());
    session.unsubscribe(&channel(1), &first);
    session.subscribe(&channel(1), Subscribe::earliest()).unwrap();
    session.handle_welcome(greeting, v1::Welcome::default(), Transport::Quic, now);
    let failed = v1::Subscribed {
        error: Some(v1::Error::new(ErrorCode::Unauthorized, "no")),
        ..subscribed(1, 0)
    };
    for push in [subscribed(1, 50), failed] {
        session.handle_frame(v1::Frame::push(v1::push::Event::Subscribed(push)), now);
        assert_eq!(position(&session, 1), Some(Position::EARLIEST));
    }
    let leave = sent(&mut session, now);
    assert!(matches!(leave[0].1, Verb::Unsubscribe(_)));
    reply(&mut session, only_id(&leave), reply::Result::Done(v1::Done {}), now);
    assert!(matches!(sent(&mut session, now)[0].1, Verb::Subscribe(_)));
}

#[test]
fn a_full_mailbox_is_waited_for_and_not_time() {
    let now = Instant::now();
    let mut session = connected(now);
    session.subscribe(&channel(1), Subscribe::earliest()).unwrap();
    let ask = only_id(&sent(&mut session, now));
    let publications = (1..=RECEIVE_QUEUE_EVENTS as u64)
        .map(|offset| v1::Publication { epoch: 1, offset, ..v1::Publication::default() })
        .collect();
    let page =
        v1::Subscribed { publications, live: false, ..subscribed(1, RECEIVE_QUEUE_EVENTS as u64) };
    let before = session.subscriptions[&channel(1)].mailbox.room() as u64;
    assert!(session.deadline(true).is_some(), "the question is asked again");
    reply(&mut session, ask, reply::Result::Subscribed(page), now);
    assert_eq!(position(&session, 1), Some(Position::new(1, before)));
    session.subscriptions.get_mut(&channel(1)).unwrap().machine.handle_refused(now);
    assert!(sent(&mut session, now).is_empty());
    assert_eq!(session.deadline(true), None);
}

#[test]
fn no_time_is_waited_for_that_nothing_can_be_done_at() {
    let start = Instant::now();
    let mut session = connected(start);
    let count = 2 * IN_FLIGHT_SUBSCRIBES;
    for n in 0..count {
        session.subscribe(&channel(n), Subscribe::latest()).unwrap();
    }
    for _ in 0..count / IN_FLIGHT_SUBSCRIBES {
        for (id, _) in sent(&mut session, start) {
            refuse(&mut session, id, ErrorCode::Busy, start);
        }
    }
    // All may be asked again, and only some at a time.
    let later = start + Duration::from_secs(5);
    assert!(session.deadline(true).unwrap() < later);
    assert_eq!(sent(&mut session, later).len(), IN_FLIGHT_SUBSCRIBES);
    assert_eq!(session.deadline(true), None);
}

#[test]
fn a_stuck_path_leaves_only_calls_to_wait_for() {
    let now = Instant::now();
    let mut session = connected(now);
    let publish = v1::Publish::default();
    session.publish(channel(1), publish, watch::channel(SendState::Queued).0);
    sent(&mut session, now);
    assert!(session.deadline(true).is_some(), "the retransmission");
    assert_eq!(session.deadline(false), None);
    let _waiting = session.call(Verb::Ack(v1::Ack::default()), now).unwrap();
    assert_eq!(session.deadline(false), Some(now + TIMEOUT));
}

const TIMEOUT: Duration = Duration::from_secs(5);
