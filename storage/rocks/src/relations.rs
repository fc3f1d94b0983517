//! Relations, a row under either end, written in one batch. A removed relation leaves its version
//! in both rows until compaction finds it old.

use prost::Message;
use rocksdb::compaction_filter::Decision;
use sterna_proto::UserId;
use sterna_storage::relation::REMOVED_RELATION_MS;
use sterna_storage::{
    BoxFuture, Direction, Edge, Relation, RelationKind, RelationStore, StorageError,
};

use crate::RocksStore;
use crate::channels::until_full;
use crate::database::{Database, users_prefix};
use crate::encoding::{Damaged, decode, decode_user, unseal};
use crate::group::{Group, Sync};
use crate::options::{Family, unix_now_ms};

impl RelationStore for RocksStore {
    fn set_relation(&self, relation: Relation) -> BoxFuture<'_, Result<bool, StorageError>> {
        let Relation { edge, since_ms, version } = relation;
        let stored = StoredRelation { version, since_ms, removed_at_ms: None };
        self.engine.write(move |group| put(group, &edge, &stored))
    }

    fn remove_relation(
        &self,
        edge: Edge,
        version: u64,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        self.engine.write(move |group| remove(group, &edge, version, unix_now_ms()))
    }

    fn relation(&self, edge: Edge) -> BoxFuture<'_, Result<Option<Relation>, StorageError>> {
        let key = key(&edge, Direction::Out);
        self.engine.look(|database| {
            let stored = database.get_as(Family::RelationOut, &key, decode_stored)?;
            Ok(stored.and_then(|stored| stored.relation(edge)))
        })
    }

    fn neighbours(
        &self,
        user: UserId,
        kind: RelationKind,
        direction: Direction,
        after: Option<UserId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Relation>, StorageError>> {
        self.engine
            .read(move |database| list(database, &user, kind, direction, after.as_ref(), limit))
    }
}

pub(crate) fn remove(
    group: &mut Group,
    edge: &Edge,
    version: u64,
    now_ms: u64,
) -> Result<bool, StorageError> {
    put(group, edge, &StoredRelation { version, since_ms: 0, removed_at_ms: Some(now_ms) })
}

fn put(group: &mut Group, edge: &Edge, stored: &StoredRelation) -> Result<bool, StorageError> {
    let out = key(edge, Direction::Out);
    let found = group.get_as(Family::RelationOut, &out, decode_stored)?;
    if found.is_some_and(|found| found.version >= stored.version) {
        return Ok(false);
    }
    let content = stored.encode_to_vec();
    group.put(Sync::Now, Family::RelationOut, out, content.clone());
    group.put(Sync::Now, Family::RelationIn, key(edge, Direction::In), content);
    Ok(true)
}

fn list(
    database: &Database,
    user: &UserId,
    kind: RelationKind,
    direction: Direction,
    after: Option<&UserId>,
    limit: usize,
) -> Result<Vec<Relation>, StorageError> {
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    let family = family(direction);
    let prefix = prefix(user, kind);
    let after = after.map(|user| user.as_str().as_bytes());
    database.scan(family, &prefix, after, |key, content| {
        let damage = |damaged| database.corrupt(family, key, damaged);
        let far = decode_user(&key[prefix.len()..]).map_err(damage)?;
        let (user, target) = match direction {
            Direction::Out => (user.clone(), far),
            Direction::In => (far, user.clone()),
        };
        let stored = decode_stored(content).map_err(damage)?;
        found.extend(stored.relation(Edge { user, kind, target }));
        Ok(until_full(found.len(), limit))
    })?;
    Ok(found)
}

fn family(direction: Direction) -> Family {
    match direction {
        Direction::Out => Family::RelationOut,
        Direction::In => Family::RelationIn,
    }
}

/// near end . 0 . kind . far end
fn key(edge: &Edge, direction: Direction) -> Vec<u8> {
    let (near, far) = match direction {
        Direction::Out => (&edge.user, &edge.target),
        Direction::In => (&edge.target, &edge.user),
    };
    [&prefix(near, edge.kind), far.as_str().as_bytes()].concat()
}

fn prefix(near: &UserId, kind: RelationKind) -> Vec<u8> {
    [&users_prefix(near)[..], &kind.0.to_be_bytes()].concat()
}

/// Versions of removed relations go at the first compaction after their time. One that does not
/// verify stays, so that the reader who meets it says so.
pub(crate) fn expire(key: &[u8], value: &[u8], now_ms: u64) -> Decision {
    let removed_at_ms = unseal(key, value).and_then(decode_stored).map(|row| row.removed_at_ms);
    match removed_at_ms {
        Ok(Some(at)) if at.saturating_add(REMOVED_RELATION_MS) < now_ms => Decision::Remove,
        _ => Decision::Keep,
    }
}

pub(crate) fn decode_stored(content: &[u8]) -> Result<StoredRelation, Damaged> {
    decode(content)
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoredRelation {
    #[prost(uint64, tag = "1")]
    version: u64,
    #[prost(uint64, tag = "2")]
    since_ms: u64,
    #[prost(uint64, optional, tag = "3")]
    removed_at_ms: Option<u64>,
}

impl StoredRelation {
    fn relation(self, edge: Edge) -> Option<Relation> {
        let Self { version, since_ms, removed_at_ms } = self;
        removed_at_ms.is_none().then_some(Relation { edge, since_ms, version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::seal;

    #[test]
    fn versions_of_removed_relations_live_for_seven_days() {
        let at = 1_000_000;
        let row = |removed_at_ms| {
            seal(b"key", &StoredRelation { version: 3, since_ms: 4, removed_at_ms }.encode_to_vec())
        };
        let keeps = |row: &[u8], now_ms| matches!(expire(b"key", row, now_ms), Decision::Keep);
        assert!(keeps(&row(Some(at)), at + REMOVED_RELATION_MS));
        assert!(!keeps(&row(Some(at)), at + REMOVED_RELATION_MS + 1));
        assert!(keeps(&row(Some(at)), 0), "a clock that was set back");
        assert!(keeps(&row(None), u64::MAX), "it holds");
        assert!(matches!(expire(b"other", &row(Some(at)), u64::MAX), Decision::Keep), "damaged");
    }
}
