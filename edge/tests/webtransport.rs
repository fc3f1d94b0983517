//! Sessions over WebTransport against a real edge: whatever raw QUIC can do, with the heads that
//! HTTP/3 wants around it.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::quic::{QuicClient, next_frame};
use common::webtransport::{
    CLOSE_SESSION, DATA, DRAIN_SESSION, GOAWAY, Http3, SETTINGS, WebTransportClient, item,
    read_item, read_varint, varint,
};
use common::wss::WssClient;
use common::{TestEdge, hello, ping, publish, reply_to, subscribe, within};
use quinn::TransportConfig;
use sterna_proto::{CloseReason, FrameDecoder, codec, limits, v1, version};
use sterna_relay::{Relay, RelayConfig};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publications_go_both_ways_between_webtransport_and_wss() {
    let edge = TestEdge::start().await;
    let mut browser = WebTransportClient::start(&edge, "browser").await;
    browser.send(&subscribe(2, "room:1")).await;
    browser.reply(2).await;
    let mut other = WssClient::start(&edge, "other").await;
    other.send(&[subscribe(2, "room:1")]).await;
    other.reply(2).await;
    let mut lane = browser.open_uni().await;
    lane.write_all(&[version::LANE_STREAM]).await.unwrap();
    lane.write_all(&codec::encode_to_bytes(&publish(3, "room:1", b"hi".to_vec()))).await.unwrap();
    assert_eq!(payload(&other.receive().await), b"hi");
    other.send(&[publish(3, "room:1", b"hello".to_vec())]).await;
    let mut lane = browser.accept_lane().await;
    let mut decoder = FrameDecoder::new(limits::FRAME_BYTES);
    for expected in [&b"hi"[..], b"hello"] {
        let frame = within("a push", next_frame(&mut lane, &mut decoder)).await.unwrap();
        assert_eq!(payload(&frame), expected);
    }
}

fn payload(frame: &v1::Frame) -> Vec<u8> {
    match &frame.body {
        Some(v1::frame::Body::Push(v1::Push {
            event: Some(v1::push::Event::Publication(publication)),
        })) => publication.payload.to_vec(),
        other => panic!("no publication: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_stream_carries_one_command_and_its_reply() {
    let edge = TestEdge::start().await;
    let client = WebTransportClient::start(&edge, "alice").await;
    for id in 2..40 {
        let (mut commands, mut replies) = client.open_bi().await;
        commands.write_all(&codec::encode_to_bytes(&ping(id))).await.unwrap();
        commands.finish().unwrap();
        let mut decoder = FrameDecoder::new(limits::FRAME_BYTES);
        let reply = within("a reply", next_frame(&mut replies, &mut decoder)).await.unwrap();
        assert!(reply_to(&reply, id).is_some(), "{reply:?}");
        let end = within("the end", next_frame(&mut replies, &mut decoder)).await;
        assert_eq!(end, None, "the stream ends after the reply");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ephemerals_are_datagrams_with_the_number_of_the_session() {
    let edge = TestEdge::start().await;
    let mut reader = WebTransportClient::start(&edge, "reader").await;
    reader.send(&subscribe(2, "room:1")).await;
    reader.reply(2).await;
    let mut writer = WebTransportClient::start(&edge, "writer").await;
    writer.send(&subscribe(2, "room:1")).await;
    writer.reply(2).await;
    // Of no session, and of another one: dropped.
    writer.http3.connection.send_datagram([&varint(9)[..], b"x"].concat().into()).unwrap();
    writer.send_datagram(&codec::encode_datagram(&ephemeral(0, b"by datagram")));
    let frame = codec::decode_datagram(reader.receive_datagram().await.into()).unwrap();
    let Some(v1::frame::Body::Push(v1::Push {
        event: Some(v1::push::Event::Ephemeral(ephemeral)),
    })) = frame.body
    else {
        panic!("no ephemeral")
    };
    assert_eq!(ephemeral.payload[..], b"by datagram"[..]);
}

fn ephemeral(id: u32, payload: &[u8]) -> v1::Frame {
    let payload = payload.to_vec().into();
    let ephemeral = v1::Ephemeral { channel: "room:1".into(), payload, ..Default::default() };
    v1::Frame::command(id, v1::command::Verb::Ephemeral(ephemeral))
}

/// From raw QUIC to WebTransport: one session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_resumed_over_webtransport() {
    let edge = TestEdge::start().await;
    let (endpoint, connection) = common::quic::connect(&edge).await.unwrap();
    let mut before = QuicClient::on(endpoint, connection).await;
    before.send(&hello("alice")).await;
    let v1::reply::Result::Welcome(first) = before.reply(1).await else { panic!("no Welcome") };
    let mut browser = WebTransportClient::on(Http3::start(&edge).await).await;
    let mut again = hello("alice");
    if let Some(v1::frame::Body::Command(v1::Command {
        verb: Some(v1::command::Verb::Hello(hello)),
        ..
    })) = &mut again.body
    {
        hello.resume_ticket = first.resume_ticket.clone();
        let channel = "room:1".into();
        hello.subscriptions = vec![v1::Subscribe { channel, ..Default::default() }];
    }
    browser.send(&again).await;
    let v1::reply::Result::Welcome(second) = browser.reply(1).await else { panic!("no Welcome") };
    assert!(second.resumed);
    assert_eq!(second.session_id, first.session_id);
    browser.ping(2).await;
}

/// The path changes below a browser's session, and it is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_outlives_the_path_that_a_relay_takes_away() {
    let edge = TestEdge::start_with(|settings| settings.workers = 4).await;
    let relay = Relay::start(RelayConfig::new(edge.edge.local_address())).await.unwrap();
    let http3 = Http3::start_with(&edge, relay.address(), TransportConfig::default()).await;
    let mut browser = WebTransportClient::start_on(http3, "browser").await;
    for id in 2..12 {
        relay.rebind().await.unwrap();
        browser.ping(id).await;
    }
    relay.rebind().await.unwrap();
    browser.send(&ping(12)).await;
    loop {
        if let Some(v1::frame::Body::Push(v1::Push {
            event: Some(v1::push::Event::PathChanged(_)),
        })) = browser.receive().await.body
        {
            break;
        }
    }
    assert_eq!(edge.edge.connection_count(), 1);
    relay.shutdown().await;
}

/// What does not fit its outbox is named to a browser that does not read for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_falls_behind_is_told_its_gap() {
    let edge = TestEdge::start().await;
    let mut narrow = TransportConfig::default();
    narrow.stream_receive_window(2_000u32.into());
    let http3 = Http3::start_with(&edge, edge.edge.local_address(), narrow).await;
    let mut browser = WebTransportClient::start_on(http3, "browser").await;
    browser.send(&subscribe(2, "room:1")).await;
    browser.reply(2).await;
    let mut writer = WssClient::start(&edge, "writer").await;
    // More than is taken from the outbox ahead of writing, than quinn takes, and than the outbox has
    // room for.
    for id in 2..62 {
        writer.send(&[publish(id, "room:1", vec![7; 50_000])]).await;
        writer.reply(id).await;
    }
    let mut lane = browser.accept_lane().await;
    let reading = async {
        let mut decoder = FrameDecoder::new(limits::FRAME_BYTES);
        while let Some(frame) = next_frame(&mut lane, &mut decoder).await {
            assert_eq!(payload(&frame).len(), 50_000);
        }
    };
    let told = async {
        loop {
            if let Some(v1::frame::Body::Push(v1::Push {
                event: Some(v1::push::Event::Gap(gap)),
            })) = browser.receive().await.body
            {
                return gap;
            }
        }
    };
    tokio::select! {
        gap = told => assert_eq!(gap.channel, "room:1"),
        () = reading => panic!("the lane has ended"),
    }
    browser.ping(100).await;
}

/// One that reads nothing at all is closed, and the reason still finds its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_is_closed_as_slow() {
    let edge = TestEdge::start_with(|settings| {
        settings.core.slow_after = Duration::from_millis(400);
    })
    .await;
    let mut narrow = TransportConfig::default();
    narrow.stream_receive_window(2_000u32.into());
    let http3 = Http3::start_with(&edge, edge.edge.local_address(), narrow).await;
    let mut slow = WebTransportClient::start_on(http3, "slow").await;
    slow.send(&subscribe(2, "room:1")).await;
    slow.reply(2).await;
    let mut writer = WssClient::start(&edge, "writer").await;
    let publishing = async {
        for id in 2.. {
            writer.send(&[publish(id, "room:1", vec![0; 60_000])]).await;
            writer.reply(id).await;
        }
    };
    tokio::select! {
        (_, code, _) = slow.closed() => assert_eq!(code, u32::from(CloseReason::Slow.code())),
        () = publishing => unreachable!("it does not end"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_is_told_in_all_words_and_ends_with_the_reason() {
    let edge = TestEdge::start().await;
    let mut browser = WebTransportClient::start(&edge, "browser").await;
    let mut control = within("control", browser.http3.connection.accept_uni()).await.unwrap();
    assert_eq!(read_varint(&mut control).await, 0);
    assert_eq!(read_item(&mut control).await.0, SETTINGS);
    let connection = browser.http3.connection.clone();
    let told = async {
        loop {
            if let Some(v1::frame::Body::Push(v1::Push {
                event: Some(v1::push::Event::GoAway(_)),
            })) = browser.receive().await.body
            {
                break;
            }
        }
        let (kind, id) = within("GOAWAY", read_item(&mut control)).await;
        assert_eq!((kind, id.len()), (GOAWAY, 8));
        let (before, code, reason) = browser.closed().await;
        assert_eq!(before, [DRAIN_SESSION]);
        assert_eq!(code, u32::from(CloseReason::Drained.code()));
        assert_eq!(reason, CloseReason::Drained.text());
        assert_eq!(browser.http3.closed().await, NO_ERROR);
    };
    let (ended, ()) = within("a drain", async {
        tokio::join!(edge.edge.drain(Duration::from_millis(200), String::new()), told)
    })
    .await;
    assert!(ended, "no worker was left with a connection");
    drop(connection);
}

const NO_ERROR: u64 = 0x100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_ends_the_session_with_the_reason_in_a_capsule() {
    let edge = TestEdge::start().await;
    let mut browser = WebTransportClient::start(&edge, "browser").await;
    browser.commands.write_all(b"\x0bGET / HTTP/").await.unwrap();
    let (before, code, reason) = browser.closed().await;
    assert!(before.is_empty());
    assert_eq!(code, u32::from(CloseReason::ProtocolError.code()));
    assert_eq!(reason, CloseReason::ProtocolError.text());
    assert_eq!(browser.http3.closed().await, NO_ERROR);
}

/// By its capsule, by the end of its request, and by the end of its control stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_ends_the_session_in_three_ways() {
    let edge = TestEdge::start().await;
    for way in 0..3 {
        let mut browser = WebTransportClient::start(&edge, "browser").await;
        match way {
            0 => {
                let capsule = item(CLOSE_SESSION, b"\0\0\0\0bye");
                browser.request.0.write_all(&item(DATA, &capsule)).await.unwrap();
            }
            1 => browser.request.0.finish().unwrap(),
            _ => browser.commands.finish().unwrap(),
        }
        let (_, code, _) = browser.closed().await;
        assert_eq!(code, u32::from(CloseReason::Normal.code()));
        assert_eq!(browser.http3.closed().await, NO_ERROR);
    }
    within("the end of all connections", async {
        while edge.edge.connection_count() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// A session without a word of ours is told why it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_that_does_not_come_is_not_waited_for() {
    let edge = TestEdge::start_with(|settings| {
        settings.edge.limits.hello_deadline = Duration::from_millis(300);
    })
    .await;
    let mut browser = WebTransportClient::on(Http3::start(&edge).await).await;
    let (_, code, _) = browser.closed().await;
    assert_eq!(code, u32::from(CloseReason::HelloTimeout.code()));
    assert_eq!(browser.http3.closed().await, NO_ERROR);
    let nobody = Http3::start(&edge).await;
    assert_eq!(nobody.closed().await, NO_ERROR, "without a request for a session");
}
