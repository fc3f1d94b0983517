//! Promises of the intents.

use std::collections::BTreeMap;

use bytes::Bytes;
use sterna_proto::{ChannelKey, Position};

use super::model::Random;
use super::{Open, key, record};
use crate::{Append, AppendError, Intent, IntentStore, PageLimit, PublicationLog};

pub async fn intents_come_with_their_append_or_not_at_all(open: Open<'_>) {
    let stores = open();
    let (channel, slot) = (key("room"), key("room").slot());
    assert!(stores.intents.slots_with_intents().await.unwrap().is_empty());
    put(&*stores.log, channel, None, 1, &["first", "second"]).await.unwrap();
    let expected = [intent(slot, 1, "first"), intent(slot, 2, "second")];
    assert_eq!(all(&*stores.intents, slot).await, expected);
    assert_eq!(stores.intents.slots_with_intents().await.unwrap(), [slot]);
    let stale = put(&*stores.log, channel, None, 2, &["stale"]).await;
    assert!(matches!(stale, Err(AppendError::Conflict { .. })));
    let head = stores.log.head(channel).await.unwrap().unwrap();
    let again = put(&*stores.log, channel, Some(head.position), 1, &["again"]).await;
    assert!(matches!(again, Err(AppendError::Duplicates(_))));
    assert_eq!(all(&*stores.intents, slot).await, expected, "what did not happen owes nothing");
}

pub async fn intents_of_one_commit_are_numbered_in_its_order(open: Open<'_>) {
    let stores = open();
    let (one, other) = two_channels_of_a_slot();
    let slot = one.slot();
    let appends = [(one, "one"), (other, "other")].map(|(channel, text)| Append {
        intents: vec![Bytes::from(text)],
        ..Append::new(channel, None, vec![record("a", 1)])
    });
    for verdict in stores.log.append(appends.into()).await {
        verdict.unwrap();
    }
    let expected = [intent(slot, 1, "one"), intent(slot, 2, "other")];
    assert_eq!(all(&*stores.intents, slot).await, expected);
}

pub async fn intents_are_paged_by_size(open: Open<'_>) {
    let stores = open();
    let (channel, slot) = (key("room"), key("room").slot());
    put(&*stores.log, channel, None, 1, &["1234", "5678", "9"]).await.unwrap();
    let count = async |after, records, payload_bytes| {
        let limit = PageLimit { records, payload_bytes };
        stores.intents.intents(slot, after, limit).await.unwrap().len()
    };
    assert_eq!(count(0, 10, 100).await, 3);
    assert_eq!(count(0, 2, 100).await, 2);
    assert_eq!(count(0, 10, 8).await, 2);
    assert_eq!(count(0, 0, 0).await, 1, "the first fits any page");
    assert_eq!(count(2, 10, 100).await, 1);
    assert_eq!(count(3, 10, 100).await, 0);
    assert_eq!(count(u64::MAX, 10, 100).await, 0);
}

pub async fn completed_intents_are_gone_and_their_numbers_too(open: Open<'_>) {
    let stores = open();
    let (channel, slot) = (key("room"), key("room").slot());
    stores.intents.complete_intents(slot, 9).await.unwrap();
    put(&*stores.log, channel, None, 1, &["1", "2", "3"]).await.unwrap();
    for (upto, left) in [(0, 3), (2, 1), (1, 1), (1_000, 0), (2, 0)] {
        stores.intents.complete_intents(slot, upto).await.unwrap();
        assert_eq!(all(&*stores.intents, slot).await.len(), left, "up to {upto}");
    }
    assert!(stores.intents.slots_with_intents().await.unwrap().is_empty());
    stores.log.close().await.unwrap();
    drop(stores);
    let stores = open();
    assert_eq!(all(&*stores.intents, slot).await, []);
    let head = stores.log.head(channel).await.unwrap().unwrap();
    put(&*stores.log, channel, Some(head.position), 2, &["4"]).await.unwrap();
    assert_eq!(all(&*stores.intents, slot).await, [intent(slot, 4, "4")]);
}

pub async fn any_intents_agree_with_the_model(open: Open<'_>) {
    let stores = open();
    let mut random = Random::new(8);
    let mut model: BTreeMap<u16, Vec<Intent>> = BTreeMap::new();
    let mut newest: BTreeMap<u16, u64> = BTreeMap::new();
    let channels: Vec<ChannelKey> = (0..4).map(|n| key(&format!("room:{n}"))).collect();
    for step in 1..=150 {
        let channel = channels[random.below(4) as usize];
        let slot = channel.slot();
        let waiting = model.entry(slot).or_default();
        let number = newest.entry(slot).or_default();
        if random.below(4) == 0 {
            let upto = random.below(*number + 2);
            stores.intents.complete_intents(slot, upto).await.unwrap();
            waiting.retain(|intent| intent.number > upto);
        } else {
            let texts: Vec<String> = (0..random.below(4)).map(|n| format!("{step}/{n}")).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let head = stores.log.head(channel).await.unwrap().map(|head| head.position);
            put(&*stores.log, channel, head, step, &texts).await.unwrap();
            for text in texts {
                *number += 1;
                waiting.push(intent(slot, *number, text));
            }
        }
        assert_eq!(all(&*stores.intents, slot).await, model[&slot]);
        let slots: Vec<u16> =
            model.iter().filter(|(_, all)| !all.is_empty()).map(|(slot, _)| *slot).collect();
        assert_eq!(stores.intents.slots_with_intents().await.unwrap(), slots);
    }
}

async fn put(
    log: &dyn PublicationLog,
    channel: ChannelKey,
    expected: Option<Position>,
    seq: u64,
    texts: &[&str],
) -> Result<(), AppendError> {
    let intents = texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect();
    let append = Append { intents, ..Append::new(channel, expected, vec![record("a", seq)]) };
    log.append(vec![append]).await.remove(0).map(drop)
}

async fn all(intents: &dyn IntentStore, slot: u16) -> Vec<Intent> {
    intents.intents(slot, 0, super::WIDE).await.unwrap()
}

fn intent(slot: u16, number: u64, text: &str) -> Intent {
    Intent { slot, number, payload: Bytes::copy_from_slice(text.as_bytes()) }
}

fn two_channels_of_a_slot() -> (ChannelKey, ChannelKey) {
    let one = key("room:0");
    let twin = (1..).map(|n| key(&format!("room:{n}"))).find(|other| other.slot() == one.slot());
    (one, twin.unwrap())
}
