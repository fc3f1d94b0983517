//! The roster, in the home database.

use std::time::Duration;

use futures_util::FutureExt as _;
use mysql_async::Value;
use sterna_storage::{BoxFuture, RosterEntry, RosterError, RosterStore, StorageError};

use crate::SqlStore;
use crate::columns::{Columns, number, text};
use crate::place::HOME;
use crate::{NOW_MS, millis};

impl RosterStore for SqlStore {
    fn beat(
        &self,
        entry: RosterEntry,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Vec<RosterEntry>, RosterError>> {
        async move {
            self.put_on_roster(&entry).await?;
            let listed = self.heard_of(&entry.name, lease).await?;
            let stored = listed.iter().find(|other| other.name == entry.name);
            match stored.map(|stored| stored.incarnation) {
                Some(incarnation) if incarnation > entry.incarnation => {
                    Err(RosterError::Superseded { incarnation })
                }
                _ => Ok(listed),
            }
        }
        .boxed()
    }

    fn leave<'a>(
        &'a self,
        name: &'a str,
        incarnation: u64,
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        async move {
            let sql = format!(
                "UPDATE {} SET heard_ms = 0, incarnation = ? WHERE name = ? AND incarnation <= ?",
                self.engine.places.home("roster")
            );
            let incarnation = || number(incarnation);
            let params = vec![incarnation(), text(name), incarnation()];
            self.engine.execute(HOME, sql, params).await.map(drop)
        }
        .boxed()
    }
}

impl SqlStore {
    /// Writes the entry unless a later incarnation is there.
    async fn put_on_roster(&self, entry: &RosterEntry) -> Result<(), StorageError> {
        // Assigned from left to right: the incarnation last, since the others look at it.
        let sql = format!(
            "INSERT INTO {} (name, incarnation, content, heard_ms) VALUES (?, ?, ?, {NOW_MS}) \
             ON DUPLICATE KEY UPDATE \
             content = IF(incarnation <= VALUES(incarnation), VALUES(content), content), \
             heard_ms = IF(incarnation <= VALUES(incarnation), VALUES(heard_ms), heard_ms), \
             incarnation = GREATEST(incarnation, VALUES(incarnation))",
            self.engine.places.home("roster")
        );
        let content = Value::Bytes(entry.content.to_vec());
        let params = vec![text(&entry.name), number(entry.incarnation), content];
        self.engine.execute(HOME, sql, params).await.map(drop)
    }

    /// Everybody heard of within the lease, and the one who asks.
    async fn heard_of(
        &self,
        name: &str,
        lease: Duration,
    ) -> Result<Vec<RosterEntry>, StorageError> {
        let sql = format!(
            "SELECT name, incarnation, content FROM {} \
             WHERE heard_ms > 0 AND heard_ms + ? > {NOW_MS} OR name = ? ORDER BY name",
            self.engine.places.home("roster")
        );
        let found = self.engine.home().read(&sql, vec![number(millis(lease)), text(name)]).await?;
        let entries = found.into_iter().map(|row| {
            let mut columns = Columns::of("roster", row);
            Ok(RosterEntry {
                name: columns.take()?,
                incarnation: columns.take()?,
                content: columns.bytes()?,
            })
        });
        entries.collect()
    }
}
