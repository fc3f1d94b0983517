//! Frames as a chat application sends them, with how often each kind comes: one active user for an
//! hour, who writes 20 lines, reads 200 in four channels, and keeps the connection alive. The
//! numbers are judgement, the ratios of every single kind are printed beside the sum.

use bytes::Bytes;
use sterna_proto::v1::{self, command::Verb, push::Event, reply};

/// One kind of frame.
#[derive(Debug, Clone)]
pub struct Kind {
    pub name: &'static str,
    /// How often it comes in the mix.
    pub count: u32,
    pub frame: v1::Frame,
}

/// All kinds.
pub fn mix() -> Vec<Kind> {
    let mut kinds = opening();
    kinds.extend(commands());
    kinds.extend(replies());
    kinds.extend(pushes());
    kinds
}

fn opening() -> Vec<Kind> {
    vec![
        kind("hello", 2, Verb::Hello(hello()).into_frame(1)),
        kind("welcome", 2, v1::Frame::reply(1, reply::Result::Welcome(welcome()))),
    ]
}

fn commands() -> Vec<Kind> {
    let since = Some(v1::Position { epoch: 1, offset: 48_211 });
    let subscribe = v1::Subscribe { channel: CHANNEL.into(), since, ..Default::default() };
    let publish = |payload: &str| v1::Publish {
        channel: CHANNEL.into(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        client_seq: 5_211,
        client_msg_id: Bytes::from_static(&UUID),
        client_ts_ms: NOW_MS,
        ..Default::default()
    };
    let ephemeral = v1::Ephemeral {
        channel: CHANNEL.into(),
        key: "typing".into(),
        payload: Bytes::from_static(b"1"),
        ..Default::default()
    };
    vec![
        kind("subscribe", 8, Verb::Subscribe(subscribe).into_frame(2)),
        kind("publish, a line", 20, Verb::Publish(publish(LINE)).into_frame(31)),
        kind(
            "ping",
            100,
            Verb::Ping(v1::Ping { client_time_ms: NOW_MS, ..Default::default() }).into_frame(77),
        ),
        kind(
            "ack",
            120,
            Verb::Ack(v1::Ack { channel: CHANNEL.into(), offset: 48_213 }).into_frame(0),
        ),
        kind(
            "mark read",
            60,
            Verb::MarkRead(v1::MarkRead { channel: CHANNEL.into(), offset: 48_213 }).into_frame(0),
        ),
        kind("ephemeral, typing", 30, Verb::Ephemeral(ephemeral).into_frame(0)),
    ]
}

fn replies() -> Vec<Kind> {
    let subscribed = v1::Subscribed {
        channel: CHANNEL.into(),
        position: Some(v1::Position { epoch: 1, offset: 48_213 }),
        publications: vec![publication(48_212, LINE), publication(48_213, SHORT_LINE)],
        live: true,
        head_offset: 48_213,
        ..Default::default()
    };
    let published = v1::Published {
        channel: CHANNEL.into(),
        epoch: 1,
        offset: 48_214,
        id: ID,
        server_ts_ms: NOW_MS,
        duplicate: false,
    };
    let pong = v1::Pong {
        client_time_ms: NOW_MS,
        server_time_ms: NOW_MS + 12,
        observed_address: "203.0.113.77:50123".into(),
    };
    let page = v1::HistoryPage {
        channel: CHANNEL.into(),
        epoch: 1,
        publications: (48_000..48_050).map(|offset| publication(offset, LINE)).collect(),
        head_offset: 48_213,
        more: true,
        ..Default::default()
    };
    vec![
        kind("subscribed, 2 lines", 8, v1::Frame::reply(2, reply::Result::Subscribed(subscribed))),
        kind("published", 20, v1::Frame::reply(31, reply::Result::Published(published))),
        kind("pong", 100, v1::Frame::reply(77, reply::Result::Pong(pong))),
        kind("history page of 50", 4, v1::Frame::reply(9, reply::Result::History(page))),
    ]
}

fn pushes() -> Vec<Kind> {
    let receipt = v1::Receipt {
        channel: CHANNEL.into(),
        user: "user-7f21".into(),
        delivered_offset: 48_213,
        read_offset: 48_210,
    };
    let member = v1::PresenceMember {
        user: "user-7f21".into(),
        state: v1::PresenceState::Online.into(),
        sessions: 2,
        since_ms: NOW_MS,
    };
    let typing = v1::Ephemeral {
        channel: CHANNEL.into(),
        key: "typing".into(),
        payload: Bytes::from_static(b"1"),
        sender: "user-7f21".into(),
    };
    let presence = v1::PresenceChange { channel: CHANNEL.into(), member: Some(member) };
    let head = v1::Head { channel: CHANNEL.into(), epoch: 1, offset: 48_213 };
    let push = |name, count, event| kind(name, count, v1::Frame::push(event));
    vec![
        push("publication, a word", 60, Event::Publication(publication(48_213, SHORT_LINE))),
        push("publication, a line", 120, Event::Publication(publication(48_213, LINE))),
        push("publication, a paragraph", 20, Event::Publication(publication(48_213, PARAGRAPH))),
        push("ephemeral push, typing", 90, Event::Ephemeral(typing)),
        push("receipt", 120, Event::Receipt(receipt)),
        push("presence change", 40, Event::Presence(presence)),
        push("head", 20, Event::Head(head)),
    ]
}

fn kind(name: &'static str, count: u32, frame: v1::Frame) -> Kind {
    Kind { name, count, frame }
}

trait IntoFrame {
    fn into_frame(self, id: u32) -> v1::Frame;
}

impl IntoFrame for Verb {
    fn into_frame(self, id: u32) -> v1::Frame {
        v1::Frame::command(id, self)
    }
}

fn publication(offset: u64, text: &str) -> v1::Publication {
    v1::Publication {
        channel: CHANNEL.into(),
        epoch: 1,
        offset,
        id: ID + offset,
        sender: "user-7f21".into(),
        payload: Bytes::copy_from_slice(text.as_bytes()),
        server_ts_ms: NOW_MS,
        client_ts_ms: NOW_MS - 40,
        client_msg_id: Bytes::from_static(&UUID),
        ..Default::default()
    }
}

fn hello() -> v1::Hello {
    let since = Some(v1::Position { epoch: 1, offset: 48_211 });
    let subscriptions = ["dm:user-7f21:user-90aa", CHANNEL, "room:general", "room:family"]
        .map(|channel| v1::Subscribe { channel: channel.into(), since, ..Default::default() });
    v1::Hello {
        // The length of a typical ES256 token with three permissions.
        access_token: "e".repeat(420),
        client_id: "0193f2d0-5d0e-7cc3-8f0a-4b8d1c2e3f40".into(),
        resume_ticket: Bytes::from(vec![0xa7; 64]),
        subscriptions: subscriptions.into(),
        user_agent: "sterna-rust/0.1.0 (linux)".into(),
        network: v1::Network::Wifi.into(),
    }
}

fn welcome() -> v1::Welcome {
    v1::Welcome {
        session_id: "7KQ2M4XH3WZ9".into(),
        resume_ticket: Bytes::from(vec![0x5c; 64]),
        resume_window_ms: 120_000,
        user: "user-90aa".into(),
        observed_address: "203.0.113.77:50123".into(),
        heartbeat_ms: 25_000,
        limits: Some(v1::Limits {
            frame_bytes: 262_144,
            payload_bytes: 65_536,
            subscriptions: 1024,
            page_publications: 500,
            datagram_bytes: 1100,
        }),
        durability: v1::Durability::Fsync.into(),
        server_time_ms: NOW_MS,
        resumed: true,
        node: "edge-fra-3".into(),
        token_expires_at_ms: NOW_MS + 900_000,
    }
}

const CHANNEL: &str = "room:5f3a9c";
const NOW_MS: u64 = 1_795_000_000_123;
const ID: u64 = 383_112_345_678_901_248;
const UUID: [u8; 16] = [
    0x01, 0x93, 0xf2, 0xd0, 0x5d, 0x0e, 0x7c, 0xc3, 0x8f, 0x0a, 0x4b, 0x8d, 0x1c, 0x2e, 0x3f, 0x40,
];
const SHORT_LINE: &str = "ok 👍";
const LINE: &str = "bis gleich, ich nehme die Straßenbahn um halb neun";
const PARAGRAPH: &str = "I read the whole thing twice and I still think we should move the date: \
    half of the people are away that week, the hall costs twice as much in the evening, and nobody \
    has asked the band yet. What about the Saturday after? I could pick the others up at the \
    station, and there would be time to cook something. Tell me before Thursday, please.";
