//! Ways to a node: several addresses, families, certificates.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use sterna_client::{Client, ClientBuilder, Error, Transport};

use crate::support::client::{LONG, builder, connect, room};
use crate::support::{Certificate, Log, Node, Serve};

/// The loopback addresses of this machine, the other family's first; without IPv6 only one.
async fn node_on(v6: bool, certificate: &Certificate) -> Option<Node> {
    let ip = if v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
    Node::at(ip, Serve::Both, Arc::new(Log::default()), certificate).await.ok()
}

/// Takes everything and answers nothing, on the port number that it names.
struct BlackHole {
    address: SocketAddr,
    _tcp: TcpListener,
    _udp: UdpSocket,
}

impl BlackHole {
    fn on(v6: bool) -> Self {
        let any: SocketAddr = match v6 {
            true => (Ipv6Addr::LOCALHOST, 0).into(),
            false => (Ipv4Addr::LOCALHOST, 0).into(),
        };
        let tcp = TcpListener::bind(any).unwrap();
        let address = tcp.local_addr().unwrap();
        Self { address, _udp: UdpSocket::bind(address).unwrap(), _tcp: tcp }
    }

    /// Nobody is there any more: what is sent there is refused.
    fn close(self) -> SocketAddr {
        self.address
    }
}

fn without_roots(node: &Node) -> ClientBuilder {
    Client::builder(format!("sterna://localhost:{}", node.address.port()))
        .connect_to(node.address)
        .token("token")
}

fn machine_has_ipv6() -> bool {
    let has = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has {
        eprintln!("this machine has no IPv6 loopback: the IPv4 path alone is tested");
    }
    has
}

#[tokio::test]
async fn a_dead_address_of_either_family_does_not_keep_a_client_from_the_living_one() {
    let certificate = Certificate::new();
    let has_v6 = machine_has_ipv6();
    for live_v6 in [false, true] {
        let Some(node) = node_on(live_v6 && has_v6, &certificate).await else {
            panic!("no loopback address to listen on");
        };
        for transport in [Transport::Quic, Transport::WebSocket] {
            let silent = BlackHole::on(!live_v6 && has_v6);
            let closed = BlackHole::on(!live_v6 && has_v6).close();
            for dead in [silent.address, closed] {
                let to_both = builder(&node).connect_to_any([dead, node.address]);
                let client = connect(to_both.transports([transport])).await;
                client.publish(&room(), "here").await.unwrap();
                assert_eq!(client.statistics().rebinds, 0, "the dead socket is not ours");
                client.close().await;
            }
        }
        node.stop().await;
    }
}

#[tokio::test]
async fn a_name_with_more_addresses_than_the_node_listens_on_is_reached() {
    let node = node_on(false, &Certificate::new()).await.unwrap();
    for transport in [Transport::Quic, Transport::WebSocket] {
        let client = connect(
            Client::builder(format!("localhost:{}", node.address.port()))
                .root_certificates_pem(node.ca_pem.clone())
                .token("token")
                .transports([transport]),
        )
        .await;
        client.close().await;
    }
}

#[tokio::test]
async fn an_address_may_be_a_literal_of_either_family() {
    let certificate = Certificate::new();
    for v6 in [false, machine_has_ipv6()] {
        let node = node_on(v6, &certificate).await.unwrap();
        let address = format!("sterna://{}", node.address);
        assert_eq!(address.contains("[::1]"), v6);
        for transport in [Transport::Quic, Transport::WebSocket] {
            let client = connect(
                Client::builder(&address)
                    .root_certificates_pem(node.ca_pem.clone())
                    .token("token")
                    .transports([transport]),
            )
            .await;
            client.publish(&room(), "by number").await.unwrap();
            client.close().await;
        }
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_named_with_the_remedy() {
    let node = node_on(false, &Certificate::new()).await.unwrap();
    let others = Certificate::new();
    for transports in [vec![Transport::Quic], vec![Transport::WebSocket]] {
        let platform = without_roots(&node).transports(transports.clone());
        let explicit =
            without_roots(&node).transports(transports).root_certificates_pem(others.pem.clone());
        for builder in [platform, explicit] {
            let client = builder.build().unwrap();
            client.connect();
            let error = crate::support::client::first_failure(&client).await;
            assert!(matches!(error, Error::Untrusted(_)), "{error:?}");
            assert!(error.to_string().contains("root_certificates_file"), "{error}");
            assert!(error.is_retryable());
            client.close().await;
        }
    }
    // Explicit roots that are the right ones.
    let right = without_roots(&node).root_certificates_pem(node.ca_pem.clone()).build().unwrap();
    right.connect();
    right.ready(LONG).await.unwrap();
    right.close().await;
}
