//! Fuzz target of a worker's QUIC below streams: an honest client, and a network on which somebody
//! else sends what he has seen, damaged, cut, doubled, late, from elsewhere or mixed with chance.

use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::BytesMut;
use quinn_proto::{
    ClientConfig, ConnectionHandle, DatagramEvent, Dir, EndpointConfig, Event, ReadError,
    ServerConfig, StreamId, TransportConfig,
};
use sterna_fuzz::{Script, check};
use tokio::task::{LocalSet, spawn_local};

use super::tests::{configs, echo};
use super::wire::Wire;
use super::{Endpoint, tls};

static CONFIGS: LazyLock<(ServerConfig, ClientConfig)> = LazyLock::new(|| {
    let (mut server, client) = configs();
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(IDLE.try_into().unwrap()));
    server.transport_config(Arc::new(transport)).max_incoming(MOST_INCOMING);
    server.incoming_buffer_size(BUFFER_BYTES).incoming_buffer_size_total(BUFFERS_BYTES);
    (server, client)
});

#[test]
fn fuzz_quic_datagrams() {
    check!("quic_datagrams", |bytes: &[u8]| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        // Time passes when nobody has anything to do, so that hours cost nothing.
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        let mut script = Script::new(bytes);
        LocalSet::new().block_on(&runtime, async {
            let kind = script.byte();
            let mut net = Net::new(kind & 1 == 1, kind & 2 == 2);
            for _ in 0..MOST_STEPS {
                let Some(step) = script.step() else { break };
                net.step(Some((step, &mut script))).await;
            }
            net.finish().await;
        });
        assert_eq!(tls::counted::handshakes(), 0, "nothing of a handshake is left");
    });
}

/// A worker's endpoint, the honest client, and all that was sent so far.
struct Net {
    endpoint: Endpoint,
    wire: Rc<Wire>,
    client: Client,
    /// Of clients that begin and are never heard of again.
    begun: usize,
    /// Somebody reads and delays the client's datagrams, and sends in its name from the beginning:
    /// before a handshake is complete that is more than QUIC withstands.
    is_on_path: bool,
    /// The client's datagrams, of late, where nobody is on the path, only those that have arrived.
    seen: Vec<Vec<u8>>,
    held: Vec<Vec<u8>>,
    lost: usize,
    /// What strangers have sent and were sent.
    strangers: [(usize, usize); STRANGERS],
}

impl Net {
    /// `has_to_prove`: whoever comes is asked to prove an address first.
    fn new(is_on_path: bool, has_to_prove: bool) -> Self {
        let (server, client) = CONFIGS.clone();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::new(EndpointConfig::default(), server, socket).unwrap();
        let wire = Rc::new(Wire::default());
        endpoint.attach(wire.clone());
        let driven = endpoint.clone();
        spawn_local(async move { driven.run().await });
        let accepting = endpoint.clone();
        spawn_local(async move {
            while let Some(incoming) = accepting.accept().await {
                if has_to_prove && !incoming.is_validated() && incoming.may_retry() {
                    incoming.retry();
                    continue;
                }
                let Ok(connection) = incoming.accept() else { continue };
                spawn_local(async move {
                    if connection.connected().await.is_ok() {
                        echo(connection).await;
                    }
                });
            }
        });
        Self {
            endpoint,
            wire,
            client: Client::new(client),
            begun: 0,
            is_on_path,
            seen: Vec::new(),
            held: Vec::new(),
            lost: 0,
            strangers: [(0, 0); STRANGERS],
        }
    }

    /// The client's datagrams reach the worker, and those of somebody else do; then the answers.
    async fn step(&mut self, disturbed: Option<(u8, &mut Script<'_>)>) {
        let mut sent = self.client.turn();
        if self.is_on_path {
            self.seen.extend(sent.iter().cloned());
        }
        let mut before = Vec::new();
        let mut behind = Vec::new();
        if let Some((step, script)) = disturbed {
            match step % 12 {
                8 => self.held.append(&mut sent),
                9 if self.lost < MOST_LOST => {
                    self.lost += sent.len();
                    sent.clear();
                }
                10 => {
                    let mut other = Client::new(CONFIGS.1.clone());
                    self.begun += 1;
                    let from = stranger(script.byte());
                    behind.extend(other.turn().into_iter().map(|it| (from, it)));
                }
                _ => {
                    let datagram = self.make(step, script);
                    let as_client = script.flag() && (self.is_on_path || self.client.connected);
                    let from = if as_client { HONEST } else { stranger(script.byte()) };
                    let early = self.is_on_path && script.flag();
                    if early { &mut before } else { &mut behind }.push((from, datagram));
                }
            }
            if step % 12 != 8 {
                sent.append(&mut self.held);
            }
        } else {
            sent.append(&mut self.held);
        }
        let honest = sent.into_iter().map(|datagram| (HONEST, datagram));
        for (from, datagram) in before.into_iter().chain(honest).chain(behind) {
            match place_of(from) {
                Some(at) => self.strangers[at].0 += datagram.len(),
                None => self.seen.push(datagram.clone()),
            }
            self.wire.deliver(from, datagram);
        }
        self.seen.drain(..self.seen.len().saturating_sub(MOST_SEEN));
        self.settle().await;
    }

    /// What somebody sends who has seen the client's datagrams.
    fn make(&self, step: u8, script: &mut Script<'_>) -> Vec<u8> {
        let mut datagram = self.pick(script);
        match step % 12 {
            0 => {
                for _ in 0..=script.below(4) {
                    let at = usize::from(script.byte()) * usize::from(1 + script.below(6));
                    let change = script.byte();
                    if let Some(byte) = datagram.get_mut(at) {
                        *byte ^= change;
                    }
                }
            }
            1 => datagram.truncate(usize::from(script.byte()) * usize::from(1 + script.below(6))),
            2 => datagram = script.bytes(200).to_vec(),
            3 => {
                let at = usize::from(script.byte()).min(datagram.len());
                let other = self.pick(script);
                datagram.truncate(at);
                datagram.extend_from_slice(&other[at.min(other.len())..]);
            }
            // Somebody else's first one, or what looks like that.
            4 => {
                let version: [u8; 4] =
                    if script.flag() { [0, 0, 0, 1] } else { [script.byte(); 4] };
                datagram = vec![0xc0 | script.byte() & 0x3f];
                datagram.extend_from_slice(&version);
                for _ in 0..2 {
                    let length = script.below(24);
                    datagram.push(length);
                    datagram.extend(std::iter::repeat_n(script.byte(), length.into()));
                }
                datagram.extend_from_slice(script.bytes(60));
                datagram.resize(1200, script.byte());
            }
            5 => datagram.insert(usize::from(script.byte()).min(datagram.len()), script.byte()),
            // As it was: once more, and from elsewhere.
            _ => {}
        }
        datagram
    }

    fn pick(&self, script: &mut Script<'_>) -> Vec<u8> {
        let back = usize::from(script.byte()) % self.seen.len().max(1);
        self.seen.iter().rev().nth(back).cloned().unwrap_or_default()
    }

    /// Everybody does what there is to do; what is kept stays within bounds.
    async fn settle(&mut self) {
        tokio::time::sleep(STEP).await;
        for (to, datagram) in self.wire.take_sent() {
            match place_of(to) {
                None => self.client.receive(&datagram),
                Some(at) => self.strangers[at].1 += datagram.len(),
            }
        }
        let (open, incoming, bytes) = self.endpoint.kept();
        assert!(open <= 1 + self.begun + usize::from(self.is_on_path), "{open} connections");
        assert!(incoming <= MOST_INCOMING && bytes <= BUFFERS_BYTES, "{incoming}, {bytes} bytes");
        for (sent, told) in self.strangers {
            assert!(self.is_on_path || told <= 3 * sent, "{told} bytes for {sent} of a stranger");
        }
    }

    /// Nobody disturbs any more: the client gets its answer, and then nothing is left of anybody.
    async fn finish(mut self) {
        let end = super::now() + PATIENCE;
        while !self.client.is_done() && super::now() < end {
            self.step(None).await;
        }
        assert!(self.is_on_path || self.client.is_done(), "{:?}", self.client.over);
        assert!(self.client.is_right(), "it hears something else than it has said");
        self.client.close();
        self.step(None).await;
        self.endpoint.close(0, b"");
        let idle = tokio::time::timeout(IDLE + PATIENCE, self.endpoint.wait_idle());
        assert!(idle.await.is_ok(), "connections do not end");
        assert!(self.endpoint.is_empty(), "something is kept of connections that have ended");
    }
}

/// A client that sends a text and expects it back.
struct Client {
    endpoint: quinn_proto::Endpoint,
    handle: ConnectionHandle,
    connection: quinn_proto::Connection,
    connected: bool,
    over: Option<quinn_proto::ConnectionError>,
    stream: Option<StreamId>,
    written: usize,
    heard: Vec<u8>,
    has_all: bool,
}

impl Client {
    fn new(config: ClientConfig) -> Self {
        let mut endpoint =
            quinn_proto::Endpoint::new(Arc::new(EndpointConfig::default()), None, true, None);
        let (handle, connection) =
            endpoint.connect(super::now(), config, WORKER, "localhost").unwrap();
        let (connected, over, stream, written) = (false, None, None, 0);
        let (heard, has_all) = (Vec::new(), false);
        Self { endpoint, handle, connection, connected, over, stream, written, heard, has_all }
    }

    /// What it sends now.
    fn turn(&mut self) -> Vec<Vec<u8>> {
        let now = super::now();
        self.exchange();
        if self.connection.poll_timeout().is_some_and(|due| due <= now) {
            self.connection.handle_timeout(now);
            self.exchange();
        }
        self.write();
        let mut sent = Vec::new();
        loop {
            let mut datagram = Vec::new();
            if self.connection.poll_transmit(now, 1, &mut datagram).is_none() {
                self.exchange();
                return sent;
            }
            sent.push(datagram);
        }
    }

    fn receive(&mut self, datagram: &[u8]) {
        // It speaks one version: who says that there are others is not asked.
        if matches!(datagram, [first, 0, 0, 0, 0, ..] if first & 0x80 != 0) {
            return;
        }
        let (now, mut answer) = (super::now(), Vec::new());
        let event =
            self.endpoint.handle(now, WORKER, None, None, BytesMut::from(datagram), &mut answer);
        if let Some(DatagramEvent::ConnectionEvent(_, event)) = event {
            self.connection.handle_event(event);
        }
        self.exchange();
        self.read();
    }

    fn exchange(&mut self) {
        while let Some(event) = self.connection.poll_endpoint_events() {
            if let Some(answer) = self.endpoint.handle_event(self.handle, event) {
                self.connection.handle_event(answer);
            }
        }
        while let Some(event) = self.connection.poll() {
            match event {
                Event::Connected => self.connected = true,
                Event::ConnectionLost { reason } => self.over = Some(reason),
                _ => {}
            }
        }
    }

    fn write(&mut self) {
        if self.stream.is_none() && self.connected {
            self.stream = self.connection.streams().open(Dir::Bi);
        }
        let Some(stream) = self.stream else { return };
        let piece = TEXT_BYTES.min(self.written + PIECE_BYTES);
        let text: Vec<u8> = (self.written..piece).map(text).collect();
        if text.is_empty() {
            let _ = self.connection.send_stream(stream).finish();
            return;
        }
        self.written += self.connection.send_stream(stream).write(&text).unwrap_or(0);
    }

    fn read(&mut self) {
        let Some(stream) = self.stream else { return };
        let mut stream = self.connection.recv_stream(stream);
        let Ok(mut chunks) = stream.read(true) else { return };
        loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => self.heard.extend_from_slice(&chunk.bytes),
                Ok(None) => break self.has_all = true,
                Err(ReadError::Blocked | ReadError::Reset(_)) => break,
            }
        }
        let _ = chunks.finalize();
    }

    fn is_done(&self) -> bool {
        self.has_all && self.heard.len() == TEXT_BYTES
    }

    fn is_right(&self) -> bool {
        self.heard.iter().enumerate().all(|(at, byte)| *byte == text(at))
    }

    fn close(&mut self) {
        self.connection.close(super::now(), 0u32.into(), bytes::Bytes::new());
    }
}

fn text(at: usize) -> u8 {
    ((at * 31) >> 3) as u8
}

fn stranger(which: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 2], 1 + u16::from(which) % STRANGERS as u16))
}

/// Which stranger's; `None`: the client's.
fn place_of(address: SocketAddr) -> Option<usize> {
    (address != HONEST).then(|| usize::from(address.port()) - 1)
}

const fn local(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, last)), port)
}

const HONEST: SocketAddr = local(1, 1000);
const WORKER: SocketAddr = local(9, 9);
const STRANGERS: usize = 4;

/// What the client says in all, and in one turn.
const TEXT_BYTES: usize = 9000;
const PIECE_BYTES: usize = 700;

const STEP: Duration = Duration::from_millis(10);
const IDLE: Duration = Duration::from_secs(20);

/// Longer than any chain of timers that a few lost datagrams set off.
const PATIENCE: Duration = Duration::from_secs(15);

const MOST_STEPS: usize = 60;
const MOST_SEEN: usize = 40;
const MOST_LOST: usize = 12;
const MOST_INCOMING: usize = 8;
const BUFFER_BYTES: u64 = 4096;
const BUFFERS_BYTES: u64 = 16 * 1024;
