//! A node that was killed and is back tells the QUIC clients of its predecessor at once that their
//! connections are gone (stateless reset), because its keys are those of its predecessor: nobody
//! waits for a timeout. And the same node on IPv6.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use quinn::{ConnectionError, TransportConfig};
use sterna_client::{ChannelId, Client, ClientState, Event, NetworkChange, Subscribe, Transport};
use sterna_proto::codec;
use sterna_system_tests::node::{Node, PATIENCE};
use sterna_system_tests::raw::{self, QuicClient, within};
use sterna_system_tests::sdk;
use tokio::time::timeout;

/// Enough to meet every worker.
const CLIENTS: usize = 20;

/// These clients never give up by themselves, so what ends them is the node's word. Each has
/// something to say after the node is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clients_of_a_killed_node_are_reset_by_its_successor() {
    let mut node = Node::start().await;
    let mut clients = Vec::new();
    for at in 0..CLIENTS {
        clients.push(QuicClient::start(&node, &format!("client-{at}"), patient()).await);
    }
    node.kill().await;
    node.restart().await;
    for client in &mut clients {
        // Who had a packet to send again has been told already.
        let _ = client.commands.write_all(&codec::encode_to_bytes(&raw::ping(2))).await;
    }
    for client in &clients {
        let end = within("a stateless reset", client.connection.closed()).await;
        assert_eq!(end, ConnectionError::Reset);
    }
    assert!(node.terminate().await.success(), "{}", node.log());
}

/// The SDK takes the reset for what it is: it leaves the old connection before it makes another,
/// which it would not do after a mere silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_the_sdk_leaves_at_the_reset_and_is_back() {
    let mut node = Node::start().await;
    let client = sdk::connect(&node, "ana", Transport::Quic).await;
    let channel = ChannelId::new("room:restart").unwrap();
    let mut subscription = client.subscribe(&channel, Subscribe::earliest()).unwrap();
    sdk::publish(&client, &channel, "before").await;
    node.kill().await;
    node.restart().await;
    let ack = sdk::publish(&client, &channel, "after").await;
    assert_eq!(ack.position.offset.0, 2);
    let counts = client.statistics();
    assert_eq!((counts.connects, counts.handovers), (2, 0), "{counts:?}");
    assert_eq!(texts(&mut subscription, 2).await, ["before", "after"]);
    client.close().await;
    assert!(node.terminate().await.success(), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_ipv6_serves_both_transports_and_clients_that_move() {
    let mut node = Node::start_with(&["--client-ip", "::1"]).await;
    let address = format!("sterna://[::1]:{}", node.client_address().port());
    assert!(node.client_address().is_ipv6());
    let channel = ChannelId::new("room:six").unwrap();
    let [quic, wss] = [Transport::Quic, Transport::WebSocket].map(|transport| {
        let client = Client::builder(&address)
            .root_certificates_file(node.data_dir().join("keys/ca.pem"))
            .token(sdk::token(&node, transport.name(), sdk::TOKEN_LIFE))
            .transports([transport])
            .build()
            .unwrap();
        client.connect();
        client
    });
    for client in [&quic, &wss] {
        client.ready(PATIENCE).await.unwrap();
        let ClientState::Connected(connected) = client.state() else { panic!("not connected") };
        assert!(connected.observed_address.starts_with("[::1]:"), "{connected:?}");
    }
    let mut heard = [&quic, &wss].map(|it| it.subscribe(&channel, Subscribe::earliest()).unwrap());
    sdk::publish(&quic, &channel, "over QUIC").await;
    sdk::publish(&wss, &channel, "over wss").await;
    quic.network_changed(NetworkChange::Path);
    sdk::publish(&quic, &channel, "from another port").await;
    for subscription in &mut heard {
        let said = texts(subscription, 3).await;
        assert_eq!(said, ["over QUIC", "over wss", "from another port"]);
    }
    assert_eq!(quic.statistics().connects, 1, "it moved with its connection");
    quic.close().await;
    wss.close().await;
    assert!(node.terminate().await.success(), "{}", node.log());
}

/// Sends nothing by itself and waits for ever.
fn patient() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(None).keep_alive_interval(None);
    transport
}

async fn texts(subscription: &mut sterna_client::Subscription, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        match timeout(PATIENCE, subscription.next()).await.expect("an event").unwrap() {
            Event::Publication(it) => texts.push(String::from_utf8(it.payload.to_vec()).unwrap()),
            Event::State(_) | Event::Recovered { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    texts
}
