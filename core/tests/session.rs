//! Sessions against a node in memory.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use sterna_core::Worker;
use sterna_proto::v1::{self, command::Verb, push::Event, reply::Result as Reply};
use sterna_proto::{CloseReason, ErrorCode, UserId};
use sterna_storage::memory::MemoryStore;
use support::{
    TestClient, config, error, publish, subscribe, with_held_clock, with_worker, with_workers,
};

const EARLIEST: Option<v1::Position> = Some(v1::Position { epoch: 0, offset: 0 });

#[test]
fn a_publication_reaches_everybody_who_subscribed_once_and_in_order() {
    with_worker(|_, worker| async move {
        let mut alice = TestClient::connect(&worker, "alice").await;
        let mut bob = TestClient::connect(&worker, "bob").await;
        let subscribed = bob.subscribe("room:1", None).await;
        assert!(subscribed.live);
        for seq in 1..=50 {
            alice.send(publish("room:1", seq, &format!("hello {seq}")));
        }
        for offset in 1..=50 {
            let publication = bob.publication().await;
            assert_eq!(publication.offset, offset);
            assert_eq!(publication.sender, "alice");
            assert_eq!(publication.payload, format!("hello {offset}"));
        }
        let again = alice.publish("room:1", 50, "hello 50").await;
        assert_eq!((again.duplicate, again.offset), (true, 50));
        let conflict = error(alice.ask(publish("room:1", 50, "other")).await);
        assert_eq!(conflict.code, ErrorCode::Conflict.number());
    });
}

/// A worker that many come back to at once is late with everything.
#[test]
fn a_session_is_resumed_from_a_worker_that_is_late() {
    with_held_clock(config(), MemoryStore::new().stores(), 1, |node, workers| async move {
        let late = Worker::new(&node, 1);
        let bob = TestClient::connect(&late, "bob").await;
        let (ticket, id) = (bob.welcome.resume_ticket.clone(), bob.welcome.session_id.clone());
        drop(bob);
        let resume_ticket = ticket.clone();
        let hello =
            v1::Hello { client_id: "bob-phone".into(), resume_ticket, ..Default::default() };
        // The second has lost patience with the first.
        let first = TestClient::hello(&workers[0], "bob", hello.clone());
        let second = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            TestClient::hello(&workers[0], "bob", hello.clone()).await
        };
        let both = async {
            let (first, second) = tokio::join!(first, second);
            [first.unwrap(), second.unwrap()].map(|bob| bob.welcome)
        };
        let work = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            late.run().await;
        };
        let welcomes = tokio::select! {
            welcomes = both => welcomes,
            () = work => panic!("the node has ended"),
        };
        for welcome in welcomes {
            assert!(welcome.resumed);
            assert_eq!((&welcome.session_id, &welcome.resume_ticket), (&id, &ticket));
        }
        assert_eq!(node.session_count(), 1, "it is nowhere twice");
    });
}

/// Who has lost patience gets a new session, and the old one is there for who comes next.
#[test]
fn a_session_that_nobody_waits_for_any_more_stays_where_it_is() {
    with_held_clock(config(), MemoryStore::new().stores(), 1, |node, workers| async move {
        let late = Worker::new(&node, 1);
        let bob = TestClient::connect(&late, "bob").await;
        let resume_ticket = bob.welcome.resume_ticket.clone();
        drop(bob);
        let hello =
            v1::Hello { client_id: "bob-phone".into(), resume_ticket, ..Default::default() };
        let anew = TestClient::hello(&workers[0], "bob", hello.clone()).await.unwrap();
        assert!(!anew.welcome.resumed, "a worker that stands still keeps nobody out");
        let work = async {
            late.run().await;
            panic!("the node has ended");
        };
        let again = TestClient::hello(&workers[0], "bob", hello);
        let again = tokio::select! { again = again => again.unwrap(), () = work => return };
        assert!(again.welcome.resumed);
    });
}

/// One write of its connection instead of two.
#[test]
fn a_publisher_who_listens_gets_its_acknowledgement_with_its_publication() {
    with_worker(|_, worker| async move {
        // A task like that of a connection, which is woken in its turn.
        let alone = tokio::task::spawn_local(async move {
            let mut alice = TestClient::connect(&worker, "alice").await;
            alice.subscribe("room:1", None).await;
            for seq in 1..=3 {
                let id = alice.send(publish("room:1", seq, "x"));
                alice.receive().await.unwrap();
                let (mut acknowledged, mut offsets) = (Vec::new(), Vec::new());
                for frame in alice.take_received() {
                    match frame.body {
                        Some(v1::frame::Body::Reply(reply)) => acknowledged.push(reply.id),
                        Some(v1::frame::Body::Push(v1::Push {
                            event: Some(Event::Publication(publication)),
                        })) => offsets.push(publication.offset),
                        other => panic!("{other:?}"),
                    }
                }
                assert_eq!((acknowledged, offsets), (vec![id], vec![seq]));
            }
        });
        alone.await.unwrap();
    });
}

#[test]
fn i5_recovery_returns_exactly_what_is_missing() {
    with_worker(|_, worker| async move {
        let mut alice = TestClient::connect(&worker, "alice").await;
        for seq in 1..=1200 {
            alice.publish("room:1", seq, "x").await;
        }
        let mut bob = TestClient::connect(&worker, "bob").await;
        let mut since = EARLIEST;
        let mut seen = Vec::new();
        loop {
            let page = bob.subscribe("room:1", since).await;
            seen.extend(page.publications.iter().map(|publication| publication.offset));
            since = page.position;
            if page.live {
                break;
            }
        }
        assert_eq!(seen, (1..=1200).collect::<Vec<_>>());

        let newest = Verb::Subscribe(v1::Subscribe {
            channel: "room:1".into(),
            since: EARLIEST,
            order: v1::RecoveryOrder::NewestFirst.into(),
            ..Default::default()
        });
        let Reply::Subscribed(page) = bob.ask(newest).await else { panic!() };
        let gap = page.gap.unwrap();
        assert_eq!((gap.after_offset, gap.upto_offset), (0, 700));
        assert_eq!(page.publications.first().unwrap().offset, 701);
        assert!(page.live);

        let history = |since, backwards| {
            Verb::History(v1::History {
                channel: "room:1".into(),
                since: Some(v1::Position { epoch: page.position.unwrap().epoch, offset: since }),
                limit: 10,
                backwards,
            })
        };
        let Reply::History(page) = bob.ask(history(100, false)).await else { panic!() };
        let offsets: Vec<u64> = page.publications.iter().map(|p| p.offset).collect();
        assert_eq!(offsets, (101..=110).collect::<Vec<_>>());
        let Reply::History(page) = bob.ask(history(100, true)).await else { panic!() };
        let offsets: Vec<u64> = page.publications.iter().map(|p| p.offset).collect();
        assert_eq!(offsets, (90..100).collect::<Vec<_>>());
    });
}

#[test]
fn i13_a_slow_client_lags_with_a_named_gap_and_recovers_everything() {
    with_worker(|_, worker| async move {
        let mut alice = TestClient::connect(&worker, "alice").await;
        let mut bob = TestClient::connect(&worker, "bob").await;
        bob.subscribe("room:1", None).await;
        // Bob does not read while more is published than his outbox holds.
        for seq in 1..=2500 {
            alice.publish("room:1", seq, "x").await;
        }
        let mut position = v1::Position::default();
        let mut lagged = false;
        while position.offset < 2500 {
            match bob.push().await {
                Event::Publication(publication) => {
                    assert_eq!(publication.offset, position.offset + 1, "contiguous");
                    position =
                        v1::Position { epoch: publication.epoch, offset: publication.offset };
                }
                Event::Gap(gap) => {
                    assert_eq!(gap.after_offset, position.offset);
                    lagged = true;
                    loop {
                        let page = bob.subscribe("room:1", Some(position)).await;
                        for publication in &page.publications {
                            assert_eq!(publication.offset, position.offset + 1);
                            position.offset = publication.offset;
                            position.epoch = publication.epoch;
                        }
                        if page.live {
                            break;
                        }
                    }
                }
                Event::Head(head) => assert!(head.offset <= 2500),
                other => panic!("{other:?}"),
            }
        }
        assert!(lagged, "2500 publications do not fit an outbox");
        alice.publish("room:1", 2501, "live again").await;
        loop {
            if let Event::Publication(publication) = bob.push().await {
                assert_eq!(publication.offset, 2501);
                break;
            }
        }
    });
}

#[test]
fn a_session_outlives_its_connection_and_moves_between_workers() {
    with_workers(config(), MemoryStore::new().stores(), 2, |node, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let mut watcher = TestClient::connect(&workers[0], "watcher").await;
        let watch =
            v1::Subscribe { channel: "room:1".into(), presence: true, ..Default::default() };
        watcher.ask(Verb::Subscribe(watch.clone())).await;
        watcher.push().await;
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        bob.ask(Verb::Subscribe(watch.clone())).await;
        assert!(matches!(watcher.push().await, Event::Presence(_)));
        assert!(matches!(bob.push().await, Event::Presence(_)), "his own joining");
        alice.publish("room:1", 1, "one").await;
        let one = bob.publication().await;
        watcher.publication().await;
        let (ticket, id) = (bob.welcome.resume_ticket.clone(), bob.welcome.session_id.clone());
        drop(bob);
        alice.publish("room:1", 2, "two").await;

        let hello = v1::Hello {
            client_id: "bob-phone".into(),
            resume_ticket: ticket.clone(),
            subscriptions: vec![v1::Subscribe {
                since: Some(v1::Position { epoch: one.epoch, offset: 1 }),
                ..watch
            }],
            ..Default::default()
        };
        let mut bob = TestClient::hello(&workers[1], "bob", hello.clone()).await.unwrap();
        assert!(bob.welcome.resumed);
        assert_eq!(bob.welcome.session_id, id);
        let Event::Subscribed(page) = bob.push().await else { panic!() };
        assert_eq!(page.publications.len(), 1);
        assert!(page.live);
        alice.publish("room:1", 3, "three").await;
        assert_eq!(bob.publication().await.offset, 3);
        // Nobody saw him leave: the watcher gets publications only.
        assert_eq!(watcher.publication().await.offset, 2);
        assert_eq!(watcher.publication().await.offset, 3);

        // While the old connection still lives, the new one takes over.
        let second = TestClient::hello(&workers[0], "bob", hello.clone()).await.unwrap();
        assert!(second.welcome.resumed);
        let ended = loop {
            if let Err(reason) = bob.receive().await {
                break reason;
            }
        };
        assert_eq!(ended, CloseReason::Superseded);
        // Another user's ticket, or a forged one, is only a new session.
        let stolen = TestClient::hello(&workers[0], "mallory", hello).await.unwrap();
        assert!(!stolen.welcome.resumed);
        assert_eq!(node.session_count(), 4);
    });
}

#[test]
fn presence_is_debounced_and_ends_with_the_session() {
    let mut config = config();
    config.presence_debounce = Duration::from_millis(1);
    config.resume_window = Duration::from_millis(2);
    with_workers(config, MemoryStore::new().stores(), 1, |node, workers| async move {
        let join = |name: &str| {
            Verb::Subscribe(v1::Subscribe {
                channel: name.into(),
                presence: true,
                ..Default::default()
            })
        };
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        alice.ask(join("room:1")).await;
        alice.push().await;
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        bob.ask(join("room:1")).await;
        let Event::Presence(change) = alice.push().await else { panic!() };
        assert_eq!(change.member.unwrap().user, "bob");
        let query = Verb::Presence(v1::PresenceQuery { channel: "room:1".into() });
        let Reply::Presence(list) = alice.ask(query.clone()).await else { panic!() };
        assert_eq!(list.members.len(), 2);
        drop(bob);
        loop {
            let Event::Presence(change) = alice.push().await else { panic!() };
            let member = change.member.unwrap();
            assert_eq!(member.user, "bob");
            if member.state() == v1::PresenceState::Offline {
                break;
            }
        }
        let Reply::Presence(list) = alice.ask(query).await else { panic!() };
        assert_eq!(list.members.len(), 1);
        // The debounce may be over a look earlier than the time in which it could have resumed.
        while node.session_count() != 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn i11_members_only_and_eviction_stops_what_is_queued() {
    with_worker(|node, worker| async move {
        let mut alice = TestClient::connect(&worker, "alice").await;
        let mut bob = TestClient::connect(&worker, "bob").await;
        let create = Verb::CreateChannel(v1::CreateChannel {
            channel: "team".into(),
            kind: v1::ChannelKind::Group.into(),
            access: v1::ChannelAccess::Members.into(),
            members: vec![v1::Member { user: "carol".into(), role: v1::Role::Reader.into() }],
        });
        let Reply::Channel(info) = alice.ask(create.clone()).await else { panic!() };
        assert_eq!((info.created, info.members), (true, 2));
        assert_eq!(error(alice.ask(create).await).code, ErrorCode::ChannelExists.number());

        let denied = ErrorCode::PermissionDenied.number();
        assert_eq!(error(bob.ask(subscribe("team", None)).await).code, denied);
        assert_eq!(error(bob.ask(publish("team", 1, "hi")).await).code, denied);
        let set = |user: &str, role: v1::Role| {
            let member = Some(v1::Member { user: user.into(), role: role.into() });
            Verb::SetMember(v1::SetMember { channel: "team".into(), member })
        };
        assert_eq!(error(bob.ask(set("bob", v1::Role::Owner)).await).code, denied);
        assert!(matches!(alice.ask(set("bob", v1::Role::Member)).await, Reply::Done(_)));
        bob.subscribe("team", None).await;
        alice.publish("team", 1, "secret").await;
        let remove =
            Verb::RemoveMember(v1::RemoveMember { channel: "team".into(), user: "bob".into() });
        assert!(matches!(alice.ask(remove).await, Reply::Done(_)));
        alice.publish("team", 2, "more secret").await;
        loop {
            match bob.push().await {
                Event::Publication(publication) => assert_eq!(publication.offset, 1),
                Event::Unsubscribed(gone) => {
                    assert_eq!(gone.error.unwrap().code, denied);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(error(bob.ask(publish("team", 2, "hi")).await).code, denied);

        node.revoke(&UserId::new("bob").unwrap(), 1).await.unwrap();
        let ended = loop {
            if let Err(reason) = bob.receive().await {
                break reason;
            }
        };
        assert_eq!(ended, CloseReason::Revoked);
    });
}

#[test]
fn direct_broadcast_ephemeral_receipts_and_cursors() {
    with_worker(|_, worker| async move {
        let mut alice = TestClient::connect(&worker, "alice").await;
        let mut bob = TestClient::connect(&worker, "bob").await;
        let mut carol = TestClient::connect(&worker, "carol").await;
        let dm = "dm:alice:bob";
        let with_receipts = |name: &str| {
            Verb::Subscribe(v1::Subscribe {
                channel: name.into(),
                receipts: true,
                ..Default::default()
            })
        };
        assert!(matches!(alice.ask(with_receipts(dm)).await, Reply::Subscribed(_)));
        bob.subscribe(dm, None).await;
        let denied = ErrorCode::PermissionDenied.number();
        assert_eq!(error(carol.ask(subscribe(dm, None)).await).code, denied);
        bob.send(Verb::Ephemeral(v1::Ephemeral {
            channel: dm.into(),
            key: "typing".into(),
            ..Default::default()
        }));
        let Event::Ephemeral(typing) = alice.push().await else { panic!() };
        assert_eq!((typing.sender.as_str(), typing.key.as_str()), ("bob", "typing"));
        alice.publish(dm, 1, "hi").await;
        assert_eq!(alice.publication().await.offset, 1);
        bob.publication().await;
        let own = alice.receipt().await;
        assert_eq!((own.user.as_str(), own.read_offset), ("alice", 1), "who sends has read");
        for (offset, expected) in [(1, 1), (9, 1)] {
            bob.ask(Verb::MarkRead(v1::MarkRead { channel: dm.into(), offset })).await;
            let Event::Receipt(receipt) = alice.push().await else { panic!() };
            assert_eq!((receipt.user.as_str(), receipt.read_offset), ("bob", expected));
        }
    });
}

#[test]
fn bad_input_is_answered_and_closes_nothing() {
    with_worker(|_, worker| async move {
        let mut alice = TestClient::connect(&worker, "alice").await;
        let bad = ErrorCode::BadRequest.number();
        for (verb, code) in [
            (subscribe("", None), bad),
            (subscribe("a b", None), bad),
            (subscribe(&"x".repeat(500), None), bad),
            (publish("room:1", 1, &"x".repeat(70_000)), ErrorCode::TooLarge.number()),
            (subscribe("dm:bob:alice", None), bad),
            (
                Verb::Publish(v1::Publish {
                    channel: "room:1".into(),
                    kind: 99,
                    ..Default::default()
                }),
                bad,
            ),
            (
                Verb::Publish(v1::Publish {
                    channel: "room:1".into(),
                    client_msg_id: vec![1; 5].into(),
                    ..Default::default()
                }),
                bad,
            ),
            (
                Verb::Unsubscribe(v1::Unsubscribe { channel: "room:9".into() }),
                ErrorCode::NotSubscribed.number(),
            ),
            (Verb::Refresh(v1::Refresh::default()), bad),
        ] {
            let answer = error(alice.ask(verb.clone()).await);
            assert_eq!(answer.code, code, "{verb:?}: {answer:?}");
            assert!(!answer.message.is_empty());
        }
        let forged = Some(v1::Position { epoch: 7, offset: u64::MAX });
        let subscribed = alice.subscribe("room:1", forged).await;
        assert_eq!(subscribed.epoch_change.unwrap().keep_upto, 0);
        let second = v1::Command { id: 9, verb: Some(Verb::Hello(v1::Hello::default())) };
        assert_eq!(alice.attachment.handle(second), Err(CloseReason::ProtocolError));
        alice.publish("room:1", 1, "still here").await;
    });
}

#[test]
fn rates_are_limited_with_advice() {
    let mut config = config();
    config.rates.publish = sterna_core::config::Rate { per_second: 1, burst: 2 };
    with_workers(config, MemoryStore::new().stores(), 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        alice.publish("room:1", 1, "x").await;
        alice.publish("room:1", 2, "x").await;
        let limited = error(alice.ask(publish("room:1", 3, "x")).await);
        assert_eq!(limited.code, ErrorCode::RateLimited.number());
        assert!(limited.retryable && limited.retry_after_ms > 0);
    });
}

#[test]
fn drain_tells_everybody_and_refuses_newcomers() {
    with_worker(|node, worker| async move {
        let mut alice = TestClient::connect(&worker, "alice").await;
        node.start_drain(Duration::from_secs(5), "next:4443".into()).await;
        let Event::GoAway(go_away) = alice.push().await else { panic!() };
        assert_eq!((go_away.successor.as_str(), go_away.deadline_ms), ("next:4443", 5000));
        alice.publish("room:1", 1, "until the end").await;
        let refused = TestClient::hello(&worker, "bob", v1::Hello::default()).await;
        assert_eq!(refused.err(), Some(CloseReason::Drained));
    });
}

#[test]
fn two_nodes_on_one_store_agree_on_one_order() {
    let stores = MemoryStore::new().stores();
    let other = stores.clone();
    with_workers(config(), stores, 1, |_, workers| async move {
        let mut second = config();
        second.id_worker = 1;
        let second = support::node(second, other).await;
        let second_worker = Worker::new(&second, 0);
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let mut bob = TestClient::connect(&second_worker, "bob").await;
        for seq in 1..=100 {
            alice.send(publish("room:1", seq, "from alice"));
            bob.send(publish("room:1", seq, "from bob"));
        }
        let mut offsets = Vec::new();
        for id in 2..=101 {
            for client in [&mut alice, &mut bob] {
                let Reply::Published(published) = client.reply(id).await else { panic!() };
                offsets.push(published.offset);
            }
        }
        offsets.sort_unstable();
        assert_eq!(offsets, (1..=200).collect::<Vec<_>>());
        drop(bob);
        assert!(second.shutdown(Duration::from_secs(5)).await);
    });
}

#[test]
fn i5_i12_a_node_that_has_missed_much_reads_only_the_newest() {
    let stores = MemoryStore::new().stores();
    let other = stores.clone();
    with_workers(config(), stores, 1, |_, workers| async move {
        let mut second = config();
        second.id_worker = 1;
        second.queues.ring_publications = 8;
        second.queues.append_batch = 8;
        let second = support::node(second, other).await;
        let worker = Worker::new(&second, 0);
        let running = worker.clone();
        let running = tokio::task::spawn_local(async move { running.run().await });
        let mut bob = TestClient::connect(&worker, "bob").await;
        let mut carol = TestClient::connect(&worker, "carol").await;
        bob.publish("room:1", 1, "from bob").await;
        carol.subscribe("room:1", None).await;
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        for seq in 1..=100 {
            alice.publish("room:1", seq, "from alice").await;
        }
        // Its outcome cannot be told; it is stored once, by the second attempt.
        assert!(error(bob.ask(publish("room:1", 2, "from bob")).await).retryable);
        let again = bob.publish("room:1", 2, "from bob").await;
        assert_eq!((again.offset, again.duplicate), (102, false));
        let Event::Gap(gap) = carol.push().await else { panic!() };
        assert_eq!(gap.after_offset, 1);
        let since = v1::Position { epoch: gap.epoch, offset: gap.after_offset };
        let page = carol.subscribe("room:1", Some(since)).await;
        let offsets: Vec<u64> = page.publications.iter().map(|p| p.offset).collect();
        assert_eq!(offsets, (2..=102).collect::<Vec<_>>());
        drop((bob, carol));
        assert!(second.shutdown(Duration::from_secs(5)).await);
        running.await.unwrap();
    });
}
