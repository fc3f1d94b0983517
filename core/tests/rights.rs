//! I11: no publication, presence or receipt reaches a session without the right to it, whatever
//! changes while it is there.

#![allow(clippy::unwrap_used)]

mod support;

use sterna_core::{Action, Permission};
use sterna_proto::v1::{self, command::Verb, push::Event, reply::Result as Reply};
use sterna_proto::{CloseReason, ErrorCode, UserId};
use sterna_storage::memory::MemoryStore;
use support::{TestClient, config, error, identity, publish, subscribe, with_worker, with_workers};

const DENIED: u32 = 102;

fn create(channel: &str, members: &[(&str, v1::Role)]) -> Verb {
    let members = members.iter().map(|(user, role)| member(user, *role)).collect();
    Verb::CreateChannel(v1::CreateChannel {
        channel: channel.into(),
        access: v1::ChannelAccess::Members.into(),
        members,
        ..Default::default()
    })
}

fn member(user: &str, role: v1::Role) -> v1::Member {
    v1::Member { user: user.into(), role: role.into() }
}

fn remove(channel: &str, user: &str) -> Verb {
    Verb::RemoveMember(v1::RemoveMember { channel: channel.into(), user: user.into() })
}

#[test]
fn i11_only_owners_touch_owners_also_after_a_restart() {
    let store = MemoryStore::new();
    with_workers(config(), store.stores(), 1, |_, workers| async move {
        let mut owner = TestClient::connect(&workers[0], "owner").await;
        owner.ask(create("team", &[("admin", v1::Role::Admin), ("bob", v1::Role::Member)])).await;
    });
    // A new node knows nobody's role yet.
    with_workers(config(), store.stores(), 1, |_, workers| async move {
        let mut admin = TestClient::connect(&workers[0], "admin").await;
        assert_eq!(error(admin.ask(remove("team", "owner")).await).code, DENIED);
        let demote = v1::SetMember {
            channel: "team".into(),
            member: Some(member("owner", v1::Role::Reader)),
        };
        assert_eq!(error(admin.ask(Verb::SetMember(demote)).await).code, DENIED);
        assert!(matches!(admin.ask(remove("team", "bob")).await, Reply::Done(_)));
    });
}

#[test]
fn i11_a_revoked_session_that_reads_slowly_gets_nothing_more() {
    with_worker(|node, worker| async move {
        let mut alice = TestClient::connect(&worker, "alice").await;
        let mut bob = TestClient::connect(&worker, "bob").await;
        bob.subscribe("room:1", None).await;
        for seq in 1..=50 {
            alice.publish("room:1", seq, "queued").await;
        }
        node.revoke(&UserId::new("bob").unwrap(), 1).await.unwrap();
        while bob.attachment.closing().is_none() {
            tokio::task::yield_now().await;
        }
        alice.publish("room:1", 51, "after").await;
        assert_eq!(bob.attachment.closing(), Some(CloseReason::Revoked));
        assert_eq!(bob.receive().await, Err(CloseReason::Revoked));
    });
}

#[test]
fn i11_a_narrower_token_ends_what_it_does_not_cover() {
    with_worker(|_, worker| async move {
        let mut alice = TestClient::connect(&worker, "alice").await;
        let mut bob = TestClient::connect(&worker, "bob").await;
        bob.subscribe("room:1", None).await;
        bob.subscribe("room:2", None).await;
        let mut narrower = identity("bob");
        narrower.permissions = vec![Permission::all("room:2")];
        bob.attachment.refresh(77, narrower).unwrap();
        assert!(matches!(bob.reply(77).await, Reply::Done(_)));
        let Event::Unsubscribed(ended) = bob.push().await else { panic!() };
        assert_eq!((ended.channel.as_str(), ended.error.unwrap().code), ("room:1", DENIED));
        alice.publish("room:1", 1, "secret").await;
        alice.publish("room:2", 2, "for all").await;
        assert_eq!(bob.publication().await.channel, "room:2");
    });
}

#[test]
fn i11_presence_needs_its_own_right() {
    with_worker(|_, worker| async move {
        let mut reader = identity("bob");
        let actions = vec![Action::Subscribe];
        reader.permissions = vec![Permission { pattern: "room:*".into(), actions }];
        let mut alice = TestClient::connect(&worker, "alice").await;
        alice.publish("room:1", 1, "x").await;
        let hello = v1::Hello {
            subscriptions: vec![v1::Subscribe {
                channel: "room:1".into(),
                presence: true,
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut bob = TestClient::hello_as(&worker, reader, hello).await;
        let Event::Subscribed(refused) = bob.push().await else { panic!() };
        assert_eq!(refused.error.unwrap().code, DENIED);
        assert!(matches!(bob.ask(subscribe("room:1", None)).await, Reply::Subscribed(_)));
    });
}

#[test]
fn i11_an_eviction_that_finds_a_full_link_comes_before_anything_else() {
    let mut config = config();
    config.queues.link_pushes = 1;
    with_workers(config, MemoryStore::new().stores(), 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        alice.ask(create("team", &[("bob", v1::Role::Member)])).await;
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        bob.subscribe("team", None).await;
        // All at once: the first push fills the link, the eviction finds no room.
        let first = alice.send(publish("team", 1, "one"));
        let second = alice.send(remove("team", "bob"));
        let third = alice.send(publish("team", 2, "two"));
        for id in [first, second, third] {
            alice.reply(id).await;
        }
        loop {
            match bob.push().await {
                Event::Publication(publication) => assert_eq!(publication.offset, 1),
                Event::Unsubscribed(_) => break,
                Event::Gap(_) | Event::Head(_) => {}
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn i1_what_was_stored_before_the_right_was_lost_is_not_refused() {
    let store = MemoryStore::new();
    with_workers(config(), store.stores(), 1, |_, workers| async move {
        let mut owner = TestClient::connect(&workers[0], "owner").await;
        owner.ask(create("team", &[("bob", v1::Role::Member)])).await;
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        bob.publish("team", 5, "the answer is lost").await;
        assert!(matches!(owner.ask(remove("team", "bob")).await, Reply::Done(_)));
    });
    // The next owner has the log alone to know it by.
    with_workers(config(), store.stores(), 1, |_, workers| async move {
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        let again = bob.publish("team", 5, "the answer is lost").await;
        assert_eq!((again.offset, again.duplicate), (1, true));
        let other = publish("team", 5, "another text");
        assert_eq!(error(bob.ask(other).await).code, DENIED);
        assert_eq!(error(bob.ask(publish("team", 6, "never stored")).await).code, DENIED);
    });
}

#[test]
fn i3_nobody_can_use_up_anothers_sequence_numbers() {
    with_worker(|_, worker| async move {
        let hello = || v1::Hello { client_id: "phone".into(), ..Default::default() };
        let mut mallory = TestClient::hello(&worker, "mallory", hello()).await.unwrap();
        let mut alice = TestClient::hello(&worker, "alice", hello()).await.unwrap();
        assert_eq!(mallory.publish("room:1", 1, "mine").await.offset, 1);
        let published = alice.publish("room:1", 1, "also mine").await;
        assert_eq!((published.offset, published.duplicate), (2, false));
    });
}

#[test]
fn a_subscription_can_be_taken_back_before_it_has_begun() {
    with_worker(|_, worker| async move {
        let mut alice = TestClient::connect(&worker, "alice").await;
        let ids: Vec<u32> =
            (0..20).map(|n| alice.send(subscribe(&format!("room:{n}"), None))).collect();
        let unsubscribe = Verb::Unsubscribe(v1::Unsubscribe { channel: "room:19".into() });
        let taken_back = alice.send(unsubscribe);
        let refused = error(alice.reply(ids[19]).await);
        assert_eq!(refused.code, ErrorCode::NotSubscribed.number());
        assert!(matches!(alice.reply(taken_back).await, Reply::Done(_)));
        for id in &ids[..19] {
            assert!(matches!(alice.reply(*id).await, Reply::Subscribed(_)));
        }
        alice.publish("room:19", 1, "for nobody").await;
        alice.publish("room:18", 2, "for alice").await;
        assert_eq!(alice.publication().await.channel, "room:18");
    });
}
