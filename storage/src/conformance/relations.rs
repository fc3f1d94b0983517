//! Promises of the relation store.

use std::collections::BTreeMap;

use sterna_proto::UserId;

use super::model::Random;
use super::{Open, user};
use crate::{Direction, Edge, Relation, RelationKind, RelationStore};

pub async fn a_relation_is_seen_from_both_ends(open: Open<'_>) {
    let relations = open().relations;
    let made = relation("alice", "bob", 1);
    assert_eq!(relations.relation(made.edge.clone()).await.unwrap(), None);
    assert!(relations.set_relation(made.clone()).await.unwrap());
    assert_eq!(relations.relation(made.edge.clone()).await.unwrap(), Some(made.clone()));
    let around = async |name: &str, kind, direction| {
        relations.neighbours(user(name), kind, direction, None, 10).await.unwrap()
    };
    assert_eq!(around("alice", FOLLOWS, Direction::Out).await, vec![made.clone()]);
    assert_eq!(around("bob", FOLLOWS, Direction::In).await, vec![made.clone()]);
    assert_eq!(around("alice", FOLLOWS, Direction::In).await, []);
    assert_eq!(around("bob", FOLLOWS, Direction::Out).await, []);
    assert_eq!(around("alice", BLOCKS, Direction::Out).await, [], "of another kind");
    let back = relation("bob", "alice", 1);
    assert_eq!(relations.relation(back.edge).await.unwrap(), None, "it has a direction");
}

pub async fn a_late_version_never_wins(open: Open<'_>) {
    let relations = open().relations;
    let edge = edge("alice", "bob");
    let set = async |version| relations.set_relation(relation("alice", "bob", version)).await;
    assert!(set(5).await.unwrap());
    assert!(!set(5).await.unwrap(), "again");
    assert!(!set(4).await.unwrap());
    assert!(!relations.remove_relation(edge.clone(), 4).await.unwrap());
    let held = relations.relation(edge.clone()).await.unwrap();
    assert_eq!(held, Some(relation("alice", "bob", 5)));
    assert!(relations.remove_relation(edge.clone(), 7).await.unwrap());
    assert!(!set(6).await.unwrap(), "created before it was removed");
    assert_eq!(relations.relation(edge.clone()).await.unwrap(), None);
    for direction in [Direction::Out, Direction::In] {
        let name = if direction == Direction::Out { "alice" } else { "bob" };
        let found = relations.neighbours(user(name), FOLLOWS, direction, None, 10).await.unwrap();
        assert_eq!(found, [], "{direction:?}");
    }
    assert!(set(8).await.unwrap());
    assert_eq!(relations.relation(edge).await.unwrap(), Some(relation("alice", "bob", 8)));
}

pub async fn a_removal_comes_before_its_relation(open: Open<'_>) {
    let relations = open().relations;
    assert!(relations.remove_relation(edge("alice", "bob"), 2).await.unwrap());
    assert!(!relations.set_relation(relation("alice", "bob", 1)).await.unwrap());
    assert_eq!(relations.relation(edge("alice", "bob")).await.unwrap(), None);
}

pub async fn neighbours_are_paged_from_both_ends(open: Open<'_>) {
    let relations = open().relations;
    let mut names: Vec<String> = (0..23).map(|n| format!("user{}", (n * 5) % 23)).collect();
    for name in &names {
        relations.set_relation(relation("alice", name, 1)).await.unwrap();
        relations.set_relation(relation(name, "alice", 1)).await.unwrap();
        // What stands next in key order.
        relations.set_relation(relation("alicea", name, 1)).await.unwrap();
        let kind = RelationKind(FOLLOWS.0 + 1);
        let edge = Edge { kind, ..edge("alice", name) };
        relations.set_relation(Relation { edge, since_ms: 1, version: 1 }).await.unwrap();
    }
    relations.remove_relation(edge("alice", "user7"), 2).await.unwrap();
    relations.remove_relation(edge("user7", "alice"), 2).await.unwrap();
    names.sort();
    names.retain(|name| name != "user7");
    for direction in [Direction::Out, Direction::In] {
        let mut listed: Vec<UserId> = Vec::new();
        loop {
            let after = listed.last().cloned();
            let page = relations.neighbours(user("alice"), FOLLOWS, direction, after, 5);
            let page = page.await.unwrap();
            assert!(page.len() <= 5);
            if page.is_empty() {
                break;
            }
            listed.extend(page.into_iter().map(|found| far_end(found, direction)));
        }
        let listed: Vec<&str> = listed.iter().map(UserId::as_str).collect();
        assert_eq!(listed, names, "{direction:?}");
    }
    let none = relations.neighbours(user("alice"), FOLLOWS, Direction::Out, None, 0);
    assert_eq!(none.await.unwrap(), []);
}

pub async fn any_relations_agree_with_the_model(open: Open<'_>) {
    let relations = open().relations;
    for seed in [5, 77] {
        let mut random = Random::new(seed);
        let mut model: BTreeMap<Edge, (u64, bool)> = BTreeMap::new();
        for _ in 0..200 {
            let mut name = || format!("user{}.{seed}", random.below(4));
            let edge = edge(&name(), &name());
            let (version, holds) = (random.below(12), random.below(3) > 0);
            let takes = model.get(&edge).is_none_or(|(stored, _)| *stored < version);
            if takes {
                model.insert(edge.clone(), (version, holds));
            }
            let took = if holds {
                let wish = Relation { edge, since_ms: version * 10, version };
                relations.set_relation(wish).await.unwrap()
            } else {
                relations.remove_relation(edge, version).await.unwrap()
            };
            assert_eq!(took, takes, "seed {seed}");
        }
        for n in 0..4 {
            compare(&*relations, &model, &user(&format!("user{n}.{seed}"))).await;
        }
    }
}

async fn compare(
    relations: &dyn RelationStore,
    model: &BTreeMap<Edge, (u64, bool)>,
    name: &UserId,
) {
    for direction in [Direction::Out, Direction::In] {
        let near = |edge: &Edge| match direction {
            Direction::Out => edge.user == *name,
            Direction::In => edge.target == *name,
        };
        let mut expected: Vec<Relation> = model
            .iter()
            .filter(|(edge, (_, holds))| near(edge) && *holds)
            .map(|(edge, (version, _))| Relation {
                edge: edge.clone(),
                since_ms: version * 10,
                version: *version,
            })
            .collect();
        expected.sort_by_key(|relation| far_end(relation.clone(), direction));
        let found = relations.neighbours(name.clone(), FOLLOWS, direction, None, 100).await;
        assert_eq!(found.unwrap(), expected, "{direction:?}");
    }
}

fn far_end(relation: Relation, direction: Direction) -> UserId {
    match direction {
        Direction::Out => relation.edge.target,
        Direction::In => relation.edge.user,
    }
}

fn edge(name: &str, target: &str) -> Edge {
    Edge { user: user(name), kind: FOLLOWS, target: user(target) }
}

fn relation(name: &str, target: &str, version: u64) -> Relation {
    Relation { edge: edge(name, target), since_ms: 1_000 + version, version }
}

const FOLLOWS: RelationKind = RelationKind(1);
const BLOCKS: RelationKind = RelationKind(0x0100);
