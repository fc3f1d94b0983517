//! I13 when everything moves at once: clients on a phone change their uplink while the owner of their
//! channel dies and another core takes it over. On QUIC their sessions go on and their paths change, at
//! both edges; nothing that was acknowledged is lost, doubled or out of order.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use sterna_system_tests::cluster::Cluster;
use sterna_system_tests::network::Network;
use sterna_system_tests::traffic::{CHANNEL, Traffic};
use sterna_test_engines::{MariaDb, Site};

const CORES: [&str; 3] = ["c1", "c2", "c3"];
const EDGES: [&str; 2] = ["e1", "e2"];

/// As all nodes that run see it, once they agree.
async fn owner(cluster: &Cluster) -> &'static str {
    let path = format!("/api/v1/operate/channel?channel={CHANNEL}");
    for _ in 0..600 {
        let mut owners = Vec::new();
        for node in CORES.into_iter().chain(EDGES) {
            let (_, said) = cluster.node(node).operator_get(&path).await;
            owners.push(CORES.into_iter().find(|core| said["result"]["owner"] == **core));
        }
        if let [Some(owner), ..] = owners[..]
            && owners.iter().all(|it| *it == Some(owner))
        {
            return owner;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("nodes do not agree on an owner");
}

/// How often a connection has begun a session, or gone on with one.
async fn opened(cluster: &Cluster, how: &str) -> f64 {
    cluster.metric_of("sterna_core_sessions_opened_total", how).await
}

/// Two subscribers and two publishers have moved so many times, each by a changed path or, where nothing
/// was heard for seconds, as on a busy machine, by another connection that was quicker to answer.
async fn until_all_have_moved(cluster: &Cluster, times: f64) {
    let mut moves = 0.0;
    for _ in 0..600 {
        moves = paths_changed(cluster).await + opened(cluster, "resumed").await;
        if moves >= 4.0 * times {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{moves} moves after {times} switches");
}

async fn paths_changed(cluster: &Cluster) -> f64 {
    cluster.metric_of("sterna_edge_path_changes_total", "").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i13_a_phone_changes_its_uplink_while_its_channel_changes_its_owner() {
    let mut network = match Network::make() {
        Ok(network) => network,
        Err(reason) => return println!("no network namespaces here: {reason}"),
    };
    let (mut phone, host) = (network.add_phone(), network.add_host());
    let site = Site { address: host.address, launcher: host.launcher() };
    let database = tokio::task::block_in_place(|| MariaDb::start_at(site, &[]));
    let mut cluster = Cluster::on(Some(network)).await;
    let urls = format!("store.urls={}", database.fresh_url());
    for core in CORES {
        cluster.add(core, "core", &["store.engine=sql", &urls]).await;
    }
    for edge in EDGES {
        cluster.add(edge, "edge", &[]).await;
    }
    cluster.ready().await;
    let mut traffic = Traffic::start_from(&phone, &cluster, 2000).await;
    traffic.more(50).await;
    let sessions = opened(&cluster, "new").await;
    for switch in 1..=3 {
        let owner = owner(&cluster).await;
        cluster.node_mut(owner).kill().await;
        cluster.network().unwrap().switch(&mut phone);
        traffic.more(100).await;
        until_all_have_moved(&cluster, f64::from(switch)).await;
        cluster.start(owner).await;
        cluster.ready().await;
    }
    assert_eq!(opened(&cluster, "new").await, sessions, "sessions go on");
    assert!(paths_changed(&cluster).await > 0.0, "a path that changes is the rule");
    println!("{} of 12 moves by another connection", opened(&cluster, "resumed").await);
    traffic.tell_silences("three switches");
    traffic.finish().await;
    cluster.stop().await;
}
