//! Cores that leave one after the other under steady talk. Time is held, so what is measured is what
//! the nodes wait for, and not how fast a machine is.

#![allow(clippy::unwrap_used)]

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use sterna_proto::v1::{push::Event, reply::Result as Reply};
use sterna_storage::memory::MemoryStore;
use support::cluster::{Cluster, core, edge};
use support::{TestClient, publish};
use tokio::time::Instant;

/// Between two publications of a channel.
const PACE: Duration = Duration::from_millis(20);

/// Channels, so that every core owns some.
const CHANNELS: usize = 12;

/// Publishes without a pause, as a client's SDK does: again when it is to be tried again.
async fn talk(cluster: Cluster, channel: String) {
    let mut client = TestClient::connect(cluster.worker("e1"), &format!("to-{channel}")).await;
    for seq in 1.. {
        while let Reply::Error(error) = client.ask(publish(&channel, seq, "x")).await {
            assert!(error.retryable, "{error:?}");
            tokio::time::sleep(PACE).await;
        }
        tokio::time::sleep(PACE).await;
    }
}

/// Hears everything in order, and remembers the longest time in which it heard nothing.
async fn listen(cluster: Cluster, channel: String, longest: Rc<Cell<Duration>>) {
    let mut client = TestClient::connect(cluster.worker("e2"), &format!("of-{channel}")).await;
    let mut at = client.subscribe(&channel, None).await.position.unwrap();
    let mut last = Instant::now();
    loop {
        let behind = match client.push().await {
            Event::Publication(publication) => {
                assert_eq!(publication.offset, at.offset + 1);
                at.offset += 1;
                longest.set(longest.get().max(last.elapsed()));
                last = Instant::now();
                false
            }
            Event::Gap(_) | Event::Head(_) => true,
            other => panic!("{other:?}"),
        };
        if behind {
            let page = client.subscribe(&channel, Some(at)).await;
            at.offset += page.publications.len() as u64;
        }
    }
}

#[test]
fn i13_nobody_hears_nothing_for_a_second_while_cores_leave() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.start_paused(true).enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let store = MemoryStore::new();
        let roles = [core("c1"), core("c2"), core("c3"), edge("e1"), edge("e2")];
        let cluster = Cluster::start(&roles, &store).await;
        let longest = Rc::new(Cell::new(Duration::ZERO));
        let mut people = tokio::task::JoinSet::new();
        for n in 0..CHANNELS {
            let channel = format!("room:{n}");
            people.spawn_local(talk(cluster.clone(), channel.clone()));
            while cluster.owners(&channel).len() != 1 {
                tokio::time::sleep(PACE).await;
            }
            people.spawn_local(listen(cluster.clone(), channel, longest.clone()));
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        // What the beginning took does not count.
        longest.set(Duration::ZERO);
        for leaving in ["c1", "c2"] {
            let node = cluster.member(leaving).node.clone();
            node.start_drain(Duration::from_secs(5), String::new()).await;
            node.given_away(Duration::from_secs(5)).await;
            assert_eq!(node.owned_slots(), 0, "{leaving} has given everything away");
            cluster.kill(leaving);
            tokio::time::sleep(Duration::from_secs(5)).await;
            eprintln!("{leaving}: {:?} of silence at most", longest.get());
        }
        assert!(people.try_join_next().is_none(), "nobody has given up");
        assert!(longest.get() > Duration::ZERO, "somebody has heard something");
        assert!(longest.get() < Duration::from_secs(1), "{:?} of silence", longest.get());
        people.shutdown().await;
        cluster.shutdown().await;
    });
}
