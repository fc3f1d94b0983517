//! QUIC connections against a real edge: sessions, streams, moves between addresses, bad input.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::quic::{QuicClient, client_config, close_reason, connect, next_frame};
use common::{TestEdge, client_tls, hello, ping, publish, reply_to, subscribe, within};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, Endpoint, TransportConfig};
use sterna_proto::{CloseReason, FrameDecoder, codec, limits, v1, version};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rebinding_the_clients_port_100_times_with_4_workers_never_breaks_a_connection() {
    let edge = TestEdge::start_with(|settings| settings.workers = 4).await;
    let mut client = QuicClient::start(&edge, "alice").await;
    for id in 2..102 {
        client.endpoint.rebind(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        client.ping(id).await;
    }
    assert_eq!(edge.edge.connection_count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_moves_is_told_its_new_address() {
    let edge = TestEdge::start().await;
    let mut client = QuicClient::start(&edge, "alice").await;
    client.endpoint.rebind(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    let here = client.endpoint.local_addr().unwrap();
    client.send(&ping(2)).await;
    loop {
        let frame = client.receive().await;
        if let Some(v1::frame::Body::Push(v1::Push {
            event: Some(v1::push::Event::PathChanged(moved)),
        })) = frame.body
        {
            assert_eq!(moved.observed_address, here.to_string());
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_moves_too_often_is_closed() {
    let edge =
        TestEdge::start_with(|settings| settings.edge.limits.path_changes_per_minute = 1).await;
    let mut client = QuicClient::start(&edge, "alice").await;
    let connection = client.connection.clone();
    let closed = close_reason(&connection);
    let moves = async {
        for id in 2.. {
            client.endpoint.rebind(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
            let _ = client.commands.write_all(&codec::encode_to_bytes(&ping(id))).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        reason = closed => assert_eq!(reason, CloseReason::Overloaded),
        () = moves => unreachable!("it does not end"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_stream_carries_one_command_and_its_reply() {
    let edge = TestEdge::start().await;
    let client = QuicClient::start(&edge, "alice").await;
    for id in 2..40 {
        let (mut commands, mut replies) =
            within("a bulk stream", client.connection.open_bi()).await.unwrap();
        commands.write_all(&codec::encode_to_bytes(&ping(id))).await.unwrap();
        commands.finish().unwrap();
        let mut decoder = FrameDecoder::new(limits::FRAME_BYTES);
        let reply = within("a reply", next_frame(&mut replies, &mut decoder)).await.unwrap();
        assert!(reply_to(&reply, id).is_some(), "{reply:?}");
        let end = within("the end", next_frame(&mut replies, &mut decoder)).await;
        assert_eq!(end, None, "the stream ends after the reply");
    }
}

/// A browser ends a stream in a step of its own, and would take STOP_SENDING before it for a failure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_stream_may_be_ended_after_its_reply_and_must_not_be_used_again() {
    let edge = TestEdge::start().await;
    let client = QuicClient::start(&edge, "alice").await;
    for (id, again) in [(2, false), (3, true)] {
        let (mut commands, mut replies) = client.connection.open_bi().await.unwrap();
        commands.write_all(&codec::encode_to_bytes(&ping(id))).await.unwrap();
        let mut decoder = FrameDecoder::new(limits::FRAME_BYTES);
        let reply = within("a reply", next_frame(&mut replies, &mut decoder)).await.unwrap();
        assert!(reply_to(&reply, id).is_some(), "{reply:?}");
        match again {
            true => commands.write_all(&codec::encode_to_bytes(&ping(9))).await.unwrap(),
            false => commands.finish().unwrap(),
        }
        let stopped = within("its end", commands.stopped()).await.unwrap();
        assert_eq!(stopped.is_some(), again);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_come_on_lanes_and_publications_too() {
    let edge = TestEdge::start().await;
    let mut client = QuicClient::start(&edge, "alice").await;
    client.send(&subscribe(2, "room:1")).await;
    client.reply(2).await;
    let mut lane = client.connection.open_uni().await.unwrap();
    lane.write_all(&[version::LANE_STREAM]).await.unwrap();
    lane.write_all(&codec::encode_to_bytes(&publish(3, "room:1", b"hi".to_vec()))).await.unwrap();
    let accepted = within("a lane of the edge", client.connection.accept_uni()).await;
    let mut lane = accepted.unwrap();
    let mut mark = [0];
    lane.read_exact(&mut mark).await.unwrap();
    assert_eq!(mark, [version::LANE_STREAM]);
    let mut decoder = FrameDecoder::new(limits::FRAME_BYTES);
    let frame = within("a push", next_frame(&mut lane, &mut decoder)).await.unwrap();
    let Some(v1::frame::Body::Push(v1::Push {
        event: Some(v1::push::Event::Publication(publication)),
    })) = frame.body
    else {
        panic!("no publication")
    };
    assert_eq!(publication.payload, b"hi"[..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_unknown_kind_is_stopped_and_the_connection_goes_on() {
    let edge = TestEdge::start().await;
    let mut client = QuicClient::start(&edge, "alice").await;
    let mut stream = client.connection.open_uni().await.unwrap();
    stream.write_all(&[0x7f, 1, 2, 3]).await.unwrap();
    within("STOP_SENDING", stream.stopped()).await.unwrap();
    client.ping(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_hides_what_it_is_is_stopped_and_the_connection_goes_on() {
    let edge = TestEdge::start().await;
    let mut client = QuicClient::start(&edge, "alice").await;
    let silent = client.connection.open_uni().await.unwrap();
    // What comes on the second opens the first as well.
    let mut lane = client.connection.open_uni().await.unwrap();
    lane.write_all(&[version::LANE_STREAM]).await.unwrap();
    let (mut commands, mut replies) = client.connection.open_bi().await.unwrap();
    commands.write_all(&codec::encode_to_bytes(&ping(2))[..1]).await.unwrap();
    within("STOP_SENDING to the silent stream", silent.stopped()).await.unwrap();
    within("STOP_SENDING to half a command", commands.stopped()).await.unwrap();
    let mut decoder = FrameDecoder::new(limits::FRAME_BYTES);
    let reply = within("the end", next_frame(&mut replies, &mut decoder)).await;
    assert_eq!(reply, None, "half a command has no reply");
    lane.write_all(&codec::encode_to_bytes(&ping(3))).await.unwrap();
    client.reply(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ephemeral_too_large_for_a_datagram_comes_on_a_lane() {
    let edge = TestEdge::start().await;
    let mut narrow = TransportConfig::default();
    narrow.datagram_receive_buffer_size(Some(200));
    let mut reader = QuicClient::start_with(&edge, "reader", narrow).await;
    reader.send(&subscribe(2, "room:1")).await;
    reader.reply(2).await;
    let mut writer = QuicClient::start(&edge, "writer").await;
    writer.send(&subscribe(2, "room:1")).await;
    writer.reply(2).await;
    writer.send(&ephemeral(3, "room:1", vec![1; 20])).await;
    let datagram = within("a datagram", reader.connection.read_datagram()).await.unwrap();
    assert_eq!(ephemeral_payload(codec::decode_datagram(datagram).unwrap()), [1; 20][..]);
    writer.send(&ephemeral(4, "room:1", vec![2; 500])).await;
    let mut lane = within("a lane", reader.connection.accept_uni()).await.unwrap();
    let mut mark = [0];
    lane.read_exact(&mut mark).await.unwrap();
    assert_eq!(mark, [version::LANE_STREAM]);
    let mut decoder = FrameDecoder::new(limits::FRAME_BYTES);
    let frame = within("a push", next_frame(&mut lane, &mut decoder)).await.unwrap();
    assert_eq!(ephemeral_payload(frame), [2; 500][..]);
}

fn ephemeral(id: u32, channel: &str, payload: Vec<u8>) -> v1::Frame {
    let ephemeral =
        v1::Ephemeral { channel: channel.into(), payload: payload.into(), ..Default::default() };
    v1::Frame::command(id, v1::command::Verb::Ephemeral(ephemeral))
}

fn ephemeral_payload(frame: v1::Frame) -> Bytes {
    let Some(v1::frame::Body::Push(v1::Push {
        event: Some(v1::push::Event::Ephemeral(ephemeral)),
    })) = frame.body
    else {
        panic!("no ephemeral: {frame:?}")
    };
    ephemeral.payload
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_datagram_that_is_no_frame_is_dropped() {
    let edge = TestEdge::start().await;
    let mut client = QuicClient::start(&edge, "alice").await;
    client.connection.send_datagram(Bytes::from_static(b"GET / HTTP/1.1")).unwrap();
    client.connection.send_datagram(codec::encode_datagram(&ping(2))).unwrap();
    client.reply(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_control_stream_is_a_protocol_error() {
    let edge = TestEdge::start().await;
    let mut client = QuicClient::start(&edge, "alice").await;
    client.commands.write_all(b"\x0bGET / HTTP/").await.unwrap();
    assert_eq!(client.closed().await, CloseReason::ProtocolError);
    let (endpoint, connection) = connect(&edge).await.unwrap();
    let mut stranger = QuicClient::on(endpoint, connection).await;
    stranger.send(&ping(1)).await;
    assert_eq!(stranger.closed().await, CloseReason::ProtocolError, "Hello comes first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversize_frame_is_refused_before_its_bytes_come() {
    let edge = TestEdge::start().await;
    let mut client = QuicClient::start(&edge, "alice").await;
    // 2^20 as a varint.
    client.commands.write_all(&[0x80, 0x80, 0x40]).await.unwrap();
    assert_eq!(client.closed().await, CloseReason::FrameTooLarge);
    let (endpoint, connection) = connect(&edge).await.unwrap();
    let mut stranger = QuicClient::on(endpoint, connection).await;
    // 2^17: allowed with a session, too much for a Hello.
    stranger.commands.write_all(&[0x80, 0x80, 0x08]).await.unwrap();
    assert_eq!(stranger.closed().await, CloseReason::FrameTooLarge);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_hello_in_time_the_connection_ends() {
    let edge = TestEdge::start_with(|settings| {
        settings.edge.limits.hello_deadline = Duration::from_millis(100);
    })
    .await;
    let (_endpoint, silent) = connect(&edge).await.unwrap();
    assert_eq!(close_reason(&silent).await, CloseReason::HelloTimeout);
    let (endpoint, connection) = connect(&edge).await.unwrap();
    let mut half = QuicClient::on(endpoint, connection).await;
    half.commands.write_all(&codec::encode_to_bytes(&hello("alice"))[..10]).await.unwrap();
    assert_eq!(half.closed().await, CloseReason::HelloTimeout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_valid_ends_the_connection() {
    let edge = TestEdge::start().await;
    let (endpoint, connection) = connect(&edge).await.unwrap();
    let mut client = QuicClient::on(endpoint, connection).await;
    let forged = v1::Hello { access_token: "e30.e30.x".into(), ..Default::default() };
    client.send(&v1::Frame::command(1, v1::command::Verb::Hello(forged))).await;
    assert_eq!(client.closed().await, CloseReason::Unauthorized);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_with_a_bad_token_is_answered_and_the_session_goes_on() {
    let edge = TestEdge::start().await;
    let mut client = QuicClient::start(&edge, "alice").await;
    let refresh = v1::Refresh { access_token: "e30.e30.x".into() };
    client.send(&v1::Frame::command(2, v1::command::Verb::Refresh(refresh))).await;
    let v1::reply::Result::Error(error) = client.reply(2).await else { panic!("no error") };
    assert_eq!(error.name, "UNAUTHORIZED");
    let refresh = v1::Refresh { access_token: common::token("alice") };
    client.send(&v1::Frame::command(3, v1::command::Verb::Refresh(refresh))).await;
    assert!(!matches!(client.reply(3).await, v1::reply::Result::Error(_)));
    client.ping(4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_alpn_is_refused() {
    let edge = TestEdge::start().await;
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = client_config(&edge, b"h2", TransportConfig::default());
    let connecting = endpoint.connect_with(config, edge.edge.local_address(), "localhost").unwrap();
    let error = within("a refusal", connecting).await.unwrap_err();
    assert!(matches!(error, ConnectionError::ConnectionClosed(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_is_closed_as_slow_while_another_is_served() {
    let edge = TestEdge::start_with(|settings| {
        settings.core.slow_after = Duration::from_millis(400);
        settings.workers = 1;
    })
    .await;
    let mut narrow = TransportConfig::default();
    narrow.receive_window(4096u32.into());
    let mut slow = QuicClient::start_with(&edge, "slow", narrow).await;
    slow.send(&subscribe(2, "room:1")).await;
    slow.reply(2).await;
    let mut fast = QuicClient::start(&edge, "fast").await;
    let connection = slow.connection.clone();
    let closed = close_reason(&connection);
    let publishing = async {
        for id in 2.. {
            fast.send(&publish(id, "room:1", vec![0; 60_000])).await;
            let published = fast.reply(id).await;
            assert!(matches!(published, v1::reply::Result::Published(_)), "{published:?}");
        }
    };
    tokio::select! {
        reason = closed => assert_eq!(reason, CloseReason::Slow),
        () = publishing => unreachable!("it does not end"),
    }
    let mut third = QuicClient::start(&edge, "third").await;
    third.ping(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_back_says_hello_with_its_first_packet_where_that_is_allowed() {
    for allowed in [true, false] {
        let edge = TestEdge::start_with(|settings| settings.edge.early_data = allowed).await;
        let mut tls = client_tls(&edge.certificate, version::ALPN);
        tls.enable_early_data = true;
        let tls = Arc::new(QuicClientConfig::try_from(tls).unwrap());
        let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(ClientConfig::new(tls));
        let connecting = || endpoint.connect(edge.edge.local_address(), "localhost").unwrap();
        let first = within("a handshake", connecting()).await.unwrap();
        let mut client = QuicClient::on(endpoint.clone(), first).await;
        client.send(&hello("alice")).await;
        client.reply(1).await;
        client.connection.close(0u32.into(), b"");

        let second = connecting().into_0rtt();
        assert_eq!(second.is_ok(), allowed, "the ticket says what may be done");
        let Ok((second, accepted)) = second else { continue };
        let mut client = QuicClient::on(endpoint.clone(), second).await;
        client.send(&hello("alice")).await;
        assert!(within("a handshake", accepted).await);
        let welcome = client.reply(1).await;
        assert!(matches!(welcome, v1::reply::Result::Welcome(_)), "{welcome:?}");
        client.ping(2).await;
        let mut lane = client.connection.open_uni().await.unwrap();
        lane.write_all(&[version::LANE_STREAM]).await.unwrap();
        lane.write_all(&codec::encode_to_bytes(&ping(3))).await.unwrap();
        client.reply(3).await;
    }
}
