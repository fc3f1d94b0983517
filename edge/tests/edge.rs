//! The edge as a whole: bounds on who connects, certificates, the port, drain.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::quic::{QuicClient, close_reason, connect};
use common::wss::{self, WssClient};
use common::{TestEdge, within};
use quinn::ConnectionError;
use sterna_proto::CloseReason;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_connects_too_often_is_refused() {
    let edge = TestEdge::start_with(|settings| {
        settings.edge.limits.address_connections_per_second = 0;
        settings.edge.limits.address_connection_burst = 1;
    })
    .await;
    let _unproved = connect(&edge).await.unwrap();
    let _proved_by_retry = connect(&edge).await.unwrap();
    let error = connect(&edge).await.unwrap_err();
    assert!(matches!(error, ConnectionError::ConnectionClosed(_)), "{error}");
    let mut tcp = TcpStream::connect(edge.edge.local_address()).await.unwrap();
    assert_eq!(within("a refusal", tcp.read(&mut [0; 10])).await.unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_so_many_connections_open_and_no_more() {
    let edge =
        TestEdge::start_with(|settings| settings.edge.limits.address_connections_open = 2).await;
    let first = QuicClient::start(&edge, "alice").await;
    let _second = WssClient::start(&edge, "bob").await;
    connect(&edge).await.unwrap_err();
    assert!(wss::tls(&edge).await.is_err());
    first.connection.close(0u32.into(), b"");
    within("room", async { while connect(&edge).await.is_err() {} }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_proves_its_address_when_told_so() {
    let edge =
        TestEdge::start_with(|settings| settings.edge.limits.handshakes_before_retry = 0).await;
    for user in ["alice", "bob", "carol"] {
        let mut client = QuicClient::start(&edge, user).await;
        client.ping(2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_serves_new_connections_and_old_ones_go_on() {
    let mut edge = TestEdge::start().await;
    let mut old = QuicClient::start(&edge, "alice").await;
    edge.exchange_certificate();
    connect(&edge).await.unwrap_err();
    edge.edge.reload_certificate().unwrap();
    let mut new = QuicClient::start(&edge, "bob").await;
    WssClient::start(&edge, "carol").await;
    new.ping(2).await;
    old.ping(2).await;
    std::fs::write(&edge.config.tls.private_key, "no key").unwrap();
    let error = edge.edge.reload_certificate().unwrap_err().to_string();
    assert!(error.contains("key.pem"), "{error}");
    QuicClient::start(&edge, "dave").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_edge_on_the_same_port_is_refused() {
    let edge = TestEdge::start().await;
    let address = edge.edge.local_address();
    let second = TestEdge::try_start_with(|settings| settings.edge.client_address = address).await;
    let error = second.err().unwrap().to_string();
    assert!(error.contains("another process uses this port"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_cannot_work_are_named() {
    for workers in [0, 33] {
        let edge = TestEdge::try_start_with(|settings| settings.workers = workers).await;
        assert!(edge.err().unwrap().to_string().contains("workers"));
    }
    let edge = TestEdge::try_start_with(|settings| settings.edge.node_number = 1 << 24).await;
    assert!(edge.err().unwrap().to_string().contains("node_number"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_closes_those_who_stay_and_ends() {
    let edge = TestEdge::start().await;
    let quic = QuicClient::start(&edge, "alice").await;
    let mut wss = WssClient::start(&edge, "bob").await;
    let address = edge.edge.local_address();
    let node = edge.node.clone();
    let drain = edge.edge.drain(Duration::from_millis(200), String::new());
    let quic_reason = close_reason(&quic.connection);
    let wss_reason = wss::close_reason(&mut wss.socket);
    let (ended, quic_reason, wss_reason) =
        within("a drain", async { tokio::join!(drain, quic_reason, wss_reason) }).await;
    assert!(ended);
    assert_eq!((quic_reason, wss_reason), (CloseReason::Drained, CloseReason::Drained));
    assert!(node.is_draining());
    assert!(TcpStream::connect(address).await.is_err(), "the port is free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_at_once_when_all_have_gone() {
    let edge = TestEdge::start().await;
    let quic = QuicClient::start(&edge, "alice").await;
    let drain = edge.edge.drain(Duration::from_secs(3600), String::new());
    let leave = async { quic.connection.close(0u32.into(), b"") };
    assert!(within("a drain", async { tokio::join!(drain, leave) }).await.0);
}
