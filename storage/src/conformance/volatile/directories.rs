//! Promises of the directory.

use super::super::user;
use super::{LONG, SHORT, VolatilePlace, eventually, node, session};
use crate::volatile::{Beat, Directory, DirectoryEntry, SESSIONS_PER_USER, SessionPut};

pub async fn sessions_count_while_their_edge_beats(place: &VolatilePlace) {
    let directory = &*place.stores.directory;
    assert_eq!(directory.sessions_of(user("alice"), 9).await.unwrap(), []);
    for (number, edge) in [(u128::MAX, "e1"), (2, "e2"), (1, "e1")] {
        put(directory, "alice", entry(number, edge, 5)).await;
    }
    assert_eq!(directory.sessions_of(user("alice"), 9).await.unwrap(), [], "nobody beats");
    for (number, edge) in [(u128::MAX, "e1"), (2, "e2"), (1, "e1")] {
        put(directory, "alice", entry(number, edge, 5)).await;
    }
    beat(directory, "e1", 5, Beat::Begun).await;
    beat(directory, "e1", 5, Beat::Kept).await;
    put(directory, "alice", DirectoryEntry { class: 2, ..entry(1, "e1", 5) }).await;
    let replaced = DirectoryEntry { class: 2, ..entry(1, "e1", 5) };
    let all = directory.sessions_of(user("alice"), 9).await.unwrap();
    assert_eq!(all, [replaced.clone(), entry(u128::MAX, "e1", 5)]);
    assert_eq!(directory.sessions_of(user("alice"), 1).await.unwrap(), [replaced]);
    assert_eq!(directory.sessions_of(user("bob"), 9).await.unwrap(), []);
    assert_eq!(directory.edge_load(node("e1")).await.unwrap(), Some(LOAD));
    assert_eq!(directory.edge_load(node("e2")).await.unwrap(), None);
}

pub async fn a_lapsed_lease_begins_anew(place: &VolatilePlace) {
    let directory = &*place.stores.directory;
    directory.beat_edge(node("e1"), 5, LOAD, SHORT).await.unwrap();
    put(directory, "alice", entry(1, "e1", 5)).await;
    eventually("the end of a lease", || async {
        directory.sessions_of(user("alice"), 9).await.unwrap().is_empty()
    })
    .await;
    assert_eq!(directory.edge_load(node("e1")).await.unwrap(), None);
    beat(directory, "e1", 5, Beat::Begun).await;
    put(directory, "alice", entry(1, "e1", 5)).await;
    let all = directory.sessions_of(user("alice"), 9).await.unwrap();
    assert_eq!(all, [entry(1, "e1", 5)]);
}

pub async fn a_later_incarnation_supersedes(place: &VolatilePlace) {
    let directory = &*place.stores.directory;
    // As far apart as numbers are that some languages round.
    let (early, late) = (u64::MAX - 1, u64::MAX);
    beat(directory, "e1", early, Beat::Begun).await;
    put(directory, "alice", entry(1, "e1", early)).await;
    beat(directory, "e1", late, Beat::Begun).await;
    put(directory, "alice", entry(2, "e1", late)).await;
    let all = directory.sessions_of(user("alice"), 9).await.unwrap();
    assert_eq!(all, [entry(2, "e1", late)]);
    beat(directory, "e1", early, Beat::Superseded { incarnation: late }).await;
    beat(directory, "e1", late, Beat::Kept).await;
    beat(directory, "e1", 9, Beat::Superseded { incarnation: late }).await;
}

pub async fn an_entry_is_removed_by_its_own_edge_only(place: &VolatilePlace) {
    let directory = &*place.stores.directory;
    beat(directory, "e1", 6, Beat::Begun).await;
    put(directory, "alice", entry(1, "e1", 6)).await;
    for (number, name, incarnation) in [(1, "e2", 6), (1, "e1", 5), (1, "e1", 61), (2, "e1", 6)] {
        assert!(!remove(directory, number, name, incarnation).await);
    }
    assert_eq!(directory.sessions_of(user("alice"), 9).await.unwrap().len(), 1);
    assert!(remove(directory, 1, "e1", 6).await);
    assert!(!remove(directory, 1, "e1", 6).await);
    assert_eq!(directory.sessions_of(user("alice"), 9).await.unwrap(), []);
}

pub async fn a_dropped_edge_takes_its_entries(place: &VolatilePlace) {
    let directory = &*place.stores.directory;
    for (number, name) in [(1, "e1"), (2, "e2")] {
        beat(directory, name, 5, Beat::Begun).await;
        put(directory, "alice", entry(number, name, 5)).await;
    }
    for other in [4, 6] {
        assert!(!directory.drop_edge(node("e1"), other).await.unwrap());
    }
    assert_eq!(directory.sessions_of(user("alice"), 9).await.unwrap().len(), 2);
    assert!(directory.drop_edge(node("e1"), 5).await.unwrap());
    assert!(!directory.drop_edge(node("e1"), 5).await.unwrap());
    let rest = directory.sessions_of(user("alice"), 9).await.unwrap();
    assert_eq!(rest, [entry(2, "e2", 5)]);
    beat(directory, "e1", 5, Beat::Begun).await;
}

pub async fn a_user_has_so_many_sessions_and_no_more(place: &VolatilePlace) {
    let directory = &*place.stores.directory;
    beat(directory, "e1", 5, Beat::Begun).await;
    for number in 0..SESSIONS_PER_USER as u128 {
        put(directory, "alice", entry(number, "e1", 5)).await;
    }
    let more = entry(u128::MAX, "e1", 5);
    let refused = directory.put_session(user("alice"), more.clone()).await.unwrap();
    assert_eq!(refused, SessionPut::Full);
    put(directory, "alice", entry(7, "e1", 5)).await;
    assert_eq!(directory.sessions_of(user("alice"), 999).await.unwrap().len(), SESSIONS_PER_USER);
    assert!(directory.drop_edge(node("e1"), 5).await.unwrap());
    assert_eq!(directory.sessions_of(user("alice"), 999).await.unwrap(), []);
    put(directory, "alice", more).await;
}

pub async fn a_loss_asks_edges_to_put_again(place: &VolatilePlace) {
    let directory = &*place.stores.directory;
    beat(directory, "e1", 5, Beat::Begun).await;
    put(directory, "alice", entry(1, "e1", 5)).await;
    (place.forget)().await;
    assert_eq!(directory.sessions_of(user("alice"), 9).await.unwrap(), []);
    beat(directory, "e1", 5, Beat::Begun).await;
    put(directory, "alice", entry(1, "e1", 5)).await;
    assert_eq!(directory.sessions_of(user("alice"), 9).await.unwrap().len(), 1);
}

async fn put(directory: &dyn Directory, name: &str, entry: DirectoryEntry) {
    let put = directory.put_session(user(name), entry).await.unwrap();
    assert_eq!(put, SessionPut::Stored);
}

async fn beat(directory: &dyn Directory, name: &str, incarnation: u64, expected: Beat) {
    let beat = directory.beat_edge(node(name), incarnation, LOAD, LONG).await.unwrap();
    assert_eq!(beat, expected);
}

async fn remove(directory: &dyn Directory, number: u128, name: &str, incarnation: u64) -> bool {
    let (alice, session) = (user("alice"), session(number));
    directory.remove_session(alice, session, node(name), incarnation).await.unwrap()
}

fn entry(number: u128, name: &str, incarnation: u64) -> DirectoryEntry {
    DirectoryEntry { session: session(number), edge: node(name), incarnation, class: 0 }
}

const LOAD: u32 = u32::MAX;
