//! Every fault of the relay, over real sockets, against an echo that tells whom it hears.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna_relay::{Direction, Impairment, Relay, RelayConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Far above what a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an echo must stay away before it counts as dropped.
const ABSENCE: Duration = Duration::from_millis(150);

/// Sends back "<source address>|<payload>" on UDP and every byte on TCP.
struct Echo {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Echo {
    async fn start() -> Self {
        let (listener, socket) = loop {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
                break (listener, socket);
            }
        };
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut buffer = vec![0; 65_536];
            while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                let mut answer = format!("{from}|").into_bytes();
                answer.extend_from_slice(&buffer[..len]);
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut connection, _)) = listener.accept().await {
                connections.spawn(async move {
                    let (mut read, mut write) = connection.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        Self { address, _tasks: tasks }
    }
}

async fn relay_to(echo: &Echo) -> Relay {
    Relay::start(RelayConfig::new(echo.address).with_seed(42)).await.unwrap()
}

async fn udp_client(relay: &Relay) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(relay.address()).await.unwrap();
    socket
}

/// The next echo: where the node heard it from, and the payload.
async fn next_echo(socket: &UdpSocket, patience: Duration) -> Option<(SocketAddr, Vec<u8>)> {
    let mut buffer = vec![0; 65_536];
    let len = timeout(patience, socket.recv(&mut buffer)).await.ok()?.unwrap();
    let bar = buffer.iter().position(|byte| *byte == b'|').unwrap();
    let source = std::str::from_utf8(&buffer[..bar]).unwrap().parse().unwrap();
    Some((source, buffer[bar + 1..len].to_vec()))
}

async fn echo_once(socket: &UdpSocket, payload: &[u8]) -> SocketAddr {
    socket.send(payload).await.unwrap();
    let (source, answer) = next_echo(socket, PATIENCE).await.expect("an echo");
    assert_eq!(answer, payload);
    source
}

async fn tcp_echo(connection: &mut TcpStream, payload: &[u8]) -> io::Result<()> {
    connection.write_all(payload).await?;
    let mut answer = vec![0; payload.len()];
    timeout(PATIENCE, connection.read_exact(&mut answer)).await??;
    assert_eq!(answer, payload);
    Ok(())
}

#[tokio::test]
async fn a_perfect_path_changes_nothing_and_shuts_down() {
    let echo = Echo::start().await;
    let relay = relay_to(&echo).await;
    let socket = udp_client(&relay).await;
    let first = echo_once(&socket, b"one").await;
    assert_eq!(first, echo_once(&socket, b"two").await, "a flow keeps its port");
    let mut connection = TcpStream::connect(relay.address()).await.unwrap();
    tcp_echo(&mut connection, &vec![7; 1_000_000]).await.unwrap();
    let stats = relay.stats();
    assert_eq!((stats.up.received, stats.up.forwarded, stats.up.lost), (2, 2, 0));
    assert_eq!((stats.down.forwarded, stats.down.tcp_bytes), (2, 1_000_000));
    let address = relay.address();
    relay.shutdown().await;
    UdpSocket::bind(address).await.expect("the port is free again");
}

#[tokio::test]
async fn delay_holds_both_transports() {
    let echo = Echo::start().await;
    let relay = relay_to(&echo).await;
    relay.set(Direction::Up, Impairment::delayed(Duration::from_millis(30)));
    relay.set(Direction::Down, Impairment::delayed(Duration::from_millis(20)));
    let socket = udp_client(&relay).await;
    let start = Instant::now();
    echo_once(&socket, b"slow").await;
    assert!(start.elapsed() >= Duration::from_millis(50));
    let mut connection = TcpStream::connect(relay.address()).await.unwrap();
    let start = Instant::now();
    tcp_echo(&mut connection, b"slow").await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(50));
    relay.shutdown().await;
}

#[tokio::test]
async fn loss_and_duplication_are_counted_and_real() {
    let echo = Echo::start().await;
    let relay = relay_to(&echo).await;
    relay.set(Direction::Up, Impairment { loss: 1.0, ..Default::default() });
    let socket = udp_client(&relay).await;
    socket.send(b"gone").await.unwrap();
    assert!(next_echo(&socket, ABSENCE).await.is_none());
    assert_eq!(relay.stats().up.lost, 1);
    relay.set(Direction::Up, Impairment { duplicate: 1.0, ..Default::default() });
    socket.send(b"twice").await.unwrap();
    for _ in 0..2 {
        assert_eq!(next_echo(&socket, PATIENCE).await.unwrap().1, b"twice");
    }
    assert_eq!(relay.stats().up.duplicated, 1);
    relay.shutdown().await;
}

#[tokio::test]
async fn a_narrow_path_drops_long_datagrams_both_ways() {
    let echo = Echo::start().await;
    let relay = relay_to(&echo).await;
    let socket = udp_client(&relay).await;
    relay.set(Direction::Up, Impairment::narrow(1_200));
    echo_once(&socket, &[7; 1_200]).await;
    socket.send(&[8; 1_201]).await.unwrap();
    // What comes after it comes back, and it does not.
    echo_once(&socket, b"short").await;
    relay.set(Direction::Up, Impairment::default());
    // The echo is longer than what it answers.
    relay.set(Direction::Down, Impairment::narrow(1_200));
    socket.send(&[9; 1_200]).await.unwrap();
    echo_once(&socket, b"short").await;
    let stats = relay.stats();
    assert_eq!((stats.up.too_long, stats.down.too_long), (1, 1));
    assert_eq!((stats.up.lost, stats.up.overflowed), (0, 0));
    relay.shutdown().await;
}

const OVERTAKINGS: usize = 20;

#[tokio::test]
async fn reordered_datagrams_are_overtaken() {
    let echo = Echo::start().await;
    let relay = relay_to(&echo).await;
    let socket = udp_client(&relay).await;
    echo_once(&socket, b"warm").await;
    // A busy machine may come too late to overtake once, but not every time.
    for _ in 0..OVERTAKINGS {
        let before = relay.stats().up.reordered;
        relay.set(Direction::Up, Impairment { reorder: 1.0, ..Default::default() });
        socket.send(b"first").await.unwrap();
        wait_until(|| relay.stats().up.reordered > before).await;
        relay.set(Direction::Up, Impairment::default());
        socket.send(b"second").await.unwrap();
        let first = next_echo(&socket, PATIENCE).await.unwrap().1;
        let second = next_echo(&socket, PATIENCE).await.unwrap().1;
        if first == b"second" {
            assert_eq!(second, b"first");
            return relay.shutdown().await;
        }
    }
    panic!("none of {OVERTAKINGS} datagrams was overtaken");
}

#[tokio::test]
async fn corruption_flips_one_bit() {
    let echo = Echo::start().await;
    let relay = relay_to(&echo).await;
    relay.set(Direction::Up, Impairment { corrupt: 1.0, ..Default::default() });
    let socket = udp_client(&relay).await;
    let payload = [0u8; 100];
    socket.send(&payload).await.unwrap();
    let (_, answer) = next_echo(&socket, PATIENCE).await.unwrap();
    assert_eq!(answer.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
    relay.shutdown().await;
}

#[tokio::test]
async fn a_rate_limit_drops_what_is_too_much() {
    let echo = Echo::start().await;
    let relay = relay_to(&echo).await;
    let slow = Impairment { rate_bytes_per_sec: Some(10_000_000), ..Default::default() };
    relay.set(Direction::Up, slow);
    let socket = udp_client(&relay).await;
    echo_once(&socket, &[1; 1000]).await;
    let crawl = Impairment { rate_bytes_per_sec: Some(1000), ..Default::default() };
    relay.set(Direction::Up, crawl);
    timeout(PATIENCE, async {
        while relay.stats().up.overflowed == 0 {
            socket.send(&[1; 1000]).await.unwrap();
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the rate limit's backlog fills");
    relay.shutdown().await;
}

#[tokio::test]
async fn rebind_and_address_change_move_a_flow() {
    let echo = Echo::start().await;
    let relay = relay_to(&echo).await;
    let socket = udp_client(&relay).await;
    let first = echo_once(&socket, b"a").await;
    relay.rebind().await.unwrap();
    let rebound = echo_once(&socket, b"b").await;
    assert_eq!(first.ip(), rebound.ip());
    assert_ne!(first.port(), rebound.port());
    relay.change_address().await.unwrap();
    let moved = echo_once(&socket, b"c").await;
    assert_ne!(moved.ip(), rebound.ip());
    assert_eq!((relay.stats().rebinds, relay.stats().address_changes), (2, 1));
    let mut connection = TcpStream::connect(relay.address()).await.unwrap();
    tcp_echo(&mut connection, b"over the new address").await.unwrap();
    relay.shutdown().await;
}

#[tokio::test]
async fn what_the_node_sends_to_an_old_port_is_lost() {
    let echo = Echo::start().await;
    let relay = relay_to(&echo).await;
    let socket = udp_client(&relay).await;
    echo_once(&socket, b"warm").await;
    relay.set(Direction::Up, Impairment::delayed(Duration::from_millis(1)));
    relay.set_target("127.0.0.1:9".parse().unwrap());
    let node = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    relay.set_target(node.local_addr().unwrap());
    socket.send(b"ask").await.unwrap();
    let mut buffer = [0; 100];
    let (_, old) = timeout(PATIENCE, node.recv_from(&mut buffer)).await.unwrap().unwrap();
    relay.rebind().await.unwrap();
    // The refusal of the closed port may be reported here; either way nothing arrives.
    let _ = node.send_to(b"0.0.0.0:1|late", old).await;
    assert!(next_echo(&socket, ABSENCE).await.is_none());
    relay.shutdown().await;
}

#[tokio::test]
async fn blocks_stop_what_they_name_and_end() {
    let echo = Echo::start().await;
    let relay = relay_to(&echo).await;
    let socket = udp_client(&relay).await;
    let mut connection = TcpStream::connect(relay.address()).await.unwrap();
    tcp_echo(&mut connection, b"warm").await.unwrap();

    relay.block_udp(true);
    socket.send(b"gone").await.unwrap();
    tcp_echo(&mut connection, b"tcp passes").await.unwrap();
    wait_until(|| relay.stats().up.blocked == 1).await;
    relay.block_udp(false);
    echo_once(&socket, b"udp passes").await;

    relay.freeze_tcp(true);
    connection.write_all(b"held").await.unwrap();
    let mut answer = [0; 4];
    assert!(timeout(ABSENCE, connection.read_exact(&mut answer)).await.is_err());
    echo_once(&socket, b"udp passes").await;
    relay.freeze_tcp(false);
    timeout(PATIENCE, connection.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"held");
    relay.shutdown().await;
}

#[tokio::test]
async fn a_blackout_holds_tcp_and_drops_udp_then_heals() {
    let echo = Echo::start().await;
    let relay = Arc::new(relay_to(&echo).await);
    let socket = udp_client(&relay).await;
    let mut connection = TcpStream::connect(relay.address()).await.unwrap();
    tcp_echo(&mut connection, b"warm").await.unwrap();
    let dark = async {
        relay.blackout(Duration::from_millis(200)).await;
        Instant::now()
    };
    let inside = async {
        tokio::task::yield_now().await;
        socket.send(b"gone").await.unwrap();
        tcp_echo(&mut connection, b"late").await.unwrap();
        Instant::now()
    };
    let (light, answered) = tokio::join!(dark, inside);
    assert!(answered + Duration::from_millis(5) >= light, "answered in the dark");
    assert_eq!(relay.stats().up.blocked, 1);
    echo_once(&socket, b"after").await;
}

#[tokio::test]
async fn a_cut_resets_and_a_dead_node_refuses() {
    let echo = Echo::start().await;
    let relay = relay_to(&echo).await;
    let mut connection = TcpStream::connect(relay.address()).await.unwrap();
    tcp_echo(&mut connection, b"warm").await.unwrap();
    relay.cut_tcp();
    let error = timeout(PATIENCE, connection.read(&mut [0; 8])).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let mut connection = TcpStream::connect(relay.address()).await.unwrap();
    tcp_echo(&mut connection, b"again").await.unwrap();

    relay.set_target(free_address());
    let mut connection = TcpStream::connect(relay.address()).await.unwrap();
    let read = timeout(PATIENCE, connection.read(&mut [0; 8])).await.unwrap();
    assert!(!matches!(read, Ok(len) if len > 0));
    wait_until(|| relay.stats().tcp_refused == 1).await;
    relay.set_target(echo.address);
    let mut connection = TcpStream::connect(relay.address()).await.unwrap();
    tcp_echo(&mut connection, b"back").await.unwrap();
    relay.shutdown().await;
}

#[tokio::test]
async fn a_lost_chunk_delays_tcp_but_loses_nothing() {
    let echo = Echo::start().await;
    let relay = relay_to(&echo).await;
    relay.set(Direction::Up, Impairment { loss: 1.0, ..Default::default() });
    let mut connection = TcpStream::connect(relay.address()).await.unwrap();
    let start = Instant::now();
    tcp_echo(&mut connection, b"retransmitted").await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert!(relay.stats().up.tcp_lost >= 1);
    relay.shutdown().await;
}

#[tokio::test]
async fn an_orderly_end_passes_through() {
    let echo = Echo::start().await;
    let relay = relay_to(&echo).await;
    let mut connection = TcpStream::connect(relay.address()).await.unwrap();
    connection.write_all(b"last words").await.unwrap();
    connection.shutdown().await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, connection.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"last words");
    relay.shutdown().await;
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Waits for something that the relay does on its own time.
async fn wait_until(mut condition: impl FnMut() -> bool) {
    timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("the condition came true");
}
