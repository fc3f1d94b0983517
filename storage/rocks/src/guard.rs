//! The guard file: the highest commit number that was synced, kept outside RocksDB.
//!
//! Two slots are written in turn, each in a block of its own, so that a torn write leaves the
//! other. The file has its full length from the start and is opened for synchronous data writes:
//! one system call, no metadata. Written by the committer after RocksDB has synced and before
//! anybody is answered, so it never claims more than was synced and never less than was
//! acknowledged.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use bytes::Buf as _;

use crate::Durability;

/// The open file. One per store, owned by the committer once the store is open.
#[derive(Debug)]
pub(crate) struct Guard {
    file: File,
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
        Ok(Self { file })
    }

    /// The claim, `None` if none was ever made. Bytes that are neither are `InvalidData`.
    pub(crate) fn read(&self) -> io::Result<Option<u64>> {
        let mut content = vec![0; SLOT_BYTES * 2];
        let mut filled = 0;
        while filled < content.len() {
            match self.file.read_at(&mut content[filled..], filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        let slots = content.chunks(SLOT_BYTES);
        match slots.filter_map(decode_slot).max() {
            Some(commit) => Ok(Some(commit)),
            None if content.iter().all(|byte| *byte == 0) => Ok(None),
            None => Err(io::Error::new(io::ErrorKind::InvalidData, "neither slot verifies")),
        }
    }

    /// Forgets what the file says: both slots are zero and allocated.
    pub(crate) fn reset(&self) -> io::Result<()> {
        self.file.write_all_at(&vec![0; SLOT_BYTES * 2], 0)?;
        self.file.sync_all()
    }

    /// Makes the claim durable also where writes are not synced by themselves.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Claims that everything up to this commit is synced.
    pub(crate) fn claim(&self, commit: u64) -> io::Result<()> {
        let at = (commit % 2) * SLOT_BYTES as u64;
        self.file.write_all_at(&encode_slot(commit), at)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_claim_counts_and_a_torn_one_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let guard = Guard::open(directory.path(), Durability::Fsync).unwrap();
        assert_eq!(guard.read().unwrap(), None);
        guard.reset().unwrap();
        assert_eq!(guard.read().unwrap(), None);
        for commit in 1..=5 {
            guard.claim(commit).unwrap();
            assert_eq!(guard.read().unwrap(), Some(commit));
        }
        let torn = [0xff; 7];
        guard.file.write_all_at(&torn, SLOT_BYTES as u64).unwrap();
        assert_eq!(guard.read().unwrap(), Some(4), "commit 5 was never acknowledged");
        guard.file.write_all_at(&torn, 0).unwrap();
        assert_eq!(guard.read().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_claim_is_read_by_the_next_one_who_opens() {
        let directory = tempfile::tempdir().unwrap();
        let guard = Guard::open(directory.path(), Durability::Os).unwrap();
        guard.reset().unwrap();
        guard.claim(77).unwrap();
        drop(guard);
        let guard = Guard::open(directory.path(), Durability::Fsync).unwrap();
        assert_eq!(guard.read().unwrap(), Some(77));
    }
}
