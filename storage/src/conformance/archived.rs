//! Promises of how far channels are archived, and of the listing that the archiver goes by.

use std::collections::BTreeMap;

use bytes::Bytes;
use sterna_proto::{ChannelKey, Offset};

use super::model::Random;
use super::{Open, append, key, records};
use crate::archived::CONTENT_BYTES;
use crate::{Archived, ArchivedChange, ArchivedError, ArchivedStore, Head, PublicationLog};

pub async fn a_channel_is_archived_from_what_was_expected(open: Open<'_>) {
    let store = open().archived;
    assert_eq!(store.archived(vec![key("room")]).await.unwrap(), [None]);
    let (first, twin) = (archived(10, "first"), archived(10, "twin"));
    change(&*store, "room", None, first.clone()).await.unwrap();
    assert_eq!(conflict(change(&*store, "room", None, twin.clone()).await), Some(first.clone()));
    let late = change(&*store, "room", Some(twin), archived(20, "late")).await;
    assert_eq!(conflict(late), Some(first.clone()), "the content is compared too");
    let moved = archived(10, "moved");
    change(&*store, "room", Some(first), moved.clone()).await.unwrap();
    assert_eq!(store.archived(vec![key("room")]).await.unwrap(), [Some(moved)]);
}

pub async fn i7_what_is_archived_stays_archived(open: Open<'_>) {
    let store = open().archived;
    let there = archived(10, "there");
    change(&*store, "room", None, there.clone()).await.unwrap();
    let back = change(&*store, "room", Some(there.clone()), archived(9, "back")).await;
    assert_eq!(conflict(back), Some(there.clone()));
    assert_eq!(store.archived(vec![key("room")]).await.unwrap(), [Some(there)]);
}

pub async fn channels_of_one_call_are_archived_apart(open: Open<'_>) {
    let store = open().archived;
    let large = Archived { upto: Offset(3), content: Bytes::from(vec![7; CONTENT_BYTES]) };
    change(&*store, "b", None, archived(1, "b")).await.unwrap();
    let wish =
        |name: &str, archived| ArchivedChange { channel: key(name), expected: None, archived };
    let wishes =
        vec![wish("a", archived(2, "a")), wish("b", archived(2, "x")), wish("c", large.clone())];
    let verdicts = store.change_archived(wishes).await;
    assert!(verdicts[0].is_ok() && verdicts[2].is_ok(), "{verdicts:?}");
    assert_eq!(conflict(verdicts[1].clone()), Some(archived(1, "b")));
    let asked = ["c", "nobody", "a", "b", "c"].map(key).to_vec();
    let found = store.archived(asked).await.unwrap();
    let large = Some(large);
    let expected = [large.clone(), None, Some(archived(2, "a")), Some(archived(1, "b")), large];
    assert_eq!(found, expected);
    assert_eq!(store.archived(Vec::new()).await.unwrap(), []);
    assert!(store.change_archived(Vec::new()).await.is_empty());
}

pub async fn of_many_archivers_one_wins(open: Open<'_>) {
    let store = open().archived;
    let mut stored = None;
    for round in 1..=5 {
        let mut racing = tokio::task::JoinSet::new();
        for n in 0..4 {
            let (store, expected) = (store.clone(), stored.clone());
            let wish = archived(round * 10, &format!("{round} {n}"));
            racing.spawn(async move {
                change(&*store, "room", expected, wish.clone()).await.map(|()| wish)
            });
        }
        let verdicts = racing.join_all().await;
        let mut winners = verdicts.into_iter().filter_map(Result::ok);
        stored = winners.next();
        assert!(stored.is_some() && winners.next().is_none(), "round {round}");
        assert_eq!(store.archived(vec![key("room")]).await.unwrap(), [stored.clone()]);
    }
}

pub async fn how_far_a_channel_is_archived_outlives_a_reopening(open: Open<'_>) {
    let stores = open();
    change(&*stores.archived, "room", None, archived(7, "seven")).await.unwrap();
    stores.log.close().await.unwrap();
    drop(stores);
    let store = open().archived;
    assert_eq!(store.archived(vec![key("room")]).await.unwrap(), [Some(archived(7, "seven"))]);
}

pub async fn heads_of_a_slot_are_listed_in_key_order(open: Open<'_>) {
    let log = open().log;
    let mut random = Random::new(11);
    let mut slots: BTreeMap<u16, BTreeMap<ChannelKey, Head>> = BTreeMap::new();
    // Neighbouring slots, the first and the last, several channels in each.
    for slot in [0, 1, 7, 8, 9, 1023, 1024, 2046, 2047] {
        for _ in 0..7 {
            let mut bytes = [0; 16];
            bytes.iter_mut().for_each(|byte| *byte = random.below(256) as u8);
            let place = slot << 5 | u16::from(bytes[1] & 31);
            bytes[..2].copy_from_slice(&place.to_be_bytes());
            let channel = ChannelKey(bytes);
            assert_eq!(channel.slot(), slot);
            let head = append(&*log, channel, records("a", 1, 1 + random.below(3))).await;
            slots.entry(slot).or_default().insert(channel, head);
        }
    }
    for (slot, expected) in &slots {
        for limit in [1, 3, 7, 100] {
            assert_eq!(listed(&*log, *slot, limit).await, *expected, "slot {slot} by {limit}");
        }
        assert_eq!(log.slot_heads(*slot, None, 0).await.unwrap(), []);
    }
    assert_eq!(log.slot_heads(500, None, 10).await.unwrap(), []);
}

async fn listed(log: &dyn PublicationLog, slot: u16, limit: usize) -> BTreeMap<ChannelKey, Head> {
    let (mut found, mut after) = (BTreeMap::new(), None);
    loop {
        let page = log.slot_heads(slot, after, limit).await.unwrap();
        assert!(page.len() <= limit && page.is_sorted_by_key(|(channel, _)| *channel));
        let Some((last, _)) = page.last() else { return found };
        assert!(after.is_none_or(|after| page[0].0 > after));
        after = Some(*last);
        found.extend(page);
    }
}

fn archived(upto: u64, content: &str) -> Archived {
    Archived { upto: Offset(upto), content: Bytes::copy_from_slice(content.as_bytes()) }
}

async fn change(
    store: &dyn ArchivedStore,
    name: &str,
    expected: Option<Archived>,
    archived: Archived,
) -> Result<(), ArchivedError> {
    let change = ArchivedChange { channel: key(name), expected, archived };
    store.change_archived(vec![change]).await.remove(0)
}

fn conflict(verdict: Result<(), ArchivedError>) -> Option<Archived> {
    match verdict {
        Err(ArchivedError::Conflict { found }) => found,
        other => panic!("a conflict was expected: {other:?}"),
    }
}
