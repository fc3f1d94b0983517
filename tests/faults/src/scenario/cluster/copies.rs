//! I9: publications of a whole cluster, counted by its own metrics. Where both edges want a channel
//! that another region owns, one copy of each publication goes there.

use sterna_client::{ChannelId, Client, Event, Subscribe, Subscription};
use sterna_system_tests::cluster::Cluster;
use sterna_system_tests::node::PATIENCE;

use super::EDGES;
use crate::place::Place;
use crate::workload::within;

const PUBLICATIONS: usize = 20;

/// Lets somebody at each edge hear a few publications; what is wrong with the copies of them.
pub(super) async fn check(cluster: &Cluster, place: &Place, far: bool) -> Option<String> {
    let channel = ChannelId::new("room:copies").unwrap();
    let clients: Vec<Client> = (0..EDGES.len())
        .map(|at| place.clone().facing(at).builder(&format!("copies-{at}")).build().unwrap())
        .collect();
    let mut subscriptions = Vec::new();
    for client in &clients {
        client.connect();
        client.ready(PATIENCE).await.unwrap();
        subscriptions.push(client.subscribe(&channel, Subscribe::earliest()).unwrap());
    }
    // Everybody is attached once the first has come.
    clients[0].publish(&channel, "first").await.unwrap();
    hear(&mut subscriptions, 1).await;
    let copies = async |scope: &str| {
        cluster.metric_of("sterna_link_copies_total", &format!("scope=\"{scope}\"")).await
    };
    let before = [copies("wide").await, copies("region").await];
    for at in 0..PUBLICATIONS {
        clients[0].publish(&channel, at.to_string()).await.unwrap();
    }
    hear(&mut subscriptions, PUBLICATIONS).await;
    let moved = [copies("wide").await - before[0], copies("region").await - before[1]];
    for client in &clients {
        client.close().await;
    }
    let publications = PUBLICATIONS as f64;
    // The edge that got the copy gives one to the other; in one region each gets its own.
    let wanted = if far { [publications; 2] } else { [0.0, 2.0 * publications] };
    (moved != wanted).then(|| {
        format!(
            "I9: {PUBLICATIONS} publications made {moved:?} copies [wide, within], not {wanted:?}"
        )
    })
}

async fn hear(subscriptions: &mut [Subscription], count: usize) {
    for subscription in subscriptions {
        let mut heard = 0;
        while heard < count {
            match within("a copy arrives", subscription.next()).await {
                Some(Event::Publication(_)) => heard += 1,
                Some(_) => {}
                None => panic!("a subscription ended"),
            }
        }
    }
}
