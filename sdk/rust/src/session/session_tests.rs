//! The session against replies that come late, refusals and a path that is stuck.

use super::polling::IN_FLIGHT_SUBSCRIBES;
use super::*;
use sterna_proto::v1::command::Verb;
use sterna_proto::v1::reply;
use sterna_proto::{ErrorCode, Position};

use crate::options::{Activity, RECEIVE_QUEUE_EVENTS, Transport};

fn channel(n: usize) -> ChannelId {
    ChannelId::new(&format!("room:{n}")).unwrap()
}

fn connected(now: Instant) -> Session {
    let mut session =
        Session::new("phone".into(), String::new(), OutboxLimits::default(), 1, false, TIMEOUT);
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
    session.handle_timeout(now);
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
    assert_eq!(session.deadline(true), Some(later + TIMEOUT), "their answers, and nothing before");
}

#[test]
fn questions_that_nobody_answers_leave_their_places_to_others() {
    let start = Instant::now();
    let mut session = connected(start);
    let mute = |n: &str| n[5..].parse::<usize>().unwrap() < IN_FLIGHT_SUBSCRIBES;
    let count = 3 * IN_FLIGHT_SUBSCRIBES;
    for n in 0..count {
        session.subscribe(&channel(n), Subscribe::latest()).unwrap();
    }
    let mut now = start;
    let mut asked: HashMap<String, usize> = HashMap::new();
    while now < start + Duration::from_secs(120) {
        for (id, verb) in sent(&mut session, now) {
            let Verb::Subscribe(ask) = verb else { panic!("{verb:?}") };
            *asked.entry(ask.channel.clone()).or_default() += 1;
            if !mute(&ask.channel) {
                let n = ask.channel[5..].parse().unwrap();
                reply(&mut session, id, reply::Result::Subscribed(subscribed(n, 3)), now);
            }
        }
        assert!(session.in_flight.questions() <= IN_FLIGHT_SUBSCRIBES);
        now = session.deadline(true).unwrap().max(now + Duration::from_millis(1));
    }
    for n in 0..count {
        let asked = asked[channel(n).as_str()];
        match mute(channel(n).as_str()) {
            // 5 s each and pauses of up to 20 s between them.
            true => assert!((5..=24).contains(&asked), "{n} was asked for {asked} times"),
            false => assert_eq!((asked, position(&session, n)), (1, Some(Position::new(1, 3)))),
        }
    }
}

#[test]
fn what_a_hello_has_asked_for_in_vain_is_asked_for_by_itself() {
    let start = Instant::now();
    let mut session =
        Session::new("phone".into(), String::new(), OutboxLimits::default(), 1, false, TIMEOUT);
    session.subscribe(&channel(1), Subscribe::earliest()).unwrap();
    welcome(&mut session, start);
    assert!(sent(&mut session, start).is_empty());
    assert_eq!(session.deadline(true), Some(start + TIMEOUT));
    let later = start + TIMEOUT + Duration::from_secs(1);
    session.handle_timeout(start + TIMEOUT);
    assert!(matches!(sent(&mut session, later)[..], [(_, Verb::Subscribe(_))]));
}

#[test]
fn an_unanswered_refresh_is_reported_and_its_late_answer_still_counts() {
    let start = Instant::now();
    let mut session = connected(start);
    let refresh = session.refresh(start, "fresh".into()).id;
    session.handle_timeout(start + TIMEOUT);
    assert_eq!(session.take_notice(), Some(Notice::RefreshFailed(Error::Timeout)));
    reply(&mut session, refresh, reply::Result::Done(v1::Done {}), start + TIMEOUT);
    assert_eq!(session.take_notice(), Some(Notice::Refreshed));
}

#[test]
fn late_answers_count_and_late_refusals_only_while_nothing_newer_is_known() {
    let start = Instant::now();
    let asked_twice = || {
        let mut session = connected(start);
        session.subscribe(&channel(1), Subscribe::earliest()).unwrap();
        let first = only_id(&sent(&mut session, start));
        let overdue = start + TIMEOUT;
        assert!(session.is_owed());
        session.handle_timeout(overdue);
        assert!(!session.is_owed(), "no reason to doubt the path");
        let again = session.subscriptions[&channel(1)].machine.wanted_since().unwrap();
        (session, first, overdue, again)
    };
    let is_live = |session: &Session| !session.subscriptions[&channel(1)].machine.is_unanswered();

    let (mut session, first, overdue, again) = asked_twice();
    reply(&mut session, first, reply::Result::Subscribed(subscribed(1, 0)), overdue);
    assert!(is_live(&session));
    assert!(sent(&mut session, again).is_empty(), "nothing is left to ask");

    let (mut session, first, overdue, _) = asked_twice();
    refuse(&mut session, first, ErrorCode::NotSubscribed, overdue);
    assert!(session.subscriptions.is_empty(), "refused for good, late or not");

    let (mut session, first, _, again) = asked_twice();
    let second = only_id(&sent(&mut session, again));
    refuse(&mut session, first, ErrorCode::Busy, again);
    reply(&mut session, second, reply::Result::Subscribed(subscribed(1, 0)), again);
    assert!(is_live(&session));
    assert!(sent(&mut session, again + Duration::from_secs(60)).is_empty());

    let (mut session, first, _, again) = asked_twice();
    let second = only_id(&sent(&mut session, again));
    reply(&mut session, second, reply::Result::Subscribed(subscribed(1, 0)), again);
    refuse(&mut session, first, ErrorCode::NotSubscribed, again);
    assert!(is_live(&session), "the newer answer counts");
}

#[test]
fn an_unanswered_unsubscribe_is_sent_again_and_only_answers_to_this_departure_end_it() {
    let start = Instant::now();
    let mut session = connected(start);
    let reader = session.subscribe(&channel(1), Subscribe::latest()).unwrap();
    sent(&mut session, start);
    session.unsubscribe(&channel(1), &reader);
    let first = only_id(&sent(&mut session, start));
    let reader = session.subscribe(&channel(1), Subscribe::latest()).unwrap();
    session.handle_timeout(start + TIMEOUT);
    let later = start + TIMEOUT + Duration::from_secs(1);
    let second = only_id(&sent(&mut session, later));
    reply(&mut session, first, reply::Result::Done(v1::Done {}), later);
    assert!(matches!(sent(&mut session, later)[..], [(_, Verb::Subscribe(_))]));
    // Another departure, to which the second Unsubscribe does not belong.
    session.unsubscribe(&channel(1), &reader);
    reply(&mut session, second, reply::Result::Done(v1::Done {}), later);
    session.subscribe(&channel(1), Subscribe::latest()).unwrap();
    let third = sent(&mut session, later);
    assert!(matches!(third[..], [(_, Verb::Unsubscribe(_))]), "{third:?}");
    reply(&mut session, third[0].0, reply::Result::Done(v1::Done {}), later);
    assert!(matches!(sent(&mut session, later)[..], [(_, Verb::Subscribe(_))]));
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

#[test]
fn whoever_watches_the_inbox_hears_of_touches_new_connections_and_the_end() {
    let now = Instant::now();
    let mut session = connected(now);
    assert!(!session.is_inbox_watched());
    let mut watching = session.watch_inbox();
    assert!(session.is_inbox_watched() && !watching.has_changed().unwrap());
    let touched = v1::InboxTouched { channel: channel(1).to_string() };
    for _ in 0..3 {
        let push = v1::push::Event::InboxTouched(touched.clone());
        session.handle_frame(v1::Frame::push(push), now);
    }
    assert!(watching.has_changed().unwrap());
    assert!(watching.borrow_and_update().is_some());
    assert!(!watching.has_changed().unwrap(), "any number is one");
    session.handle_disconnected();
    welcome(&mut session, now);
    assert!(watching.has_changed().unwrap(), "what was touched meanwhile is not known");
    session.fail_everything(&Error::Closed);
    assert_eq!(*watching.borrow_and_update(), None);
    drop(watching);
    assert!(!session.is_inbox_watched());
}

/// The node allows so many commands a second, and the application changes its mind.
#[test]
fn a_change_of_activity_that_was_refused_is_repeated_in_time() {
    let now = Instant::now();
    let mut session = connected(now);
    let mailbox = session.subscribe(&channel(1), Subscribe::latest()).unwrap();
    let ask = only_id(&sent(&mut session, now));
    reply(&mut session, ask, reply::Result::Subscribed(subscribed(1, 5)), now);
    session.set_activity(&channel(1), &mailbox, Activity::Background);
    let word = only_id(&sent(&mut session, now));
    let error = v1::Error::new(ErrorCode::RateLimited, "slower").with_retry_after_ms(700);
    reply(&mut session, word, reply::Result::Error(error), now);
    session.set_activity(&channel(1), &mailbox, Activity::Foreground);
    assert_eq!(sent(&mut session, now), []);
    let later = now + Duration::from_millis(700);
    assert_eq!(session.deadline(true), Some(later));
    let again = sent(&mut session, later);
    let Verb::SetActivity(said) = &again[0].1 else { panic!("{again:?}") };
    assert_eq!(said.activity(), v1::Activity::Foreground);
    // A node that knows no classes says so once, and pushes everything.
    refuse(&mut session, only_id(&again), ErrorCode::BadRequest, later);
    assert_eq!((sent(&mut session, later), session.deadline(true)), (Vec::new(), None));
}

/// Only so many words are on their way at a time; the driver must not turn round while others wait.
#[test]
fn words_that_wait_for_a_place_wake_nobody() {
    let now = Instant::now();
    let mut session = connected(now);
    let rooms: Vec<_> = (1..=9)
        .map(|n| (n, session.subscribe(&channel(n), Subscribe::latest()).unwrap()))
        .collect();
    loop {
        let asks = sent(&mut session, now);
        if asks.is_empty() {
            break;
        }
        for (id, verb) in asks {
            let Verb::Subscribe(ask) = verb else { panic!("{verb:?}") };
            let (n, _) = rooms.iter().find(|(n, _)| channel(*n).as_str() == ask.channel).unwrap();
            reply(&mut session, id, reply::Result::Subscribed(subscribed(*n, 5)), now);
        }
    }
    for (n, mailbox) in &rooms {
        session.set_activity(&channel(*n), mailbox, Activity::Background);
    }
    let mut said = 0;
    loop {
        let words = sent(&mut session, now);
        if words.is_empty() {
            break;
        }
        assert!(session.deadline(true) > Some(now), "nothing is due before an answer");
        for (id, _) in words {
            said += 1;
            let error = v1::Error::new(ErrorCode::RateLimited, "slower").with_retry_after_ms(700);
            reply(&mut session, id, reply::Result::Error(error), now);
        }
    }
    assert_eq!(said, 9);
    let later = now + Duration::from_millis(700);
    assert_eq!(session.deadline(true), Some(later));
    assert_eq!(sent(&mut session, later).len(), 4);
    assert!(session.deadline(true) > Some(later), "the others wait for a place, not for time");
}

/// Who keeps a list of who is present hears when it may have missed something.
#[test]
fn another_session_and_the_node_s_word_are_gaps_of_presence() {
    let now = Instant::now();
    let mut session = connected(now);
    let watcher = session.subscribe(&channel(1), Subscribe::latest().with_presence()).unwrap();
    session.subscribe(&channel(2), Subscribe::latest()).unwrap();
    session.handle_disconnected();
    let (greeting, _) = session.hello("token".into());
    let resumed = v1::Welcome { resumed: true, ..v1::Welcome::default() };
    session.handle_welcome(greeting, resumed, Transport::Quic, now);
    let gaps = |mailbox: &Mailbox| {
        let waker = futures_util::task::noop_waker();
        let cx = std::task::Context::from_waker(&waker);
        let mut events = Vec::new();
        while let std::task::Poll::Ready(Some((event, _))) = mailbox.poll_take(&cx) {
            events.push(event);
        }
        events.iter().filter(|event| **event == Event::PresenceGap).count()
    };
    assert_eq!(gaps(&watcher), 0, "the node knows what was missed");
    let gap = v1::PresenceGap { channel: channel(1).to_string() };
    session.handle_frame(v1::Frame::push(v1::push::Event::PresenceGap(gap)), now);
    assert_eq!(gaps(&watcher), 1);
    session.handle_disconnected();
    welcome(&mut session, now);
    assert_eq!(gaps(&watcher), 1);
}
