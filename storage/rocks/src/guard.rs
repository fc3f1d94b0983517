//! The guard file: the highest commit number that was synced, kept outside RocksDB.
//!
//! Two slots, each in a block of its own, are written in turn: never the one with the newest claim,
//! so that a torn write leaves that. The file has its full length from the first claim on and is
//! opened for synchronous data writes: one system call, no metadata. Written after RocksDB has
//! synced and before anybody is answered, so it never claims more than was synced and never less
//! than was acknowledged.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use bytes::Buf as _;

use crate::Durability;

/// The open file. One per store; whoever makes claims owns it once the store is open.
#[derive(Debug)]
pub(crate) struct Guard {
    file: File,
    /// The slot that does not hold the newest claim.
    next: usize,
}

impl Guard {
    /// Opens the file in this directory or makes an empty one.
    pub(crate) fn open(directory: &Path, durability: Durability) -> io::Result<Self> {
        let path = directory.join(FILE_NAME);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if durability == Durability::Fsync {
            options.custom_flags(libc::O_DSYNC);
        }
        let file = match options.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = options.create_new(true).open(&path)?;
                File::open(directory)?.sync_all()?;
                file
            }
            Err(error) => return Err(error),
        };
        let mut guard = Self { file, next: 0 };
        let content = guard.content()?;
        let newest = newest(&content);
        guard.next = newest.map_or(0, |(slot, _)| other(slot));
        if let (Some((slot, commit)), true) = (newest, is_damaged(&content)) {
            tracing::warn!(
                path = %path.display(),
                damaged = other(slot),
                commit,
                "one of two claims does not verify, by a write that was cut off or by damage; the \
                 other one counts, and the next write replaces it"
            );
        }
        Ok(guard)
    }

    /// The claim, `None` if none was ever made. Bytes that are neither are `InvalidData`.
    pub(crate) fn read(&self) -> io::Result<Option<u64>> {
        let content = self.content()?;
        match newest(&content) {
            Some((_, commit)) => Ok(Some(commit)),
            None if content.iter().all(|byte| *byte == 0) => Ok(None),
            None => Err(io::Error::new(io::ErrorKind::InvalidData, "neither slot verifies")),
        }
    }

    /// Claims that everything up to this commit is synced.
    pub(crate) fn claim(&mut self, commit: u64) -> io::Result<()> {
        self.file.write_all_at(&encode_slot(commit), slot_at(self.next))?;
        self.next = other(self.next);
        Ok(())
    }

    /// Claims that everything up to this commit is synced and forgets what the file said before.
    /// Both slots have their full length then. A crash in between leaves the old claim or the new.
    pub(crate) fn claim_first(&mut self, commit: u64) -> io::Result<()> {
        for (at, block) in self.first_claim(commit) {
            self.file.write_all_at(&block, at)?;
            self.file.sync_all()?;
        }
        self.next = other(self.next);
        Ok(())
    }

    /// What is written for it and where, in this order.
    fn first_claim(&self, commit: u64) -> [(u64, Vec<u8>); 2] {
        let mut block = encode_slot(commit).to_vec();
        block.resize(SLOT_BYTES, 0);
        [(slot_at(self.next), block), (slot_at(other(self.next)), vec![0; SLOT_BYTES])]
    }

    fn content(&self) -> io::Result<Vec<u8>> {
        let mut content = vec![0; SLOT_BYTES * 2];
        let mut filled = 0;
        while filled < content.len() {
            match self.file.read_at(&mut content[filled..], filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(content)
    }
}

/// The claim in a directory whose store is open; `None` if it has none.
pub(crate) fn read_of(directory: &Path) -> io::Result<Option<u64>> {
    // The owner writes one slot at a time, and a torn one leaves the other.
    let content = std::fs::read(directory.join(FILE_NAME))?;
    Ok(newest(&content).map(|(_, commit)| commit))
}

/// Makes the file in a directory that has none.
pub(crate) fn write_new(directory: &Path, claim: Option<u64>) -> io::Result<()> {
    let mut guard = Guard::open(directory, Durability::Fsync)?;
    claim.map_or(Ok(()), |commit| guard.claim_first(commit))
}

/// The slot with the highest commit, and the commit.
pub(crate) fn newest(content: &[u8]) -> Option<(usize, u64)> {
    let slots = content.chunks(SLOT_BYTES).map(decode_slot).enumerate();
    slots.filter_map(|(slot, commit)| Some((slot, commit?))).max_by_key(|(_, commit)| *commit)
}

/// Whether a slot holds something that is no claim.
fn is_damaged(content: &[u8]) -> bool {
    let is_written = |slot: &&[u8]| slot.iter().any(|byte| *byte != 0);
    content.chunks(SLOT_BYTES).filter(is_written).any(|slot| decode_slot(slot).is_none())
}

fn other(slot: usize) -> usize {
    1 - slot
}

fn slot_at(slot: usize) -> u64 {
    (slot * SLOT_BYTES) as u64
}

fn encode_slot(commit: u64) -> [u8; CLAIM_BYTES] {
    let mut slot = [0; CLAIM_BYTES];
    slot[..8].copy_from_slice(MAGIC);
    slot[8..16].copy_from_slice(&commit.to_be_bytes());
    let checksum = crc32c::crc32c(&slot[..16]);
    slot[16..20].copy_from_slice(&checksum.to_be_bytes());
    slot
}

fn decode_slot(slot: &[u8]) -> Option<u64> {
    let commit = slot.get(8..16)?.get_u64();
    (slot.get(..CLAIM_BYTES)? == encode_slot(commit)).then_some(commit)
}

pub(crate) const FILE_NAME: &str = "sterna.guard";

const MAGIC: &[u8; 8] = b"sterna-g";

/// A block of the file system, so that writing one slot cannot tear the other.
const SLOT_BYTES: usize = 4096;

/// What is written of a slot: the claim, its checksum and zeros.
const CLAIM_BYTES: usize = 64;

/// A file with two claims, the newer one in the second slot.
#[cfg(test)]
pub(crate) fn file_with(older: u64, newer: u64) -> Vec<u8> {
    let mut content = vec![0; SLOT_BYTES * 2];
    content[..CLAIM_BYTES].copy_from_slice(&encode_slot(older));
    content[SLOT_BYTES..][..CLAIM_BYTES].copy_from_slice(&encode_slot(newer));
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_claim_counts_and_a_torn_one_leaves_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let mut guard = Guard::open(directory.path(), Durability::Fsync).unwrap();
        assert_eq!(guard.read().unwrap(), None);
        // Commits without a claim lie between, in any rhythm.
        let commits = [1, 2, 4, 6, 8, 9, 11, 14, 15, 17];
        guard.claim_first(commits[0]).unwrap();
        for pair in commits.windows(2) {
            let before = guard.content().unwrap();
            guard.claim(pair[1]).unwrap();
            assert_eq!(guard.read().unwrap(), Some(pair[1]));
            tear_what_differs(&guard, &before);
            assert_eq!(guard.read().unwrap(), Some(pair[0]), "{} was never acknowledged", pair[1]);
            guard = Guard::open(directory.path(), Durability::Fsync).unwrap();
            guard.claim(pair[1]).unwrap();
            assert_eq!(guard.read().unwrap(), Some(pair[1]), "it goes where the torn one was");
        }
        guard.file.write_all_at(&TORN, slot_at(0)).unwrap();
        guard.file.write_all_at(&TORN, slot_at(1)).unwrap();
        assert_eq!(guard.read().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_claim_is_read_by_the_next_one_who_opens() {
        let directory = tempfile::tempdir().unwrap();
        let mut guard = Guard::open(directory.path(), Durability::Os).unwrap();
        guard.claim_first(77).unwrap();
        drop(guard);
        let mut guard = Guard::open(directory.path(), Durability::Fsync).unwrap();
        assert_eq!(guard.read().unwrap(), Some(77));
        // The one who opens does not write over it either.
        let before = guard.content().unwrap();
        guard.claim(78).unwrap();
        tear_what_differs(&guard, &before);
        assert_eq!(guard.read().unwrap(), Some(77));
    }

    #[test]
    fn damage_to_one_of_two_claims_is_noticed_and_the_next_claim_mends_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut guard = Guard::open(directory.path(), Durability::Fsync).unwrap();
        assert!(!is_damaged(&guard.content().unwrap()), "nothing was written");
        guard.claim_first(5).unwrap();
        assert!(!is_damaged(&guard.content().unwrap()), "one slot is empty");
        guard.claim(6).unwrap();
        guard.claim(7).unwrap();
        assert!(!is_damaged(&guard.content().unwrap()));
        guard.file.write_all_at(&[0xff], slot_at(other(guard.next)) + 12).unwrap();
        assert!(is_damaged(&guard.content().unwrap()));
        let mut guard = Guard::open(directory.path(), Durability::Fsync).unwrap();
        assert_eq!(guard.read().unwrap(), Some(6));
        guard.claim(8).unwrap();
        assert!(!is_damaged(&guard.content().unwrap()));
        assert_eq!(guard.read().unwrap(), Some(8));
    }

    #[test]
    fn a_first_claim_that_is_cut_off_leaves_the_old_claim_or_the_new() {
        for claims in 1..=2 {
            let directory = tempfile::tempdir().unwrap();
            let mut guard = Guard::open(directory.path(), Durability::Fsync).unwrap();
            (1..=claims).for_each(|commit| guard.claim(commit).unwrap());
            let writes = guard.first_claim(9);
            guard.file.write_all_at(&TORN, writes[0].0).unwrap();
            assert_eq!(guard.read().unwrap(), Some(claims), "torn");
            for (at, block) in writes {
                guard.file.write_all_at(&block, at).unwrap();
                assert_eq!(guard.read().unwrap(), Some(9));
            }
        }
    }

    #[test]
    fn a_first_claim_forgets_damage_and_fills_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        std::fs::write(&path, vec![0xab; 100]).unwrap();
        let mut guard = Guard::open(directory.path(), Durability::Fsync).unwrap();
        guard.claim_first(5).unwrap();
        assert_eq!(guard.read().unwrap(), Some(5));
        let content = std::fs::read(&path).unwrap();
        assert_eq!(content.len(), SLOT_BYTES * 2);
        let zeros = content.iter().filter(|byte| **byte == 0).count();
        assert!(zeros > SLOT_BYTES * 2 - CLAIM_BYTES, "nothing of the damage is left");
    }

    /// Damages the slot that has changed.
    fn tear_what_differs(guard: &Guard, before: &[u8]) {
        let now = guard.content().unwrap();
        let changed = now.iter().zip(before).position(|(now, before)| now != before).unwrap();
        guard.file.write_all_at(&TORN, slot_at(changed / SLOT_BYTES)).unwrap();
    }

    const TORN: [u8; 7] = [0xff; 7];
}
