//! A node over a log that fails, waits and forgets to answer.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use sterna_proto::v1::{self, command::Verb, reply::Result as Reply};
use sterna_proto::{ChannelId, ErrorCode, Offset};
use sterna_storage::fault::{FaultPoint, FaultyLog};
use sterna_storage::memory::MemoryStore;
use sterna_storage::{PageLimit, StorageErrorKind, Stores};
use support::{TestClient, config, error, publish, with_workers};

fn faulty() -> (Arc<FaultyLog>, Stores) {
    let mut stores = MemoryStore::new().stores();
    let log = Arc::new(FaultyLog::new(stores.log.clone()));
    stores.log = log.clone();
    (log, stores)
}

async fn stored(stores: &Stores, channel: &str) -> Vec<(u64, String)> {
    let key = ChannelId::new(channel).unwrap().key();
    let limit = PageLimit { records: 100_000, payload_bytes: usize::MAX };
    let records = stores.log.read(key, Offset::ZERO, limit).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    records.iter().map(|r| (r.position.offset.0, text(&r.body.payload))).collect()
}

#[test]
fn i1_i2_i3_lost_answers_and_refusals_neither_lose_nor_double() {
    let (log, stores) = faulty();
    let check = stores.clone();
    with_workers(config(), stores, 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        alice.publish("room:1", 1, "text 1").await;
        bob.subscribe("room:1", Some(v1::Position::default())).await;
        for seq in 2..=200u64 {
            match seq % 5 {
                0 => log.fail_appends(1, FaultPoint::AfterAppend, StorageErrorKind::Unknown),
                1 => log.fail_appends(1, FaultPoint::BeforeAppend, StorageErrorKind::Unknown),
                2 => log.fail_appends(1, FaultPoint::BeforeAppend, StorageErrorKind::Unavailable),
                _ => {}
            }
            // What the SDK does: ask again until it is acked.
            loop {
                match alice.ask(publish("room:1", seq, &format!("text {seq}"))).await {
                    Reply::Published(published) => {
                        assert_eq!(published.offset, seq);
                        break;
                    }
                    other => assert!(error(other).retryable),
                }
            }
        }
        let expected: Vec<(u64, String)> = (1..=200).map(|n| (n, format!("text {n}"))).collect();
        assert_eq!(stored(&check, "room:1").await, expected);
        for offset in 2..=200 {
            assert_eq!(bob.publication().await.offset, offset);
        }
    });
}

#[test]
fn i13_a_refused_publication_is_never_overtaken_by_the_ones_behind_it() {
    let (log, stores) = faulty();
    let check = stores.clone();
    let mut config = config();
    config.queues.channel_pending = 4;
    config.rates.publish = sterna_core::config::Rate { per_second: 2000, burst: 20 };
    with_workers(config, stores, 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let ordered = |seq: u64| {
            let Verb::Publish(publish) = publish("room:1", seq, &format!("text {seq}")) else {
                unreachable!()
            };
            Verb::Publish(v1::Publish { ordered: true, ..publish })
        };
        // A window of 32, as the SDK: whatever is refused is sent again, in order.
        let mut next = 1u64;
        let (mut rounds, mut scripted_at) = (0, 0);
        while next <= 300 {
            rounds += 1;
            // Rounds without an append must not pile failures up.
            if rounds % 3 == 0 && log.append_calls() > scripted_at {
                scripted_at = log.append_calls();
                log.fail_appends(1, FaultPoint::BeforeAppend, StorageErrorKind::Unavailable);
            }
            let window: Vec<(u64, u32)> =
                (next..next + 32).map(|seq| (seq, alice.send(ordered(seq)))).collect();
            let mut refused = None;
            for (seq, id) in window {
                match alice.reply(id).await {
                    Reply::Published(published) => {
                        assert_eq!(refused, None, "{seq} overtook");
                        assert_eq!(published.offset, seq);
                        next = seq + 1;
                    }
                    other => {
                        assert!(error(other).retryable);
                        refused.get_or_insert(seq);
                    }
                }
            }
        }
        let texts: Vec<String> = stored(&check, "room:1").await.into_iter().map(|r| r.1).collect();
        let expected: Vec<String> = (1..next).map(|seq| format!("text {seq}")).collect();
        assert_eq!(texts, expected);
        assert!(rounds > 10, "refusals happened");
    });
}

#[test]
fn i4_nobody_sees_a_publication_before_its_commit() {
    let (log, stores) = faulty();
    with_workers(config(), stores, 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        bob.subscribe("room:1", None).await;
        log.hold_appends();
        let id = alice.send(publish("room:1", 1, "early"));
        // The append waits; whatever bob asks for meanwhile does not show it.
        while log.appends_waiting() == 0 {
            tokio::task::yield_now().await;
        }
        let page = bob.subscribe("room:1", Some(v1::Position::default())).await;
        assert_eq!((page.publications.len(), page.head_offset), (0, 0));
        let history = v1::History { channel: "room:1".into(), limit: 10, ..Default::default() };
        let Reply::History(page) = bob.ask(Verb::History(history)).await else { panic!() };
        assert!(page.publications.is_empty());
        log.release_appends();
        assert!(matches!(alice.reply(id).await, Reply::Published(_)));
        assert_eq!(bob.publication().await.offset, 1);
    });
}

#[test]
fn i1_a_fatal_store_acks_nothing_and_stops_the_node() {
    let (log, stores) = faulty();
    with_workers(config(), stores, 1, |node, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        alice.publish("room:1", 1, "x").await;
        log.fail_appends(1, FaultPoint::BeforeAppend, StorageErrorKind::Fatal);
        let refused = error(alice.ask(publish("room:1", 2, "x")).await);
        assert_eq!(refused.code, ErrorCode::Unavailable.number());
        assert!(!node.failed().await.is_empty());
    });
}

#[test]
fn i12_a_channel_whose_commits_hang_answers_busy_and_others_go_on() {
    let (log, stores) = faulty();
    let mut config = config();
    config.queues.channel_pending = 8;
    with_workers(config, stores, 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        log.hold_appends();
        let ids: Vec<u32> = (1..=40).map(|seq| alice.send(publish("room:1", seq, "x"))).collect();
        // One is being stored, eight wait, the rest hear BUSY at once.
        let busy = error(alice.reply(ids[39]).await);
        assert_eq!((busy.code, busy.retryable), (ErrorCode::Busy.number(), true));
        let Reply::Pong(pong) =
            alice.ask(Verb::Ping(v1::Ping { client_time_ms: 7, ..Default::default() })).await
        else {
            panic!()
        };
        assert_eq!(pong.client_time_ms, 7);
        log.release_appends();
        assert!(matches!(alice.reply(ids[0]).await, Reply::Published(_)));
    });
}

#[test]
fn i8_cursors_only_move_forward() {
    let stores = MemoryStore::new().stores();
    let check = stores.clone();
    with_workers(config(), stores, 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        for seq in 1..=10 {
            alice.publish("room:1", seq, "x").await;
        }
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        bob.ask(support::with_receipts("room:1")).await;
        let mut last = 0;
        for offset in [4, 2, 9, 1, 10, 3] {
            let mark = v1::MarkRead { channel: "room:1".into(), offset };
            bob.ask(Verb::MarkRead(mark)).await;
            let receipt = loop {
                let receipt = bob.receipt().await;
                if receipt.user == "bob" {
                    break receipt;
                }
            };
            last = last.max(offset);
            assert_eq!(receipt.read_offset, last);
        }
        let key = ChannelId::new("room:1").unwrap().key();
        let user = sterna_proto::UserId::new("bob").unwrap();
        let cursor = check.cursors.cursor(key, user).await.unwrap().unwrap();
        assert_eq!((cursor.delivered, cursor.read), (Offset(10), Offset(10)));
    });
}

#[test]
fn an_expired_identity_ends_its_connection() {
    let stores = MemoryStore::new().stores();
    with_workers(config(), stores, 1, |node, workers| async move {
        let mut identity = support::identity("alice");
        identity.expires_at_ms = Some(node.clock().unix_ms() + 1);
        let hello = v1::Hello::default();
        let mut attachment =
            workers[0].open(1, hello, identity, support::connection()).await.unwrap();
        let mut batch = Vec::new();
        let reason = loop {
            batch.clear();
            if let Err(reason) = attachment.next_batch(&mut batch).await {
                break reason;
            }
        };
        assert_eq!(reason, sterna_proto::CloseReason::TokenExpired);
    });
}

#[test]
fn what_comes_together_goes_into_the_log_together_whatever_its_channel() {
    let (log, stores) = faulty();
    let check = stores.clone();
    let mut config = config();
    config.shards = 1;
    with_workers(config, stores, 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        // The channels are loaded, and their creation is over.
        alice.publish("room:1", 1, "text 1").await;
        alice.publish("room:2", 2, "text 2").await;
        let before = log.append_calls();
        let commands: Vec<u32> = (3..=22u64)
            .map(|seq| alice.send(publish(&format!("room:{}", 1 + seq % 2), seq, "text")))
            .collect();
        for id in commands {
            let Reply::Published(_) = alice.reply(id).await else { panic!("it is refused") };
        }
        assert_eq!(log.append_calls() - before, 1);
        assert_eq!(stored(&check, "room:1").await.len(), 11);
        assert_eq!(stored(&check, "room:2").await.len(), 11);
    });
}

/// Found by the simulation: the removal of a member was stored, its answer lost, and the log could not be
/// read. Who added the member again was told that it was one, by what was known before the removal.
#[test]
fn i11_members_are_not_told_by_what_was_known_before_a_change_of_unknown_outcome() {
    let (log, stores) = faulty();
    with_workers(config(), stores, 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let member =
            |user: &str, role: v1::Role| v1::Member { user: user.into(), role: role.into() };
        let create = v1::CreateChannel {
            channel: "club:1".into(),
            access: v1::ChannelAccess::Members.into(),
            members: vec![member("alice", v1::Role::Owner), member("bob", v1::Role::Member)],
            ..Default::default()
        };
        assert!(matches!(alice.ask(Verb::CreateChannel(create)).await, Reply::Channel(_)));
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        bob.subscribe("club:1", None).await;
        log.fail_appends(1, FaultPoint::AfterAppend, StorageErrorKind::Unknown);
        log.fail_heads(1);
        let remove = v1::RemoveMember { channel: "club:1".into(), user: "bob".into() };
        assert!(error(alice.ask(Verb::RemoveMember(remove)).await).retryable);
        let set = v1::SetMember {
            channel: "club:1".into(),
            member: Some(member("bob", v1::Role::Member)),
        };
        loop {
            match alice.ask(Verb::SetMember(set.clone())).await {
                Reply::Done(_) | Reply::Published(_) => break,
                other => assert!(error(other).retryable),
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        // A member again, as alice was told.
        match bob.ask(support::subscribe("club:1", None)).await {
            Reply::Subscribed(page) => assert_eq!(page.position.unwrap().offset, 2),
            other => panic!("bob is out: {other:?}"),
        }
    });
}
