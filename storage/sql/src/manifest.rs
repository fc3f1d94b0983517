//! The archive's manifest, in the home database.

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use mysql_async::{Conn, Row, Value};
use sterna_storage::{
    BoxFuture, ManifestChange, ManifestEntry, ManifestError, ManifestStore, SegmentKey,
    SegmentState, StorageError,
};

use crate::SqlStore;
use crate::batch::{batches, padded};
use crate::columns::{Columns, limit, number, repeat};
use crate::engine::{rows, run};
use crate::failure::Failure;

impl ManifestStore for SqlStore {
    fn change_manifest(
        &self,
        changes: Vec<ManifestChange>,
    ) -> BoxFuture<'_, Result<(), ManifestError>> {
        async move {
            let args = (self.engine.places.home("segments"), changes);
            let changed = self
                .engine
                .home()
                .transact(&args, |conn, (table, changes)| change(conn, table, changes).boxed());
            changed.await?.map_err(|conflict| *conflict)
        }
        .boxed()
    }

    fn segment(
        &self,
        key: SegmentKey,
    ) -> BoxFuture<'_, Result<Option<ManifestEntry>, StorageError>> {
        async move { Ok(self.select_segments(MATCH, encode_key(key).into()).await?.pop()) }.boxed()
    }

    fn segments(
        &self,
        shard: u16,
        after: Option<SegmentKey>,
        wish: usize,
    ) -> BoxFuture<'_, Result<Vec<ManifestEntry>, StorageError>> {
        async move {
            let mut condition = "shard = ?".to_owned();
            let mut params = vec![number(shard)];
            if let Some(after) = after.filter(|after| after.shard == shard) {
                condition += " AND (first_ts_ms > ? OR first_ts_ms = ? AND segment > ?)";
                let time = || number(after.first_ts_ms);
                params.extend([time(), time(), number(after.segment)]);
            }
            condition += " ORDER BY first_ts_ms, segment LIMIT ?";
            params.push(limit(wish));
            self.select_segments(&condition, params).await
        }
        .boxed()
    }
}

impl SqlStore {
    async fn select_segments(
        &self,
        condition: &str,
        params: Vec<Value>,
    ) -> Result<Vec<ManifestEntry>, StorageError> {
        let table = self.engine.places.home("segments");
        let sql = format!("SELECT {COLUMNS} FROM {table} WHERE {condition}");
        let found = self.engine.home().read(&sql, params).await?;
        found.into_iter().map(decode).collect()
    }
}

type Entries = BTreeMap<SegmentKey, ManifestEntry>;

/// Locks the entries, compares, and writes all or nothing. A conflict is a result, not a failure:
/// nothing was written, and there is nothing to try again.
async fn change(
    conn: &mut Conn,
    table: &str,
    changes: &[ManifestChange],
) -> Result<Result<(), Box<ManifestError>>, Failure> {
    let stored = lock(conn, table, changes).await?;
    let mut changed = Entries::new();
    for (index, ManifestChange { expected, entry }) in changes.iter().enumerate() {
        let found = changed.get(&entry.key).or_else(|| stored.get(&entry.key));
        if found.map(|found| found.state) != *expected {
            let found = found.cloned();
            return Ok(Err(Box::new(ManifestError::Conflict { index, found })));
        }
        changed.insert(entry.key, entry.clone());
    }
    let (old, new): (Vec<_>, Vec<_>) =
        changed.into_values().partition(|entry| stored.contains_key(&entry.key));
    // Of two that put one entry the second fails on the key, and sees it when it tries again.
    write(conn, table, &new, "").await?;
    let replace = " ON DUPLICATE KEY UPDATE state = VALUES(state), content = VALUES(content)";
    write(conn, table, &old, replace).await?;
    Ok(Ok(()))
}

async fn lock(
    conn: &mut Conn,
    table: &str,
    changes: &[ManifestChange],
) -> Result<Entries, Failure> {
    let keys: Vec<SegmentKey> = changes.iter().map(|change| change.entry.key).collect();
    let mut stored = Entries::new();
    for some in padded(&keys) {
        let sql = format!(
            "SELECT {COLUMNS} FROM {table} FORCE INDEX (PRIMARY) WHERE {} \
             ORDER BY shard, first_ts_ms, segment FOR UPDATE",
            repeat(MATCH, some.len(), " OR ")
        );
        let params = some.iter().flat_map(|key| encode_key(*key)).collect();
        for row in rows(conn, &sql, params).await? {
            let entry = decode(row)?;
            stored.insert(entry.key, entry);
        }
    }
    Ok(stored)
}

async fn write(
    conn: &mut Conn,
    table: &str,
    entries: &[ManifestEntry],
    suffix: &str,
) -> Result<(), Failure> {
    for some in entries.chunks(ENTRIES_PER_STATEMENT).flat_map(batches) {
        let values = repeat("(?, ?, ?, ?, ?)", some.len(), ", ");
        let sql = format!("INSERT INTO {table} ({COLUMNS}) VALUES {values}{suffix}");
        let params = some.iter().flat_map(|entry| {
            let state = number(state_number(entry.state));
            encode_key(entry.key).into_iter().chain([state, Value::Bytes(entry.content.to_vec())])
        });
        run(conn, &sql, params.collect()).await?;
    }
    Ok(())
}

fn encode_key(key: SegmentKey) -> [Value; 3] {
    [number(key.shard), number(key.first_ts_ms), number(key.segment)]
}

fn decode(row: Row) -> Result<ManifestEntry, StorageError> {
    let mut columns = Columns::of("segments", row);
    let key = SegmentKey {
        shard: columns.take()?,
        first_ts_ms: columns.take()?,
        segment: columns.take()?,
    };
    let state = match columns.take::<u8>()? {
        0 => SegmentState::Prepared,
        1 => SegmentState::Published,
        2 => SegmentState::Replaced,
        3 => SegmentState::Removed,
        other => return Err(columns.damaged(&format!("there is no state {other}"))),
    };
    Ok(ManifestEntry { key, state, content: columns.bytes()? })
}

fn state_number(state: SegmentState) -> u8 {
    match state {
        SegmentState::Prepared => 0,
        SegmentState::Published => 1,
        SegmentState::Replaced => 2,
        SegmentState::Removed => 3,
    }
}

const MATCH: &str = "(shard = ? AND first_ts_ms = ? AND segment = ?)";

/// In the order in which they are written and read.
const COLUMNS: &str = "shard, first_ts_ms, segment, state, content";

/// Their contents have no limit of this engine's, so fewer than of other rows.
const ENTRIES_PER_STATEMENT: usize = 64;
