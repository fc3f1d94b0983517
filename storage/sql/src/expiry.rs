//! Rows that have outlived their use. RocksDB drops them while it compacts; here somebody has to
//! ask for it.

use sterna_storage::StorageError;
use sterna_storage::relation::REMOVED_RELATION_MS;

use crate::SqlStore;
use crate::columns::limit;
use crate::place::HOME;

impl SqlStore {
    /// Deletes origins beyond the dedup horizon of 7 days (I3) and versions of relations that were
    /// removed as long ago, by the servers' clocks; a bounded number from each table. Answers with
    /// how many rows went: as long as that is not 0, more may be left. The composition root calls it
    /// now and then on every node, which does no harm.
    pub async fn delete_expired(&self) -> Result<u64, StorageError> {
        let mut deleted = 0;
        for place in self.engine.places.all() {
            let table = self.engine.places.table(place, "origins");
            let sql = format!(
                "DELETE FROM {table} WHERE stored_at_s < UNIX_TIMESTAMP() - {HORIZON_SECS} LIMIT ?"
            );
            let params = vec![limit(ROWS_PER_DELETE)];
            deleted += self.engine.execute(place.database, sql, params).await?;
        }
        let sql = format!(
            "DELETE FROM {} WHERE removed_at_s > 0 \
             AND removed_at_s < UNIX_TIMESTAMP() - {} LIMIT ?",
            self.engine.places.home("relations"),
            REMOVED_RELATION_MS / 1_000,
        );
        Ok(deleted + self.engine.execute(HOME, sql, vec![limit(ROWS_PER_DELETE)]).await?)
    }
}

/// How long a retransmission is recognised (I3).
const HORIZON_SECS: u64 = 7 * 24 * 3600;

/// Small enough that the transactions of others do not wait for long.
const ROWS_PER_DELETE: usize = 1_000;
