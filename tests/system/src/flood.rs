//! What attackers send who mean no conversation: first packets that nobody goes on with, bytes at
//! random, handshakes that stop half-way, and many addresses to send from. Only to a node of the
//! tests, on loopback, and never more than is asked for.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use quinn::TransportConfig;
use quinn_proto::EndpointConfig;
use rand::Rng;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::node::Node;
use crate::raw;

/// The header of a TLS record with a ClientHello, and nothing of what it announces.
pub const CLIENT_HELLO_BEGINS: &[u8] = &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01];

/// Addresses that attackers have.
const ADDRESSES: u8 = 16;

/// First packets of connections that nobody means to make, each with ids of its own.
pub fn first_packets(node: &Node, count: usize) -> Vec<Vec<u8>> {
    let config = raw::quic_config(node, TransportConfig::default());
    let mut endpoint =
        quinn_proto::Endpoint::new(Arc::new(EndpointConfig::default()), None, true, None);
    let (now, remote) = (Instant::now(), node.client_address());
    let packet = |_| {
        let connected = endpoint.connect(now, config.clone(), remote, "localhost");
        let (_, mut connection) = connected.unwrap();
        let mut packet = Vec::new();
        let sent = connection.poll_transmit(now, 1, &mut packet);
        assert!(sent.is_some_and(|sent| sent.size == packet.len()), "a first packet");
        packet
    };
    (0..count).map(packet).collect()
}

/// Bytes at random, of any length, some with the look of a long header.
pub fn garbage(rng: &mut impl Rng) -> Vec<u8> {
    let mut datagram = vec![0; rng.random_range(0..1452)];
    rng.fill_bytes(&mut datagram);
    if let Some(first) = datagram.first_mut()
        && rng.random_bool(0.25)
    {
        *first |= 0xc0;
    }
    datagram
}

/// A TCP connection from one of many addresses.
pub async fn connect_from(at: usize, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((address(at), 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// A TLS handshake on the client port that begins and goes no further.
pub async fn half_open(at: usize, node: &Node) -> TcpStream {
    let mut stream = connect_from(at, node.client_address()).await;
    // A node that has had enough may have closed it again.
    let _ = stream.write_all(CLIENT_HELLO_BEGINS).await;
    stream
}

fn address(at: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, 1 + (at % usize::from(ADDRESSES)) as u8)
}

/// Senders at many addresses, who read what they are told only to count it.
#[derive(Debug)]
pub struct Sources {
    sockets: Vec<UdpSocket>,
    turn: usize,
    sent: usize,
    received: usize,
}

impl Sources {
    pub fn bind(node: &Node) -> Self {
        let bind = |at| {
            let socket = UdpSocket::bind((address(at), 0)).unwrap();
            socket.connect(node.client_address()).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let sockets = (0..usize::from(ADDRESSES)).map(bind).collect();
        Self { sockets, turn: 0, sent: 0, received: 0 }
    }

    pub fn send(&mut self, datagram: &[u8]) {
        self.turn = (self.turn + 1) % self.sockets.len();
        // A socket may be told that its last datagram found no room; this one then goes unsent.
        if self.sockets[self.turn].send(datagram).is_ok() {
            self.sent += datagram.len();
        }
        self.receive(self.turn);
    }

    /// Bytes that were sent, and that came back.
    pub fn traffic(&mut self) -> (usize, usize) {
        (0..self.sockets.len()).for_each(|at| self.receive(at));
        (self.sent, self.received)
    }

    fn receive(&mut self, at: usize) {
        let mut buffer = [0; 2048];
        while let Ok(length) = self.sockets[at].recv(&mut buffer) {
            self.received += length;
        }
    }
}
