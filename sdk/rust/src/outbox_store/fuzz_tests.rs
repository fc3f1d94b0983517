//! Fuzz targets of the outbox in a file: any bytes are read without a panic, and what a file adds
//! up to is what a fresh file with the same entries adds up to.

use sterna_fuzz::{Script, check};
use sterna_proto::v1::Publish;

use super::OutboxChange;
use super::journal::{self, Replayed};

#[test]
fn fuzz_outbox_file() {
    check!("outbox_file", |bytes: &[u8]| {
        let replayed = journal::replay(bytes);
        assert!(replayed.good_bytes <= bytes.len());
        let cut = journal::replay(&bytes[..replayed.good_bytes]);
        assert_eq!((&cut.live, cut.last_seq), (&replayed.live, replayed.last_seq), "cut");
        let again = journal::replay(&rewritten(&replayed));
        assert_eq!(again.live, replayed.live);
        assert_eq!((again.last_seq, again.damaged), (replayed.last_seq, 0));
    });
}

/// As the store writes it anew.
fn rewritten(replayed: &Replayed) -> Vec<u8> {
    let mut out = Vec::new();
    let client_id = replayed.client_id.as_deref().unwrap_or("phone");
    journal::put_identity(client_id, replayed.last_seq, &mut out);
    for (seq, stored) in &replayed.live {
        journal::put_insert(&stored.publish, &mut out);
        if stored.attempted {
            journal::put_attempted(*seq, &mut out);
        }
    }
    out
}

/// Changes, then one damage: it costs no more than the entry that it hit, and a torn end costs
/// only what was not yet whole.
#[test]
fn fuzz_outbox_changes() {
    check!("outbox_changes", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        let (cut, damage) = (script.number() as usize, script.byte());
        let mut file = Vec::new();
        journal::put_identity("phone", 3, &mut file);
        let mut ends = vec![file.len()];
        while let Some(step) = script.step() {
            let client_seq = u64::from(script.below(8));
            let change = match step % 4 {
                0 | 1 => OutboxChange::Insert(Publish {
                    client_seq,
                    payload: script.bytes(30).to_vec().into(),
                    ..Publish::default()
                }),
                2 => OutboxChange::Attempted { client_seq },
                _ => OutboxChange::Remove { client_seq },
            };
            journal::put_change(&change, &mut file);
            ends.push(file.len());
        }
        let whole = journal::replay(&file);
        assert_eq!((whole.damaged, whole.good_bytes), (0, file.len()));
        let cut = ends[0] + cut % (file.len() - ends[0] + 1);
        let torn = journal::replay(&file[..cut]);
        let last_whole = ends.iter().rev().find(|end| **end <= cut).copied();
        assert_eq!((torn.damaged, Some(torn.good_bytes)), (0, last_whole), "torn at {cut}");
        if cut < file.len() {
            file[cut] ^= damage;
            assert!(journal::replay(&file).damaged <= 1, "byte {cut} by {damage:02x}");
        }
    });
}
