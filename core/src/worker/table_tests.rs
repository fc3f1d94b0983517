//! Sessions that go and come, without tasks and with a clock held by the test.

use super::*;
use std::sync::Arc;
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use sterna_proto::v1::PresenceState;
use sterna_proto::{ClientId, NodeId};

use crate::link::Verb;
use crate::session::{ConnectionInfo, Effect, TransportKind};

pub(in crate::worker) fn config() -> CoreConfig {
    CoreConfig::embedded(NodeId::new("test").unwrap(), v1::Durability::Memory)
}

pub(in crate::worker) fn session(ticket: ResumeTicket, user: &str, config: &CoreConfig) -> Session {
    let identity = crate::identity::Identity {
        user: UserId::new(user).unwrap(),
        permissions: Vec::new(),
        expires_at_ms: None,
        issued_at_ms: None,
        operator: false,
    };
    let connection = ConnectionInfo {
        transport: TransportKind::WebSocket,
        remote: "127.0.0.1:1".parse().unwrap(),
        encoding: crate::push::Encoding::Protobuf,
        datagrams: false,
    };
    let client_id = ClientId::new("phone").unwrap();
    let config = Arc::new(config.clone());
    Session::new(ticket, identity, client_id, connection, config, Instant::now())
}

fn named(channels: &[&str]) -> Vec<v1::Subscribe> {
    let subscribe = |name: &&str| v1::Subscribe {
        channel: (*name).to_owned(),
        presence: true,
        ..Default::default()
    };
    channels.iter().map(subscribe).collect()
}

/// What the session has asked of channels' owners: the channel and the presence it claims.
fn asked(session: &mut Session) -> Vec<(String, u64)> {
    let effects = std::iter::from_fn(|| session.poll_effect());
    let attach = effects.filter_map(|effect| match effect {
        Effect::Call { command, .. } => match command.verb {
            Verb::Attach { turn, .. } => Some((command.channel.to_string(), turn)),
            _ => None,
        },
        _ => None,
    });
    attach.collect()
}

fn told(table: &mut Table) -> Vec<(String, PresenceState, u64)> {
    let commands = std::iter::from_fn(|| table.pop_background());
    let presence = commands.map(|command| match command.verb {
        Verb::SetPresence { state, turn, .. } => (command.channel.to_string(), state, turn),
        other => panic!("{other:?}"),
    });
    let mut told: Vec<_> = presence.collect();
    told.sort();
    told
}

#[test]
fn an_absence_is_unnoticed_then_roaming_then_detached_then_over() {
    let (config, start) = (config(), Instant::now());
    let ticket = ResumeTicket::random();
    let mut table = Table::new();
    let mut alice = session(ticket, "alice", &config);
    alice.handle_hello(named(&["room:1"]));
    let (slot, generation, _) = table.insert(alice);
    table.detach(slot, generation, start);
    let states = [
        (config.roaming_after - Duration::from_millis(1), None),
        (config.roaming_after, Some(PresenceState::Roaming)),
        (config.roaming_after + Duration::from_millis(1), None),
        (config.presence_debounce, Some(PresenceState::Detached)),
        (config.resume_window - Duration::from_millis(1), None),
        (config.resume_window, Some(PresenceState::Offline)),
    ];
    for (away, expected) in states {
        let ended = table.sweep(start + away, &config);
        let told: Vec<_> = told(&mut table).into_iter().map(|(_, state, _)| state).collect();
        assert_eq!(told, expected.into_iter().collect::<Vec<_>>(), "after {away:?}");
        assert_eq!(ended.is_empty(), away < config.resume_window);
    }
    assert_eq!(table.len(), 0);
}

#[test]
fn a_quick_reconnect_tells_nobody() {
    let (config, start) = (config(), Instant::now());
    let ticket = ResumeTicket::random();
    let mut table = Table::new();
    let mut alice = session(ticket, "alice", &config);
    alice.handle_hello(named(&["room:1"]));
    let (slot, generation, _) = table.insert(alice);
    table.detach(slot, generation, start);
    let user = UserId::new("alice").unwrap();
    let (departed, _) = table.depart(&ticket, &user).unwrap();
    let mut again = session(ticket, "alice", &config);
    assert!(again.inherit(departed, &named(&["room:1"])).is_empty());
    again.handle_hello(named(&["room:1"]));
    table.insert(again);
    assert!(table.sweep(start + 2 * config.resume_window, &config).is_empty());
    assert_eq!(told(&mut table), []);
}

/// A connection that ends before it has asked for all that it names leaves no ghost behind.
#[test]
fn i11_presence_is_handed_on_through_connections_that_never_came_to_ask() {
    let (mut config, now) = (config(), Instant::now());
    config.queues.session_pages = 1;
    let (ticket, user) = (ResumeTicket::random(), UserId::new("alice").unwrap());
    let mut table = Table::new();
    let mut first = session(ticket, "alice", &config);
    first.handle_hello(named(&["room:1"]));
    assert_eq!(asked(&mut first).len(), 1);
    let (slot, generation, _) = table.insert(first);
    table.detach(slot, generation, now);

    // Asks for one channel at a time, and is gone before the turn of `room:1`.
    let (departed, _) = table.depart(&ticket, &user).unwrap();
    let mut second = session(ticket, "alice", &config);
    let hello = named(&["room:0", "room:1"]);
    assert!(second.inherit(departed, &hello).is_empty());
    second.handle_hello(hello);
    let (joined, turn) = asked(&mut second).remove(0);
    assert_eq!(joined, "room:0");
    let (slot, generation, _) = table.insert(second);
    table.detach(slot, generation, now);
    table.sweep(now + config.resume_window, &config);
    let told = told(&mut table);
    let channels: Vec<_> = told.iter().map(|(channel, state, _)| (&**channel, *state)).collect();
    let offline = PresenceState::Offline;
    assert_eq!(channels, [("room:0", offline), ("room:1", offline)]);
    assert!(told.iter().all(|(.., later)| *later > turn), "newer than what was said before");
}

#[test]
fn i11_a_revoked_session_without_connection_ends_at_once() {
    let (config, now) = (config(), Instant::now());
    let (ticket, user) = (ResumeTicket::random(), UserId::new("alice").unwrap());
    let mut table = Table::new();
    let mut alice = session(ticket, "alice", &config);
    alice.handle_hello(named(&["room:1"]));
    let (slot, generation, _) = table.insert(alice);
    table.detach(slot, generation, now);
    let revoked = Revocation { user: Some(user.clone()), before_ms: 1 };
    assert_eq!(table.revoke(&revoked), [ticket.session]);
    assert!(matches!(told(&mut table)[..], [(_, PresenceState::Offline, _)]));
    assert!(table.depart(&ticket, &user).is_none());
    assert!(table.sweep(now + config.resume_window, &config).is_empty());
}

#[test]
fn i12_detached_sessions_are_bounded_and_those_that_continued_do_not_count() {
    let (mut config, now) = (config(), Instant::now());
    config.queues.detached_sessions = 2;
    let user = UserId::new("alice").unwrap();
    let mut table = Table::new();
    let tickets: Vec<_> = (0..6).map(|_| ResumeTicket::random()).collect();
    for ticket in &tickets {
        let (slot, generation, _) = table.insert(session(*ticket, "alice", &config));
        table.detach(slot, generation, now);
    }
    // Three continue elsewhere; of the other three the oldest does not fit.
    for ticket in &tickets[3..] {
        table.depart(ticket, &user).unwrap();
    }
    assert_eq!(table.sweep(now, &config), [tickets[0].session]);
    assert_eq!(table.len(), 2);
}

#[test]
fn i12_commands_in_the_background_are_bounded_and_what_is_dropped_is_counted() {
    let recorder = DebuggingRecorder::new();
    let config = config();
    let mut alice = session(ResumeTicket::random(), "alice", &config);
    alice.handle_hello(named(&["room:1"]));
    let command = alice.presence_commands(PresenceState::Offline).remove(0);
    let mut table = Table::new();
    metrics::with_local_recorder(&recorder, || {
        (0..10).for_each(|_| table.on_background_refused(command.clone()));
        (0..BACKGROUND_COMMANDS).for_each(|_| table.push_background(command.clone()));
        (0..3).for_each(|_| table.on_background_refused(command.clone()));
    });
    table.retry_background();
    let waiting = std::iter::from_fn(|| table.pop_background()).count();
    assert_eq!(waiting, BACKGROUND_COMMANDS);
    let snapshot = recorder.snapshotter().snapshot().into_vec();
    let dropped = snapshot.into_iter().map(|(key, .., value)| (key.key().name().to_owned(), value));
    let dropped = dropped.collect::<HashMap<_, _>>().remove("sterna_core_background_dropped_total");
    assert_eq!(dropped, Some(DebugValue::Counter(13)));
}

/// As the workers of one node have them.
#[test]
fn the_sessions_of_all_tables_are_counted_together() {
    let config = config();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let mut tables = [Table::new(), Table::new()];
        for table in &mut tables {
            let (slot, generation, _) =
                table.insert(session(ResumeTicket::random(), "ana", &config));
            table.insert(session(ResumeTicket::random(), "ben", &config));
            table.sweep(Instant::now(), &config);
            table.detach(slot, generation, Instant::now());
            table.sweep(Instant::now(), &config);
        }
    });
    let mut sizes = std::collections::BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        if let (Some(state), DebugValue::Gauge(size)) = (key.key().labels().next(), value) {
            sizes.insert(state.value().to_owned(), size.into_inner());
        }
    }
    assert_eq!(sizes, [("attached".into(), 2.0), ("detached".into(), 2.0)].into());
}

#[test]
fn what_was_refused_does_not_come_again_behind_what_was_said_after_it() {
    let (config, start) = (config(), Instant::now());
    let mut table = Table::new();
    let mut alice = session(ResumeTicket::random(), "alice", &config);
    alice.handle_hello(named(&["room:1"]));
    let (slot, generation, _) = table.insert(alice);
    table.detach(slot, generation, start);
    let mut refused = Vec::new();
    for away in [config.roaming_after, config.presence_debounce] {
        table.sweep(start + away, &config);
        refused.extend(table.pop_background());
    }
    refused.into_iter().for_each(|command| table.on_background_refused(command));
    table.retry_background();
    let detached = told(&mut table);
    assert_eq!(detached.len(), 1, "that she was roaming does not hold any more: {detached:?}");
    assert_eq!(detached[0].1, PresenceState::Detached);
    table.sweep(start + config.resume_window, &config);
    let offline = table.pop_background().unwrap();
    table.on_background_refused(offline);
    table.retry_background();
    assert_eq!(told(&mut table)[0].1, PresenceState::Offline, "a leave always comes again");
}
