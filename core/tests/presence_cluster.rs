//! Presence when ways are cut and nodes die: nobody who has left stays for long in the eyes of
//! others, and nobody who is there blinks. Time passes only while everybody waits for it.

#![allow(clippy::unwrap_used)]

mod support;

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use sterna_core::CoreConfig;
use sterna_proto::v1::{self, PresenceState, command::Verb, push::Event, reply::Result as Reply};
use sterna_storage::memory::MemoryStore;
use support::cluster::{Cluster, Role, core, edge, until};
use support::{TestClient, counted, counts, join};

const ROOM: &str = "room:1";

const ROLES: [Role; 4] = [core("c1"), core("c2"), edge("e1"), edge("e2")];

const RESUME_WINDOW: Duration = Duration::from_secs(20);
const DEBOUNCE: Duration = Duration::from_secs(4);

/// By then a session of which nothing has been heard has left.
const MISSED: Duration = Duration::from_secs(RESUME_WINDOW.as_secs() + DEBOUNCE.as_secs() + 1);

fn with_cluster<F: Future<Output = ()>>(roles: &[Role], test: impl FnOnce(Cluster) -> F) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.start_paused(true).enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let quick = |config: &mut CoreConfig| {
            config.roaming_after = Duration::from_secs(1);
            config.presence_debounce = DEBOUNCE;
            config.resume_window = RESUME_WINDOW;
        };
        let store = MemoryStore::new();
        let cluster = Cluster::start_with(roles, &store, |config, _| quick(config)).await;
        let patience = Duration::from_secs(900);
        tokio::time::timeout(patience, test(cluster.clone())).await.unwrap();
        cluster.shutdown().await;
    });
}

/// The owner that everybody knows of, and the core beside it.
async fn owner_and_other(cluster: &Cluster) -> (&'static str, &'static str) {
    until("one owner", || cluster.owners(ROOM).len() == 1).await;
    match cluster.owners(ROOM)[0] {
        "c1" => ("c1", "c2"),
        _ => ("c2", "c1"),
    }
}

/// A client that is present in the room and does what its connection asks of it.
struct Present {
    heard: Rc<RefCell<Vec<(String, PresenceState)>>>,
    reading: tokio::task::JoinHandle<()>,
}

impl Present {
    async fn enter(cluster: &Cluster, edge: &str, user: &str) -> Self {
        let mut client = TestClient::connect(cluster.worker(edge), user).await;
        client.ask(Verb::Subscribe(join(ROOM))).await;
        let heard = Rc::new(RefCell::default());
        let told: Rc<RefCell<Vec<_>>> = Rc::clone(&heard);
        let reading = tokio::task::spawn_local(async move {
            loop {
                if let Event::Presence(change) = client.push().await {
                    let member = change.member.unwrap();
                    told.borrow_mut().push((member.user.clone(), member.state()));
                }
            }
        });
        Self { heard, reading }
    }

    /// What it has heard since it was asked last.
    fn news(&self) -> Vec<(String, PresenceState)> {
        self.heard.borrow_mut().drain(..).collect()
    }

    /// The connection is lost.
    async fn lose(self) {
        self.reading.abort();
        assert!(self.reading.await.unwrap_err().is_cancelled());
    }
}

/// Who is there by what the owner that an edge knows of says.
async fn listed(cluster: &Cluster, edge: &str) -> Vec<String> {
    let mut reader = TestClient::connect(cluster.worker(edge), "reader").await;
    let query = Verb::Presence(v1::PresenceQuery { channel: ROOM.into() });
    match reader.ask(query).await {
        Reply::Presence(list) => list.members.into_iter().map(|member| member.user).collect(),
        other => panic!("{other:?}"),
    }
}

fn said(user: &str, state: PresenceState) -> (String, PresenceState) {
    (user.to_owned(), state)
}

/// The owner and one edge stay together; the rest of the cluster has another owner meanwhile.
fn part(cluster: &Cluster, owner: &str, other: &str, is_cut: bool) {
    for far in [other, "e2"] {
        if is_cut { cluster.cut(owner, far) } else { cluster.heal(owner, far) }
    }
}

#[test]
fn who_left_while_the_owner_was_cut_off_does_not_stay_there() {
    counted(|snapshotter| {
        with_cluster(&ROLES, |cluster| async move {
            let (owner, other) = owner_and_other(&cluster).await;
            let watcher = Present::enter(&cluster, "e1", "watcher").await;
            let bob = Present::enter(&cluster, "e2", "bob").await;
            let _carol = Present::enter(&cluster, "e2", "carol").await;
            until("all are there", || watcher.heard.borrow().len() == 3).await;
            // Nobody looks for another owner any more.
            tokio::time::sleep(Duration::from_secs(30)).await;
            watcher.news();
            part(&cluster, owner, other, true);
            until("two owners", || cluster.owners(ROOM).len() == 2).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            bob.lose().await;
            let _dave = Present::enter(&cluster, "e2", "dave").await;
            // Bob's window ends at the other owner.
            tokio::time::sleep(RESUME_WINDOW + Duration::from_secs(1)).await;
            assert_eq!(listed(&cluster, "e2").await, ["carol", "dave"]);
            assert_eq!(watcher.news(), [], "nobody has told the owner");
            part(&cluster, owner, other, false);
            until("one owner again", || cluster.owners(ROOM) == [owner]).await;
            tokio::time::sleep(MISSED).await;
            let (came, left) = (PresenceState::Online, PresenceState::Offline);
            let mut news = watcher.news();
            news.sort();
            assert_eq!(news, [said("bob", left), said("dave", came)], "carol was there all along");
            assert_eq!(listed(&cluster, "e1").await, ["carol", "dave", "watcher"]);
        });
        assert_eq!(counts(snapshotter, &["sterna_core_presence_missed_total"]), [1]);
    });
}

/// Whoever was told that somebody has left, because the way to him was cut for long, is told that he
/// is there again.
#[test]
fn who_was_taken_for_gone_is_told_to_be_back() {
    with_cluster(&ROLES, |cluster| async move {
        let (owner, other) = owner_and_other(&cluster).await;
        let watcher = Present::enter(&cluster, "e1", "watcher").await;
        let _carol = Present::enter(&cluster, "e2", "carol").await;
        until("both are there", || watcher.heard.borrow().len() == 2).await;
        watcher.news();
        let (came, left) = (PresenceState::Online, PresenceState::Offline);
        for _ in 0..2 {
            part(&cluster, owner, other, true);
            tokio::time::sleep(MISSED).await;
            assert_eq!(watcher.news(), [said("carol", left)]);
            part(&cluster, owner, other, false);
            until("she is back", || !watcher.heard.borrow().is_empty()).await;
            assert_eq!(watcher.news(), [said("carol", came)]);
        }
    });
}

/// The owner's own sessions die with it, and only it knew of them.
#[test]
fn who_dies_with_the_owner_has_left() {
    counted(|snapshotter| {
        with_cluster(&ROLES, |cluster| async move {
            let (owner, other) = owner_and_other(&cluster).await;
            let watcher = Present::enter(&cluster, "e1", "watcher").await;
            let _bob = Present::enter(&cluster, owner, "bob").await;
            let gone = Present::enter(&cluster, owner, "gone").await;
            let _carol = Present::enter(&cluster, "e2", "carol").await;
            until("all are there", || watcher.heard.borrow().len() == 4).await;
            gone.lose().await;
            tokio::time::sleep(MISSED).await;
            watcher.news();
            cluster.kill(owner);
            until("another owner", || cluster.owners(ROOM) == [other]).await;
            until("bob is missed", || !watcher.heard.borrow().is_empty()).await;
            tokio::time::sleep(2 * MISSED).await;
            assert_eq!(watcher.news(), [said("bob", PresenceState::Offline)]);
            assert_eq!(listed(&cluster, "e1").await, ["carol", "watcher"]);
        });
        assert_eq!(counts(snapshotter, &["sterna_core_presence_recalls_total"]), [1]);
    });
}
