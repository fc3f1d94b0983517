//! Promises of the route table.

use std::collections::{BTreeSet, HashSet};

use futures_util::stream::BoxStream;
use tokio::task::JoinSet;

use super::super::key;
use super::{LONG, SHORT, VolatilePlace, eventually, listened, next, node};
use crate::volatile::{NodeRoute, Partition, Route, RouteChange, RouteEvent};

pub async fn an_unknown_channel_has_no_route(place: &VolatilePlace) {
    let routes = &place.stores.routes;
    let nothing = Route { v: 0, nodes: Vec::new() };
    assert_eq!(routes.route(key("room")).await.unwrap(), nothing);
    let asked = routes.partitions().all().collect::<Vec<_>>();
    let versions = routes.partition_versions(asked.clone()).await.unwrap();
    assert_eq!(versions, vec![0; asked.len()]);
    assert!(routes.partition_versions(Vec::new()).await.unwrap().is_empty());
}

pub async fn routes_are_put_replaced_and_removed(place: &VolatilePlace) {
    let routes = &place.stores.routes;
    let mut v = 0;
    for route in [of("west", u64::MAX), of("east", 7), of("west", 8)] {
        let now = routes.put_route(key("room"), route, LONG).await.unwrap();
        assert!(now > v, "{now} after {v}");
        v = now;
    }
    let both = vec![of("east", 7), of("west", 8)];
    assert_eq!(routes.route(key("room")).await.unwrap(), Route { v, nodes: both });
    let removed = routes.remove_route(key("room"), node("east")).await.unwrap().unwrap();
    assert!(removed > v);
    let rest = Route { v: removed, nodes: vec![of("west", 8)] };
    assert_eq!(routes.route(key("room")).await.unwrap(), rest);
    assert_eq!(routes.route(key("hall")).await.unwrap().nodes, []);
}

pub async fn removing_what_is_not_there_changes_nothing(place: &VolatilePlace) {
    let routes = &place.stores.routes;
    assert_eq!(routes.remove_route(key("room"), node("east")).await.unwrap(), None);
    let v = routes.put_route(key("room"), of("west", 1), LONG).await.unwrap();
    let partition = routes.partitions().of_channel(key("room"));
    let pv = routes.partition_versions(vec![partition]).await.unwrap();
    assert_eq!(routes.remove_route(key("room"), node("east")).await.unwrap(), None);
    assert_eq!(routes.route(key("room")).await.unwrap().v, v);
    assert_eq!(routes.partition_versions(vec![partition]).await.unwrap(), pv);
}

pub async fn a_route_ends_unless_it_is_put_again(place: &VolatilePlace) {
    let routes = &place.stores.routes;
    for name in ["east", "north", "west"] {
        let keep = if name == "west" { LONG } else { SHORT };
        routes.put_route(key("room"), of(name, 1), keep).await.unwrap();
    }
    routes.put_route(key("room"), of("north", 2), LONG).await.unwrap();
    let expected = [of("north", 2), of("west", 1)];
    eventually("the end of a route", || async {
        routes.route(key("room")).await.unwrap().nodes == expected
    })
    .await;
    routes.put_route(key("hall"), of("east", 1), SHORT).await.unwrap();
    eventually("the end of the only route", || async {
        routes.route(key("hall")).await.unwrap().nodes.is_empty()
    })
    .await;
}

pub async fn a_subscriber_begins_with_every_partition_lost(place: &VolatilePlace) {
    let routes = &place.stores.routes;
    let mut missing: BTreeSet<_> = routes.partitions().all().collect();
    let mut changes = routes.route_changes();
    while !missing.is_empty() {
        match next(&mut changes).await {
            RouteEvent::Lost(partition) => drop(missing.remove(&partition)),
            RouteEvent::Changed(change) => panic!("nothing has changed: {change:?}"),
        }
    }
}

pub async fn changes_are_heard_with_their_versions(place: &VolatilePlace) {
    let routes = &place.stores.routes;
    let channel = key("room");
    let partition = routes.partitions().of_channel(channel);
    let mut changes = routes.route_changes();
    listened(&mut changes, partition).await;
    let before = routes.partition_versions(vec![partition]).await.unwrap()[0];
    let mut heard = Vec::new();
    for step in 1..=3 {
        let v = match step {
            3 => routes.remove_route(channel, node("west")).await.unwrap().unwrap(),
            _ => routes.put_route(channel, of("west", step), LONG).await.unwrap(),
        };
        let change = change_in(&mut changes, partition).await;
        assert_eq!((change.channel, change.v), (channel, v));
        heard.push(change.pv);
    }
    assert_ne!(heard[0], before);
    assert_eq!(heard[1..], [heard[0] + 1, heard[0] + 2]);
    let now = routes.partition_versions(vec![partition]).await.unwrap();
    assert_eq!(now, [heard[2]]);
}

pub async fn versions_leap_over_a_loss(place: &VolatilePlace) {
    let routes = &place.stores.routes;
    let channel = key("room");
    let partition = vec![routes.partitions().of_channel(channel)];
    let v = routes.put_route(channel, of("west", 1), LONG).await.unwrap();
    let pv = routes.partition_versions(partition.clone()).await.unwrap()[0];
    (place.forget)().await;
    assert_eq!(routes.route(channel).await.unwrap().nodes, []);
    assert_ne!(routes.partition_versions(partition.clone()).await.unwrap()[0], pv);
    let again = routes.put_route(channel, of("west", 1), LONG).await.unwrap();
    assert!(again > v, "{again} after {v}");
    assert_eq!(routes.route(channel).await.unwrap().nodes, [of("west", 1)]);
    let leapt = routes.partition_versions(partition).await.unwrap()[0];
    assert!(leapt > pv + 1, "{leapt} after {pv} looks as if nothing had been lost");
}

pub async fn racing_writers_get_versions_of_their_own(place: &VolatilePlace) {
    let routes = &place.stores.routes;
    let channel = key("room");
    let partition = routes.partitions().of_channel(channel);
    let mut changes = routes.route_changes();
    listened(&mut changes, partition).await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let routes = routes.clone();
        writers.spawn(async move {
            let mut given = Vec::new();
            for step in 0..STEPS {
                let route = of(&format!("node{writer}"), step);
                given.push(routes.put_route(channel, route, LONG).await.unwrap());
            }
            given
        });
    }
    let given: Vec<u64> = writers.join_all().await.into_iter().flatten().collect();
    let distinct: HashSet<u64> = given.iter().copied().collect();
    assert_eq!(distinct.len() as u64, WRITERS * STEPS, "two changes have one version");
    let mut heard = Vec::new();
    while (heard.len() as u64) < WRITERS * STEPS {
        heard.push(change_in(&mut changes, partition).await);
    }
    assert!(heard.windows(2).all(|two| two[1].pv == two[0].pv + 1), "{heard:?}");
    assert!(heard.windows(2).all(|two| two[1].v > two[0].v), "{heard:?}");
    let end = routes.route(channel).await.unwrap();
    assert_eq!(Some(end.v), given.into_iter().max());
    assert!(end.nodes.iter().all(|route| route.incarnation == STEPS - 1), "{end:?}");
    assert_eq!(end.nodes.len() as u64, WRITERS);
}

/// The next change in a partition; none may have been lost in it.
async fn change_in(
    changes: &mut BoxStream<'static, RouteEvent>,
    partition: Partition,
) -> RouteChange {
    loop {
        match next(changes).await {
            RouteEvent::Changed(change) if change.partition == partition => return change,
            RouteEvent::Lost(lost) if lost == partition => panic!("lost without a fault"),
            _ => {}
        }
    }
}

fn of(name: &str, incarnation: u64) -> NodeRoute {
    NodeRoute { node: node(name), incarnation }
}

const WRITERS: u64 = 8;
const STEPS: u64 = 16;
