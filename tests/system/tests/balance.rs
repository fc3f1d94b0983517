//! Clients before several edges: which of them keep their connection when their address changes, where
//! newcomers end, and that a client which is sent elsewhere misses nothing on its way (I13).

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::net::SocketAddr;

use quinn::TransportConfig;
use sterna_client::{
    ChannelId, Client, ClientState, Connected, Event, Subscribe, Subscription, Transport,
};
use sterna_proto::v1::reply;
use sterna_relay::{Relay, RelayConfig};
use sterna_system_tests::balancer::{Balancer, Routing};
use sterna_system_tests::cluster::Cluster;
use sterna_system_tests::node::{PATIENCE, wait_for};
use sterna_system_tests::raw::{
    QuicClient, WssClient, hello_with, ping, quic_config_for, tls_by, within,
};
use sterna_system_tests::sdk;
use tokio::net::TcpStream;

const CHANNEL: &str = "room:balance";
const KEY: &str = "8f95f09245765f80256934e50c66207f";
const CONFIG_ID: u8 = 3;

fn channel() -> ChannelId {
    ChannelId::new(CHANNEL).unwrap()
}

/// A client of the cluster that connects to this address.
async fn client(
    cluster: &Cluster,
    user: &str,
    at: SocketAddr,
    transports: impl IntoIterator<Item = Transport>,
) -> Client {
    let client = Client::builder("localhost")
        .connect_to(at)
        .root_certificates_file(cluster.clients_ca("e1"))
        .token(cluster.node("e1").token(user).await)
        .transports(transports)
        .build()
        .unwrap();
    client.connect();
    client.ready(PATIENCE).await.unwrap();
    client
}

fn connected(client: &Client) -> Option<Connected> {
    match client.state() {
        ClientState::Connected(connected) => Some(connected),
        _ => None,
    }
}

/// Waits until the client has a session at a node of which this holds.
async fn wait_connected(client: &Client, wanted: impl Fn(&str) -> bool) -> Connected {
    let mut states = client.states();
    loop {
        if let Some(connected) = connected(client).filter(|it| wanted(&it.node)) {
            return connected;
        }
        within("the client is where it belongs", states.next()).await;
    }
}

/// The next publications, which are these.
async fn expect(subscription: &mut Subscription, texts: &[String]) {
    for text in texts {
        let next = loop {
            match within("a publication", subscription.next()).await {
                Some(Event::Publication(publication)) => break publication,
                Some(_) => {}
                None => panic!("the subscription has ended before `{text}`"),
            }
        };
        assert_eq!(next.payload, text.as_bytes());
    }
}

/// Two edges whose connection ids balancers can read.
async fn two_edges() -> Cluster {
    let mut cluster = Cluster::new().await;
    cluster.add("c1", "core", &[]).await;
    let key = cluster.secret("quic-lb.key", KEY);
    for (edge, number) in [("e1", "1"), ("e2", "2")] {
        let keys = [
            format!("node.number={number}"),
            format!("quic_lb.config_id={CONFIG_ID}"),
            format!("quic_lb.key_file={key}"),
        ];
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        cluster.add(edge, "edge", &keys).await;
    }
    cluster.ready().await;
    cluster
}

/// Server ids and addresses of those.
fn edges(cluster: &Cluster) -> Vec<(u32, SocketAddr)> {
    [(1, "e1"), (2, "e2")].map(|(id, edge)| (id, cluster.node(edge).client_address())).to_vec()
}

fn key() -> [u8; 16] {
    let octet = |at| u8::from_str_radix(&KEY[2 * at..][..2], 16).unwrap();
    std::array::from_fn(octet)
}

/// The client's address changes behind a balancer that reads connection ids, each time to one by which
/// the balancer would choose the other edge: it is the same connection at the same edge. The client
/// does nothing about it, as the SDK would if it had to wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_keeps_its_connection_behind_a_balancer_that_reads_its_ids() {
    let cluster = two_edges().await;
    let routing = Routing::ConnectionId { config_id: CONFIG_ID, key: key() };
    let balancer = Balancer::start(routing, edges(&cluster)).await;
    let relay = Relay::start(RelayConfig::new(balancer.address())).await.unwrap();
    let trust = quic_config_for(&cluster.clients_ca("e1"), TransportConfig::default());
    let mut client = QuicClient::connect_to(relay.address(), trust).await;
    client.send(&hello_with(cluster.node("e1").token("ana").await, "ana")).await;
    let reply::Result::Welcome(welcome) = client.reply(1).await else { panic!("no Welcome") };
    let here = cluster.node(&welcome.node);
    for change in 1..=4 {
        relay.change_address().await.unwrap();
        client.send(&ping(1 + change)).await;
        client.reply(1 + change).await;
        here.wait_metric("sterna_edge_path_changes_total", "", change.into()).await;
    }
    assert_eq!(here.metric("sterna_core_sessions_opened_total", "").await, Some(1.0));
    let other = cluster.node(if welcome.node == "e1" { "e2" } else { "e1" });
    assert_eq!(other.metric("sterna_core_sessions_opened_total", "").await, None);
    drop(client);
    relay.shutdown().await;
    cluster.stop().await;
}

/// The same behind one that hashes addresses: the other edge does not know the connection and keeps
/// silent. The client finds that out and has another session, and has missed nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_hash_of_addresses_it_has_to_connect_anew() {
    let cluster = two_edges().await;
    let balancer = Balancer::start(Routing::SourceAddress, edges(&cluster)).await;
    let relay = Relay::start(RelayConfig::new(balancer.address())).await.unwrap();
    let client = client(&cluster, "ana", relay.address(), [Transport::Quic]).await;
    let mut subscription = client.subscribe(&channel(), Subscribe::earliest()).unwrap();
    sdk::publish(&client, &channel(), "before").await;
    let before = connected(&client).unwrap();
    relay.change_address().await.unwrap();
    sdk::publish(&client, &channel(), "after").await;
    let after = wait_connected(&client, |node| node != before.node).await;
    assert_ne!(after.session_id, before.session_id);
    expect(&mut subscription, &["before".into(), "after".into()]).await;
    let foreign = cluster.node(&after.node).metric("sterna_edge_foreign_ids_total", "").await;
    assert!(foreign > Some(0.0), "{foreign:?}");
    client.close().await;
    relay.shutdown().await;
    cluster.stop().await;
}

/// A core and so many edges of one region that balance like this.
async fn fleet(count: usize, balance: &[&str]) -> Cluster {
    let mut cluster = Cluster::new().await;
    cluster.add("c1", "core", &[]).await;
    for edge in &["e1", "e2", "e3"][..count] {
        cluster.add(edge, "edge", balance).await;
    }
    cluster.ready().await;
    for edge in &["e1", "e2", "e3"][..count] {
        cluster.knows(edge, count + 1).await;
    }
    cluster
}

/// All clients come to one edge, as to the first address of a name. Half of them belong to the other,
/// are asked to go there, and miss nothing on their way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i13_newcomers_are_spread_and_those_that_move_miss_nothing() {
    let cluster = fleet(2, &["balance.sessions=weighted_round_robin"]).await;
    let first = cluster.node("e1").client_address();
    let mut clients = Vec::new();
    for number in 0..6 {
        let transport = if number % 3 == 0 { Transport::WebSocket } else { Transport::Quic };
        let client = client(&cluster, &format!("user-{number}"), first, [transport]).await;
        let subscription = client.subscribe(&channel(), Subscribe::earliest()).unwrap();
        sdk::publish(&client, &channel(), &format!("I am {number}")).await;
        clients.push((client, subscription));
    }
    for edge in ["e1", "e2"] {
        cluster.node(edge).wait_metric("sterna_core_sessions", "attached", 3.0).await;
    }
    let moved = cluster.node("e1").metric("sterna_core_sessions_moved_total", "round_robin").await;
    assert_eq!(moved, Some(3.0));
    assert_eq!(cluster.node("e2").metric("sterna_core_sessions_moved_total", "").await, None);
    // Nothing is kept where they have left.
    cluster.node("e1").wait_metric("sterna_core_sessions", "detached", 0.0).await;
    let told: Vec<String> = (0..6).map(|number| format!("I am {number}")).collect();
    for (client, mut subscription) in clients {
        expect(&mut subscription, &told).await;
        assert!(client.statistics().handovers <= 1, "moved once at most");
        client.close().await;
    }
    cluster.stop().await;
}

/// Wherever the devices of a user come in, they meet at one edge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_of_a_user_meet_at_one_edge() {
    let cluster = fleet(2, &["balance.sessions=affinity", "balance.slack_percent=1000"]).await;
    let users = ["ana", "ben", "cleo", "dan"];
    let mut clients = Vec::new();
    for user in users {
        let mut devices = Vec::new();
        for edge in ["e1", "e2"] {
            let at = cluster.node(edge).client_address();
            devices.push(client(&cluster, user, at, [Transport::Quic]).await);
        }
        let place = |device: &Client| connected(device).map(|it| it.node);
        wait_for("both devices are at one edge", || {
            let home = place(&devices[0])?;
            (place(&devices[1])? == home).then_some(())
        })
        .await;
        clients.append(&mut devices);
    }
    let mut moved = 0.0;
    for edge in ["e1", "e2"] {
        let here = cluster.node(edge).metric("sterna_core_sessions_moved_total", "affinity").await;
        moved += here.unwrap_or_default();
    }
    assert_eq!(moved, users.len() as f64, "of two devices one had to move");
    for client in clients {
        client.close().await;
    }
    cluster.stop().await;
}

/// The header of an upgrade decides in place of the user: of two users of a tenant who come in at two
/// edges one has to move.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_with_the_same_header_meet_at_one_edge() {
    let settings = [
        "balance.sessions=affinity",
        "balance.affinity=header:X-Tenant",
        "balance.slack_percent=1000",
    ];
    let cluster = fleet(2, &settings).await;
    let mut clients = Vec::new();
    for tenant in 0..6 {
        for edge in ["e1", "e2"] {
            let tcp = TcpStream::connect(cluster.node(edge).client_address()).await.unwrap();
            let stream = tls_by(tcp, &cluster.clients_ca(edge)).await.unwrap();
            let user = format!("user-{tenant}-{edge}");
            let token = cluster.node(edge).token(&user).await;
            let headers = [("x-tenant", &*format!("tenant-{tenant}"))];
            clients.push(WssClient::start_as(stream, hello_with(token, &user), &headers).await);
        }
    }
    let mut moved = 0.0;
    for edge in ["e1", "e2"] {
        let here = cluster.node(edge).metric("sterna_core_sessions_moved_total", "affinity").await;
        moved += here.unwrap_or_default();
    }
    assert_eq!(moved, 6.0, "of each tenant one");
    drop(clients);
    cluster.stop().await;
}

/// An edge that leaves sends its clients not all to one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_an_edge_that_leaves_are_spread_over_the_others() {
    let mut cluster = fleet(3, &[]).await;
    let leaving = cluster.node("e1").client_address();
    let mut clients = Vec::new();
    for number in 0..6 {
        let user = format!("user-{number}");
        clients.push(client(&cluster, &user, leaving, [Transport::Quic]).await);
    }
    cluster.node("e1").signal(libc::SIGTERM);
    for client in &clients {
        wait_connected(client, |node| node != "e1").await;
    }
    let ended = cluster.node_mut("e1").ended().await;
    assert!(ended.success(), "{ended}");
    for edge in ["e2", "e3"] {
        cluster.node(edge).wait_metric("sterna_core_sessions", "attached", 3.0).await;
    }
    for client in clients {
        client.close().await;
    }
    cluster.stop().await;
}
