//! The client against a scripted node: connecting, resuming, recovering, publishing, moving.

// Clippy takes only `#[test]` functions for tests, not their helpers.
#![allow(clippy::unwrap_used, clippy::large_enum_variant)]

mod outbox;
mod paths;
mod support;

use std::sync::Arc;
use std::time::Duration;

use sterna_client::{ChannelId, ClientState, Error, History, SendState, Subscribe, Transport};
use sterna_proto::v1::{self, push};
use sterna_proto::{CloseReason, ErrorCode};
use support::client::{LONG, builder, connect, live, publications, room, transport, until_state};
use support::{Certificate, Log, Node, Say, Serve};

#[tokio::test]
async fn quic_wins_where_it_works_and_websocket_where_it_does_not() {
    for (serve, expected) in
        [(Serve::Both, Transport::Quic), (Serve::WebSocketOnly, Transport::WebSocket)]
    {
        let node = Node::start(serve).await;
        let client = connect(builder(&node)).await;
        assert_eq!(transport(&client), expected);
        let ack = client.publish(&room(), "hello").await.unwrap();
        assert_eq!(ack.position.offset.0, 1);
        let page = client.history(&room(), History::default()).await.unwrap();
        assert_eq!(page.publications.len(), 1);
        client.close().await;
        assert_eq!(client.state(), ClientState::Closed);
        node.stop().await;
    }
}

async fn resumes_from_its_position(serve: Serve) {
    let node = Node::start(serve).await;
    let client = connect(builder(&node)).await;
    let mut subscription = client.subscribe(&room(), Subscribe::latest()).unwrap();
    assert_eq!(live(&mut subscription).await, (false, false));
    node.log.store("room:1", "one");
    assert_eq!(publications(&mut subscription, 1).await, ["one"]);
    node.log.change(|state| state.lose_pushes = 7);
    for n in 2..9 {
        node.log.store("room:1", &n.to_string());
    }
    node.log.say(Say::Cut);
    let missed = publications(&mut subscription, 7).await;
    assert_eq!(missed, ["2", "3", "4", "5", "6", "7", "8"]);
    assert_eq!(live(&mut subscription).await, (true, true));
    node.log.store("room:1", "after");
    assert_eq!(publications(&mut subscription, 1).await, ["after"]);
    let hello = node.log.change(|state| state.hellos.last().unwrap().0.clone());
    assert_eq!(&hello.resume_ticket[..], b"ticket");
    assert_eq!(hello.subscriptions[0].since, Some(v1::Position { epoch: 1, offset: 1 }));
    assert_eq!(client.statistics().resumed, 1);
    client.close().await;
}

#[tokio::test]
async fn a_cut_quic_connection_resumes_with_positions() {
    resumes_from_its_position(Serve::QuicOnly).await;
}

#[tokio::test]
async fn a_cut_websocket_connection_resumes_with_positions() {
    resumes_from_its_position(Serve::WebSocketOnly).await;
}

#[tokio::test]
async fn unanswered_publications_are_sent_again_in_order_and_known() {
    let node = Node::start(Serve::QuicOnly).await;
    let client = connect(builder(&node)).await;
    node.log.change(|state| state.mute = 1);
    let sends: Vec<_> = (0..5).map(|n| client.publish(&room(), format!("{n}")).start()).collect();
    node.log.until(|state| !state.publishes.is_empty()).await;
    node.log.say(Say::Cut);
    let mut acks = Vec::new();
    for send in sends {
        acks.push(send.await.unwrap());
    }
    assert!(acks[0].duplicate, "stored before the cut");
    let offsets: Vec<u64> = acks.iter().map(|ack| ack.position.offset.0).collect();
    assert_eq!(offsets, [1, 2, 3, 4, 5]);
    client.close().await;
}

#[tokio::test]
async fn busy_holds_the_channel_so_that_order_stays() {
    let node = Node::start(Serve::QuicOnly).await;
    let client = connect(builder(&node)).await;
    node.log.change(|state| state.busy = 3);
    let sends: Vec<_> =
        (0..20).map(|n| client.publish(&room(), format!("{n:02}")).start()).collect();
    for send in sends {
        send.await.unwrap();
    }
    let stored: Vec<_> = node
        .log
        .change(|state| state.channels["room:1"].iter().map(|p| p.payload.clone()).collect());
    assert!(stored.is_sorted(), "{stored:?}");
    assert_eq!(stored.len(), 20);
    client.close().await;
}

#[tokio::test]
async fn lost_pushes_are_recovered_and_doubles_dropped() {
    let node = Node::start(Serve::QuicOnly).await;
    let client = connect(builder(&node)).await;
    let mut subscription = client.subscribe(&room(), Subscribe::latest()).unwrap();
    live(&mut subscription).await;
    node.log.change(|state| state.lose_pushes = 12);
    for n in 1..=13 {
        node.log.store("room:1", &format!("{n:02}"));
    }
    let found = publications(&mut subscription, 13).await;
    assert!(found.is_sorted() && found[0] == "01" && found[12] == "13");
    let again = node.log.change(|state| state.channels["room:1"][4].clone());
    node.log.say(Say::Push(push::Event::Publication(again)));
    node.log.store("room:1", "14");
    assert_eq!(publications(&mut subscription, 1).await, ["14"]);
    let statistics = client.statistics();
    assert!(statistics.gaps_recovered >= 1 && statistics.duplicates_dropped >= 1);
    client.close().await;
}

#[tokio::test]
async fn a_head_beacon_and_a_named_gap_start_recovery() {
    let node = Node::start(Serve::WebSocketOnly).await;
    let client = connect(builder(&node)).await;
    let mut subscription = client.subscribe(&room(), Subscribe::latest()).unwrap();
    live(&mut subscription).await;
    let channel = || "room:1".to_owned();
    node.log.change(|state| state.lose_pushes = 2);
    node.log.store("room:1", "one");
    let head = v1::Head { channel: channel(), epoch: 1, offset: 1 };
    node.log.say(Say::Push(push::Event::Head(head)));
    assert_eq!(publications(&mut subscription, 1).await, ["one"]);
    node.log.store("room:1", "two");
    let gap = v1::Gap { channel: channel(), epoch: 1, after_offset: 1, upto_offset: 2 };
    node.log.say(Say::Push(push::Event::Gap(gap)));
    assert_eq!(publications(&mut subscription, 1).await, ["two"]);
    client.close().await;
}

#[tokio::test]
async fn terminal_codes_and_refusals_stop_the_client() {
    let node = Node::start(Serve::QuicOnly).await;
    let client = connect(builder(&node)).await;
    node.log.say(Say::Close(CloseReason::Revoked));
    let stopped = |state: &ClientState| matches!(state, ClientState::Disconnected { .. });
    let state = until_state(&client, stopped).await;
    let ClientState::Disconnected { error: Some(Error::Unauthorized(_)) } = state else {
        panic!("{state:?}")
    };
    node.log.change(|state| {
        state.refuse = Some(v1::Error::new(ErrorCode::Unauthorized, "who are you"));
    });
    client.connect();
    let error = client.ready(LONG).await.unwrap_err();
    assert_eq!(error, Error::Unauthorized("who are you".into()));
    assert_eq!(node.log.change(|state| state.hellos.len()), 2);
    client.close().await;
}

#[tokio::test]
async fn codes_of_the_websocket_itself_stop_the_client_as_their_counterparts_do() {
    for reason in [
        CloseReason::WebSocketProtocol,
        CloseReason::WebSocketText,
        CloseReason::WebSocketTooBig,
        CloseReason::ProtocolError,
        CloseReason::FrameTooLarge,
    ] {
        let node = Node::start(Serve::WebSocketOnly).await;
        let client = connect(builder(&node)).await;
        node.log.say(Say::Close(reason));
        let stopped = |state: &ClientState| matches!(state, ClientState::Disconnected { .. });
        let state = until_state(&client, stopped).await;
        let ClientState::Disconnected { error: Some(error) } = state else { panic!("{state:?}") };
        let Error::Disconnected { code, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*code, Some(reason.code().into()));
        assert!(!error.is_retryable(), "{error:?}");
        assert_eq!(node.log.change(|state| state.hellos.len()), 1, "it stays away");
        client.close().await;
    }
}

#[tokio::test]
async fn a_drain_moves_the_session_before_the_old_connection_goes() {
    let (log, certificate) = (Arc::new(Log::default()), Certificate::new());
    let old = Node::with_log(Serve::QuicOnly, log.clone(), &certificate).await;
    let new = Node::with_log(Serve::QuicOnly, log.clone(), &certificate).await;
    let client = connect(builder(&old)).await;
    let mut subscription = client.subscribe(&room(), Subscribe::latest()).unwrap();
    live(&mut subscription).await;
    let successor = new.address.to_string();
    let go_away = v1::GoAway { deadline_ms: 500, successor, ..v1::GoAway::default() };
    log.say(Say::Push(push::Event::GoAway(go_away)));
    log.until(|state| state.hellos.len() == 2 && state.closed.contains(&1)).await;
    old.stop().await;
    log.store("room:1", "over there");
    assert_eq!(publications(&mut subscription, 1).await, ["over there"]);
    assert_eq!(client.statistics().handovers, 1);
    client.close().await;
}

#[tokio::test]
async fn tokens_are_refreshed_before_they_expire() {
    let node = Node::start(Serve::QuicOnly).await;
    node.log.change(|state| state.token_lifetime_ms = 1000);
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let client = connect(builder(&node).token_provider(move |_| {
        let n = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move { Ok(format!("token {n}")) }
    }))
    .await;
    node.log.until(|state| !state.refreshes.is_empty()).await;
    let (first, refreshed) =
        node.log.change(|s| (s.hellos[0].0.access_token.clone(), s.refreshes[0].clone()));
    assert_eq!((first.as_str(), refreshed.as_str()), ("token 0", "token 1"));
    client.close().await;
}

#[tokio::test]
async fn a_slow_reader_loses_nothing() {
    let node = Node::start(Serve::QuicOnly).await;
    let client = connect(builder(&node)).await;
    let mut subscription = client.subscribe(&room(), Subscribe::latest()).unwrap();
    live(&mut subscription).await;
    let count = 3000;
    for n in 0..count {
        node.log.store("room:1", &format!("{n:05}"));
        if n % 64 == 0 {
            // A turn of the client, so that the node's own queue does not overflow.
            client
                .history(&ChannelId::new("room:empty").unwrap(), History::default())
                .await
                .unwrap();
        }
    }
    let found = publications(&mut subscription, count).await;
    let expected: Vec<String> = (0..count).map(|n| format!("{n:05}")).collect();
    assert!(found == expected);
    client.close().await;
}

#[tokio::test]
async fn a_bulk_reply_that_ends_leaves_the_lanes_being_read() {
    let node = Node::start(Serve::QuicOnly).await;
    let client = connect(builder(&node)).await;
    let mut subscription = client.subscribe(&room(), Subscribe::latest()).unwrap();
    live(&mut subscription).await;
    // Opens the lane, so that the push after the history comes on one that is there already.
    node.log.store("room:1", "before");
    assert_eq!(publications(&mut subscription, 1).await, ["before"]);
    client.history(&room(), History::default()).await.unwrap();
    node.log.store("room:1", "after");
    assert_eq!(publications(&mut subscription, 1).await, ["after"]);
    let statistics = client.statistics();
    assert_eq!((statistics.reconnects, statistics.gaps_recovered), (0, 0));
    assert_eq!((statistics.rebinds, statistics.handovers), (0, 0));
    client.close().await;
}

#[tokio::test]
async fn disconnect_and_connect_in_a_row_make_a_new_session() {
    let node = Node::start(Serve::QuicOnly).await;
    let client = connect(builder(&node)).await;
    client.disconnect();
    client.connect();
    client.ready(LONG).await.unwrap();
    let hellos = node.log.change(|state| state.hellos.clone());
    assert_eq!(hellos.len(), 2);
    assert!(hellos[1].0.resume_ticket.is_empty());
    client.publish(&room(), "again").await.unwrap();
    client.close().await;
}

#[tokio::test]
async fn a_network_change_moves_the_socket_and_keeps_the_session() {
    let node = Node::start(Serve::QuicOnly).await;
    let client = connect(builder(&node)).await;
    client.network_changed(sterna_client::NetworkChange::Path);
    client.publish(&room(), "from elsewhere").await.unwrap();
    let moved = async {
        while client.statistics().rebinds == 0 {
            client.publish(&room(), "again").await.unwrap();
        }
    };
    tokio::time::timeout(LONG, moved).await.unwrap();
    assert_eq!(node.log.change(|state| state.hellos.len()), 1);
    client.close().await;
}

#[tokio::test]
async fn publications_wait_for_a_connection_and_fail_when_the_client_closes() {
    let node = Node::start(Serve::QuicOnly).await;
    let client = builder(&node).build().unwrap();
    let early = client.publish(&room(), "early").start();
    assert_eq!(early.state(), SendState::Queued);
    client.connect();
    early.await.unwrap();
    client.disconnect();
    until_state(&client, |state| matches!(state, ClientState::Disconnected { .. })).await;
    let never = client.publish(&room(), "never").start();
    client.close().await;
    assert_eq!(never.await, Err(Error::Closed));
    assert_eq!(client.publish(&room(), "late").await, Err(Error::Closed));
}

#[tokio::test]
async fn subscribes_that_are_not_answered_block_nobody_and_are_tried_again() {
    let node = Node::start(Serve::QuicOnly).await;
    let client = connect(builder(&node).command_timeout(Duration::from_millis(200))).await;
    let mute: Vec<ChannelId> =
        (0..16).map(|n| ChannelId::new(&format!("mute:{n}")).unwrap()).collect();
    node.log.change(|state| {
        state.mute_channels.extend(mute.iter().map(ToString::to_string));
    });
    let mut waiting: Vec<_> = mute
        .iter()
        .map(|channel| client.subscribe(channel, Subscribe::earliest()).unwrap())
        .collect();
    node.log.until(|state| state.subscribes.len() >= 8).await;
    let mut heard = client.subscribe(&room(), Subscribe::latest()).unwrap();
    live(&mut heard).await;
    node.log.change(|state| {
        state.mute_channels.clear();
        for channel in &mute {
            state.store(channel.as_str(), "there");
        }
    });
    for subscription in &mut waiting {
        assert_eq!(publications(subscription, 1).await, ["there"]);
    }
    assert_eq!(client.statistics().connects, 1);
    client.close().await;
}

#[tokio::test]
async fn a_client_sleeps_in_the_background_and_goes_on_where_it_was() {
    for serve in [Serve::QuicOnly, Serve::WebSocketOnly] {
        let node = Node::start(serve).await;
        let client = connect(builder(&node).background_grace(Duration::ZERO)).await;
        let mut subscription = client.subscribe(&room(), Subscribe::latest()).unwrap();
        live(&mut subscription).await;
        client.background();
        until_state(&client, |state| *state == ClientState::Background).await;
        node.log.until(|state| state.closed.contains(&1)).await;
        node.log.store("room:1", "missed");
        let send = client.publish(&room(), "queued").start();
        client.network_changed(sterna_client::NetworkChange::Online);
        assert_eq!(send.state(), SendState::Queued);
        client.foreground();
        send.await.unwrap();
        assert_eq!(publications(&mut subscription, 2).await, ["missed", "queued"]);
        let hellos = node.log.change(|state| state.hellos.clone());
        assert_eq!(hellos.len(), 2);
        assert_eq!(&hellos[1].0.resume_ticket[..], b"ticket");
        client.close().await;
    }
}
