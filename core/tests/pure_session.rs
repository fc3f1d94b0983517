//! A session by itself: what it asks of others is answered by the test.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use sterna_core::session::{Effect, OutgoingBody, ResumeTicket, Session};
use sterna_proto::v1::{self, command::Verb, reply::Result as Reply};
use sterna_proto::{ChannelId, ClientId, CloseReason, ErrorCode, Position, UserId};
use support::{config, counted, counts, identity, publish};
use tokio::time::Instant;

fn session() -> (Session, Instant) {
    let now = Instant::now();
    let client_id = ClientId::new("phone").unwrap();
    let (ticket, config) = (ResumeTicket::random(), Arc::new(config()));
    let connection = support::connection();
    (Session::new(ticket, identity("bob"), client_id, connection, config, now), now)
}

/// Answers that wait for the client: the command's id and whether it failed.
fn answers(session: &mut Session) -> Vec<(u32, bool)> {
    let mut frames = Vec::new();
    session.take_frames(&mut frames, usize::MAX);
    let answer = |body: OutgoingBody| match body {
        OutgoingBody::Own(frame) => match frame.body {
            Some(v1::frame::Body::Reply(v1::Reply { id, result: Some(result) })) => {
                Some((id, matches!(result, Reply::Error(_))))
            }
            _ => None,
        },
        OutgoingBody::Shared(_) => None,
    };
    frames.into_iter().filter_map(|frame| answer(frame.body)).collect()
}

/// The client_seq of the next publication that goes to its owner, and its token.
fn next_publication(session: &mut Session) -> Option<(u64, u32)> {
    match session.poll_effect()? {
        Effect::Call { token, command } => match command.verb {
            sterna_core::link::Verb::Publish(publish) => Some((publish.client_seq, token)),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn i13_what_waits_behind_a_refused_publication_is_not_sent() {
    let (mut session, now) = session();
    let send = |session: &mut Session, channel: &str, id: u32, seq: u64| {
        let Verb::Publish(publish) = publish(channel, seq, "x") else { unreachable!() };
        let verb = Some(Verb::Publish(v1::Publish { ordered: true, ..publish }));
        session.handle_command(v1::Command { id, verb }, now, 0).unwrap();
    };
    send(&mut session, "room:1", 10, 1);
    send(&mut session, "room:1", 11, 2);
    send(&mut session, "room:2", 12, 3);
    send(&mut session, "room:1", 13, 4);
    let (seq, token) = next_publication(&mut session).unwrap();
    assert_eq!(seq, 1);
    // The owner's mailbox has no room for it; by now there may be some for the next.
    session.handle_reply(token, Err(v1::Error::new(ErrorCode::Busy, "no room")));
    assert_eq!(answers(&mut session), [(10, true), (11, true), (13, true)]);
    assert_eq!(next_publication(&mut session).map(|next| next.0), Some(3), "another channel");
    assert_eq!(next_publication(&mut session), None);
    for (id, seq) in [(20, 1), (21, 2), (22, 4)] {
        send(&mut session, "room:1", id, seq);
        assert_eq!(next_publication(&mut session).map(|next| next.0), Some(seq));
    }
}

#[test]
fn i11_an_answer_under_way_when_the_right_ends_is_not_given_out() {
    for (reason, heard) in [(CloseReason::Revoked, 0), (CloseReason::Slow, 1)] {
        let (mut session, now) = session();
        let history = v1::History { channel: "room:1".into(), ..Default::default() };
        let command = v1::Command { id: 7, verb: Some(Verb::History(history)) };
        session.handle_command(command, now, 0).unwrap();
        let Some(Effect::Call { token, .. }) = session.poll_effect() else { panic!() };
        session.start_close(reason);
        session.handle_reply(token, Ok(Reply::History(v1::HistoryPage::default())));
        assert_eq!(answers(&mut session).len(), heard, "{reason:?}");
    }
}

/// Found by the simulation: the beacon of a channel whose gap had been cleared away with the rest.
#[test]
fn i11_a_head_after_the_right_ends_is_not_given_out() {
    let (mut session, now) = session();
    let subscribe = v1::Subscribe { channel: "room:1".into(), ..Default::default() };
    let command = v1::Command { id: 7, verb: Some(Verb::Subscribe(subscribe)) };
    session.handle_command(command, now, 0).unwrap();
    let token = std::iter::from_fn(|| session.poll_effect()).find_map(|effect| match effect {
        Effect::Call { token, .. } => Some(token),
        _ => None,
    });
    let page = v1::Subscribed { channel: "room:1".into(), live: true, ..Default::default() };
    session.handle_reply(token.unwrap(), Ok(Reply::Subscribed(page)));
    let key = ChannelId::new("room:1").unwrap().key();
    session.handle_head(key, Position::new(1, 5));
    session.start_close(CloseReason::Revoked);
    session.handle_head(key, Position::new(1, 6));
    let mut frames = Vec::new();
    session.take_frames(&mut frames, usize::MAX);
    assert!(frames.is_empty(), "{frames:?}");
}

/// Found by the simulation: a page that waited for a slow reader went out after the eviction.
#[test]
fn i11_a_page_that_waits_is_refused_when_the_right_ends() {
    let (mut session, now) = session();
    let channel = ChannelId::new("club:1").unwrap();
    let history = v1::History { channel: channel.to_string(), ..Default::default() };
    let subscribe = v1::Subscribe { channel: channel.to_string(), ..Default::default() };
    for (id, verb) in [(7, Verb::Subscribe(subscribe)), (8, Verb::History(history))] {
        session.handle_command(v1::Command { id, verb: Some(verb) }, now, 0).unwrap();
    }
    let publications = vec![v1::Publication { offset: 1, ..Default::default() }];
    while let Some(effect) = session.poll_effect() {
        let Effect::Call { token, command } = effect else { continue };
        let (channel, publications) = (channel.to_string(), publications.clone());
        let reply = match command.verb {
            sterna_core::link::Verb::Attach { .. } => {
                let page = v1::Subscribed { channel, publications, ..Default::default() };
                Reply::Subscribed(v1::Subscribed { live: true, ..page })
            }
            _ => Reply::History(v1::HistoryPage { channel, publications, ..Default::default() }),
        };
        session.handle_reply(token, Ok(reply));
    }
    // Another one's answer comes only after the eviction.
    let history = v1::History { channel: channel.to_string(), ..Default::default() };
    let command = v1::Command { id: 9, verb: Some(Verb::History(history)) };
    session.handle_command(command, now, 0).unwrap();
    let Some(Effect::Call { token, .. }) = session.poll_effect() else { panic!() };
    let error = v1::Error::new(ErrorCode::PermissionDenied, "no longer a member");
    let (bob, at) = (UserId::new("bob").unwrap(), Position::new(1, 2));
    session.handle_evict(channel.key(), &bob, at, &error);
    session.handle_reply(token, Ok(Reply::History(v1::HistoryPage::default())));
    assert_eq!(answers(&mut session), [(7, true), (8, true), (9, true)]);
}

/// Found by the simulation: the word of an eviction came behind a refusal or an Unsubscribe, found no
/// subscription, and a page of it went out to a slow reader.
#[test]
fn i11_a_page_that_waits_is_refused_also_when_its_subscription_has_ended() {
    for by_client in [false, true] {
        let (mut session, now) = session();
        let channel = ChannelId::new("club:1").unwrap();
        let denied = || v1::Error::new(ErrorCode::PermissionDenied, "no longer a member");
        let page = v1::Subscribed {
            channel: channel.to_string(),
            publications: vec![v1::Publication { offset: 1, ..Default::default() }],
            ..Default::default()
        };
        let mut replies = vec![Err(denied()), Ok(Reply::Subscribed(page))];
        for id in [7, 8] {
            let subscribe = v1::Subscribe { channel: channel.to_string(), ..Default::default() };
            let verb = match (id, by_client) {
                (8, true) => Verb::Unsubscribe(v1::Unsubscribe { channel: channel.to_string() }),
                _ => Verb::Subscribe(subscribe),
            };
            session.handle_command(v1::Command { id, verb: Some(verb) }, now, 0).unwrap();
            while let Some(effect) = session.poll_effect() {
                let Effect::Call { token, .. } = effect else { continue };
                session.handle_reply(token, replies.pop().unwrap());
            }
        }
        let (bob, at) = (UserId::new("bob").unwrap(), Position::new(1, 2));
        session.handle_evict(channel.key(), &bob, at, &denied());
        let answers = answers(&mut session);
        assert_eq!(answers, [(7, true), (8, !by_client)], "unsubscribed: {by_client}");
    }
}

/// Found by the simulation: of a channel that a session is not subscribed to it hears no eviction, and a
/// page that waited for a slow reader went out after the member was removed.
#[test]
fn i11_an_answer_that_waited_long_is_asked_for_again_when_the_reader_is_there() {
    counted(|snapshotter| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.start_paused(true).enable_time().build().unwrap();
        runtime.block_on(answers_that_wait());
        let asked_again = counts(snapshotter, &["sterna_core_answers_asked_again_total"]);
        assert_eq!(asked_again, [2]);
    });
}

async fn answers_that_wait() {
    let asked = |session: &mut Session| match session.poll_effect() {
        Some(Effect::Call { token, command }) => Some((token, command)),
        _ => None,
    };
    let channel = || "club:1".to_owned();
    let page = |offset| {
        let publications = vec![v1::Publication { offset, ..Default::default() }];
        let page = v1::HistoryPage { channel: channel(), publications, ..Default::default() };
        Ok(Reply::History(page))
    };
    let list =
        || Ok(Reply::Presence(v1::PresenceList { channel: channel(), ..Default::default() }));
    for waits_ms in [900, 1100] {
        let (mut session, now) = session();
        let history = v1::History { channel: channel(), ..Default::default() };
        let query = v1::PresenceQuery { channel: channel() };
        for (id, verb) in [(7, Verb::History(history)), (8, Verb::Presence(query))] {
            session.handle_command(v1::Command { id, verb: Some(verb) }, now, 0).unwrap();
            let (token, _) = asked(&mut session).unwrap();
            session.handle_reply(token, if id == 7 { page(1) } else { list() });
        }
        tokio::time::advance(std::time::Duration::from_millis(waits_ms)).await;
        if waits_ms == 900 {
            assert_eq!(answers(&mut session), [(7, false), (8, false)]);
            assert!(asked(&mut session).is_none());
            continue;
        }
        // As long as the right holds, the page goes out as it is by now.
        assert_eq!(answers(&mut session), []);
        let (token, again) = asked(&mut session).unwrap();
        assert!(matches!(again.verb, sterna_core::link::Verb::History(_)), "{again:?}");
        assert_eq!(answers(&mut session), [], "not without an answer");
        assert!(asked(&mut session).is_none(), "asked once");
        session.handle_reply(token, page(2));
        let denied = v1::Error::new(ErrorCode::PermissionDenied, "no longer a member");
        assert_eq!(answers(&mut session), [(7, false)]);
        let (token, again) = asked(&mut session).unwrap();
        assert!(matches!(again.verb, sterna_core::link::Verb::Presence), "{again:?}");
        session.handle_reply(token, Err(denied));
        assert_eq!(answers(&mut session), [(8, true)]);
    }
}

/// A subscription that is not answered yet says nothing of a right: it may be refused.
#[test]
fn i11_an_answer_that_waited_long_is_asked_for_again_also_while_a_subscription_begins() {
    for is_let_in in [false, true] {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.start_paused(true).enable_time().build().unwrap();
        runtime.block_on(async {
            let (mut session, now) = session();
            let channel = || "club:1".to_owned();
            let call = |session: &mut Session| {
                let effects = std::iter::from_fn(|| session.poll_effect());
                let mut calls = effects.filter_map(|effect| match effect {
                    Effect::Call { token, .. } => Some(token),
                    _ => None,
                });
                calls.next()
            };
            let ask = |session: &mut Session, id, verb| {
                session.handle_command(v1::Command { id, verb: Some(verb) }, now, 0).unwrap();
                call(session).unwrap()
            };
            let history = v1::History { channel: channel(), ..Default::default() };
            let token = ask(&mut session, 7, Verb::History(history));
            let page = v1::HistoryPage { channel: channel(), ..Default::default() };
            session.handle_reply(token, Ok(Reply::History(page)));
            tokio::time::advance(std::time::Duration::from_millis(1100)).await;
            let subscribe = v1::Subscribe { channel: channel(), ..Default::default() };
            let token = ask(&mut session, 8, Verb::Subscribe(subscribe));
            if is_let_in {
                let page = v1::Subscribed { channel: channel(), live: true, ..Default::default() };
                session.handle_reply(token, Ok(Reply::Subscribed(page)));
                assert_eq!(answers(&mut session), [(7, false), (8, false)]);
                assert!(call(&mut session).is_none(), "its end will be heard of");
            } else {
                assert_eq!(answers(&mut session), []);
                assert!(call(&mut session).is_some(), "asked again");
            }
        });
    }
}

/// Found by the simulation: a subscription was allowed and its page slow to come; the member was removed,
/// and subscribed again, in vain. The page of the first one went out in between.
#[test]
fn i11_a_page_on_its_way_is_refused_when_the_right_ends_whoever_asks_again() {
    let (mut session, now) = session();
    let channel = ChannelId::new("club:1").unwrap();
    let ask = |session: &mut Session, id: u32| {
        let subscribe = v1::Subscribe { channel: channel.to_string(), ..Default::default() };
        let command = v1::Command { id, verb: Some(Verb::Subscribe(subscribe)) };
        session.handle_command(command, now, 0).unwrap();
        let effects = std::iter::from_fn(|| session.poll_effect());
        let token = effects.filter_map(|effect| match effect {
            Effect::Call { token, .. } => Some(token),
            _ => None,
        });
        token.last().unwrap()
    };
    let first = ask(&mut session, 7);
    let denied = || v1::Error::new(ErrorCode::PermissionDenied, "no longer a member");
    let (bob, at) = (UserId::new("bob").unwrap(), Position::new(1, 2));
    session.handle_evict(channel.key(), &bob, at, &denied());
    let second = ask(&mut session, 8);
    let page = v1::Subscribed {
        channel: channel.to_string(),
        publications: vec![v1::Publication { offset: 1, ..Default::default() }],
        ..Default::default()
    };
    session.handle_reply(first, Ok(Reply::Subscribed(page)));
    session.handle_reply(second, Err(denied()));
    assert_eq!(answers(&mut session), [(7, true), (8, true)]);
}

/// Who is a member again, and let in since, is not meant by an eviction that comes late.
#[test]
fn i11_an_eviction_ends_what_was_let_in_before_it_and_nothing_else() {
    for (removed_at, ended) in [(4, false), (5, false), (6, true)] {
        let (mut session, now) = session();
        let channel = ChannelId::new("club:1").unwrap();
        let subscribe = v1::Subscribe { channel: channel.to_string(), ..Default::default() };
        let command = v1::Command { id: 7, verb: Some(Verb::Subscribe(subscribe)) };
        session.handle_command(command, now, 0).unwrap();
        while let Some(effect) = session.poll_effect() {
            let Effect::Call { token, .. } = effect else { continue };
            let page = v1::Subscribed {
                channel: channel.to_string(),
                position: Some(v1::Position { epoch: 1, offset: 5 }),
                head_offset: 5,
                ..Default::default()
            };
            session.handle_reply(token, Ok(Reply::Subscribed(page)));
        }
        let error = v1::Error::new(ErrorCode::PermissionDenied, "no longer a member");
        let (bob, at) = (UserId::new("bob").unwrap(), Position::new(1, removed_at));
        session.handle_evict(channel.key(), &bob, at, &error);
        assert_eq!(session.channels().next().is_none(), ended, "removed at {removed_at}");
    }
}
