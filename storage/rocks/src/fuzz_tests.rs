//! Fuzz target of everything that lies on the disk: no bytes make a decoder panic, what is read is
//! what was written, and a value that was damaged or moved never passes for one.

use std::path::{Component, Path};

use bytes::Bytes;
use sterna_fuzz::{Script, check};
use sterna_proto::{ChannelKey, Offset, UserId};
use sterna_storage::SegmentKey;

use crate::backup::Inventory;
use crate::encoding::*;
use crate::{archived, guard, inboxes, intents, manifest, relations, revocations};

#[test]
fn fuzz_storage_values() {
    check!("storage_values", |bytes: &[u8]| {
        let Some((family, content)) = bytes.split_first() else { return };
        decode_by_family(*family, content);
    });
}

/// One decoder of a column family. What is taken says itself again, as far as it is written at all.
fn decode_by_family(family: u8, content: &[u8]) {
    let alice = UserId::new("alice").unwrap();
    match family % 15 {
        0 => {
            if let Ok(head) = decode_head(content) {
                assert_eq!(decode_head(&encode_head(&head)), Ok(head));
            }
        }
        1 => {
            if let Ok(record) = decode_record(Offset(7), Bytes::copy_from_slice(content)) {
                let again = encode_record(&record);
                assert_eq!(decode_record(Offset(7), again.into()), Ok(record));
            }
        }
        2 => {
            if let Ok(found) = decode_dedup(content) {
                assert_eq!(encode_dedup(&found, 0)[8..], content[8..]);
            }
        }
        3 => {
            if let Ok(channel) = decode_channel(content) {
                assert_eq!(decode_channel(&encode_channel(&channel)), Ok(channel));
            }
        }
        4 => {
            if let Ok(member) = decode_member(alice.clone(), content) {
                assert_eq!(decode_member(alice, &encode_member(&member)), Ok(member));
            }
        }
        5 => {
            if let Ok(cursor) = decode_cursor(alice.clone(), content) {
                assert_eq!(decode_cursor(alice, &encode_cursor(&cursor)), Ok(cursor));
            }
        }
        6 => assert_eq!(decode_number(content).is_ok(), content.len() == 8),
        7 => {
            if let Ok(user) = decode_user(content) {
                assert_eq!(user.as_str().as_bytes(), content);
            }
        }
        8 => {
            let channel = ChannelKey([3; 16]);
            if let Ok(state) = inboxes::decode_state(channel, content) {
                let again = inboxes::encode_state(&state);
                assert_eq!(inboxes::decode_state(channel, &again), Ok(state));
            }
        }
        9 => {
            drop(relations::decode_stored(content));
            drop(revocations::decode_revoked(content));
        }
        10 => drop(intents::Count::decode(content)),
        11 => drop(intents::decode_slot(content)),
        12 => drop(inboxes::decode_channel_key(content)),
        14 => {
            if let Ok(archived) = archived::decode_archived(content) {
                assert_eq!(archived::encode_archived(&archived), content);
            }
        }
        _ => {
            let key = SegmentKey { shard: 1, first_ts_ms: 2, segment: 3 };
            if let Ok(entry) = manifest::decode_entry(key, content) {
                assert_eq!(entry.content, content[1..]);
            }
            if let Ok(key) = manifest::decode_key(content) {
                assert_eq!(manifest::encode_key(key), content);
            }
        }
    }
}

/// A key, damages, and the content of a value.
#[test]
fn fuzz_storage_seal() {
    check!("storage_seal", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        let key = script.bytes(40);
        let (at, change) = (usize::from(script.byte()), script.byte());
        let content = script.rest();
        drop(unseal(key, content));
        drop(dedup_received_at_ms(key, content));
        let sealed = seal(key, content);
        assert_eq!(unseal(key, &sealed), Ok(content));
        let mut damaged = sealed.clone();
        let place = at % damaged.len();
        damaged[place] ^= change;
        assert_eq!(unseal(key, &damaged).is_ok(), change == 0, "byte {place} by {change:02x}");
        assert!(unseal(key, &sealed[..place]).is_err(), "cut at {place}");
        assert!(unseal(&[key, b"x"].concat(), &sealed).is_err(), "in another's place");
    });
}

/// What a backup says of itself, with a digest that is right.
#[test]
fn fuzz_backup_inventory() {
    check!("backup_inventory", |bytes: &[u8]| {
        drop(Inventory::parse(bytes));
        let Ok(mut read) = serde_json::from_slice::<Inventory>(bytes) else { return };
        read.digest = read.digest_of();
        let text = serde_json::to_vec(&read).unwrap();
        let Ok(inventory) = Inventory::parse(&text) else { return };
        assert_eq!(inventory, read);
        for file in &inventory.files {
            let place = file.place(Path::new("/backups/one")).unwrap();
            let inside = place.strip_prefix("/backups/one").unwrap();
            assert!(inside.components().all(|part| matches!(part, Component::Normal(_))));
        }
    });
}

/// A torn or damaged guard file claims what was claimed, or nothing: never more.
#[test]
fn fuzz_guard() {
    check!("guard", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        let (older, newer) = (script.number(), script.number());
        let mut content = guard::file_with(older, newer);
        while let Some(step) = script.step() {
            let at = usize::from(step) * 37 + usize::from(script.byte());
            let end = (at + script.bytes(30).len()).min(content.len());
            let fill = script.byte();
            content.get_mut(at..end).into_iter().flatten().for_each(|byte| *byte = fill);
        }
        let claim = guard::newest(&content).map(|(_, commit)| commit);
        assert!(claim.is_none_or(|commit| commit == older || commit == newer), "{claim:?}");
        let _ = guard::newest(bytes);
    });
}
