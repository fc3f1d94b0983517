//! How closely a session follows a channel, across a cluster: in the background it costs next to
//! nothing however much is published, and nothing is missing when it looks again.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use sterna_client::{
    Activity, ChannelId, Client, Event, Offset, Subscribe, Subscription, SubscriptionState,
    Transport,
};
use sterna_system_tests::cluster::Cluster;
use sterna_system_tests::node::PATIENCE;
use sterna_system_tests::raw::within;
use sterna_system_tests::sdk;

const MANY: u64 = 300;

fn channel() -> ChannelId {
    ChannelId::new("room:activity").unwrap()
}

async fn client(cluster: &Cluster, edge: &str, user: &str, transport: Transport) -> Client {
    let client = Client::builder("localhost")
        .connect_to(cluster.node(edge).client_address())
        .root_certificates_file(cluster.clients_ca(edge))
        .token(cluster.node(edge).token(user).await)
        .transports([transport])
        .build()
        .unwrap();
    client.connect();
    client.ready(PATIENCE).await.unwrap();
    client
}

async fn follow(client: &Client, activity: Activity) -> Subscription {
    let options = Subscribe::latest().with_activity(activity);
    let mut subscription = client.subscribe(&channel(), options).unwrap();
    loop {
        match within("a subscription", subscription.next()).await {
            Some(Event::State(SubscriptionState::Subscribed { .. })) => return subscription,
            Some(_) => {}
            None => panic!("the subscription has ended"),
        }
    }
}

/// Takes publications until the one at `upto`: each once, in order, behind `after` (I2, I4, I5).
async fn hear(subscription: &mut Subscription, after: u64, upto: u64) {
    let mut next = after + 1;
    while next <= upto {
        match within("a publication", subscription.next()).await {
            Some(Event::Publication(publication)) => {
                assert_eq!(publication.position.offset, Offset(next));
                next += 1;
            }
            Some(Event::Gap { .. }) => panic!("everything is kept"),
            Some(_) => {}
            None => panic!("the subscription has ended before {next}"),
        }
    }
}

/// Takes heads, and nothing else, until the channel ends at `upto`; how many there were.
async fn hear_heads(subscription: &mut Subscription, upto: u64) -> u64 {
    let mut heads = 0;
    loop {
        match within("a head", subscription.next()).await {
            Some(Event::Head { position }) => {
                heads += 1;
                if position.offset >= Offset(upto) {
                    return heads;
                }
            }
            Some(Event::Publication(it)) => panic!("{} in the background", it.position),
            Some(_) => {}
            None => panic!("the subscription has ended"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_who_looks_again_has_missed_nothing() {
    let mut cluster = Cluster::new().await;
    cluster.add("c1", "core", &[]).await;
    for edge in ["e1", "e2"] {
        cluster.add(edge, "edge", &["sessions.background_heads=1s"]).await;
    }
    cluster.ready().await;
    let publisher = client(&cluster, "e2", "publisher", Transport::Quic).await;
    sdk::publish(&publisher, &channel(), "made").await;
    let ways = [("e1", Transport::Quic), ("e2", Transport::WebSocket)];
    let mut away = Vec::new();
    let mut near = Vec::new();
    for (number, (edge, transport)) in ways.into_iter().enumerate() {
        let away_client = client(&cluster, edge, &format!("away-{number}"), transport).await;
        let subscription = follow(&away_client, Activity::Background).await;
        away.push((away_client, subscription));
        let near_client = client(&cluster, edge, &format!("near-{number}"), transport).await;
        let subscription = follow(&near_client, Activity::Foreground).await;
        near.push((near_client, subscription));
    }
    for number in 0..MANY {
        sdk::publish(&publisher, &channel(), &format!("line {number}")).await;
    }
    let last = 1 + MANY;
    for (_, subscription) in &mut near {
        hear(subscription, 1, last).await;
    }
    for (_, subscription) in &mut away {
        let heads = hear_heads(subscription, last).await;
        assert!(heads < MANY / 2, "{heads} heads for {MANY} publications");
        subscription.set_activity(Activity::Active);
        hear(subscription, 1, last).await;
    }
    for edge in ["e1", "e2"] {
        let withheld = cluster.node(edge).metric("sterna_core_withheld_total", "").await;
        assert!(withheld > Some(0.0), "{edge}: {withheld:?}");
    }
    for number in 0..10 {
        sdk::publish(&publisher, &channel(), &format!("more {number}")).await;
    }
    for (client, mut subscription) in away.into_iter().chain(near) {
        hear(&mut subscription, last, last + 10).await;
        client.close().await;
    }
    publisher.close().await;
    cluster.stop().await;
}
