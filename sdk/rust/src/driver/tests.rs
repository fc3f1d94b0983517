//! The driver without a network: its connections' tasks never get a turn, since nothing here
//! awaits, and the tests report what they would.

use bytes::Bytes;
use futures_util::FutureExt as _;
use sterna_proto::v1::{self, command::Verb, push, reply};
use sterna_proto::{ChannelId, CloseReason, ErrorCode};

use super::attempt::{EARLY_FRAMES, Purpose};
use super::*;
use crate::options::{OutboxLimits, Subscribe};
use crate::session::{Route, Session};
use crate::transport::{Address, LinkEnd};

const BOTH: [Transport; 2] = [Transport::Quic, Transport::WebSocket];

fn driver(transports: &[Transport], provider: Option<TokenProvider>) -> Driver {
    let limits = OutboxLimits::default();
    let session = Session::new("phone".into(), String::new(), limits, 1, false, COMMAND_TIMEOUT);
    let address = Address::Sockets(vec![([127, 0, 0, 1], 4443).into()]);
    let target = Target { server_name: "localhost".into(), address };
    let tls = Tls::new(rustls::RootCertStore::empty()).unwrap();
    let tokens = match provider {
        Some(_) => TokenKeeper::provided(),
        None => TokenKeeper::fixed("token".into()),
    };
    let shared = Arc::new(Shared::new(session));
    let setup = Setup {
        target,
        tls,
        transports: transports.to_vec(),
        tokens,
        provider,
        background_grace: GRACE,
        store: None,
    };
    let mut driver = Driver::new(shared, setup);
    driver.shared.set_desired(Desired::Online);
    driver.step();
    driver
}

/// Lets the only candidate become ready, which says Hello.
fn greet(driver: &mut Driver) -> LinkId {
    let id = driver.attempt.as_ref().unwrap().connecting[0].id;
    driver.handle_event(id, LinkEvent::Established { took: Duration::ZERO });
    id
}

fn welcome(driver: &mut Driver, id: LinkId) {
    let welcome = v1::Welcome {
        heartbeat_ms: 25_000,
        resume_ticket: Bytes::from_static(b"ticket"),
        // With a provider: to be replaced at once.
        token_expires_at_ms: u64::from(driver.provider.is_some()),
        ..v1::Welcome::default()
    };
    let greeted = driver.attempt.as_ref().unwrap().greeting.as_ref().unwrap();
    let frame = v1::Frame::reply(greeted.greeting.id, reply::Result::Welcome(welcome));
    driver.handle_event(id, LinkEvent::Frame(frame));
    assert_eq!(driver.active.as_ref().unwrap().link.id, id);
}

fn connected(transports: &[Transport]) -> (Driver, LinkId) {
    let mut driver = driver(transports, None);
    let id = greet(&mut driver);
    welcome(&mut driver, id);
    (driver, id)
}

fn close(driver: &mut Driver, id: LinkId, reason: CloseReason) {
    let end = LinkEnd::closed(reason.code().into(), reason.text());
    driver.handle_event(id, LinkEvent::Ended(end));
}

/// The Hello that was said stays unanswered; the next candidate begins, and says another once it is
/// there.
fn give_the_hello_up(driver: &mut Driver) -> LinkId {
    driver.attempt.as_mut().unwrap().greeting.as_mut().unwrap().deadline = Instant::now();
    driver.step();
    assert!(driver.attempt.as_ref().unwrap().greeting.is_some(), "its answer may still come");
    greet(driver)
}

#[tokio::test]
async fn superseded_by_a_hello_of_our_own_is_no_reason_to_stop() {
    let mut active = driver(&BOTH, None);
    greet(&mut active);
    let second = give_the_hello_up(&mut active);
    welcome(&mut active, second);
    // The first Hello has reached the node only now.
    close(&mut active, second, CloseReason::Superseded);
    assert!(matches!(active.shared.state.borrow().clone(), ClientState::Connecting { .. }));

    let mut candidate = driver(&BOTH, None);
    greet(&mut candidate);
    let second = give_the_hello_up(&mut candidate);
    close(&mut candidate, second, CloseReason::Superseded);
    assert!(candidate.online);
}

#[tokio::test]
async fn a_hello_that_nobody_else_could_say_waits_for_its_answer() {
    let mut driver = driver(&[Transport::WebSocket], None);
    let only = greet(&mut driver);
    let late = Instant::now();
    driver.attempt.as_mut().unwrap().greeting.as_mut().unwrap().deadline = late;
    driver.step();
    let attempt = driver.attempt.as_ref().unwrap();
    assert_eq!(attempt.greeting.as_ref().unwrap().link.id, only);
    assert_eq!(attempt.deadline(), Some(attempt.give_up_at), "and nothing is done until then");
    assert_eq!(driver.shared.session().stats.hellos, 1);
    welcome(&mut driver, only);
    assert!(driver.active.is_some());
}

#[tokio::test]
async fn superseded_by_somebody_else_is_final() {
    let (mut driver, first) = connected(&BOTH);
    driver.handle_event(first, LinkEvent::Ended(LinkEnd::broken("cut")));
    driver.retry_at = Some(Instant::now());
    driver.step();
    // The first Hello was answered: it is not what supersedes the second connection.
    let second = greet(&mut driver);
    welcome(&mut driver, second);
    close(&mut driver, second, CloseReason::Superseded);
    let state = driver.shared.state.borrow().clone();
    assert!(matches!(state, ClientState::Disconnected { error: Some(_) }), "{state:?}");
}

#[tokio::test]
async fn a_probe_is_dropped_with_the_connection_it_was_to_replace_unless_it_has_greeted() {
    for greeted in [false, true] {
        let mut driver = driver(&BOTH, None);
        let quic = driver.attempt.as_ref().unwrap().connecting[0].id;
        driver.handle_event(quic, LinkEvent::Ended(LinkEnd::broken("blocked")));
        let websocket = greet(&mut driver);
        welcome(&mut driver, websocket);
        driver.race.on_network_change(Instant::now().into_std());
        driver.step();
        assert_eq!(driver.attempt.as_ref().unwrap().purpose, Purpose::Upgrade);
        if greeted {
            greet(&mut driver);
        }
        driver.handle_event(websocket, LinkEvent::Ended(LinkEnd::broken("cut")));
        if greeted {
            assert_eq!(driver.attempt.as_ref().unwrap().purpose, Purpose::Connect);
            continue;
        }
        driver.retry_at = Some(Instant::now());
        driver.step();
        let attempt = driver.attempt.as_ref().unwrap();
        assert_eq!(attempt.purpose, Purpose::Connect);
        assert_eq!(attempt.connecting.len() + attempt.planned.len(), 2, "both transports");
    }
}

#[tokio::test]
async fn disconnect_and_connect_in_a_row_start_a_new_session_and_connect_twice_does_not() {
    let (mut driver, id) = connected(&[Transport::Quic]);
    driver.shared.set_desired(Desired::Online);
    driver.shared.set_desired(Desired::Online);
    driver.step();
    assert_eq!(driver.active.as_ref().unwrap().link.id, id);

    driver.shared.set_desired(Desired::Offline);
    driver.shared.set_desired(Desired::Online);
    driver.step();
    assert!(driver.active.is_none() && driver.online);
    let (_, hello) = driver.shared.session().hello("token".into());
    let Some(Verb::Hello(hello)) = hello.verb else { panic!("{hello:?}") };
    assert!(hello.resume_ticket.is_empty());
    let second = greet(&mut driver);
    welcome(&mut driver, second);
}

#[tokio::test]
async fn early_frames_that_are_not_kept_are_asked_for() {
    for (frames, asked) in [(EARLY_FRAMES, false), (EARLY_FRAMES + 1, true)] {
        let mut driver = driver(&[Transport::Quic], None);
        let channel = ChannelId::new("room:1").unwrap();
        driver.shared.session().subscribe(&channel, Subscribe::latest()).unwrap();
        let id = greet(&mut driver);
        for offset in 1..=frames as u64 {
            let publication = v1::Publication {
                channel: channel.to_string(),
                epoch: 1,
                offset,
                ..v1::Publication::default()
            };
            let frame = v1::Frame::push(push::Event::Publication(publication));
            driver.handle_event(id, LinkEvent::Frame(frame));
        }
        welcome(&mut driver, id);
        let commands = driver.shared.session().poll_command(Instant::now().into_std());
        assert_eq!(commands.len(), usize::from(asked), "{commands:?}");
    }
}

#[tokio::test]
async fn a_stuck_path_is_not_asked_for_retransmissions() {
    let (mut driver, _) = connected(&[Transport::Quic]);
    let outgoing = driver.active.as_ref().unwrap().link.outgoing.clone();
    let filler = || Outgoing { route: Route::Control, command: v1::Command::default() };
    while outgoing.try_send(filler()).is_ok() {}
    let states = tokio::sync::watch::channel(crate::SendState::Queued).0;
    let channel = ChannelId::new("room:1").unwrap();
    driver.shared.session().publish(channel, v1::Publish::default(), states);
    driver.flush();
    assert_eq!(driver.unsent.len(), 1);
    let retransmission = driver.shared.session().deadline(true).map(Instant::from_std).unwrap();
    assert!(driver.deadline().unwrap() > retransmission);
}

#[tokio::test]
async fn a_successor_that_is_not_there_yet_is_tried_again() {
    let (mut driver, link) = connected(&[Transport::WebSocket]);
    let go_away =
        v1::GoAway { deadline_ms: 0, successor: "127.0.0.1:4999".into(), reason: String::new() };
    driver.handle_event(link, LinkEvent::Frame(v1::Frame::push(push::Event::GoAway(go_away))));
    let port = |target: &Target| match &target.address {
        Address::Sockets(addresses) => addresses[0].port(),
        Address::Name { port, .. } => *port,
    };
    assert_eq!(port(&driver.next_target()), 4999);
    driver.backoff.on_failure(0.5);
    assert_ne!(port(&driver.next_target()), 4999, "home may be there again");
    driver.backoff.on_failure(0.5);
    assert_eq!(port(&driver.next_target()), 4999);
}

#[tokio::test]
async fn a_changed_network_replaces_a_websocket_at_once() {
    let (mut driver, _) = connected(&[Transport::WebSocket]);
    driver.shared.set_network_change(crate::NetworkChange::Path);
    driver.step();
    let attempt = driver.attempt.as_ref().expect("a connection is made beside the old one");
    assert_eq!(attempt.purpose, Purpose::Replace);
    assert!(driver.active.is_some());
}

#[tokio::test]
async fn a_ping_that_is_not_sent_is_not_waited_for() {
    let (mut driver, _) = connected(&[Transport::Quic]);
    let filler = || Outgoing { route: Route::Control, command: v1::Command::default() };
    driver.unsent.extend(std::iter::repeat_with(filler).take(8));
    driver.shared.set_network_change(crate::NetworkChange::Path);
    driver.step();
    assert_eq!(driver.unsent.len(), 8);
    assert!(!driver.shared.session().is_owed());
}

#[tokio::test]
async fn an_expired_refresh_token_is_replaced_by_the_provider() {
    let provider: TokenProvider =
        Arc::new(|_| futures_util::future::ready(Ok("token".to_owned())).boxed());
    let mut driver = driver(&[Transport::Quic], Some(provider));
    let answer = |driver: &mut Driver| {
        let asking = driver.token_answer.take().expect("the provider was not asked");
        let (generation, answer) = asking.now_or_never().unwrap();
        driver.handle_token(generation, answer);
    };
    let id = driver.attempt.as_ref().unwrap().connecting[0].id;
    driver.handle_event(id, LinkEvent::Established { took: Duration::ZERO });
    answer(&mut driver);
    driver.step();
    welcome(&mut driver, id);
    driver.step();
    answer(&mut driver);
    let refresh = driver.unsent[0].command.clone();
    assert!(matches!(refresh.verb, Some(Verb::Refresh(_))));
    let error = v1::Error::new(ErrorCode::TokenExpired, "too old");
    let frame = v1::Frame::reply(refresh.id, reply::Result::Error(error));
    driver.handle_event(id, LinkEvent::Frame(frame));
    assert!(driver.shared.state.borrow().is_connected());
    assert!(driver.tokens.deadline().is_some(), "the provider is asked again");
}

fn hello_ticket(driver: &Driver) -> Bytes {
    let (_, hello) = driver.shared.session().hello("token".into());
    let Some(Verb::Hello(hello)) = hello.verb else { panic!("{hello:?}") };
    hello.resume_ticket
}

fn state(driver: &Driver) -> ClientState {
    driver.shared.state.borrow().clone()
}

#[tokio::test(start_paused = true)]
async fn the_background_closes_after_its_grace_and_the_foreground_resumes_at_once() {
    let (mut driver, _) = connected(&BOTH);
    driver.shared.set_background(true);
    driver.step();
    tokio::time::advance(GRACE - Duration::from_millis(1)).await;
    driver.step();
    assert!(driver.active.is_some(), "the grace is not over");
    tokio::time::advance(Duration::from_millis(1)).await;
    driver.step();
    assert!(driver.active.is_none() && driver.online);
    assert_eq!((state(&driver), driver.deadline()), (ClientState::Background, None));
    let states = tokio::sync::watch::channel(crate::SendState::Queued).0;
    let channel = ChannelId::new("room:1").unwrap();
    driver.shared.session().publish(channel, v1::Publish::default(), states);
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(3600)).await;
        driver.shared.set_network_change(crate::NetworkChange::Online);
        driver.step();
        assert!(driver.attempt.is_none(), "nothing is attempted in the background");
        assert_eq!(driver.deadline(), None);
    }
    driver.backoff.on_failure(1.0);
    driver.shared.set_background(false);
    driver.step();
    assert!(driver.attempt.is_some(), "at once");
    assert_eq!(driver.backoff.failures(), 0);
    assert_eq!(&hello_ticket(&driver)[..], b"ticket");
    let id = greet(&mut driver);
    welcome(&mut driver, id);
    let commands = driver.shared.session().poll_command(Instant::now().into_std());
    assert!(matches!(commands[0].1.verb, Some(Verb::Publish(_))), "{commands:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_lost_in_the_background_is_not_made_anew() {
    let (mut driver, id) = connected(&BOTH);
    driver.shared.set_background(true);
    driver.step();
    // A drain, a probe for QUIC and a dying path all ask for another connection.
    let go_away = v1::GoAway { deadline_ms: 0, ..v1::GoAway::default() };
    driver.handle_event(id, LinkEvent::Frame(v1::Frame::push(push::Event::GoAway(go_away))));
    driver.race.on_network_change(Instant::now().into_std());
    driver.step();
    assert!(driver.attempt.is_none());
    assert!(driver.deadline().is_some_and(|at| at > Instant::now()), "no hot loop");
    driver.handle_event(id, LinkEvent::Ended(LinkEnd::broken("cut")));
    driver.step();
    assert_eq!((state(&driver), driver.deadline()), (ClientState::Background, None));
    assert!(driver.attempt.is_none());
    driver.shared.set_background(false);
    driver.step();
    assert!(matches!(state(&driver), ClientState::Connecting { attempt: 1, .. }));
    assert!(driver.attempt.is_some());
}

#[tokio::test(start_paused = true)]
async fn connecting_in_the_background_waits_for_the_foreground_and_disconnecting_does_not() {
    let (mut driver, _) = connected(&[Transport::Quic]);
    driver.shared.set_background(true);
    driver.shared.set_desired(Desired::Offline);
    driver.step();
    assert!(matches!(state(&driver), ClientState::Disconnected { .. }));
    driver.shared.set_desired(Desired::Online);
    driver.step();
    assert_eq!((state(&driver), driver.deadline()), (ClientState::Background, None));
    assert!(driver.attempt.is_none());
    driver.shared.set_background(false);
    driver.step();
    assert!(driver.attempt.is_some());
}

const GRACE: Duration = Duration::from_secs(25);
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
