//! The UDP half: one task that owns every flow and everything on its way. A flow is one client
//! address with the upstream socket that stands for it at the node. Ends when cancelled.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::impairment::{Direction, Verdict};
use crate::schedule::{Schedule, Weighed};

/// Most client addresses at a time; datagrams of further ones are dropped.
const FLOWS: usize = 32_768;
/// Datagrams between the flows' readers and the task that decides; readers wait when it is full.
const RETURNED_DATAGRAMS: usize = 1024;
/// Larger than any datagram.
const DATAGRAM_BYTES: usize = 65_536;
/// Datagrams taken from the front before anything else gets its turn.
const FRONT_BATCH: usize = 64;

/// Moves all flows; `done` hears when the new sockets are bound.
#[derive(Debug)]
pub(crate) struct MoveCommand {
    pub(crate) to: Move,
    pub(crate) done: oneshot::Sender<io::Result<()>>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Move {
    Port,
    Address(IpAddr),
}

/// Forwards until cancelled.
pub(crate) async fn run(
    front: UdpSocket,
    shared: Arc<Shared>,
    mut moves: mpsc::Receiver<MoveCommand>,
    cancelled: CancellationToken,
) {
    let (returned_tx, mut returned) = mpsc::channel(RETURNED_DATAGRAMS);
    let mut udp = Udp {
        front,
        shared,
        flows: HashMap::new(),
        readers: JoinSet::new(),
        returned: returned_tx,
        schedule: Schedule::new(),
    };
    let mut buffer = vec![0; DATAGRAM_BYTES];
    if udp.front.writable().await.is_err() {
        return;
    }
    loop {
        let next_due = udp.schedule.next_due();
        tokio::select! {
            () = cancelled.cancelled() => return,
            Some(command) = moves.recv() => {
                let outcome = udp.move_flows(command.to).await;
                // The caller may have given up.
                let _ = command.done.send(outcome);
            }
            () = sleep_until(next_due) => udp.send_due(),
            Some(datagram) = returned.recv() => udp.submit(datagram),
            Ok(()) = udp.front.readable() => udp.take_front(&mut buffer).await,
            // Readers that ended: their flow has moved.
            Some(_) = udp.readers.join_next() => {}
        }
    }
}

struct Udp {
    front: UdpSocket,
    shared: Arc<Shared>,
    flows: HashMap<SocketAddr, Flow>,
    readers: JoinSet<()>,
    returned: mpsc::Sender<Datagram>,
    schedule: Schedule<Datagram>,
}

struct Flow {
    upstream: Arc<UdpSocket>,
    reader: AbortHandle,
}

#[derive(Debug, Clone)]
struct Datagram {
    direction: Direction,
    client: SocketAddr,
    bytes: Bytes,
}

impl Weighed for Datagram {
    fn byte_len(&self) -> usize {
        self.bytes.len()
    }
}

impl Udp {
    async fn take_front(&mut self, buffer: &mut [u8]) {
        for _ in 0..FRONT_BATCH {
            let Ok((len, client)) = self.front.try_recv_from(buffer) else { return };
            if !self.flows.contains_key(&client) && self.open_flow(client).await.is_err() {
                self.shared.counters.path(Direction::Up).overflowed.add(1);
                continue;
            }
            let bytes = Bytes::copy_from_slice(&buffer[..len]);
            self.submit(Datagram { direction: Direction::Up, client, bytes });
        }
    }

    async fn open_flow(&mut self, client: SocketAddr) -> io::Result<()> {
        if self.flows.len() >= FLOWS {
            return Err(io::Error::other("too many flows"));
        }
        let source = self.shared.route().source;
        let flow = self.bind_flow(client, source).await?;
        self.shared.counters.flows.add(1);
        self.flows.insert(client, flow);
        Ok(())
    }

    async fn bind_flow(&mut self, client: SocketAddr, source: IpAddr) -> io::Result<Flow> {
        let upstream = Arc::new(UdpSocket::bind((source, 0)).await?);
        // Until the runtime has seen it writable, a new socket refuses to send.
        upstream.writable().await?;
        let reader = read_flow(
            Arc::clone(&upstream),
            client,
            Arc::clone(&self.shared),
            self.returned.clone(),
        );
        Ok(Flow { upstream, reader: self.readers.spawn(reader) })
    }

    async fn move_flows(&mut self, to: Move) -> io::Result<()> {
        let source = match to {
            Move::Port => self.shared.route().source,
            Move::Address(source) => source,
        };
        let clients: Vec<SocketAddr> = self.flows.keys().copied().collect();
        for client in clients {
            let flow = self.bind_flow(client, source).await?;
            if let Some(old) = self.flows.insert(client, flow) {
                old.reader.abort();
            }
        }
        self.shared.counters.rebinds.add(1);
        Ok(())
    }

    /// Decides about a datagram and sends or keeps what is left of it.
    fn submit(&mut self, datagram: Datagram) {
        let counters = self.shared.counters.path(datagram.direction);
        counters.received.add(1);
        if !self.shared.gate.borrow().passes_udp() {
            counters.blocked.add(1);
            return;
        }
        let now = Instant::now();
        let verdict = self
            .shared
            .path(datagram.direction, |path| path.decide_datagram(now, datagram.bytes.len()));
        match verdict {
            Verdict::Lost => counters.lost.add(1),
            Verdict::TooLong => counters.too_long.add(1),
            Verdict::Overflow => counters.overflowed.add(1),
            Verdict::Deliver(delivery) => {
                counters.reordered.add(delivery.reordered.into());
                counters.duplicated.add(delivery.duplicate.into());
                counters.corrupted.add(delivery.flip_bit.is_some().into());
                let datagram = match delivery.flip_bit {
                    Some(bit) => flip(datagram, bit),
                    None => datagram,
                };
                let twin = delivery.duplicate.then(|| datagram.clone());
                self.send_at(now, delivery.due, datagram);
                if let Some(twin) = twin {
                    self.send_at(now, delivery.due, twin);
                }
            }
        }
    }

    fn send_at(&mut self, now: Instant, due: Instant, datagram: Datagram) {
        if due <= now && self.schedule.is_empty() {
            self.send(&datagram);
            return;
        }
        let direction = datagram.direction;
        if !self.schedule.try_add(due, datagram) {
            self.shared.counters.path(direction).overflowed.add(1);
        }
    }

    fn send_due(&mut self) {
        let now = Instant::now();
        while let Some(datagram) = self.schedule.take_due(now) {
            // A path that broke meanwhile loses what is on it.
            if self.shared.gate.borrow().passes_udp() {
                self.send(&datagram);
            } else {
                self.shared.counters.path(datagram.direction).blocked.add(1);
            }
        }
    }

    fn send(&self, datagram: &Datagram) {
        let counters = self.shared.counters.path(datagram.direction);
        let sent = match datagram.direction {
            Direction::Down => self.front.try_send_to(&datagram.bytes, datagram.client),
            Direction::Up => match self.flows.get(&datagram.client) {
                Some(flow) => {
                    let target = self.shared.route().target;
                    flow.upstream.try_send_to(&datagram.bytes, target)
                }
                None => return,
            },
        };
        match sent {
            Ok(_) => counters.forwarded.add(1),
            // A full socket buffer is a full router; anything else is a node or client that left.
            Err(_) => counters.overflowed.add(1),
        }
    }
}

/// Hands what the node sends to a flow's upstream socket to the task that decides.
async fn read_flow(
    upstream: Arc<UdpSocket>,
    client: SocketAddr,
    shared: Arc<Shared>,
    returned: mpsc::Sender<Datagram>,
) {
    // Flows are many and mostly quiet: the buffer is taken for one datagram at a time.
    loop {
        let mut buffer = BytesMut::new();
        if upstream.readable().await.is_err() {
            return;
        }
        buffer.reserve(DATAGRAM_BYTES);
        let Ok((_, from)) = upstream.try_recv_buf_from(&mut buffer) else { continue };
        if from != shared.route().target {
            continue;
        }
        let bytes = Bytes::copy_from_slice(&buffer);
        let datagram = Datagram { direction: Direction::Down, client, bytes };
        if returned.send(datagram).await.is_err() {
            return;
        }
    }
}

fn flip(datagram: Datagram, bit: usize) -> Datagram {
    let mut bytes = BytesMut::from(datagram.bytes.as_ref());
    if let Some(byte) = bytes.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
    Datagram { bytes: bytes.freeze(), ..datagram }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
