//! Files that are damaged while a node is down, in every class that its store has: a bit flips, a
//! sector is empty, an end is cut off. The node says so and refuses, or nothing of what it
//! acknowledged is missing or wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use sterna_system_tests::node::Node;

use super::{SOME, talk};
use crate::campaign::Outcome;
use crate::disk::{replace_folder, temporary};
use crate::place::Place;
use crate::verdict;
use crate::workload::Record;

/// Damages of each class of files, one at a time.
const DAMAGES_OF_A_CLASS: usize = 3;
const SECTOR_BYTES: usize = 512;
const RESTARTS: usize = 2;

pub async fn bit_flip(rng: &mut StdRng) -> Outcome {
    let (mut node, workload) = talk(rng).await;
    // Every start writes what the log held into a table, so that there are files of all classes.
    for _ in 0..RESTARTS {
        node.kill().await;
        node.restart().await;
        workload.go_on_for(rng.random_range(SOME..3 * SOME)).await;
    }
    let record = workload.finish().await;
    node.kill().await;
    let pristine = temporary("sterna-pristine-");
    let (store, kept) = (node.data_dir().join("store"), pristine.path().join("store"));
    replace_folder(&store, &kept);

    let mut outcome = Outcome { acked: record.acked() as u64, ..Outcome::default() };
    for (class, files) in classes(&kept) {
        let (mut refused, mut harmless) = (0, 0);
        for _ in 0..DAMAGES_OF_A_CLASS {
            replace_folder(&kept, &store);
            let file = files.choose(rng).expect("a class has files");
            let damage = damage(&store.join(file), rng);
            outcome.injected += 1;
            match start_and_read(&mut node, &record).await {
                Reaction::Refused => refused += 1,
                Reaction::Harmless => harmless += 1,
                Reaction::Wrong(wrong) => {
                    let wrong = wrong.iter().take(3).map(|it| format!("{damage}: {it}"));
                    outcome.violations.extend(wrong);
                }
            }
        }
        outcome.note.push_str(&format!("{class} {refused}r/{harmless}h "));
    }
    outcome
}

/// What became of a damage.
enum Reaction {
    /// The node did not start, or ended, or answered with an error.
    Refused,
    /// All promises are kept.
    Harmless,
    Wrong(Vec<String>),
}

async fn start_and_read(node: &mut Node, record: &Record) -> Reaction {
    if node.try_restart().await.is_err() {
        return Reaction::Refused;
    }
    let read = verdict::read_all(&Place::of(node), record).await;
    node.kill().await;
    match read {
        Err(_) => Reaction::Refused,
        Ok(wrong) if wrong.is_empty() => Reaction::Harmless,
        Ok(wrong) => Reaction::Wrong(wrong),
    }
}

/// Files by what they are for; those that hold nothing are left out.
fn classes(store: &Path) -> BTreeMap<String, Vec<PathBuf>> {
    let mut classes: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in fs::read_dir(store).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        // RocksDB's report for people.
        if entry.metadata().unwrap().len() == 0 || name.starts_with("LOG") {
            continue;
        }
        let class = match name.split_once(['-', '.']) {
            Some((number, kind)) if number.parse::<u64>().is_ok() => kind.to_owned(),
            Some((kind, number)) if number.parse::<u64>().is_ok() => kind.to_owned(),
            _ => name.clone(),
        };
        classes.entry(class).or_default().push(name.into());
    }
    classes
}

/// What was done to the file. Most often a bit.
fn damage(path: &Path, rng: &mut StdRng) -> String {
    let mut bytes = fs::read(path).unwrap();
    let (at, len) = (rng.random_range(0..bytes.len()), bytes.len());
    let what = match rng.random_range(0..4) {
        0 => {
            bytes.truncate(at);
            format!("cut at byte {at}")
        }
        1 => {
            let from = at / SECTOR_BYTES * SECTOR_BYTES;
            bytes[from..len.min(from + SECTOR_BYTES)].fill(0);
            format!("an empty sector at byte {from}")
        }
        _ => {
            let bit = rng.random_range(0..8);
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at}")
        }
    };
    fs::write(path, bytes).unwrap();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("{what} of {len} in {name}")
}
