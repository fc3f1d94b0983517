//! A UDP balancer before edges, as small as one can be: it routes by the server id in connection ids
//! (QUIC-LB, one block of AES), or by a mere hash of the client's address. Shares no code with the
//! edges; the draft is what both have read. Ends when dropped.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aes::Aes128;
use aes::cipher::{BlockDecrypt as _, KeyInit as _};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// How an edge is found.
#[derive(Debug, Clone, Copy)]
pub enum Routing {
    /// By server id; datagrams whose id names nobody, the first ones of clients, by the address.
    ConnectionId { config_id: u8, key: [u8; 16] },
    /// By the last octet of the address.
    SourceAddress,
}

/// A running balancer.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Balancer {
    /// Before edges with these server ids, each three octets.
    pub async fn start(routing: Routing, edges: Vec<(u32, SocketAddr)>) -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = front.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(forward(front, routing, edges));
        Self { address, _tasks: tasks }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// One socket for each client at each edge, so that answers find back.
async fn forward(front: Arc<UdpSocket>, routing: Routing, edges: Vec<(u32, SocketAddr)>) {
    let mut flows: HashMap<(SocketAddr, SocketAddr), Arc<UdpSocket>> = HashMap::new();
    let mut answers = JoinSet::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((length, client)) = front.recv_from(&mut buffer).await else { continue };
        let edge = routing.edge(&buffer[..length], client.ip(), &edges);
        let flow = match flows.get(&(client, edge)) {
            Some(flow) => flow.clone(),
            None => {
                let flow = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                flow.connect(edge).await.unwrap();
                answers.spawn(answer(front.clone(), flow.clone(), client));
                flows.insert((client, edge), flow.clone());
                flow
            }
        };
        // An edge that is gone, or a client that is, is what UDP calls loss.
        let _ = flow.send(&buffer[..length]).await;
    }
}

async fn answer(front: Arc<UdpSocket>, flow: Arc<UdpSocket>, client: SocketAddr) {
    let mut buffer = vec![0; 65_536];
    loop {
        if let Ok(length) = flow.recv(&mut buffer).await {
            let _ = front.send_to(&buffer[..length], client).await;
        }
    }
}

impl Routing {
    fn edge(&self, datagram: &[u8], client: IpAddr, edges: &[(u32, SocketAddr)]) -> SocketAddr {
        let by_id = match self {
            Self::ConnectionId { config_id, key } => server_id(datagram, *config_id, key),
            Self::SourceAddress => None,
        };
        let named = edges.iter().find(|(server_id, _)| Some(*server_id) == by_id);
        let last = match client {
            IpAddr::V4(v4) => v4.octets()[3],
            IpAddr::V6(v6) => v6.octets()[15],
        };
        named.map_or(edges[usize::from(last) % edges.len()].1, |(_, edge)| *edge)
    }
}

/// Section "Load Balancer Actions" of draft-ietf-quic-load-balancers.
fn server_id(datagram: &[u8], config_id: u8, key: &[u8; 16]) -> Option<u32> {
    let long = datagram.first()? & 0x80 != 0;
    let id = if long {
        let length = usize::from(*datagram.get(5)?);
        datagram.get(6..6 + length)?
    } else {
        &datagram[1..]
    };
    if id.first()? >> 5 != config_id {
        return None;
    }
    let mut block: [u8; 16] = id.get(1..17)?.try_into().ok()?;
    Aes128::new(key.into()).decrypt_block((&mut block).into());
    Some(u32::from_be_bytes([0, block[0], block[1], block[2]]))
}
