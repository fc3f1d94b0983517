//! What a channel gives up is given to nobody any more, whoever asks and however; what is on hold
//! stays.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use sterna_core::link::{Caller, LinkCommand, Verb as LinkVerb};
use sterna_core::{Identity, Node, Permission};
use sterna_proto::link::v1::{Keep, Redact, Retention, keep::Order};
use sterna_proto::v1::{self, command::Verb, push::Event, reply::Result as Reply};
use sterna_proto::{ChannelId, ClientId, ErrorCode, Offset, SessionId, UserId};
use sterna_storage::Stores;
use sterna_storage::memory::MemoryStore;
use sterna_storage_keeping::{Keeper, KeptLog};
use support::cluster::{Cluster, Role, core, edge, until};
use support::{TestClient, config, error, identity, publish, with_workers};

const ROOM: &str = "room:1";
const REDACTION: i32 = v1::PublicationKind::Redaction as i32;

/// As the composition root puts them together.
fn stores(store: &MemoryStore) -> Stores {
    let mut stores = store.stores();
    let keeper = Arc::new(Keeper::new(stores.keeping.clone(), false));
    stores.keeping = keeper.clone();
    stores.log = Arc::new(KeptLog::new(stores.log.clone(), keeper));
    stores
}

fn operator() -> Identity {
    let permissions = vec![Permission::all("*")];
    Identity { user: UserId::new("api.ops").unwrap(), permissions, operator: true, ..identity("x") }
}

async fn order_as(node: &Node, who: Identity, order: Order) -> Result<(), v1::Error> {
    let channel = ChannelId::new(ROOM).unwrap();
    let client = ClientId::new("http:ops").unwrap();
    let incarnation = node.config().incarnation;
    let caller = Arc::new(Caller::new(Arc::new(who), client, SessionId(0), incarnation));
    let verb = LinkVerb::Keep(Keep { reason: "because".into(), order: Some(order) });
    match node.call(LinkCommand { caller, key: channel.key(), channel, hops: 0, verb }).await? {
        Reply::Done(_) => Ok(()),
        Reply::Error(error) => Err(error),
        other => panic!("{other:?}"),
    }
}

async fn order(node: &Node, order: Order) -> Result<(), v1::Error> {
    order_as(node, operator(), order).await
}

fn redact(offsets: &[u64]) -> Order {
    Order::Redact(Redact { offsets: offsets.to_vec() })
}

fn code(refused: Result<(), v1::Error>) -> u32 {
    refused.unwrap_err().code
}

/// Offsets, payloads and whether they were taken away.
fn told(publications: &[v1::Publication]) -> Vec<(u64, String, bool)> {
    let text = |it: &v1::Publication| String::from_utf8(it.payload.to_vec()).unwrap();
    publications.iter().map(|it| (it.offset, text(it), it.redacted)).collect()
}

async fn history(client: &mut TestClient, backwards: bool) -> v1::HistoryPage {
    let ask = v1::History { channel: ROOM.into(), limit: 100, backwards, ..Default::default() };
    match client.ask(Verb::History(ask)).await {
        Reply::History(page) => page,
        other => panic!("{other:?}"),
    }
}

const EARLIEST: Option<v1::Position> = Some(v1::Position { epoch: 0, offset: 0 });

#[test]
fn a_redaction_reaches_who_is_there_and_whoever_asks_later() {
    let store = MemoryStore::new();
    let expected = [(1, "one", false), (2, "", true), (3, "three", false), (4, "", false)]
        .map(|(offset, text, redacted)| (offset, text.to_owned(), redacted));
    let later = expected.clone();
    with_workers(config(), stores(&store), 1, |node, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        bob.subscribe(ROOM, None).await;
        for (seq, text) in [(1, "one"), (2, "two"), (3, "three")] {
            alice.publish(ROOM, seq, text).await;
            assert_eq!(bob.publication().await.payload, text);
        }
        order(&node, redact(&[2])).await.unwrap();
        let marker = bob.publication().await;
        assert_eq!((marker.kind, marker.offset, marker.target_offset), (REDACTION, 4, 2));
        assert_eq!(marker.sender, "api.ops");
        // From memory and from the log.
        let mut carol = TestClient::connect(&workers[0], "carol").await;
        assert_eq!(told(&carol.subscribe(ROOM, EARLIEST).await.publications), expected);
        for backwards in [false, true] {
            assert_eq!(told(&history(&mut carol, backwards).await.publications), expected);
        }
        // I3: it is recognised, and what it was is not forgotten.
        let again = alice.publish(ROOM, 2, "two").await;
        assert_eq!((again.offset, again.duplicate), (2, true));
        let other = error(alice.ask(publish(ROOM, 2, "other")).await);
        assert_eq!(other.code, ErrorCode::Conflict.number());
        order(&node, redact(&[2])).await.unwrap();
        assert_eq!(bob.publication().await.target_offset, 2, "whoever has missed it is told again");
    });
    with_workers(config(), stores(&store), 1, |_, workers| async move {
        let mut carol = TestClient::connect(&workers[0], "carol").await;
        assert_eq!(told(&carol.subscribe(ROOM, EARLIEST).await.publications)[..4], later);
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let again = alice.publish(ROOM, 2, "two").await;
        assert_eq!((again.offset, again.duplicate), (2, true));
    });
}

#[test]
fn i5_what_is_erased_is_a_gap_and_who_was_there_is_told() {
    let store = MemoryStore::new();
    let raw = store.stores();
    with_workers(config(), stores(&store), 1, |node, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        bob.subscribe(ROOM, None).await;
        for seq in 1..=3 {
            alice.publish(ROOM, seq, "secret").await;
            bob.publication().await;
        }
        order(&node, Order::Erase(true)).await.unwrap();
        let marker = bob.publication().await;
        assert_eq!((marker.kind, marker.offset, marker.target_offset), (REDACTION, 4, 0));
        alice.publish(ROOM, 4, "after").await;
        assert_eq!(bob.publication().await.offset, 5);
        let mut carol = TestClient::connect(&workers[0], "carol").await;
        let page = carol.subscribe(ROOM, EARLIEST).await;
        let gap = page.gap.unwrap();
        assert_eq!((gap.after_offset, gap.upto_offset), (0, 3));
        let offsets =
            |page: &[v1::Publication]| page.iter().map(|it| it.offset).collect::<Vec<_>>();
        assert_eq!(offsets(&page.publications), [4, 5]);
        for backwards in [false, true] {
            let page = history(&mut carol, backwards).await;
            assert_eq!(offsets(&page.publications), [4, 5]);
        }
        let kept = node.keeping(&ChannelId::new(ROOM).unwrap(), u64::MAX, 10).await.unwrap();
        assert_eq!((kept.floor, kept.erased.unwrap().reason.as_str()), (Offset(4), "because"));
        assert_eq!(kept.deeds[0].1, "erased up to 3");
        // I3: what was erased does not come again.
        let again = alice.publish(ROOM, 2, "secret").await;
        assert_eq!((again.offset, again.duplicate), (2, true));
    });
    let key = ChannelId::new(ROOM).unwrap().key();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let head = runtime.block_on(raw.log.head(key)).unwrap().unwrap();
    assert_eq!(head.first, Offset(4), "the log has it no more");
}

#[test]
fn i5_what_is_too_old_is_a_gap_also_for_who_asks_the_ring() {
    let store = MemoryStore::new();
    with_workers(config(), stores(&store), 1, |node, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        for seq in 1..=9 {
            alice.publish(ROOM, seq, "text").await;
        }
        let channel = ChannelId::new(ROOM).unwrap();
        node.raise_floor(channel.clone(), Offset(7)).await.unwrap();
        let page = alice.subscribe(ROOM, Some(v1::Position { epoch: 0, offset: 0 })).await;
        let gap = page.gap.unwrap();
        assert_eq!((gap.after_offset, gap.upto_offset), (0, 6));
        assert_eq!(page.publications.len(), 3);
        // More than there is: all of it, and no more.
        node.raise_floor(channel.clone(), Offset(100)).await.unwrap();
        let kept = node.keeping(&channel, u64::MAX, 10).await.unwrap();
        assert_eq!((kept.floor, kept.deeds.len()), (Offset(10), 0));
        assert_eq!(alice.publish(ROOM, 10, "next").await.offset, 10);
        let page = alice.subscribe(ROOM, Some(v1::Position { epoch: 0, offset: 0 })).await;
        assert_eq!(page.publications.len(), 1);
    });
}

#[test]
fn what_is_on_hold_stays() {
    let store = MemoryStore::new();
    with_workers(config(), stores(&store), 1, |node, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        for seq in 1..=3 {
            alice.publish(ROOM, seq, "evidence").await;
        }
        order(&node, Order::Hold(true)).await.unwrap();
        for give_up in [redact(&[2]), Order::Erase(true), Order::RaiseFloor(3)] {
            let refused = order(&node, give_up).await.unwrap_err();
            assert_eq!(refused.code, ErrorCode::OnHold.number());
            assert!(refused.message.contains("api.ops") && refused.message.contains("because"));
        }
        let page = history(&mut alice, false).await;
        assert_eq!(page.publications.len(), 3);
        assert!(page.publications.iter().all(|it| it.payload == "evidence"));
        order(&node, Order::Hold(false)).await.unwrap();
        order(&node, redact(&[2])).await.unwrap();
        let channel = ChannelId::new(ROOM).unwrap();
        let kept = node.keeping(&channel, u64::MAX, 2).await.unwrap();
        let deeds: Vec<&str> = kept.deeds.iter().map(|deed| deed.1.as_str()).collect();
        assert_eq!((deeds, kept.more), (vec!["redacted 2", "released from hold"], true));
    });
}

#[test]
fn i11_operators_decide_and_admins_may_redact() {
    let store = MemoryStore::new();
    with_workers(config(), stores(&store), 1, |node, workers| async move {
        let missing = order(&node, redact(&[1])).await.unwrap_err();
        assert_eq!(missing.code, ErrorCode::UnknownChannel.number());
        // Whoever makes it owns it.
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        alice.publish(ROOM, 1, "of alice").await;
        bob.publish(ROOM, 1, "of bob").await;
        const DENIED: u32 = ErrorCode::PermissionDenied.number();
        assert_eq!(code(order_as(&node, identity("bob"), redact(&[2])).await), DENIED);
        order_as(&node, identity("alice"), redact(&[2])).await.unwrap();
        for reserved in [
            Order::Hold(true),
            Order::Erase(true),
            Order::RaiseFloor(2),
            Order::Sealed(true),
            Order::Retention(Retention { millis: Some(1) }),
        ] {
            assert_eq!(code(order_as(&node, identity("alice"), reserved).await), DENIED);
        }
        let page = history(&mut alice, false).await;
        assert_eq!(told(&page.publications)[1], (2, String::new(), true));
    });
}

#[test]
fn only_what_users_have_published_and_what_is_there_is_redacted() {
    let store = MemoryStore::new();
    with_workers(config(), stores(&store), 1, |node, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        alice.publish(ROOM, 1, "text").await;
        let member = v1::Member { user: "bob".into(), role: v1::Role::Member.into() };
        let set = v1::SetMember { channel: ROOM.into(), member: Some(member) };
        assert!(matches!(alice.ask(Verb::SetMember(set)).await, Reply::Done(_)));
        let many: Vec<u64> = (1..=101).collect();
        for wrong in [&[][..], &[0], &[2], &[3], &[1, 3], &many] {
            let refused = order(&node, redact(wrong)).await.unwrap_err();
            assert_eq!(refused.code, ErrorCode::BadRequest.number(), "{wrong:?}: {refused:?}");
        }
        order(&node, Order::Erase(true)).await.unwrap();
        let refused = order(&node, redact(&[1])).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::BadRequest.number());
        // Clients make no such records themselves.
        let forged = v1::Publish { channel: ROOM.into(), kind: REDACTION, ..Default::default() };
        let refused = error(alice.ask(Verb::Publish(forged)).await);
        assert_eq!(refused.code, ErrorCode::BadRequest.number());
    });
}

#[test]
fn many_are_redacted_at_once_and_all_are_told() {
    let store = MemoryStore::new();
    with_workers(config(), stores(&store), 1, |node, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        alice.subscribe(ROOM, None).await;
        for seq in 1..=100 {
            alice.publish(ROOM, seq, "text").await;
        }
        let offsets: Vec<u64> = (1..=100).collect();
        order(&node, redact(&offsets)).await.unwrap();
        let mut targets = Vec::new();
        while targets.len() < 100 {
            match alice.push().await {
                Event::Publication(it) if it.kind == REDACTION => targets.push(it.target_offset),
                Event::Publication(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(targets, offsets);
    });
}

const ROLES: [Role; 4] = [core("c1"), core("c2"), edge("e1"), edge("e2")];

/// Also when another node owns the channel, and becomes the owner later.
#[test]
fn an_order_reaches_the_owner_from_any_node_and_outlives_it() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.start_paused(true).enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let store = MemoryStore::new();
        let cluster = Cluster::start(&ROLES, &store).await;
        until("one core owns the channel", || cluster.owners(ROOM).len() == 1).await;
        let mut alice = TestClient::connect(cluster.worker("e1"), "alice").await;
        let mut bob = TestClient::connect(cluster.worker("e2"), "bob").await;
        bob.subscribe(ROOM, None).await;
        for (seq, text) in [(1, "secret"), (2, "two")] {
            alice.publish(ROOM, seq, text).await;
            assert_eq!(bob.publication().await.payload, text);
        }
        order(&cluster.member("e1").node, redact(&[1])).await.unwrap();
        let marker = bob.publication().await;
        assert_eq!((marker.kind, marker.offset, marker.target_offset), (REDACTION, 3, 1));
        let refused = cluster.member("e1").node.keeping(&ChannelId::new(ROOM).unwrap(), 9, 9).await;
        assert_eq!(refused.unwrap_err().code, ErrorCode::Unavailable.number());
        let owner = cluster.owners(ROOM)[0];
        cluster.kill(owner);
        until("the other one does", || cluster.owners(ROOM).iter().all(|it| *it != owner)).await;
        let page = loop {
            match alice
                .ask(Verb::History(v1::History {
                    channel: ROOM.into(),
                    limit: 9,
                    ..Default::default()
                }))
                .await
            {
                Reply::History(page) => break page,
                Reply::Error(error) if error.retryable => {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                other => panic!("{other:?}"),
            }
        };
        let payloads: Vec<&[u8]> = page.publications.iter().map(|it| &it.payload[..]).collect();
        assert_eq!(payloads, [&b""[..], b"two", b""]);
        cluster.shutdown().await;
    });
}
