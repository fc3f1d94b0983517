//! How many records a second RocksDB can take with every one of them synced: one thread, one batch
//! a sync. A batch holds one record of each client, which is what an ideal group commit gathers from
//! clients that wait for their acknowledgement. The same log commits what the [`hub`](crate::hub) of a
//! raw server is given.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rocksdb::{DB, Options, WriteBatch, WriteOptions};

/// What is written.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Records in a batch.
    pub batch: usize,
    /// Of each record.
    pub bytes: usize,
    /// Each batch is on the disk before the next begins; else with the operating system.
    pub synced: bool,
    pub duration: Duration,
}

/// What a loop did.
#[derive(Debug, Clone)]
pub struct Committed {
    pub records: u64,
    pub took: Duration,
    /// How long each batch took, ascending.
    pub batches: Vec<Duration>,
}

impl Committed {
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.records as f64 / self.took.as_secs_f64()
    }

    /// How long a batch took that is longer than this share of them.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let last = self.batches.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.batches.get(at.min(last)).copied().unwrap_or_default()
    }
}

/// Commits batches for at least the time of `load`, in a new database in `directory`.
pub fn run(directory: &Path, load: &Load) -> Result<Committed> {
    let mut log = Log::open(directory, load.synced)?;
    let value = vec![0x5a_u8; load.bytes];
    let (began, mut batches) = (Instant::now(), Vec::new());
    while began.elapsed() < load.duration {
        let batch = Instant::now();
        log.commit(std::iter::repeat_n(&value[..], load.batch))?;
        batches.push(batch.elapsed());
    }
    let took = began.elapsed();
    batches.sort_unstable();
    Ok(Committed { records: log.records, took, batches })
}

/// Records under ascending numbers.
pub(crate) struct Log {
    database: DB,
    options: WriteOptions,
    records: u64,
}

impl Log {
    /// A new one in this directory.
    pub(crate) fn open(directory: &Path, synced: bool) -> Result<Self> {
        let mut options = Options::default();
        options.create_if_missing(true);
        let database = DB::open(&options, directory)?;
        let mut options = WriteOptions::default();
        options.set_sync(synced);
        Ok(Self { database, options, records: 0 })
    }

    /// All together, and on the disk when this returns if it is a synced one.
    pub(crate) fn commit<'a>(&mut self, records: impl Iterator<Item = &'a [u8]>) -> Result<()> {
        let mut writes = WriteBatch::default();
        for record in records {
            writes.put(self.records.to_be_bytes(), record);
            self.records += 1;
        }
        Ok(self.database.write_opt(writes, &self.options)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_is_there() {
        let home = tempfile::tempdir().unwrap();
        for (name, synced) in [("synced", true), ("unsynced", false)] {
            let (directory, duration) = (home.path().join(name), Duration::from_millis(20));
            let done = run(&directory, &Load { batch: 8, bytes: 100, synced, duration }).unwrap();
            assert_eq!(done.records, 8 * done.batches.len() as u64);
            let database = DB::open_default(&directory).unwrap();
            let found = database.iterator(rocksdb::IteratorMode::Start).count() as u64;
            assert_eq!(found, done.records);
        }
    }

    #[test]
    fn quantiles_are_of_the_batches() {
        let batches = (1..=101).map(Duration::from_millis).collect();
        let done = Committed { records: 101, took: Duration::from_secs(1), batches };
        let at = [0.0, 0.5, 0.99, 1.0].map(|share| done.quantile(share).as_millis());
        assert_eq!(at, [1, 51, 100, 101]);
        let none = Committed { batches: Vec::new(), ..done };
        assert_eq!(none.quantile(0.5), Duration::ZERO);
    }
}
