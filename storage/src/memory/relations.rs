//! Relations in memory: one map for each direction. Versions of removed ones are kept for ever.

use std::collections::BTreeMap;
use std::ops::Bound;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use sterna_proto::UserId;

use super::MemoryStore;
use crate::{Direction, Edge, Relation, RelationKind, RelationStore, StorageError};

impl RelationStore for MemoryStore {
    fn set_relation(&self, relation: Relation) -> BoxFuture<'_, Result<bool, StorageError>> {
        let Relation { edge, since_ms, version } = relation;
        let stored = Stored { version, since_ms: Some(since_ms) };
        ready(Ok(self.content().relations.put(edge, stored))).boxed()
    }

    fn remove_relation(
        &self,
        edge: Edge,
        version: u64,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        let stored = Stored { version, since_ms: None };
        ready(Ok(self.content().relations.put(edge, stored))).boxed()
    }

    fn relation(&self, edge: Edge) -> BoxFuture<'_, Result<Option<Relation>, StorageError>> {
        let content = self.content();
        let stored = content.relations.outgoing.get(&ends(&edge, Direction::Out));
        ready(Ok(stored.and_then(|stored| stored.relation(edge)))).boxed()
    }

    fn neighbours(
        &self,
        user: UserId,
        kind: RelationKind,
        direction: Direction,
        after: Option<UserId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Relation>, StorageError>> {
        let content = self.content();
        let all = content.relations.of(direction);
        let from = match after {
            Some(after) => Bound::Excluded((user.clone(), kind, Some(after))),
            None => Bound::Included((user.clone(), kind, None)),
        };
        let at_user = all.range((from, Bound::Unbounded));
        let found = at_user
            .take_while(|((near, its_kind, _), _)| (near, its_kind) == (&user, &kind))
            .filter_map(|((_, _, far), stored)| {
                let far = far.clone()?;
                let (user, target) = match direction {
                    Direction::Out => (user.clone(), far),
                    Direction::In => (far, user.clone()),
                };
                stored.relation(Edge { user, kind, target })
            })
            .take(limit)
            .collect();
        ready(Ok(found)).boxed()
    }
}

#[derive(Debug, Default)]
pub(super) struct Relations {
    outgoing: BTreeMap<Ends, Stored>,
    incoming: BTreeMap<Ends, Stored>,
}

/// The near end, the kind, and the far end; that is `None` only as the lower bound of a range.
type Ends = (UserId, RelationKind, Option<UserId>);

#[derive(Debug, Clone, Copy)]
struct Stored {
    version: u64,
    /// `None`: removed.
    since_ms: Option<u64>,
}

impl Stored {
    fn relation(self, edge: Edge) -> Option<Relation> {
        Some(Relation { edge, since_ms: self.since_ms?, version: self.version })
    }
}

impl Relations {
    fn put(&mut self, edge: Edge, stored: Stored) -> bool {
        let out = ends(&edge, Direction::Out);
        if self.outgoing.get(&out).is_some_and(|found| found.version >= stored.version) {
            return false;
        }
        self.outgoing.insert(out, stored);
        self.incoming.insert(ends(&edge, Direction::In), stored);
        true
    }

    fn of(&self, direction: Direction) -> &BTreeMap<Ends, Stored> {
        match direction {
            Direction::Out => &self.outgoing,
            Direction::In => &self.incoming,
        }
    }
}

fn ends(edge: &Edge, direction: Direction) -> Ends {
    let Edge { user, kind, target } = edge.clone();
    match direction {
        Direction::Out => (user, kind, Some(target)),
        Direction::In => (target, kind, Some(user)),
    }
}
