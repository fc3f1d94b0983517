//! The wire as data, for every implementation: `tests/data/frames.json` holds frames in both
//! encodings, `tests/data/refused.json` bytes and texts that are no frames. An SDK that passes
//! both speaks the protocol. `STERNA_REGENERATE=1 cargo test -p sterna-proto --test golden` writes
//! the first anew; a difference in a committed vector is a break of the wire.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sterna_proto::codec::{self, FrameDecoder};
use sterna_proto::v1::{self, command::Verb, push::Event, reply::Result as Reply};
use sterna_proto::{DecodeError, ErrorCode, limits};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Vector {
    name: String,
    /// The frame with its length in front, as on a stream.
    protobuf: String,
    json: serde_json::Value,
}

#[derive(Debug, Deserialize)]
struct Refused {
    name: String,
    #[serde(default)]
    protobuf: Option<String>,
    #[serde(default)]
    json: Option<String>,
    /// Empty, Length, Malformed, TooLarge or Truncated.
    error: String,
}

#[test]
fn frames_are_what_the_vectors_say() {
    let path = data("frames.json");
    let current: Vec<Vector> =
        frames().into_iter().map(|(name, frame)| vector(name, &frame)).collect();
    if std::env::var_os("STERNA_REGENERATE").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(&current).unwrap() + "\n").unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let committed: Vec<Vector> = serde_json::from_str(&text).unwrap();
    assert_eq!(committed.len(), current.len());
    for (committed, (name, frame)) in committed.iter().zip(frames()) {
        assert_eq!(*committed, vector(name, &frame), "the wire has changed");
        let mut decoder = FrameDecoder::new(limits::FRAME_BYTES);
        decoder.extend(&from_hex(&committed.protobuf));
        assert_eq!(decoder.next(), Ok(Some(frame.clone())), "{name}");
        assert_eq!(decoder.finish(), Ok(()), "{name}");
        let json = committed.json.to_string();
        assert_eq!(codec::decode_json(&json, limits::FRAME_BYTES), Ok(frame), "{name}");
    }
}

#[test]
fn every_verb_reply_and_push_has_a_vector() {
    let proto = std::fs::read_to_string(
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sterna/v1/client.proto"),
    )
    .unwrap();
    let named: Vec<String> = frames().into_iter().map(|(name, _)| name.to_owned()).collect();
    let mut missing = Vec::new();
    for (oneof, kind) in [("verb", "command"), ("result", "reply"), ("event", "push")] {
        let body = proto.split(&format!("oneof {oneof} {{")).nth(1).unwrap();
        let body = body.split("\n  }").next().unwrap();
        for line in body.lines().filter(|line| line.contains(" = ")) {
            let field = line.split_whitespace().nth(1).unwrap();
            let prefix = format!("{kind}/{field}");
            if !named.iter().any(|name| name.starts_with(&prefix)) {
                missing.push(prefix);
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn what_is_no_frame_is_refused_with_the_right_error() {
    let text = std::fs::read_to_string(data("refused.json")).unwrap();
    let cases: Vec<Refused> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() >= 10);
    for case in cases {
        let error = match (&case.protobuf, &case.json) {
            (Some(hex), None) => refuse_bytes(&from_hex(hex)),
            (None, Some(text)) => codec::decode_json(text, 1000).unwrap_err(),
            _ => panic!("{}: one of protobuf and json", case.name),
        };
        let kind = match error {
            DecodeError::TooLarge { .. } => "TooLarge",
            DecodeError::Length => "Length",
            DecodeError::Malformed(_) => "Malformed",
            DecodeError::Empty => "Empty",
            DecodeError::Truncated => "Truncated",
        };
        assert_eq!(kind, case.error, "{}", case.name);
    }
}

fn refuse_bytes(bytes: &[u8]) -> DecodeError {
    let mut decoder = FrameDecoder::new(1000);
    decoder.extend(bytes);
    match decoder.next() {
        Err(error) => error,
        Ok(None) => decoder.finish().unwrap_err(),
        Ok(Some(frame)) => panic!("{frame:?}"),
    }
}

fn vector(name: &str, frame: &v1::Frame) -> Vector {
    let mut protobuf = String::new();
    codec::encode_to_bytes(frame).iter().for_each(|byte| write!(protobuf, "{byte:02x}").unwrap());
    let json = serde_json::from_str(&codec::encode_json(frame)).unwrap();
    Vector { name: name.to_owned(), protobuf, json }
}

fn from_hex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn frames() -> Vec<(&'static str, v1::Frame)> {
    let mut all = Vec::new();
    let commands = commands().into_iter().enumerate();
    all.extend(commands.map(|(at, (name, verb))| (name, v1::Frame::command(at as u32 + 1, verb))));
    all.extend(replies().into_iter().map(|(name, reply)| (name, v1::Frame::reply(300, reply))));
    all.extend(pushes().into_iter().map(|(name, event)| (name, v1::Frame::push(event))));
    all
}

fn subscribe() -> v1::Subscribe {
    v1::Subscribe {
        channel: "room:42".into(),
        since: Some(v1::Position { epoch: 91_380_984, offset: 7 }),
        order: v1::RecoveryOrder::NewestFirst.into(),
        presence: true,
        receipts: true,
        page_publications: 50,
        activity: v1::Activity::Foreground.into(),
    }
}

fn publication() -> v1::Publication {
    v1::Publication {
        channel: "room:42".into(),
        epoch: 91_380_984,
        offset: u64::MAX,
        id: 383_279_637_318_336_512,
        sender: "alice".into(),
        payload: "Grüße 🌍".into(),
        server_ts_ms: 1_795_448_186_528,
        client_ts_ms: 1_795_448_186_000,
        kind: v1::PublicationKind::Edit.into(),
        target_offset: 3,
        client_msg_id: (0..16).collect::<Vec<u8>>().into(),
        member: None,
        redacted: false,
    }
}

fn commands() -> Vec<(&'static str, Verb)> {
    publishing().into_iter().chain(reading()).chain(managing()).collect()
}

fn channel() -> String {
    "room:42".to_owned()
}

fn publishing() -> Vec<(&'static str, Verb)> {
    vec![
        (
            "command/hello",
            Verb::Hello(v1::Hello {
                access_token: "a.b.c".into(),
                client_id: "phone-1".into(),
                resume_ticket: vec![1, 255, 0].into(),
                subscriptions: vec![subscribe()],
                user_agent: "golden/1".into(),
                network: v1::Network::Cellular.into(),
            }),
        ),
        (
            "command/publish",
            Verb::Publish(v1::Publish {
                channel: channel(),
                payload: "Hello".into(),
                client_seq: 9_007_199_254_740_993,
                client_msg_id: vec![9; 16].into(),
                client_ts_ms: 1,
                kind: v1::PublicationKind::Reaction.into(),
                target_offset: 4,
                ordered: true,
                settled_below: 0,
            }),
        ),
        ("command/publish least", Verb::Publish(v1::Publish::default())),
        ("command/subscribe", Verb::Subscribe(subscribe())),
        (
            "command/subscribe from the earliest",
            Verb::Subscribe(v1::Subscribe {
                channel: channel(),
                since: Some(v1::Position::default()),
                ..Default::default()
            }),
        ),
        ("command/unsubscribe", Verb::Unsubscribe(v1::Unsubscribe { channel: channel() })),
    ]
}

fn reading() -> Vec<(&'static str, Verb)> {
    vec![
        (
            "command/history",
            Verb::History(v1::History {
                channel: channel(),
                since: Some(v1::Position { epoch: 1, offset: 100 }),
                limit: 50,
                backwards: true,
            }),
        ),
        ("command/presence", Verb::Presence(v1::PresenceQuery { channel: channel() })),
        (
            "command/ping",
            Verb::Ping(v1::Ping { client_time_ms: 1_795_448_186_528, ..v1::Ping::default() }),
        ),
        (
            "command/ping on another network",
            Verb::Ping(v1::Ping { client_time_ms: 1, network: v1::Network::Wifi.into() }),
        ),
        ("command/ack", Verb::Ack(v1::Ack { channel: channel(), offset: 12 })),
        (
            "command/set_activity",
            Verb::SetActivity(v1::SetActivity {
                channel: channel(),
                activity: v1::Activity::Background.into(),
            }),
        ),
        ("command/mark_read", Verb::MarkRead(v1::MarkRead { channel: channel(), offset: 12 })),
        (
            "command/ephemeral",
            Verb::Ephemeral(v1::Ephemeral {
                channel: channel(),
                key: "typing".into(),
                payload: vec![1].into(),
                sender: String::new(),
            }),
        ),
        ("command/refresh", Verb::Refresh(v1::Refresh { access_token: "d.e.f".into() })),
    ]
}

fn managing() -> Vec<(&'static str, Verb)> {
    vec![
        (
            "command/create_channel",
            Verb::CreateChannel(v1::CreateChannel {
                channel: channel(),
                kind: v1::ChannelKind::Broadcast.into(),
                access: v1::ChannelAccess::Open.into(),
                members: vec![v1::Member { user: "bob".into(), role: v1::Role::Admin.into() }],
            }),
        ),
        (
            "command/set_member",
            Verb::SetMember(v1::SetMember {
                channel: channel(),
                member: Some(v1::Member { user: "bob".into(), role: v1::Role::Reader.into() }),
            }),
        ),
        (
            "command/remove_member",
            Verb::RemoveMember(v1::RemoveMember { channel: channel(), user: "bob".into() }),
        ),
        (
            "command/members",
            Verb::Members(v1::MembersQuery {
                channel: channel(),
                after_user: "alice".into(),
                limit: 100,
            }),
        ),
        ("command/goodbye", Verb::Goodbye(v1::Goodbye {})),
        (
            "command/sync",
            Verb::Sync(v1::Sync {
                since: Some(v1::InboxPosition { pts: 41, looked_ms: 1_800_000_000_000 }),
                limit: 50,
                live: true,
            }),
        ),
        (
            "command/change_inbox",
            Verb::ChangeInbox(v1::ChangeInbox {
                channel: channel(),
                muted: Some(true),
                pinned: Some(false),
                deleted_before: 7,
                remove: false,
            }),
        ),
        (
            "command/publish behind settled ones",
            Verb::Publish(v1::Publish {
                channel: channel(),
                client_seq: 12,
                ordered: true,
                settled_below: 11,
                ..Default::default()
            }),
        ),
    ]
}

fn replies() -> Vec<(&'static str, Reply)> {
    greetings().into_iter().chain(pages()).chain(lists()).collect()
}

fn greetings() -> Vec<(&'static str, Reply)> {
    vec![
        (
            "reply/error",
            Reply::Error(v1::Error::new(ErrorCode::Busy, "later").with_retry_after_ms(100)),
        ),
        (
            "reply/welcome",
            Reply::Welcome(v1::Welcome {
                session_id: "0123456789abcdef0123456789abcdef".into(),
                resume_ticket: vec![7; 33].into(),
                resume_window_ms: 120_000,
                user: "alice".into(),
                observed_address: "[::1]:50000".into(),
                heartbeat_ms: 25_000,
                limits: Some(v1::Limits {
                    frame_bytes: 262_144,
                    payload_bytes: 65_536,
                    subscriptions: 1024,
                    page_publications: 500,
                    datagram_bytes: 1100,
                }),
                durability: v1::Durability::Fsync.into(),
                server_time_ms: 1_795_448_186_528,
                resumed: true,
                node: "node-1".into(),
                token_expires_at_ms: 1_795_451_786_528,
            }),
        ),
        (
            "reply/published",
            Reply::Published(v1::Published {
                channel: channel(),
                epoch: 91_380_984,
                offset: 13,
                id: u64::MAX,
                server_ts_ms: 1,
                duplicate: true,
            }),
        ),
    ]
}

fn pages() -> Vec<(&'static str, Reply)> {
    let gap = v1::Gap { channel: channel(), epoch: 2, after_offset: 5, upto_offset: 9 };
    vec![
        (
            "reply/subscribed",
            Reply::Subscribed(v1::Subscribed {
                channel: channel(),
                position: Some(v1::Position { epoch: 2, offset: 13 }),
                publications: vec![publication()],
                live: true,
                head_offset: 13,
                gap: Some(gap),
                epoch_change: Some(v1::EpochChange { old_epoch: 1, new_epoch: 2, keep_upto: 5 }),
                error: None,
            }),
        ),
        ("reply/done", Reply::Done(v1::Done {})),
        (
            "reply/history",
            Reply::History(v1::HistoryPage {
                channel: channel(),
                epoch: 2,
                publications: vec![publication(), v1::Publication::default()],
                head_offset: 13,
                more: true,
                epoch_change: None,
            }),
        ),
    ]
}

fn lists() -> Vec<(&'static str, Reply)> {
    let member = v1::PresenceMember {
        user: "bob".into(),
        state: v1::PresenceState::Detached.into(),
        sessions: 2,
        since_ms: 5,
    };
    vec![
        (
            "reply/presence",
            Reply::Presence(v1::PresenceList {
                channel: channel(),
                members: vec![member],
                total: 9,
            }),
        ),
        (
            "reply/pong",
            Reply::Pong(v1::Pong {
                client_time_ms: 1,
                server_time_ms: 2,
                observed_address: "192.0.2.1:443".into(),
            }),
        ),
        (
            "reply/channel",
            Reply::Channel(v1::ChannelInfo {
                channel: "dm:alice:bob".into(),
                kind: v1::ChannelKind::Direct.into(),
                access: v1::ChannelAccess::Members.into(),
                created_at_ms: 3,
                epoch: 2,
                head_offset: 13,
                members: 2,
                created: true,
            }),
        ),
        (
            "reply/members",
            Reply::Members(v1::MemberList {
                channel: channel(),
                members: vec![v1::Member { user: "bob".into(), role: v1::Role::Owner.into() }],
                more: true,
            }),
        ),
        (
            "reply/inbox",
            Reply::Inbox(v1::Inbox {
                entries: vec![inbox_entry()],
                position: Some(v1::InboxPosition { pts: 42, looked_ms: 1_800_000_000_000 }),
                more: true,
                start_over: true,
            }),
        ),
    ]
}

fn inbox_entry() -> v1::InboxEntry {
    v1::InboxEntry {
        channel: channel(),
        kind: v1::ChannelKind::Group.into(),
        epoch: 2,
        head_offset: 13,
        last_ts_ms: 1_800_000_000_123,
        read_offset: 9,
        unread: 4,
        muted: true,
        pinned: true,
        deleted_before: 3,
        removed: false,
        left: false,
    }
}

fn pushes() -> Vec<(&'static str, Event)> {
    content().into_iter().chain(notices()).collect()
}

fn content() -> Vec<(&'static str, Event)> {
    let member = v1::PresenceMember {
        user: "bob".into(),
        state: v1::PresenceState::Online.into(),
        sessions: 1,
        since_ms: 5,
    };
    vec![
        ("push/publication", Event::Publication(publication())),
        (
            "push/membership",
            Event::Publication(v1::Publication {
                kind: v1::PublicationKind::Membership.into(),
                payload: Vec::new().into(),
                target_offset: 0,
                client_msg_id: Vec::new().into(),
                member: Some(v1::Member { user: "bob".into(), role: v1::Role::Admin.into() }),
                ..publication()
            }),
        ),
        (
            "push/redaction",
            Event::Publication(v1::Publication {
                kind: v1::PublicationKind::Redaction.into(),
                payload: Vec::new().into(),
                client_msg_id: Vec::new().into(),
                ..publication()
            }),
        ),
        (
            "push/redacted",
            Event::Publication(v1::Publication {
                payload: Vec::new().into(),
                redacted: true,
                ..publication()
            }),
        ),
        (
            "push/ephemeral",
            Event::Ephemeral(v1::Ephemeral {
                channel: channel(),
                key: "typing".into(),
                payload: vec![1].into(),
                sender: "bob".into(),
            }),
        ),
        (
            "push/receipt",
            Event::Receipt(v1::Receipt {
                channel: channel(),
                user: "bob".into(),
                delivered_offset: 9,
                read_offset: 8,
            }),
        ),
        (
            "push/presence",
            Event::Presence(v1::PresenceChange { channel: channel(), member: Some(member) }),
        ),
        (
            "push/gap",
            Event::Gap(v1::Gap { channel: channel(), epoch: 2, after_offset: 5, upto_offset: 9 }),
        ),
        ("push/head", Event::Head(v1::Head { channel: channel(), epoch: 2, offset: 9 })),
    ]
}

/// About the session rather than a channel's content.
fn notices() -> Vec<(&'static str, Event)> {
    let refused = v1::Error::new(ErrorCode::PermissionDenied, "no longer a member");
    vec![
        (
            "push/go_away",
            Event::GoAway(v1::GoAway {
                deadline_ms: 10_000,
                successor: "edge-2.example.com:4443".into(),
                reason: "the node is leaving".into(),
            }),
        ),
        (
            "push/unsubscribed",
            Event::Unsubscribed(v1::Unsubscribed {
                channel: channel(),
                error: Some(refused.clone()),
            }),
        ),
        (
            "push/path_changed",
            Event::PathChanged(v1::PathChanged { observed_address: "192.0.2.1:443".into() }),
        ),
        (
            "push/subscribed",
            Event::Subscribed(v1::Subscribed {
                channel: channel(),
                error: Some(refused),
                ..Default::default()
            }),
        ),
        ("push/inbox_touched", Event::InboxTouched(v1::InboxTouched { channel: channel() })),
        ("push/presence_gap", Event::PresenceGap(v1::PresenceGap { channel: channel() })),
    ]
}
