//! Revocations, all in the home database. Everybody's has a row without a name.

use futures_util::FutureExt as _;
use mysql_async::Row;
use sterna_proto::UserId;
use sterna_storage::{BoxFuture, Revocation, RevocationStore, StorageError};

use crate::SqlStore;
use crate::columns::{Columns, limit, number, text};
use crate::place::HOME;

impl RevocationStore for SqlStore {
    fn keep_revocation(&self, revocation: Revocation) -> BoxFuture<'_, Result<(), StorageError>> {
        async move {
            let sql = format!(
                "INSERT INTO {} (user, before_ms) VALUES (?, ?) \
                 ON DUPLICATE KEY UPDATE before_ms = GREATEST(before_ms, VALUES(before_ms))",
                self.engine.places.home("revocations")
            );
            let user = revocation.user.as_ref().map_or("", UserId::as_str);
            let params = vec![text(user), number(revocation.before_ms)];
            self.engine.execute(HOME, sql, params).await.map(drop)
        }
        .boxed()
    }

    fn revocations(&self, most: usize) -> BoxFuture<'_, Result<Vec<Revocation>, StorageError>> {
        async move {
            let sql = format!(
                "SELECT user, before_ms FROM {} ORDER BY before_ms DESC LIMIT ?",
                self.engine.places.home("revocations")
            );
            let found = self.engine.home().read(&sql, vec![limit(most)]).await?;
            found.into_iter().map(decode).collect()
        }
        .boxed()
    }
}

fn decode(row: Row) -> Result<Revocation, StorageError> {
    let mut columns = Columns::of("revocations", row);
    let user = columns.name(|text| match text {
        "" => Ok(None),
        text => UserId::new(text).map(Some),
    })?;
    Ok(Revocation { user, before_ms: columns.take()? })
}
