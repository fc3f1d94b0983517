//! A client that comes back at another edge than that of its session: it gets a new one there, names
//! what it wants in its Hello, and takes the place of who it was. Others hear nothing of it. Time
//! passes only while everybody waits for it.

#![allow(clippy::unwrap_used)]

mod support;

use std::future::Future;
use std::time::Duration;

use sterna_core::CoreConfig;
use sterna_proto::v1::{self, PresenceState, command::Verb, push::Event, reply::Result as Reply};
use sterna_storage::memory::MemoryStore;
use support::cluster::{Cluster, Role, core, edge, until};
use support::{TestClient, counted, counts, join};

const ROOMS: [&str; 3] = ["room:1", "room:2", "room:3"];

const ROLES: [Role; 5] = [core("c1"), core("c2"), edge("e1"), edge("e2"), edge("e3")];

const RESUME_WINDOW: Duration = Duration::from_secs(20);
const DEBOUNCE: Duration = Duration::from_secs(4);

/// By then everybody has heard that a session is over, or that its edge is dead.
const MISSED: Duration = Duration::from_secs(2 * (RESUME_WINDOW.as_secs() + DEBOUNCE.as_secs()));

fn with_cluster<F: Future<Output = ()>>(test: impl FnOnce(Cluster) -> F) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.start_paused(true).enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let quick = |config: &mut CoreConfig| {
            config.roaming_after = Duration::from_secs(1);
            config.presence_debounce = DEBOUNCE;
            config.resume_window = RESUME_WINDOW;
        };
        let store = MemoryStore::new();
        let cluster = Cluster::start_with(&ROLES, &store, |config, _| quick(config)).await;
        let is_settled = || ROOMS.iter().all(|room| cluster.owners(room).len() == 1);
        until("every room has an owner", is_settled).await;
        let patience = Duration::from_secs(900);
        tokio::time::timeout(patience, test(cluster.clone())).await.unwrap();
        cluster.shutdown().await;
    });
}

/// All that somebody wants, in one flight, with the ticket of the session before.
async fn enter(cluster: &Cluster, edge: &str, user: &str, ticket: bytes::Bytes) -> TestClient {
    let hello = v1::Hello {
        client_id: format!("{user}-phone"),
        resume_ticket: ticket,
        subscriptions: ROOMS.iter().map(|room| join(room)).collect(),
        ..Default::default()
    };
    let mut client = TestClient::hello(cluster.worker(edge), user, hello).await.unwrap();
    for _ in ROOMS {
        loop {
            if let Event::Subscribed(page) = client.push().await {
                assert_eq!(page.error, None);
                break;
            }
        }
    }
    client
}

/// What somebody has heard about others within so much time.
async fn heard(client: &mut TestClient, within: Duration) -> Vec<(String, PresenceState)> {
    let until = tokio::time::Instant::now() + within;
    let mut news = Vec::new();
    while let Ok(event) = tokio::time::timeout_at(until, client.push()).await {
        if let Event::Presence(change) = event {
            let member = change.member.unwrap();
            news.push((member.user.clone(), member.state()));
        }
    }
    news.retain(|(user, _)| user != "watcher");
    news
}

async fn listed(client: &mut TestClient, user: &str) -> Option<v1::PresenceMember> {
    let query = Verb::Presence(v1::PresenceQuery { channel: ROOMS[0].into() });
    match client.ask(query).await {
        Reply::Presence(list) => list.members.into_iter().find(|member| member.user == user),
        other => panic!("{other:?}"),
    }
}

/// The edge is dead for minutes, and nobody who looks at the rooms knows.
#[test]
fn whose_edge_died_and_who_is_back_at_another_has_never_left() {
    counted(|snapshotter| {
        with_cluster(|cluster| async move {
            let mut watcher = enter(&cluster, "e1", "watcher", Default::default()).await;
            let bob = enter(&cluster, "e2", "bob", Default::default()).await;
            let news = heard(&mut watcher, DEBOUNCE).await;
            assert_eq!(news, vec![("bob".to_owned(), PresenceState::Online); ROOMS.len()]);
            let since_ms = listed(&mut watcher, "bob").await.unwrap().since_ms;
            cluster.kill("e2");
            let ticket = bob.welcome.resume_ticket.clone();
            let bob = enter(&cluster, "e3", "bob", ticket).await;
            assert!(!bob.welcome.resumed, "the session itself has died with its edge");
            let member = listed(&mut watcher, "bob").await.unwrap();
            assert_eq!((member.sessions, member.since_ms), (1, since_ms), "as if he had stayed");
            assert_eq!(heard(&mut watcher, MISSED).await, []);
            let member = listed(&mut watcher, "bob").await.unwrap();
            assert_eq!((member.sessions, member.state()), (1, PresenceState::Online));
        });
        assert_eq!(counts(snapshotter, &["sterna_core_presence_replaced_total"]), [3]);
    });
}

/// The edge lives and keeps the session for its window. Who leaves meanwhile, elsewhere, has left.
#[test]
fn what_is_kept_at_the_edge_before_keeps_nobody_present() {
    with_cluster(|cluster| async move {
        let mut watcher = enter(&cluster, "e1", "watcher", Default::default()).await;
        let bob = enter(&cluster, "e2", "bob", Default::default()).await;
        heard(&mut watcher, DEBOUNCE).await;
        let ticket = bob.welcome.resume_ticket.clone();
        drop(bob);
        let bob = enter(&cluster, "e3", "bob", ticket).await;
        assert_eq!(heard(&mut watcher, Duration::from_secs(2)).await, []);
        bob.attachment.forget();
        drop(bob);
        let gone = heard(&mut watcher, Duration::from_secs(1)).await;
        assert_eq!(gone, vec![("bob".to_owned(), PresenceState::Offline); ROOMS.len()]);
        assert_eq!(heard(&mut watcher, MISSED).await, [], "and is not back by what e2 says");
        assert_eq!(listed(&mut watcher, "bob").await, None);
    });
}

/// I11: a ticket takes nobody out but its own user, whose name is in the access token.
#[test]
fn i11_nobody_takes_the_place_of_somebody_else() {
    with_cluster(|cluster| async move {
        let mut watcher = enter(&cluster, "e1", "watcher", Default::default()).await;
        let bob = enter(&cluster, "e2", "bob", Default::default()).await;
        heard(&mut watcher, DEBOUNCE).await;
        let ticket = bob.welcome.resume_ticket.clone();
        let mallory = enter(&cluster, "e3", "mallory", ticket).await;
        mallory.attachment.forget();
        drop(mallory);
        let news = heard(&mut watcher, DEBOUNCE).await;
        assert!(news.iter().all(|(user, _)| user == "mallory"), "{news:?}");
        assert_eq!(listed(&mut watcher, "bob").await.unwrap().sessions, 1);
    });
}
