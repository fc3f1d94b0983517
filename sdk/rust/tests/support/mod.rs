//! A node that does what the test says: one QUIC endpoint and one wss listener on the same port
//! number, one loop that answers commands from a script over a tiny log.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sterna_proto::v1::{self, Frame, command::Verb, frame::Body, push, reply};
use sterna_proto::{CloseReason, FrameDecoder, codec, limits, version};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

pub struct Node {
    pub address: SocketAddr,
    pub ca_pem: String,
    pub log: Arc<Log>,
    tasks: JoinSet<()>,
}

/// What the node stores and how it behaves.
#[derive(Default)]
pub struct Log {
    pub state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
pub struct State {
    pub channels: HashMap<String, Vec<v1::Publication>>,
    stored: HashMap<(String, u64), u64>,
    pub hellos: Vec<(v1::Hello, &'static str)>,
    pub refreshes: Vec<String>,
    pub publishes: Vec<u64>,
    pub connections: Vec<(u64, mpsc::Sender<Say>)>,
    next_connection: u64,
    pub closed: HashSet<u64>,
    /// The refused publication of each channel.
    pub refused: HashMap<String, u64>,
    /// Commands to answer with BUSY, by count.
    pub busy: usize,
    /// Publishes to store without answering, by count.
    pub mute: usize,
    /// Hellos to refuse with this.
    pub refuse: Option<v1::Error>,
    pub token_lifetime_ms: u64,
    /// Publications that are stored and not pushed, by count.
    pub lose_pushes: usize,
}

/// What a test makes a connection do.
#[derive(Debug, Clone)]
pub enum Say {
    Push(push::Event),
    Close(CloseReason),
    Cut,
}

impl Log {
    pub fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.state.lock().unwrap());
        self.changed.send_modify(|version| *version += 1);
        result
    }

    /// Waits until the node's state satisfies `condition`.
    pub async fn until(&self, condition: impl Fn(&State) -> bool) {
        let mut changes = self.changed.subscribe();
        let wait = changes.wait_for(|_| condition(&self.state.lock().unwrap()));
        tokio::time::timeout(std::time::Duration::from_secs(20), wait)
            .await
            .expect("the node did not get there")
            .unwrap();
    }

    pub fn store(&self, channel: &str, payload: &str) -> u64 {
        let publication = v1::Publication {
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            ..v1::Publication::default()
        };
        self.change(|state| state.store(channel, publication))
    }

    /// To the newest connection.
    pub fn say(&self, say: Say) {
        let sender = self.state.lock().unwrap().connections.last().unwrap().1.clone();
        sender.try_send(say).unwrap();
    }
}

impl State {
    fn store(&mut self, channel: &str, mut publication: v1::Publication) -> u64 {
        let log = self.channels.entry(channel.to_owned()).or_default();
        publication.channel = channel.to_owned();
        publication.epoch = 1;
        publication.offset = log.len() as u64 + 1;
        log.push(publication.clone());
        let offset = publication.offset;
        if self.lose_pushes > 0 {
            self.lose_pushes -= 1;
        } else {
            for (_, sender) in &self.connections {
                let _ = sender.try_send(Say::Push(push::Event::Publication(publication.clone())));
            }
        }
        offset
    }

    fn page(&self, ask: &v1::Subscribe) -> v1::Subscribed {
        let log = self.channels.get(&ask.channel).map(Vec::as_slice).unwrap_or_default();
        let head = log.len() as u64;
        let since = ask.since.map_or(head, |position| position.offset.min(head));
        let limit = match ask.page_publications {
            0 => 5,
            n => n.min(5) as usize,
        };
        let page: Vec<_> = log[since as usize..].iter().take(limit).cloned().collect();
        let upto = since + page.len() as u64;
        v1::Subscribed {
            channel: ask.channel.clone(),
            position: Some(v1::Position { epoch: 1, offset: upto }),
            publications: page,
            live: upto == head,
            head_offset: head,
            ..v1::Subscribed::default()
        }
    }

    /// Frames that answer a command.
    fn answer(&mut self, command: v1::Command, transport: &'static str) -> Vec<Frame> {
        let id = command.id;
        let result = match command.verb.unwrap() {
            Verb::Hello(hello) => return self.greet(id, hello, transport),
            Verb::Publish(publish) => match self.publish(publish) {
                Some(result) => result,
                None => return vec![],
            },
            Verb::Subscribe(ask) => reply::Result::Subscribed(self.page(&ask)),
            Verb::Ping(ping) => reply::Result::Pong(v1::Pong {
                client_time_ms: ping.client_time_ms,
                ..v1::Pong::default()
            }),
            Verb::Refresh(refresh) => {
                self.refreshes.push(refresh.access_token);
                reply::Result::Done(v1::Done {})
            }
            Verb::History(history) => reply::Result::History(v1::HistoryPage {
                channel: history.channel.clone(),
                epoch: 1,
                publications: self.channels.get(&history.channel).cloned().unwrap_or_default(),
                ..v1::HistoryPage::default()
            }),
            _ => reply::Result::Done(v1::Done {}),
        };
        if id == 0 { vec![] } else { vec![Frame::reply(id, result)] }
    }

    fn greet(&mut self, id: u32, hello: v1::Hello, transport: &'static str) -> Vec<Frame> {
        let asks = hello.subscriptions.clone();
        let resumed = !hello.resume_ticket.is_empty();
        self.hellos.push((hello, transport));
        if let Some(error) = self.refuse.clone() {
            return vec![Frame::reply(id, reply::Result::Error(error))];
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let expires = match self.token_lifetime_ms {
            0 => 0,
            ms => now.as_millis() as u64 + ms,
        };
        let welcome = v1::Welcome {
            session_id: "session".into(),
            resume_ticket: Bytes::from_static(b"ticket"),
            heartbeat_ms: 20_000,
            resumed,
            token_expires_at_ms: expires,
            ..v1::Welcome::default()
        };
        let mut frames = vec![Frame::reply(id, reply::Result::Welcome(welcome))];
        frames.extend(asks.iter().map(|ask| Frame::push(push::Event::Subscribed(self.page(ask)))));
        frames
    }

    fn publish(&mut self, publish: v1::Publish) -> Option<reply::Result> {
        self.publishes.push(publish.client_seq);
        // As a node: what follows a refused publication is refused until that one comes again.
        let first = self.refused.get(&publish.channel).copied();
        let out_of_turn = first.is_some_and(|first| publish.client_seq > first);
        if self.busy > 0 || out_of_turn {
            if !out_of_turn {
                self.busy -= 1;
                self.refused.insert(publish.channel, publish.client_seq);
            }
            let error = v1::Error::new(sterna_proto::ErrorCode::Busy, "busy");
            return Some(reply::Result::Error(error.with_retry_after_ms(50)));
        }
        self.refused.remove(&publish.channel);
        let key = (publish.channel.clone(), publish.client_seq);
        let known = self.stored.get(&key).copied();
        let offset = known.unwrap_or_else(|| {
            let publication = v1::Publication {
                payload: publish.payload.clone(),
                client_msg_id: publish.client_msg_id.clone(),
                ..v1::Publication::default()
            };
            self.store(&publish.channel, publication)
        });
        self.stored.insert(key, offset);
        if self.mute > 0 {
            self.mute -= 1;
            return None;
        }
        Some(reply::Result::Published(v1::Published {
            channel: publish.channel,
            epoch: 1,
            offset,
            duplicate: known.is_some(),
            ..v1::Published::default()
        }))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Serve {
    Both,
    QuicOnly,
    WebSocketOnly,
}

impl Node {
    pub async fn start(serve: Serve) -> Self {
        Self::with_log(serve, Arc::new(Log::default()), &Certificate::new()).await
    }

    pub async fn with_log(serve: Serve, log: Arc<Log>, certificate: &Certificate) -> Self {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = tcp.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        if serve != Serve::WebSocketOnly {
            let mut tls = certificate.server_config();
            tls.alpn_protocols = vec![version::ALPN.to_vec()];
            let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
            let config = quinn::ServerConfig::with_crypto(Arc::new(tls));
            let endpoint = quinn::Endpoint::server(config, address).unwrap();
            tasks.spawn(serve_quic(endpoint, log.clone()));
        }
        if serve != Serve::QuicOnly {
            let acceptor = TlsAcceptor::from(Arc::new(certificate.server_config()));
            tasks.spawn(serve_wss(tcp, acceptor, log.clone()));
        }
        Self { address, ca_pem: certificate.pem.clone(), log, tasks }
    }

    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

pub struct Certificate {
    pub pem: String,
    der: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        Self {
            pem: made.cert.pem(),
            der: made.cert.der().to_vec(),
            key: made.signing_key.serialize_der(),
        }
    }

    fn server_config(&self) -> rustls::ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(self.der.clone())],
                PrivateKeyDer::try_from(self.key.clone()).unwrap(),
            )
            .unwrap()
    }
}

fn open(log: &Log) -> (u64, mpsc::Receiver<Say>) {
    let (sender, says) = mpsc::channel(4096);
    let id = log.change(|state| {
        state.next_connection += 1;
        state.connections.push((state.next_connection, sender));
        state.next_connection
    });
    (id, says)
}

fn close(log: &Log, id: u64) {
    log.change(|state| {
        state.connections.retain(|(other, _)| *other != id);
        state.closed.insert(id);
    });
}

async fn serve_quic(endpoint: quinn::Endpoint, log: Arc<Log>) {
    let mut tasks = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        let log = log.clone();
        tasks.spawn(async move {
            let Ok(connection) = incoming.await else { return };
            let Ok((send, recv)) = connection.accept_bi().await else { return };
            let (id, says) = open(&log);
            tokio::select! {
                () = quic_control(send, recv, says, &log, &connection) => {}
                () = quic_bulk(&connection, &log) => {}
            }
            close(&log, id);
        });
    }
}

async fn quic_bulk(connection: &quinn::Connection, log: &Log) {
    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
        let bytes = recv.read_to_end(limits::FRAME_BYTES).await.unwrap();
        let mut decoder = FrameDecoder::new(limits::FRAME_BYTES);
        decoder.extend(&bytes);
        let Some(Body::Command(command)) = decoder.next().unwrap().unwrap().body else { continue };
        for frame in log.change(|state| state.answer(command, "quic")) {
            send.write_all(&codec::encode_to_bytes(&frame)).await.unwrap();
        }
        send.finish().unwrap();
    }
    std::future::pending().await
}

async fn quic_control(
    mut send: quinn::SendStream,
    mut recv: quinn::RecvStream,
    mut says: mpsc::Receiver<Say>,
    log: &Log,
    connection: &quinn::Connection,
) {
    let mut decoder = FrameDecoder::new(limits::FRAME_BYTES);
    let mut lane: Option<quinn::SendStream> = None;
    loop {
        tokio::select! {
            chunk = recv.read_chunk(65536, true) => {
                let Ok(Some(chunk)) = chunk else { return };
                decoder.extend(&chunk.bytes);
                while let Some(frame) = decoder.next().unwrap() {
                    let Some(Body::Command(command)) = frame.body else { continue };
                    for frame in log.change(|state| state.answer(command, "quic")) {
                        if send.write_all(&codec::encode_to_bytes(&frame)).await.is_err() { return }
                    }
                }
            }
            say = says.recv() => match say {
                Some(Say::Push(event)) => {
                    let is_publication = matches!(event, push::Event::Publication(_));
                    let bytes = codec::encode_to_bytes(&Frame::push(event));
                    if is_publication {
                        if lane.is_none() {
                            let mut fresh = connection.open_uni().await.unwrap();
                            fresh.write_all(&[version::LANE_STREAM]).await.unwrap();
                            lane = Some(fresh);
                        }
                        if lane.as_mut().unwrap().write_all(&bytes).await.is_err() { return }
                    } else if send.write_all(&bytes).await.is_err() { return }
                }
                Some(Say::Close(reason)) => {
                    connection.close(u32::from(reason.code()).into(), reason.text().as_bytes());
                    return;
                }
                Some(Say::Cut) | None => {
                    connection.close(0u32.into(), b"cut");
                    return;
                }
            }
        }
    }
}

async fn serve_wss(listener: TcpListener, acceptor: TlsAcceptor, log: Arc<Log>) {
    let mut tasks = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let (log, acceptor) = (log.clone(), acceptor.clone());
        tasks.spawn(async move {
            let Ok(stream) = acceptor.accept(tcp).await else { return };
            let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, upgrade).await else {
                return;
            };
            let (id, says) = open(&log);
            wss_connection(socket, says, &log).await;
            close(&log, id);
        });
    }
}

#[allow(clippy::result_large_err, clippy::unnecessary_wraps)]
fn upgrade(
    request: &Request,
    mut response: Response,
) -> Result<Response, tokio_tungstenite::tungstenite::handshake::server::ErrorResponse> {
    assert_eq!(request.uri().path(), version::WEBSOCKET_PATH);
    let protocol = request.headers()["sec-websocket-protocol"].clone();
    assert_eq!(protocol, version::SUBPROTOCOL_PROTOBUF);
    response.headers_mut().insert("sec-websocket-protocol", protocol);
    Ok(response)
}

async fn wss_connection<S>(
    mut socket: tokio_tungstenite::WebSocketStream<S>,
    mut says: mpsc::Receiver<Say>,
    log: &Log,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        tokio::select! {
            message = socket.next() => {
                let Some(Ok(Message::Binary(bytes))) = message else { return };
                let mut decoder = FrameDecoder::new(limits::FRAME_BYTES);
                decoder.extend(&bytes);
                while let Some(frame) = decoder.next().unwrap() {
                    let Some(Body::Command(command)) = frame.body else { continue };
                    for frame in log.change(|state| state.answer(command, "websocket")) {
                        let bytes = codec::encode_to_bytes(&frame);
                        if socket.send(Message::Binary(bytes)).await.is_err() { return }
                    }
                }
            }
            say = says.recv() => match say {
                Some(Say::Push(event)) => {
                    let bytes = codec::encode_to_bytes(&Frame::push(event));
                    if socket.send(Message::Binary(bytes)).await.is_err() { return }
                }
                Some(Say::Close(reason)) => {
                    let code = reason.code().into();
                    let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame {
                        code,
                        reason: reason.text().into(),
                    };
                    let _ = socket.close(Some(frame)).await;
                    return;
                }
                Some(Say::Cut) | None => return,
            }
        }
    }
}
