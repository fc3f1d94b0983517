//! Inboxes end to end inside one process: what members find in theirs, who is told, and what a crash
//! or a second owner leaves of it.

#![allow(clippy::unwrap_used)]

mod support;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use sterna_core::{CoreConfig, Identity, Node, Permission, Worker};
use sterna_proto::v1::{self, command::Verb, push::Event, reply::Result as Reply};
use sterna_proto::{ChannelId, ErrorCode, UserId};
use sterna_storage::fault::{FaultPoint, FaultyLog};
use sterna_storage::memory::MemoryStore;
use sterna_storage::{InboxStore as _, IntentStore as _, PageLimit, Pts, StorageErrorKind, Stores};
use support::{TestClient, config, counted, counts, error, identity, publish, with_held_clock};

const DM: &str = "dm:alice:bob";

fn with_node<F: Future<Output = ()>>(store: &MemoryStore, test: impl FnOnce(Worker) -> F) {
    with_rules(config(), store, test);
}

fn with_rules<F: Future<Output = ()>>(
    config: CoreConfig,
    store: &MemoryStore,
    test: impl FnOnce(Worker) -> F,
) {
    with_held_clock(config, store.stores(), 1, |_, mut workers| test(workers.remove(0)));
}

/// Groups of a handful count as large.
fn small_numbers() -> CoreConfig {
    let mut config = config();
    let rules = &mut config.inbox;
    (rules.enroll_above, rules.pull_above, rules.write_below) = (4, 6, 3);
    (rules.busy_members, rules.busy_minutes) = (100, 1000);
    config
}

async fn sync(client: &mut TestClient, since: Option<v1::InboxPosition>) -> v1::Inbox {
    ask_sync(client, v1::Sync { since, ..Default::default() }).await
}

async fn ask_sync(client: &mut TestClient, sync: v1::Sync) -> v1::Inbox {
    match client.ask(Verb::Sync(sync)).await {
        Reply::Inbox(inbox) => inbox,
        other => panic!("{other:?}"),
    }
}

/// Syncs until the inbox is as it should be.
async fn sync_until(
    client: &mut TestClient,
    since: Option<v1::InboxPosition>,
    holds: impl Fn(&v1::Inbox) -> bool,
) -> v1::Inbox {
    let mut last = v1::Inbox::default();
    for _ in 0..200 {
        last = sync(client, since).await;
        if holds(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("never: {last:?}");
}

fn entry<'a>(inbox: &'a v1::Inbox, channel: &str) -> Option<&'a v1::InboxEntry> {
    inbox.entries.iter().find(|entry| entry.channel == channel)
}

fn unread(inbox: &v1::Inbox, channel: &str) -> Option<u64> {
    entry(inbox, channel).map(|entry| entry.unread)
}

async fn touched(client: &mut TestClient) -> String {
    loop {
        if let Event::InboxTouched(touched) = client.push().await {
            return touched.channel;
        }
    }
}

async fn done(client: &mut TestClient, verb: Verb) {
    let reply = client.ask(verb).await;
    assert!(matches!(reply, Reply::Done(_)), "{reply:?}");
}

async fn group(client: &mut TestClient, channel: &str, members: &[&str]) {
    let member = |name: &&str| v1::Member { user: (*name).into(), role: v1::Role::Member.into() };
    let create = v1::CreateChannel {
        channel: channel.into(),
        members: members.iter().map(member).collect(),
        ..Default::default()
    };
    let reply = client.ask(Verb::CreateChannel(create)).await;
    assert!(matches!(reply, Reply::Channel(_)), "{reply:?}");
}

fn set_member(channel: &str, user: &str) -> Verb {
    let member = v1::Member { user: user.into(), role: v1::Role::Member.into() };
    Verb::SetMember(v1::SetMember { channel: channel.into(), member: Some(member) })
}

fn remove_member(channel: &str, user: &str) -> Verb {
    Verb::RemoveMember(v1::RemoveMember { channel: channel.into(), user: user.into() })
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

async fn intents_left(store: &MemoryStore) -> usize {
    let limit = PageLimit { records: 1000, payload_bytes: 1 << 20 };
    let mut left = 0;
    for slot in store.slots_with_intents().await.unwrap() {
        left += store.intents(slot, 0, limit).await.unwrap().len();
    }
    left
}

async fn until_no_intent_is_left(store: &MemoryStore) {
    for _ in 0..600 {
        if intents_left(store).await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{} intents are left", intents_left(store).await);
}

#[test]
fn an_inbox_shows_what_is_unread_and_sending_implies_reading() {
    let store = MemoryStore::new();
    with_node(&store, async |worker| {
        let mut alice = TestClient::connect(&worker, "alice").await;
        let mut bob = TestClient::connect(&worker, "bob").await;
        for seq in 1..=3 {
            alice.publish(DM, seq, "hello").await;
        }
        let inbox = sync_until(&mut bob, None, |inbox| unread(inbox, DM) == Some(3)).await;
        let found = entry(&inbox, DM).unwrap();
        assert_eq!(found.kind(), v1::ChannelKind::Direct);
        assert!(found.head_offset == 3 && found.last_ts_ms > 0 && found.epoch > 0);
        sync_until(&mut alice, None, |inbox| unread(inbox, DM) == Some(0)).await;
        done(&mut bob, Verb::MarkRead(v1::MarkRead { channel: DM.into(), offset: 2 })).await;
        sync_until(&mut bob, None, |inbox| unread(inbox, DM) == Some(1)).await;
        bob.publish(DM, 1, "hi").await;
        sync_until(&mut bob, None, |inbox| unread(inbox, DM) == Some(0)).await;
        sync_until(&mut alice, None, |inbox| unread(inbox, DM) == Some(1)).await;
    });
}

#[test]
fn a_sync_goes_on_where_the_last_one_ended() {
    let store = MemoryStore::new();
    with_node(&store, async |worker| {
        let mut alice = TestClient::connect(&worker, "alice").await;
        let mut bob = TestClient::connect(&worker, "bob").await;
        let names: Vec<String> = (0..5).map(|n| format!("group:{n}")).collect();
        for name in &names {
            group(&mut alice, name, &["bob"]).await;
        }
        let (mut found, mut since) = (Vec::new(), None);
        loop {
            let page = ask_sync(&mut bob, v1::Sync { since, limit: 2, live: false }).await;
            found.extend(page.entries.into_iter().map(|entry| entry.channel));
            since = page.position;
            if !page.more {
                break;
            }
        }
        assert_eq!(found, names);
        // Past the time for which what was touched is told again.
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(sync(&mut bob, since).await.entries.is_empty());
        alice.publish("group:2", 1, "x").await;
        let news = sync_until(&mut bob, since, |inbox| !inbox.entries.is_empty()).await;
        assert_eq!((news.entries.len(), unread(&news, "group:2")), (1, Some(1)));
        let beyond = v1::InboxPosition { pts: 1 << 40, looked_ms: 1 };
        let again = sync(&mut bob, Some(beyond)).await;
        assert!(again.start_over && again.entries.len() == 5);
    });
}

#[test]
fn who_looks_is_told_of_channels_that_it_is_not_subscribed_to() {
    let store = MemoryStore::new();
    with_node(&store, async |worker| {
        let mut alice = TestClient::connect(&worker, "alice").await;
        let mut bob = TestClient::connect(&worker, "bob").await;
        group(&mut alice, "group:1", &["bob"]).await;
        group(&mut alice, "group:2", &["bob"]).await;
        bob.subscribe("group:1", None).await;
        ask_sync(&mut bob, v1::Sync { live: true, ..Default::default() }).await;
        alice.publish("group:1", 1, "subscribed").await;
        alice.publish("group:2", 1, "not subscribed").await;
        assert_eq!(touched(&mut bob).await, "group:2");
        let now = sync(&mut bob, None).await;
        assert_eq!(unread(&now, "group:2"), Some(1), "told before it is written");
        done(&mut alice, set_member("group:1", "carol")).await;
        let mut carol = TestClient::connect(&worker, "carol").await;
        // Her own becoming a member is a record too.
        assert_eq!(unread(&sync(&mut carol, None).await, "group:1"), Some(2));
    });
}

/// The mark of the first waits for the second, and a device that looks has looked in between.
#[test]
fn who_looks_is_told_of_everything_that_one_mark_is_for() {
    let store = MemoryStore::new();
    with_node(&store, async |worker| {
        let mut alice = TestClient::connect(&worker, "alice").await;
        let mut bob = TestClient::connect(&worker, "bob").await;
        ask_sync(&mut bob, v1::Sync { live: true, ..Default::default() }).await;
        for seq in 1..=5 {
            alice.publish(DM, seq, "hello").await;
            assert_eq!(touched(&mut bob).await, DM);
            assert_eq!(unread(&sync(&mut bob, None).await, DM), Some(seq));
        }
        let written = store.inbox(user("bob"), Pts::ZERO, 10).await.unwrap();
        assert!(written.is_empty(), "one mark was to be for all of them: {written:?}");
    });
}

#[test]
fn a_sync_counts_in_what_is_not_written_yet() {
    let store = MemoryStore::new();
    with_node(&store, async |worker| {
        let mut alice = TestClient::connect(&worker, "alice").await;
        let mut bob = TestClient::connect(&worker, "bob").await;
        alice.publish(DM, 1, "hello").await;
        let inbox = sync_until(&mut bob, None, |inbox| unread(inbox, DM) == Some(1)).await;
        let written = store.inbox(user("bob"), Pts::ZERO, 10).await.unwrap();
        assert!(written.is_empty(), "{written:?}");
        // It comes again with its mark: nobody who goes on from here misses it.
        until_no_intent_is_left(&store).await;
        let later = sync(&mut bob, inbox.position).await;
        assert_eq!(unread(&later, DM), Some(1));
    });
}

/// A node ends between commit and mark, without having heard of the commit even; the next one finds
/// the intent in the store.
#[test]
fn i1_an_intent_outlives_the_owner_that_stored_it() {
    let store = MemoryStore::new();
    let log = Arc::new(FaultyLog::new(store.stores().log));
    log.fail_appends(1, FaultPoint::AfterAppend, StorageErrorKind::Unavailable);
    let stores = Stores { log, ..store.stores() };
    with_held_clock(config(), stores, 1, async |_, workers| {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        error(alice.ask(publish(DM, 1, "hello")).await);
    });
    let bobs = store.inbox(user("bob"), Pts::ZERO, 9).now_or_never().unwrap().unwrap();
    assert!(bobs.is_empty(), "{bobs:?}");
    with_node(&store, async |worker| {
        assert_eq!(intents_left(&store).await, 1);
        let mut bob = TestClient::connect(&worker, "bob").await;
        until_no_intent_is_left(&store).await;
        assert_eq!(unread(&sync(&mut bob, None).await, DM), Some(1));
    });
}

/// Two nodes that know nothing of each other work on the same intents.
#[test]
fn two_owners_at_once_do_no_harm() {
    let store = MemoryStore::new();
    with_node(&store, async |worker| {
        let other = Node::start(
            CoreConfig { id_worker: 1, ..config() },
            store.stores(),
            Arc::new(sterna_core::SystemClock),
        );
        let other = other.await.unwrap();
        let second = Worker::new(&other, 0);
        let mut alice = TestClient::connect(&worker, "alice").await;
        let hello = v1::Hello { client_id: "alice-desk".into(), ..Default::default() };
        let mut desk = TestClient::hello(&second, "alice", hello).await.unwrap();
        for seq in 1..=5 {
            alice.publish(DM, seq, "here").await;
            desk.publish(DM, seq, "there").await;
        }
        until_no_intent_is_left(&store).await;
        for worker in [&worker, &second] {
            let mut bob = TestClient::connect(worker, "bob").await;
            assert_eq!(unread(&sync(&mut bob, None).await, DM), Some(10));
        }
        drop(desk);
        assert!(other.shutdown(Duration::from_secs(10)).await);
    });
}

#[test]
fn i11_an_inbox_shows_only_channels_that_its_user_is_a_member_of() {
    let store = MemoryStore::new();
    with_node(&store, async |worker| {
        let mut alice = TestClient::connect(&worker, "alice").await;
        let mut bob = TestClient::connect(&worker, "bob").await;
        group(&mut alice, "group:1", &["bob", "carol"]).await;
        alice.publish("group:1", 1, "x").await;
        let before = sync_until(&mut bob, None, |inbox| unread(inbox, "group:1") == Some(1)).await;
        until_no_intent_is_left(&store).await;
        done(&mut alice, remove_member("group:1", "bob")).await;
        alice.publish("group:1", 2, "not for bob").await;
        let after = sync_until(&mut bob, before.position, |inbox| !inbox.entries.is_empty()).await;
        let left = v1::InboxEntry {
            channel: "group:1".into(),
            kind: v1::ChannelKind::Group.into(),
            left: true,
            ..Default::default()
        };
        assert!(after.entries.iter().all(|entry| *entry == left), "{after:?}");
        assert!(sync(&mut bob, None).await.entries.is_empty());
        let change = v1::ChangeInbox { channel: "group:1".into(), ..Default::default() };
        let refused = error(bob.ask(Verb::ChangeInbox(change)).await);
        assert_eq!(refused.code, ErrorCode::PermissionDenied.number());
        // A token that does not name the channel shows nothing of it.
        let permissions = vec![Permission::all("dm:*")];
        let narrow = Identity { permissions, ..identity("carol") };
        let hello = v1::Hello { client_id: "c".into(), ..Default::default() };
        let mut carol = TestClient::hello_as(&worker, narrow, hello).await;
        assert!(sync(&mut carol, None).await.entries.is_empty());
        done(&mut alice, set_member("group:1", "bob")).await;
        sync_until(&mut bob, None, |inbox| unread(inbox, "group:1") == Some(4)).await;
    });
}

#[test]
fn i8_what_a_user_changes_is_kept_and_told_to_other_devices() {
    let store = MemoryStore::new();
    with_node(&store, async |worker| {
        let mut alice = TestClient::connect(&worker, "alice").await;
        let mut phone = TestClient::connect(&worker, "bob").await;
        let hello = v1::Hello { client_id: "bob-desk".into(), ..Default::default() };
        let mut desk = TestClient::hello(&worker, "bob", hello).await.unwrap();
        for seq in 1..=4 {
            alice.publish(DM, seq, "x").await;
        }
        until_no_intent_is_left(&store).await;
        let live = v1::Sync { live: true, ..Default::default() };
        let since = ask_sync(&mut desk, live).await.position;
        let change = v1::ChangeInbox { channel: DM.into(), ..Default::default() };
        let flags = v1::ChangeInbox {
            muted: Some(true),
            pinned: Some(true),
            deleted_before: 3,
            ..change.clone()
        };
        done(&mut phone, Verb::ChangeInbox(flags)).await;
        assert_eq!(touched(&mut desk).await, DM);
        let inbox = sync(&mut desk, since).await;
        let found = entry(&inbox, DM).unwrap();
        assert!(found.muted && found.pinned && found.unread == 2 && found.deleted_before == 3);
        let back = v1::ChangeInbox { deleted_before: 1, muted: Some(false), ..change.clone() };
        done(&mut phone, Verb::ChangeInbox(back)).await;
        let inbox = sync(&mut desk, since).await;
        let found = entry(&inbox, DM).unwrap();
        assert!(!found.muted && found.pinned && found.deleted_before == 3, "never back");
        done(&mut phone, Verb::ChangeInbox(v1::ChangeInbox { remove: true, ..change })).await;
        let inbox = sync(&mut desk, since).await;
        let found = entry(&inbox, DM).unwrap();
        assert!(found.removed && !found.pinned && found.unread == 0);
        assert!(sync(&mut phone, None).await.entries.is_empty(), "no news for who knows nothing");
        alice.publish(DM, 5, "back again").await;
        sync_until(&mut phone, None, |inbox| unread(inbox, DM) == Some(1)).await;
    });
}

#[test]
fn a_large_group_is_pulled_and_nobody_misses_anything_while_it_grows_and_shrinks() {
    let store = MemoryStore::new();
    with_rules(small_numbers(), &store, async |worker| {
        let mut alice = TestClient::connect(&worker, "alice").await;
        group(&mut alice, "group:1", &["bob"]).await;
        let mut bob = TestClient::connect(&worker, "bob").await;
        let mut since = sync(&mut bob, None).await.position;
        let mut seq = 0;
        for members in (3..=9).chain((2..9).rev()) {
            let changed = format!("user{members}");
            let verb = match seq < 7 {
                true => set_member("group:1", &changed),
                false => remove_member("group:1", &format!("user{}", members + 1)),
            };
            done(&mut alice, verb).await;
            seq += 1;
            let end = alice.publish("group:1", seq, "x").await.offset;
            let shows = |inbox: &v1::Inbox| unread(inbox, "group:1") == Some(end);
            since = sync_until(&mut bob, since, shows).await.position;
            until_no_intent_is_left(&store).await;
            if members == 9 && seq == 7 {
                let mut last = TestClient::connect(&worker, "user9").await;
                sync_until(&mut last, None, shows).await;
                let pts = store.inbox_head(user("bob")).await.unwrap();
                alice.publish("group:1", 100, "for all").await;
                tokio::time::sleep(Duration::from_secs(30)).await;
                assert_eq!(store.inbox_head(user("bob")).await.unwrap(), pts, "nobody is marked");
                seq += 1;
            }
        }
        let key = ChannelId::new("group:1").unwrap().key();
        let pulled = store.pulled(user("bob"), 9).await.unwrap();
        assert!(!pulled.contains(&key), "written again, so nobody looks");
    });
}

#[test]
fn open_and_broadcast_channels_are_pulled_by_their_members_and_owe_nothing() {
    let store = MemoryStore::new();
    with_node(&store, async |worker| {
        let mut alice = TestClient::connect(&worker, "alice").await;
        let mut bob = TestClient::connect(&worker, "bob").await;
        alice.publish("room:open", 1, "made by use").await;
        let create = v1::CreateChannel {
            channel: "news".into(),
            kind: v1::ChannelKind::Broadcast.into(),
            ..Default::default()
        };
        alice.ask(Verb::CreateChannel(create)).await;
        done(&mut alice, set_member("news", "bob")).await;
        alice.publish("news", 1, "x").await;
        assert_eq!(intents_left(&store).await, 0);
        let inbox = sync(&mut bob, None).await;
        assert_eq!((inbox.entries.len(), unread(&inbox, "news")), (1, Some(2)));
        alice.publish("news", 2, "y").await;
        let news = sync(&mut bob, inbox.position).await;
        assert_eq!(unread(&news, "news"), Some(3));
        assert_eq!(intents_left(&store).await, 0);
    });
}

#[test]
fn a_busy_group_is_pulled_once_all_are_enrolled() {
    let mut config = config();
    (config.inbox.busy_members, config.inbox.busy_minutes) = (1, 0);
    let store = MemoryStore::new();
    counted(|snapshotter| {
        with_rules(config, &store, async |worker| {
            let mut alice = TestClient::connect(&worker, "alice").await;
            let mut bob = TestClient::connect(&worker, "bob").await;
            group(&mut alice, "group:1", &["bob"]).await;
            let mut seq = 0;
            loop {
                seq += 1;
                alice.publish("group:1", seq, "x").await;
                let key = ChannelId::new("group:1").unwrap().key();
                if store.pulled(user("bob"), 9).await.unwrap().contains(&key) && seq > 3 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            until_no_intent_is_left(&store).await;
            sync_until(&mut bob, None, |inbox| unread(inbox, "group:1") == Some(seq)).await;
        });
        let moved = counts(snapshotter, &["sterna_core_inbox_modes_total"]);
        assert!(moved[0] >= 1, "{moved:?}");
    });
}

#[test]
fn i12_syncs_have_a_rate_and_touches_a_bound() {
    let mut config = config();
    config.rates.sync = sterna_core::config::Rate { per_second: 1, burst: 2 };
    config.queues.inbox_touches = 0;
    let store = MemoryStore::new();
    counted(|snapshotter| {
        with_rules(config, &store, async |worker| {
            let mut alice = TestClient::connect(&worker, "alice").await;
            let mut bob = TestClient::connect(&worker, "bob").await;
            alice.publish(DM, 1, "hello").await;
            alice.publish(DM, 2, "hello").await;
            until_no_intent_is_left(&store).await;
            assert_eq!(unread(&sync(&mut bob, None).await, DM), Some(2));
            sync(&mut bob, None).await;
            let refused = error(bob.ask(Verb::Sync(v1::Sync::default())).await);
            assert_eq!(refused.code, ErrorCode::RateLimited.number());
            let sent = alice.send(publish(DM, 3, "commands go on"));
            assert!(matches!(alice.reply(sent).await, Reply::Published(_)));
        });
        let moved = counts(
            snapshotter,
            &[
                "sterna_core_inbox_touches_refused_total",
                "sterna_core_inbox_syncs_total",
                "sterna_core_inbox_marks_total",
            ],
        );
        assert!(moved[0] >= 2 && moved[1] == 2 && moved[2] >= 2, "{moved:?}");
    });
}

#[test]
fn marks_of_a_lively_channel_are_merged() {
    let store = MemoryStore::new();
    counted(|snapshotter| {
        with_node(&store, async |worker| {
            let mut alice = TestClient::connect(&worker, "alice").await;
            group(&mut alice, "group:1", &["bob", "carol"]).await;
            for seq in 1..=20 {
                alice.publish("group:1", seq, "x").await;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            until_no_intent_is_left(&store).await;
            let mut bob = TestClient::connect(&worker, "bob").await;
            assert_eq!(unread(&sync(&mut bob, None).await, "group:1"), Some(20));
        });
        let taken = snapshotter.snapshot().into_vec();
        let has = |name: &str| taken.iter().any(|(key, ..)| key.key().name() == name);
        assert!(has("sterna_core_intent_lag_seconds") && has("sterna_core_inbox_marks_held"));
        assert!(has("sterna_core_inbox_tells_held"));
        assert!(has("sterna_core_inbox_pulls_total"));
        let sum = |name: &str| -> u64 {
            let of = taken.iter().filter(|(key, ..)| key.key().name() == name);
            of.map(|(.., value)| match value {
                metrics_util::debugging::DebugValue::Counter(count) => *count,
                _ => 0,
            })
            .sum()
        };
        let (marks, merged) =
            (sum("sterna_core_inbox_marks_total"), sum("sterna_core_inbox_marks_merged_total"));
        assert!(marks <= 12 && merged >= 30, "{marks} marks, {merged} merged");
    });
}
