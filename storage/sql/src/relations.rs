//! Relations, all in the home database: the row is seen from both ends, and an index each way
//! finds it.

use futures_util::FutureExt as _;
use mysql_async::{Row, Value};
use sterna_proto::UserId;
use sterna_storage::{
    BoxFuture, Direction, Edge, Relation, RelationKind, RelationStore, StorageError,
};

use crate::SqlStore;
use crate::columns::{Columns, limit, number, text};
use crate::place::HOME;

impl RelationStore for SqlStore {
    fn set_relation(&self, relation: Relation) -> BoxFuture<'_, Result<bool, StorageError>> {
        let Relation { edge, since_ms, version } = relation;
        self.write_relation(edge, since_ms, version, "0").boxed()
    }

    fn remove_relation(
        &self,
        edge: Edge,
        version: u64,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        self.write_relation(edge, 0, version, "UNIX_TIMESTAMP()").boxed()
    }

    fn relation(&self, edge: Edge) -> BoxFuture<'_, Result<Option<Relation>, StorageError>> {
        async move {
            let condition = "user = ? AND kind = ? AND target = ?";
            Ok(self.select_relations(condition, edge_key(&edge).into()).await?.pop())
        }
        .boxed()
    }

    fn neighbours(
        &self,
        user: UserId,
        kind: RelationKind,
        direction: Direction,
        after: Option<UserId>,
        wish: usize,
    ) -> BoxFuture<'_, Result<Vec<Relation>, StorageError>> {
        async move {
            let (near, far) = match direction {
                Direction::Out => ("user", "target"),
                Direction::In => ("target", "user"),
            };
            let condition = format!("{near} = ? AND kind = ? AND {far} > ? ORDER BY {far} LIMIT ?");
            let after = after.as_ref().map_or("", UserId::as_str);
            let params = vec![text(user.as_str()), number(kind.0), text(after), limit(wish)];
            self.select_relations(&condition, params).await
        }
        .boxed()
    }
}

impl SqlStore {
    /// One statement, which takes the row's lock and compares versions under it.
    async fn write_relation(
        &self,
        edge: Edge,
        since_ms: u64,
        version: u64,
        removed_at: &str,
    ) -> Result<bool, StorageError> {
        // Assigned from left to right: the version last, since the others look at it.
        let sql = format!(
            "INSERT INTO {} (user, kind, target, since_ms, version, removed_at_s) \
             VALUES (?, ?, ?, ?, ?, {removed_at}) ON DUPLICATE KEY UPDATE \
             since_ms = IF(version < VALUES(version), VALUES(since_ms), since_ms), \
             removed_at_s = IF(version < VALUES(version), VALUES(removed_at_s), removed_at_s), \
             version = GREATEST(version, VALUES(version))",
            self.engine.places.home("relations")
        );
        let mut params: Vec<Value> = edge_key(&edge).into();
        params.extend([number(since_ms), number(version)]);
        Ok(self.engine.execute(HOME, sql, params).await? > 0)
    }

    async fn select_relations(
        &self,
        condition: &str,
        params: Vec<Value>,
    ) -> Result<Vec<Relation>, StorageError> {
        let sql = format!(
            "SELECT user, kind, target, since_ms, version FROM {} WHERE removed_at_s = 0 AND {}",
            self.engine.places.home("relations"),
            condition
        );
        let found = self.engine.home().read(&sql, params).await?;
        found.into_iter().map(decode).collect()
    }
}

fn edge_key(edge: &Edge) -> [Value; 3] {
    [text(edge.user.as_str()), number(edge.kind.0), text(edge.target.as_str())]
}

fn decode(row: Row) -> Result<Relation, StorageError> {
    let mut columns = Columns::of("relations", row);
    let user = columns.user()?;
    let kind = RelationKind(columns.take()?);
    let edge = Edge { user, kind, target: columns.user()? };
    Ok(Relation { edge, since_ms: columns.take()?, version: columns.take()? })
}
