//! Intents. They come in with the appends of a transaction; a row for each slot counts them and
//! says how far they are completed, so that no number is used twice.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::FutureExt as _;
use mysql_async::{Conn, Value};
use sterna_storage::{BoxFuture, Intent, IntentStore, PageLimit, StorageError};

use crate::SqlStore;
use crate::batch::{batches, padded};
use crate::columns::{Columns, limit, number, repeat};
use crate::engine::{rows, run};
use crate::failure::Failure;
use crate::place::{Place, Places};

impl IntentStore for SqlStore {
    fn slots_with_intents(&self) -> BoxFuture<'_, Result<Vec<u16>, StorageError>> {
        async move {
            let places = &self.engine.places;
            let mut slots = Vec::new();
            // One statement for each database: owners look every few seconds, and the largest layout has
            // two thousand tables.
            for database in 0..places.databases() {
                let of_database = places.all().filter(|place| place.database == database);
                let owing = of_database.map(|place| {
                    let table = places.table(place, "intent_slots");
                    format!("SELECT slot FROM {table} WHERE completed < last")
                });
                let sql = owing.collect::<Vec<_>>().join(" UNION ALL ");
                for row in self.engine.server(database).read(&sql, Vec::new()).await? {
                    slots.push(Columns::of("intent_slots", row).take()?);
                }
            }
            slots.sort_unstable();
            Ok(slots)
        }
        .boxed()
    }

    fn intents(
        &self,
        slot: u16,
        after: u64,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Intent>, StorageError>> {
        self.page_of_intents(slot, after, limit).boxed()
    }

    fn complete_intents(&self, slot: u16, upto: u64) -> BoxFuture<'_, Result<(), StorageError>> {
        async move {
            let place = self.engine.places.locate(slot);
            let slots = self.engine.places.table(place, "intent_slots");
            let intents = self.engine.places.table(place, "intents");
            let sql = format!(
                "UPDATE {slots} SET completed = GREATEST(completed, LEAST(?, last)) WHERE slot = ?"
            );
            self.engine.execute(place.database, sql, vec![number(upto), number(slot)]).await?;
            // Completed ones are not read any more, so a crash between the two loses nothing.
            loop {
                let sql = format!(
                    "DELETE FROM {intents} WHERE slot = ? AND number <= ? ORDER BY number LIMIT ?"
                );
                let params = vec![number(slot), number(upto), limit(ROWS_PER_DELETE)];
                let deleted = self.engine.execute(place.database, sql, params).await?;
                if deleted < ROWS_PER_DELETE as u64 {
                    return Ok(());
                }
            }
        }
        .boxed()
    }
}

impl SqlStore {
    async fn page_of_intents(
        &self,
        slot: u16,
        after: u64,
        wish: PageLimit,
    ) -> Result<Vec<Intent>, StorageError> {
        let place = self.engine.places.locate(slot);
        let sql = format!(
            "SELECT number, payload FROM {} WHERE slot = ? AND number > ? \
             AND number > COALESCE((SELECT completed FROM {} WHERE slot = ?), 0) \
             ORDER BY number LIMIT ?",
            self.engine.places.table(place, "intents"),
            self.engine.places.table(place, "intent_slots"),
        );
        let most = wish.records.clamp(1, ROWS_PER_PAGE);
        let mut room = wish.start();
        let mut page = Vec::new();
        let params = vec![number(slot), number(after), number(slot), limit(most)];
        for row in self.engine.read(place, &sql, params).await? {
            let mut columns = Columns::of("intents", row);
            let (number, payload) = (columns.take()?, columns.bytes()?);
            if !room.take(payload.len()) {
                break;
            }
            page.push(Intent { slot, number, payload });
        }
        Ok(page)
    }
}

/// What an append of this transaction owes.
#[derive(Debug, Clone)]
pub(crate) struct Owed {
    pub(crate) slot: u16,
    pub(crate) payload: Bytes,
}

/// Numbers what is owed, in this order, and writes it. The slots' rows stay locked until the
/// commit, so that numbers follow the order of commits.
pub(crate) async fn insert(conn: &mut Conn, places: &Places, owed: &[Owed]) -> Result<(), Failure> {
    let mut by_place: BTreeMap<Place, Vec<&Owed>> = BTreeMap::new();
    for one in owed {
        by_place.entry(places.locate(one.slot)).or_default().push(one);
    }
    for (place, owed) in by_place {
        let mut counts: BTreeMap<u16, u64> = BTreeMap::new();
        owed.iter().for_each(|one| *counts.entry(one.slot).or_default() += 1);
        let slots = places.table(place, "intent_slots");
        let mut next = raise_counts(conn, &slots, &counts).await?;
        let mut numbered = Vec::with_capacity(owed.len());
        for Owed { slot, payload } in owed {
            let next = next.entry(*slot).or_default();
            *next += 1;
            numbered.push([number(*slot), number(*next), Value::Bytes(payload.to_vec())]);
        }
        for some in batches(&numbered) {
            let sql = format!(
                "INSERT INTO {} (slot, number, payload) VALUES {}",
                places.table(place, "intents"),
                repeat("(?, ?, ?)", some.len(), ", ")
            );
            run(conn, &sql, some.concat()).await?;
        }
    }
    Ok(())
}

/// Raises the slots' counts, in slot order, and answers with what they were before.
async fn raise_counts(
    conn: &mut Conn,
    slots: &str,
    counts: &BTreeMap<u16, u64>,
) -> Result<BTreeMap<u16, u64>, Failure> {
    let raises: Vec<[Value; 2]> =
        counts.iter().map(|(slot, count)| [number(*slot), number(*count)]).collect();
    for some in batches(&raises) {
        let sql = format!(
            "INSERT INTO {slots} (slot, last, completed) VALUES {} \
             ON DUPLICATE KEY UPDATE last = last + VALUES(last)",
            repeat("(?, ?, 0)", some.len(), ", ")
        );
        run(conn, &sql, some.concat()).await?;
    }
    let keys: Vec<Value> = counts.keys().map(|slot| number(*slot)).collect();
    let mut before = BTreeMap::new();
    for some in padded(&keys) {
        let sql = format!(
            "SELECT slot, last FROM {slots} FORCE INDEX (PRIMARY) WHERE slot IN ({}) FOR UPDATE",
            repeat("?", some.len(), ", ")
        );
        for row in rows(conn, &sql, some).await? {
            let mut columns = Columns::of("intent_slots", row);
            let (slot, last): (u16, u64) = (columns.take()?, columns.take()?);
            before.insert(slot, last - counts.get(&slot).copied().unwrap_or(0).min(last));
        }
    }
    Ok(before)
}

const ROWS_PER_DELETE: usize = 1_000;

/// Most intents in one page, whatever is asked for; the next page has the rest.
const ROWS_PER_PAGE: usize = 1_000;
