//! The loop and its connections, against quinn's own client.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{EndpointConfig, ServerConfig, VarInt};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

use super::*;

struct Peers {
    endpoint: Endpoint,
    client: quinn::Endpoint,
    address: SocketAddr,
}

impl Peers {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (server, client) = configs();
        let endpoint = Endpoint::new(EndpointConfig::default(), server, socket).unwrap();
        let driven = endpoint.clone();
        spawn_local(async move { driven.run().await });
        let mut peer = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        peer.set_default_client_config(client);
        Self { endpoint, client: peer, address }
    }

    fn connecting(&self) -> quinn::Connecting {
        self.client.connect(self.address, "localhost").unwrap()
    }

    async fn connect(&self) -> (Connection, quinn::Connection) {
        let connecting = self.connecting();
        let accepted = async {
            let connection = self.endpoint.accept().await.unwrap().accept().unwrap();
            connection.connected().await.unwrap();
            connection
        };
        let (ours, theirs) = tokio::join!(accepted, connecting);
        (ours, theirs.unwrap())
    }
}

pub(super) fn configs() -> (ServerConfig, quinn::ClientConfig) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let names = ["localhost".to_owned()];
    let issued = rcgen::generate_simple_self_signed(names).unwrap();
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key.into())
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(issued.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::with_crypto(Arc::new(ServerTls::new(Arc::new(server)).unwrap()));
    let client = QuicClientConfig::try_from(client).unwrap();
    (server, quinn::ClientConfig::new(Arc::new(client)))
}

async fn local<T>(test: impl Future<Output = T>) -> T {
    let limited = timeout(Duration::from_secs(60), test);
    LocalSet::new().run_until(limited).await.expect("the test takes too long")
}

/// Sends back what comes on the client's first stream, for as long as there is a connection.
pub(super) async fn echo(connection: Connection) {
    let Ok((mut replies, mut commands)) = connection.accept_bi().await else { return };
    loop {
        let chunk = std::future::poll_fn(|cx| {
            match commands.read(usize::MAX) {
                Read::Bytes(bytes) => return std::task::Poll::Ready(Some(bytes)),
                Read::Finished | Read::Reset => return std::task::Poll::Ready(None),
                Read::Blocked => {}
            }
            while let std::task::Poll::Ready(input) = connection.poll_input(cx) {
                if input.is_err() {
                    return std::task::Poll::Ready(None);
                }
                if let Read::Bytes(bytes) = commands.read(usize::MAX) {
                    return std::task::Poll::Ready(Some(bytes));
                }
            }
            std::task::Poll::Pending
        });
        let Some(chunk) = chunk.await else { break };
        let mut chunks = [chunk];
        while !chunks[0].is_empty() {
            let written = std::future::poll_fn(|cx| replies.poll_write(cx, &mut chunks));
            match written.await {
                Ok(written) if written.chunks == 0 => {}
                Ok(_) => break,
                Err(_) => return,
            }
        }
    }
    replies.finish();
    replies.settled().await;
}

fn noise(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at as u32).wrapping_mul(0x9e37_79b9).to_be_bytes()[0] ^ seed).collect()
}

/// A panic in the protocol machine ends that connection; the others do not notice.
#[tokio::test]
async fn a_connection_that_panics_takes_no_other_with_it() {
    local(async {
        let peers = Peers::new();
        let (cursed, unlucky) = peers.connect().await;
        let (ours, lucky) = peers.connect().await;
        spawn_local(echo(ours));
        cursed.inner.is_cursed.set(true);
        let (mut send, _receive) = unlucky.open_bi().await.unwrap();
        send.write_all(b"boom").await.unwrap();
        let error = std::future::poll_fn(|cx| match cursed.poll_input(cx) {
            std::task::Poll::Ready(Ok(())) => std::task::Poll::Pending,
            over => over,
        });
        let error = error.await.unwrap_err();
        assert!(error.to_string().contains("panic"), "{error}");
        let reset = unlucky.closed().await;
        assert!(matches!(reset, ConnectionError::Reset), "{reset}");
        let (mut send, mut receive) = lucky.open_bi().await.unwrap();
        send.write_all(b"still here").await.unwrap();
        send.finish().unwrap();
        assert_eq!(receive.read_to_end(100).await.unwrap(), b"still here");
        lucky.close(0u32.into(), b"");
        drop(cursed);
        peers.endpoint.wait_idle().await;
        assert!(peers.endpoint.is_empty());
    })
    .await;
}

/// A socket that cannot be read for a moment is read again, and nobody is lost.
#[tokio::test]
async fn a_socket_that_fails_is_read_again() {
    local(async {
        let peers = Peers::new();
        let (ours, theirs) = peers.connect().await;
        spawn_local(echo(ours));
        peers.endpoint.make_receives_fail(3);
        let (mut send, mut receive) = theirs.open_bi().await.unwrap();
        send.write_all(b"after the failure").await.unwrap();
        send.finish().unwrap();
        assert_eq!(receive.read_to_end(100).await.unwrap(), b"after the failure");
        assert_eq!(peers.endpoint.failures_left(), 0, "the test has made it fail");
        theirs.close(0u32.into(), b"");
        peers.endpoint.wait_idle().await;
        assert!(peers.endpoint.is_empty());
    })
    .await;
}

/// Everything of many clients comes back whole, through a socket that is full most of the time.
#[tokio::test]
async fn many_connections_share_a_socket_that_is_often_full() {
    local(async {
        let peers = Peers::new();
        peers.endpoint.make_every_second_send_fail();
        let mut clients = Vec::new();
        for seed in 0..20 {
            let (ours, theirs) = peers.connect().await;
            spawn_local(echo(ours));
            clients.push(async move {
                let sent = noise(seed, 200_000);
                let (mut commands, mut replies) = theirs.open_bi().await.unwrap();
                let write = async {
                    commands.write_all(&sent).await.unwrap();
                    commands.finish().unwrap();
                };
                let (_, received) = tokio::join!(write, replies.read_to_end(usize::MAX));
                assert!(received.unwrap() == sent, "client {seed} got something else");
                theirs.close(VarInt::from_u32(0), b"");
            });
        }
        futures_util::future::join_all(clients).await;
        peers.endpoint.wait_idle().await;
        assert!(peers.endpoint.is_empty(), "nothing is kept of connections that have ended");
    })
    .await;
}

#[tokio::test]
async fn a_connection_ends_with_its_last_handle_and_not_before() {
    local(async {
        let peers = Peers::new();
        let (ours, theirs) = peers.connect().await;
        let other = ours.clone();
        drop(ours);
        let lane = other.open_uni().unwrap();
        drop(other);
        assert!(timeout(Duration::from_millis(50), theirs.closed()).await.is_err());
        drop(lane);
        let closed = theirs.closed().await;
        let ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed}") };
        assert_eq!(close.error_code, VarInt::from_u32(0));
    })
    .await;
}

#[tokio::test]
async fn whoever_waits_for_a_connection_hears_that_it_is_over() {
    local(async {
        let peers = Peers::new();
        let (ours, theirs) = peers.connect().await;
        let waiting = spawn_local(async move { ours.accept_bi().await.map(|_| ()) });
        theirs.close(VarInt::from_u32(7), b"enough");
        let over = waiting.await.unwrap().unwrap_err();
        let ConnectionError::ApplicationClosed(close) = over else { panic!("{over}") };
        assert_eq!((close.error_code, &close.reason[..]), (VarInt::from_u32(7), &b"enough"[..]));
    })
    .await;
}

#[tokio::test]
async fn newcomers_are_refused_ignored_or_have_to_prove_their_address() {
    local(async {
        let peers = Peers::new();
        let refused = peers.connecting();
        peers.endpoint.accept().await.unwrap().refuse();
        let error = refused.await.unwrap_err();
        assert!(matches!(error, ConnectionError::ConnectionClosed(_)), "{error}");

        let mut ignored = peers.connecting();
        peers.endpoint.accept().await.unwrap().ignore();
        assert!(timeout(Duration::from_millis(50), &mut ignored).await.is_err());
        drop(ignored);

        let connecting = peers.connecting();
        let served = async {
            loop {
                let incoming = peers.endpoint.accept().await.unwrap();
                match (incoming.is_validated(), incoming.may_retry()) {
                    (true, _) => break incoming.accept().unwrap(),
                    (false, true) => incoming.retry(),
                    (false, false) => panic!("who has not proved an address can be asked to"),
                }
            }
        };
        let (ours, theirs) = tokio::join!(served, connecting);
        theirs.unwrap();
        ours.connected().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_closed_endpoint_says_goodbye_and_takes_nobody() {
    local(async {
        let peers = Peers::new();
        let (ours, theirs) = peers.connect().await;
        let waiting = peers.connecting();
        // It waits for a decision when the endpoint closes.
        while !peers.endpoint.has_incoming() {
            tokio::task::yield_now().await;
        }
        peers.endpoint.close(5, b"shut");
        assert!(waiting.await.is_err());
        assert!(peers.endpoint.accept().await.is_none());
        let closed = theirs.closed().await;
        let ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed}") };
        assert_eq!(close.error_code, VarInt::from_u32(5));
        assert!(peers.connecting().await.is_err());
        drop(ours);
        peers.endpoint.wait_idle().await;
    })
    .await;
}

#[tokio::test]
async fn datagrams_go_both_ways_and_one_that_is_too_large_is_refused() {
    local(async {
        let peers = Peers::new();
        let (ours, theirs) = peers.connect().await;
        assert!(ours.has_datagrams());
        assert!(ours.send_datagram(Bytes::from_static(b"hello")));
        assert_eq!(theirs.read_datagram().await.unwrap(), &b"hello"[..]);
        assert!(!ours.send_datagram(Bytes::from(vec![0; 60_000])));
        theirs.send_datagram(Bytes::from_static(b"back")).unwrap();
        std::future::poll_fn(|cx| ours.poll_input(cx)).await.unwrap();
        assert_eq!(ours.take_datagram().unwrap(), &b"back"[..]);
    })
    .await;
}

#[tokio::test]
async fn what_tls_keeps_for_a_handshake_goes_with_it_and_keys_are_still_updated() {
    local(async {
        let peers = Peers::new();
        let (ours, theirs) = peers.connect().await;
        spawn_local(echo(ours));
        let (mut commands, mut replies) = theirs.open_bi().await.unwrap();
        for round in 0..4 {
            theirs.force_key_update();
            let sent = noise(round, 20_000);
            let mut received = vec![0; sent.len()];
            let write = commands.write_all(&sent);
            let (written, read) = tokio::join!(write, replies.read_exact(&mut received));
            written.unwrap();
            read.unwrap();
            assert!(received == sent, "after {round} updates");
        }
        assert_eq!(tls::counted::handshakes(), 0, "nothing of the handshake is left");
    })
    .await;
}
