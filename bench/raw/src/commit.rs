//! How many records a second RocksDB can take with every one of them synced: one thread, one batch
//! a sync. A batch holds one record of each client, which is what an ideal group commit gathers from
//! clients that wait for their acknowledgement.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rocksdb::{DB, Options, WriteBatch, WriteOptions};

/// What a loop did.
#[derive(Debug, Clone, Copy)]
pub struct Committed {
    pub records: u64,
    pub batches: u64,
    pub took: Duration,
}

impl Committed {
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.records as f64 / self.took.as_secs_f64()
    }
}

/// Commits batches of `batch` records of `bytes` each for at least `duration`, in a new database in
/// `directory`.
pub fn run(directory: &Path, batch: usize, bytes: usize, duration: Duration) -> Result<Committed> {
    let mut options = Options::default();
    options.create_if_missing(true);
    let database = DB::open(&options, directory)?;
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    let value = vec![0x5a_u8; bytes];
    let (began, mut batches, mut record) = (Instant::now(), 0_u64, 0_u64);
    while began.elapsed() < duration {
        let mut writes = WriteBatch::default();
        for _ in 0..batch {
            writes.put(record.to_be_bytes(), &value);
            record += 1;
        }
        database.write_opt(writes, &synced)?;
        batches += 1;
    }
    Ok(Committed { records: record, batches, took: began.elapsed() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_is_there() {
        let home = tempfile::tempdir().unwrap();
        let done = run(home.path(), 8, 100, Duration::from_millis(20)).unwrap();
        assert_eq!(done.records, 8 * done.batches);
        let database = DB::open_default(home.path()).unwrap();
        let found = database.iterator(rocksdb::IteratorMode::Start).count() as u64;
        assert_eq!(found, done.records);
    }
}
