//! Who is told of a group without being subscribed to it, by its size and the usual thresholds: members
//! of one of up to 600 by their inboxes, those of a larger one when they look, and again by their
//! inboxes once it has fewer than 400.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use sterna_proto::v1::{self, command::Verb, push::Event, reply::Result as Reply};
use sterna_storage::memory::MemoryStore;
use support::{TestClient, config, with_held_clock};

const GROUP: &str = "group:1";

/// Longer than marks wait to be written, and members to be told again.
const QUIET: Duration = Duration::from_secs(30);

/// Asks until it is not refused for the moment.
async fn ask(client: &mut TestClient, verb: Verb) -> Reply {
    for _ in 0..1000 {
        match client.ask(verb.clone()).await {
            Reply::Error(error) if error.retryable => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Reply::Error(error) => panic!("{error:?}"),
            reply => return reply,
        }
    }
    panic!("refused for ever: {verb:?}");
}

async fn set_members(alice: &mut TestClient, members: std::ops::RangeInclusive<usize>) {
    for member in members {
        let role = v1::Role::Member.into();
        let member = Some(v1::Member { user: format!("user{member}"), role });
        let set = v1::SetMember { channel: GROUP.into(), member };
        assert!(matches!(ask(alice, Verb::SetMember(set)).await, Reply::Done(_)));
    }
}

/// Until nothing has come for so long that nothing more will.
async fn until_quiet(client: &mut TestClient) {
    while tokio::time::timeout(QUIET, client.push()).await.is_ok() {}
}

async fn publish(alice: &mut TestClient, seq: u64) -> u64 {
    match ask(alice, support::publish(GROUP, seq, "hello")).await {
        Reply::Published(published) => published.offset,
        other => panic!("{other:?}"),
    }
}

/// Whether the client hears of the group.
async fn is_told(client: &mut TestClient) -> bool {
    let told = async {
        loop {
            if let Event::InboxTouched(touched) = client.push().await
                && touched.channel == GROUP
            {
                return;
            }
        }
    };
    tokio::time::timeout(QUIET, told).await.is_ok()
}

async fn unread(client: &mut TestClient) -> Option<u64> {
    let Reply::Inbox(inbox) = ask(client, Verb::Sync(v1::Sync::default())).await else { panic!() };
    inbox.entries.iter().find(|entry| entry.channel == GROUP).map(|entry| entry.unread)
}

#[test]
fn i5_who_looks_hears_of_groups_of_up_to_600_and_finds_larger_ones() {
    let store = MemoryStore::new();
    with_held_clock(config(), store.stores(), 1, async |_, workers| {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let mut bob = TestClient::connect(&workers[0], "user2").await;
        let member = |n| v1::Member { user: format!("user{n}"), role: v1::Role::Member.into() };
        let members = (2..=500).map(member).collect();
        let create = v1::CreateChannel { channel: GROUP.into(), members, ..Default::default() };
        ask(&mut alice, Verb::CreateChannel(create)).await;
        let look = v1::Sync { live: true, ..Default::default() };
        ask(&mut bob, Verb::Sync(look)).await;

        publish(&mut alice, 1).await;
        assert!(is_told(&mut bob).await, "of 500 members");
        set_members(&mut alice, 501..=600).await;
        until_quiet(&mut bob).await;
        publish(&mut alice, 2).await;
        assert!(is_told(&mut bob).await, "of 600");

        set_members(&mut alice, 601..=601).await;
        until_quiet(&mut bob).await;
        let end = publish(&mut alice, 3).await;
        assert!(!is_told(&mut bob).await, "601 are too many to be told one by one");
        assert_eq!(unread(&mut bob).await, Some(end), "and find it when they look");

        for member in 400..=601 {
            let (channel, user) = (GROUP.into(), format!("user{member}"));
            let remove = v1::RemoveMember { channel, user };
            ask(&mut alice, Verb::RemoveMember(remove)).await;
        }
        until_quiet(&mut bob).await;
        publish(&mut alice, 4).await;
        assert!(is_told(&mut bob).await, "of 399");
    });
}
