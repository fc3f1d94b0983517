//! A thousand sessions lose their connections and come back at once.

#![allow(clippy::unwrap_used)]

mod support;

use futures_util::future::join_all;
use sterna_core::Worker;
use sterna_proto::v1::{self, command::Verb, push::Event, reply::Result as Reply};
use sterna_storage::memory::MemoryStore;
use support::{TestClient, config, counted, counts, join, with_held_clock};

const SESSIONS: usize = 1000;

/// Sessions are present in one of so many rooms each, so that joins do not grow with their square.
const ROOMS: usize = 25;

/// A metric of each queue on the way that is moved when the queue is full.
const FULL: &[&str] = &[
    "sterna_core_mailbox_busy_total",
    "sterna_core_link_dropped_total",
    "sterna_core_owed_dropped_total",
    "sterna_core_outbox_dropped_total",
    "sterna_core_lagged_total",
    "sterna_core_background_dropped_total",
    "sterna_core_cursor_moves_dropped_total",
    "sterna_core_rate_limited_total",
];

fn room(n: usize) -> String {
    format!("room:{}", n % ROOMS)
}

/// The news channel from a position, and presence in the session's room.
fn hello(n: usize, resume_ticket: bytes::Bytes, since: v1::Position) -> v1::Hello {
    let news = v1::Subscribe { channel: "news".into(), since: Some(since), ..Default::default() };
    v1::Hello {
        client_id: "phone".into(),
        resume_ticket,
        subscriptions: vec![news, join(&room(n))],
        ..Default::default()
    }
}

async fn page(client: &mut TestClient) -> v1::Subscribed {
    loop {
        match client.push().await {
            Event::Subscribed(page) if page.channel == "news" => {
                assert!(page.live && page.error.is_none());
                return page;
            }
            Event::Subscribed(room) => assert!(room.error.is_none()),
            Event::Presence(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// What the client got: the page and everything after it, up to an offset.
async fn offsets_upto(client: &mut TestClient, last: u64) -> Vec<u64> {
    let page = page(client).await;
    let mut offsets: Vec<u64> = page.publications.iter().map(|p| p.offset).collect();
    while offsets.last() != Some(&last) {
        match client.push().await {
            Event::Publication(publication) => offsets.push(publication.offset),
            Event::Presence(_) | Event::Subscribed(_) => {}
            other => panic!("{other:?}"),
        }
    }
    offsets
}

async fn connect_all(workers: &[Worker], hellos: Vec<v1::Hello>, turn: usize) -> Vec<TestClient> {
    let open = hellos.into_iter().enumerate().map(|(n, hello)| async move {
        // After a reconnect on the other worker, as through the kernel's hash.
        let worker = &workers[(n + turn) % workers.len()];
        TestClient::hello(worker, &format!("user{n}"), hello).await.unwrap()
    });
    join_all(open).await
}

/// Reads presence of every room until all sessions are listed there as online.
async fn everybody_is_online(watcher: &mut TestClient) {
    for n in 0..ROOMS {
        let query = Verb::Presence(v1::PresenceQuery { channel: room(n) });
        let Reply::Presence(list) = watcher.ask(query).await else { panic!() };
        assert_eq!(list.total as usize, 1 + SESSIONS / ROOMS);
        assert!(list.members.iter().all(|m| m.state() == v1::PresenceState::Online));
    }
}

#[test]
fn i13_a_thousand_sessions_reconnect_at_once_and_miss_nothing() {
    counted(|snapshotter| {
        with_held_clock(config(), MemoryStore::new().stores(), 2, |node, workers| async move {
            let mut alice = TestClient::connect(&workers[0], "alice").await;
            for seq in 1..=20 {
                alice.publish("news", seq, "before").await;
            }
            let mut watcher = TestClient::connect(&workers[0], "watcher").await;
            for n in 0..ROOMS {
                watcher.ask(Verb::Subscribe(join(&room(n)))).await;
            }
            let start = v1::Position::default();
            let hellos = (0..SESSIONS).map(|n| hello(n, Default::default(), start)).collect();
            let mut clients = connect_all(&workers, hellos, 0).await;
            let mut hellos = Vec::new();
            for (n, client) in clients.iter_mut().enumerate() {
                let page = page(client).await;
                assert_eq!(page.publications.len(), 20);
                let ticket = client.welcome.resume_ticket.clone();
                hellos.push(hello(n, ticket, page.position.unwrap()));
            }
            everybody_is_online(&mut watcher).await;
            // All that the watcher has heard so far is who came.
            let mut came = 0;
            while came < ROOMS + SESSIONS {
                assert_eq!(watcher.presence().await.state(), v1::PresenceState::Online);
                came += 1;
            }

            drop(clients);
            for seq in 21..=25 {
                alice.publish("news", seq, "while away").await;
            }
            let mut back = connect_all(&workers, hellos, 1).await;
            assert!(back.iter().all(|client| client.welcome.resumed));
            alice.publish("news", 26, "live").await;
            for client in &mut back {
                // Nothing lost, nothing twice, in order.
                assert_eq!(offsets_upto(client, 26).await, (21..=26).collect::<Vec<_>>());
            }
            assert_eq!(node.session_count(), SESSIONS + 2);
            everybody_is_online(&mut watcher).await;
            // Presence did not blink: the next that the watcher hears is somebody new.
            let mut newcomer = TestClient::connect(&workers[0], "newcomer").await;
            newcomer.ask(Verb::Subscribe(join(&room(0)))).await;
            assert_eq!(watcher.presence().await.user, "newcomer");
        });
        assert_eq!(counts(snapshotter, FULL), vec![0; FULL.len()], "no queue was full");
    });
}
