//! Promises of the inbox store.

use std::collections::BTreeMap;

use sterna_proto::{ChannelKey, Offset, UserId};
use tokio::task::JoinSet;

use super::model::Random;
use super::{Open, key, user};
use crate::{InboxChange, InboxEntry, InboxState, InboxStore, Pts};

pub async fn a_mark_moves_a_channel_behind_all_others(open: Open<'_>) {
    let inboxes = open().inboxes;
    assert_eq!(inboxes.inbox_head(user("alice")).await.unwrap(), Pts::ZERO);
    assert_eq!(inboxes.mark_dirty(user("alice"), Vec::new()).await.unwrap(), Pts::ZERO);
    let marks = vec![key("one"), key("two"), key("three")];
    let head = inboxes.mark_dirty(user("alice"), marks).await.unwrap();
    assert_eq!(channels(&entries(&*inboxes, "alice").await), ["one", "two", "three"].map(key));
    assert_eq!(entries(&*inboxes, "alice").await[2].pts, head);
    let moved = inboxes.mark_dirty(user("alice"), vec![key("one")]).await.unwrap();
    assert!(moved > head);
    assert_eq!(channels(&entries(&*inboxes, "alice").await), ["two", "three", "one"].map(key));
    assert_eq!(inboxes.inbox_head(user("alice")).await.unwrap(), moved);
    let later = inboxes.inbox(user("alice"), head, 10).await.unwrap();
    assert_eq!(later, [InboxEntry { pts: moved, channel: key("one") }]);
    assert_eq!(inboxes.inbox(user("alice"), moved, 10).await.unwrap(), []);
    assert_eq!(inboxes.inbox(user("alice"), Pts(u64::MAX), 10).await.unwrap(), []);
}

pub async fn inboxes_of_users_are_apart(open: Open<'_>) {
    let inboxes = open().inboxes;
    // Names of which one begins the other, in both orders of writing.
    for name in ["al", "alice", "a", "alicea"] {
        inboxes.mark_dirty(user(name), vec![key(name), key("all")]).await.unwrap();
    }
    for name in ["al", "alice", "a", "alicea"] {
        assert_eq!(channels(&entries(&*inboxes, name).await), [key(name), key("all")]);
        let states = inboxes.inbox_states(user(name), None, 10).await.unwrap();
        assert_eq!(states.len(), 2, "{name}");
    }
    assert!(inboxes.remove_from_inbox(user("al"), key("all")).await.unwrap());
    assert_eq!(entries(&*inboxes, "alice").await.len(), 2);
}

pub async fn an_inbox_is_paged_in_the_order_of_its_marks(open: Open<'_>) {
    let inboxes = open().inboxes;
    let all: Vec<ChannelKey> = (0..25).map(|n| key(&format!("room:{n}"))).collect();
    inboxes.mark_dirty(user("alice"), all.clone()).await.unwrap();
    let mut paged: Vec<InboxEntry> = Vec::new();
    loop {
        let after = paged.last().map_or(Pts::ZERO, |entry| entry.pts);
        let page = inboxes.inbox(user("alice"), after, 7).await.unwrap();
        assert!(page.len() <= 7);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(channels(&paged), all);
    assert!(paged.is_sorted_by(|one, other| one.pts < other.pts));
    assert_eq!(inboxes.inbox(user("alice"), Pts::ZERO, 0).await.unwrap(), []);
    let mut states: Vec<InboxState> = Vec::new();
    loop {
        let after = states.last().map(|state| state.channel);
        let page = inboxes.inbox_states(user("alice"), after, 7).await.unwrap();
        assert!(page.len() <= 7);
        if page.is_empty() {
            break;
        }
        states.extend(page);
    }
    assert_eq!(states.len(), 25);
    assert!(states.is_sorted_by(|one, other| one.channel < other.channel));
    assert_eq!(inboxes.inbox_states(user("alice"), None, 0).await.unwrap(), []);
}

pub async fn changes_merge_and_are_counted(open: Open<'_>) {
    let inboxes = open().inboxes;
    let change =
        async |change| inboxes.change_inbox(user("alice"), key("room"), change).await.unwrap();
    let muted = change(InboxChange { muted: Some(true), ..Default::default() }).await;
    let expected = InboxState { muted: true, version: 1, ..InboxState::new(key("room")) };
    assert_eq!(muted, expected);
    assert_eq!(entries(&*inboxes, "alice").await, [], "nothing is new there");
    let pts = inboxes.mark_dirty(user("alice"), vec![key("room")]).await.unwrap();
    let deleted = change(InboxChange { deleted_before: Offset(9), ..Default::default() }).await;
    let expected = InboxState { last_pts: pts, deleted_before: Offset(9), version: 2, ..expected };
    assert_eq!(deleted, expected);
    let nothing =
        InboxChange { muted: Some(true), deleted_before: Offset(5), ..Default::default() };
    assert_eq!(change(nothing).await, expected, "no difference, no version");
    let both = InboxChange { muted: Some(false), pinned: Some(true), ..Default::default() };
    let expected = InboxState { muted: false, pinned: true, version: 3, ..expected };
    assert_eq!(change(both).await, expected);
    let found = inboxes.inbox_state(user("alice"), key("room")).await.unwrap();
    assert_eq!(found, Some(expected));
    assert_eq!(inboxes.inbox_state(user("bob"), key("room")).await.unwrap(), None);
}

pub async fn pulled_channels_are_apart_from_marks_and_outlive_a_reopening(open: Open<'_>) {
    let stores = open();
    let inboxes = &stores.inboxes;
    let mut rooms = ["one", "two", "three"].map(key);
    for _ in 0..2 {
        for room in rooms {
            inboxes.set_pulled(user("alice"), room, true).await.unwrap();
        }
    }
    rooms.sort();
    inboxes.set_pulled(user("alicea"), key("other"), true).await.unwrap();
    assert_eq!(inboxes.pulled(user("alice"), 10).await.unwrap(), rooms);
    assert_eq!(inboxes.pulled(user("alice"), 2).await.unwrap(), rooms[..2]);
    assert_eq!(inboxes.pulled(user("alice"), 0).await.unwrap(), []);
    assert_eq!(inboxes.inbox_states(user("alice"), None, 10).await.unwrap(), []);
    inboxes.mark_dirty(user("alice"), vec![rooms[1]]).await.unwrap();
    assert!(inboxes.remove_from_inbox(user("alice"), rooms[1]).await.unwrap());
    assert_eq!(inboxes.pulled(user("alice"), 10).await.unwrap(), rooms);
    for room in [rooms[1], key("never")] {
        inboxes.set_pulled(user("alice"), room, false).await.unwrap();
    }
    stores.log.close().await.unwrap();
    drop(stores);
    let inboxes = open().inboxes;
    assert_eq!(inboxes.pulled(user("alice"), 10).await.unwrap(), [rooms[0], rooms[2]]);
    assert_eq!(inboxes.pulled(user("bob"), 10).await.unwrap(), []);
}

pub async fn places_are_not_given_again(open: Open<'_>) {
    let stores = open();
    let head = stores.inboxes.mark_dirty(user("alice"), vec![key("room")]).await.unwrap();
    assert!(stores.inboxes.remove_from_inbox(user("alice"), key("room")).await.unwrap());
    assert!(!stores.inboxes.remove_from_inbox(user("alice"), key("room")).await.unwrap());
    assert_eq!(entries(&*stores.inboxes, "alice").await, []);
    assert_eq!(stores.inboxes.inbox_state(user("alice"), key("room")).await.unwrap(), None);
    assert_eq!(stores.inboxes.inbox_head(user("alice")).await.unwrap(), head);
    stores.log.close().await.unwrap();
    drop(stores);
    let inboxes = open().inboxes;
    assert_eq!(inboxes.inbox_head(user("alice")).await.unwrap(), head);
    assert!(inboxes.mark_dirty(user("alice"), vec![key("room")]).await.unwrap() > head);
}

pub async fn racing_marks_get_places_of_their_own(open: Open<'_>) {
    let inboxes = open().inboxes;
    let mut markers = JoinSet::new();
    for n in 0..6 {
        let inboxes = inboxes.clone();
        markers.spawn(async move {
            let mut given = Vec::new();
            for _ in 0..10 {
                let channel = key(&format!("room:{n}"));
                given.push(inboxes.mark_dirty(user("alice"), vec![channel]).await.unwrap());
            }
            assert!(given.is_sorted_by(|one, other| one < other), "{given:?}");
            given
        });
    }
    let mut given: Vec<Pts> = markers.join_all().await.concat();
    given.sort();
    given.dedup();
    assert_eq!(given.len(), 60);
    assert_eq!(entries(&*inboxes, "alice").await.len(), 6, "one entry for each channel");
    assert_eq!(inboxes.inbox_head(user("alice")).await.unwrap(), given[59]);
}

pub async fn any_inbox_agrees_with_the_model(open: Open<'_>) {
    let inboxes = open().inboxes;
    for seed in [3, 17, 2024] {
        let mut random = Random::new(seed);
        let mut model: BTreeMap<UserId, Vec<ChannelKey>> = BTreeMap::new();
        let mut newest: BTreeMap<UserId, Pts> = BTreeMap::new();
        for _ in 0..120 {
            let who = user(&format!("user{}.{seed}", random.below(3)));
            let channel = key(&format!("room:{}", random.below(6)));
            let order = model.entry(who.clone()).or_default();
            let known = order.contains(&channel);
            order.retain(|other| *other != channel);
            if random.below(4) == 0 {
                let removed = inboxes.remove_from_inbox(who.clone(), channel).await.unwrap();
                assert_eq!(removed, known, "seed {seed}");
            } else {
                order.push(channel);
                let head = inboxes.mark_dirty(who.clone(), vec![channel]).await.unwrap();
                let before = newest.insert(who.clone(), head).unwrap_or_default();
                assert!(head > before, "seed {seed}");
            }
            let found = inboxes.inbox(who.clone(), Pts::ZERO, 100).await.unwrap();
            assert_eq!(channels(&found), model[&who], "seed {seed}");
            for entry in found {
                let state = inboxes.inbox_state(who.clone(), entry.channel).await.unwrap();
                assert_eq!(state.unwrap().last_pts, entry.pts, "seed {seed}");
            }
            let head = inboxes.inbox_head(who.clone()).await.unwrap();
            assert_eq!(head, newest.get(&who).copied().unwrap_or_default());
        }
    }
}

async fn entries(inboxes: &dyn InboxStore, name: &str) -> Vec<InboxEntry> {
    inboxes.inbox(user(name), Pts::ZERO, 100).await.unwrap()
}

fn channels(entries: &[InboxEntry]) -> Vec<ChannelKey> {
    entries.iter().map(|entry| entry.channel).collect()
}
