//! A WebTransport client on HTTP/3, written from the standards alone, one frame at a time.

use std::net::SocketAddr;

use quinn::{Connection, Endpoint, RecvStream, SendStream, TransportConfig, VarInt};
use sterna_proto::{FrameDecoder, codec, limits, v1, version};

use super::quic::{client_config, next_frame};
use super::{TestEdge, hello, reply_to, within};

/// A QUIC connection that speaks HTTP/3 and has said its settings.
pub struct Http3 {
    pub endpoint: Endpoint,
    pub connection: Connection,
    pub control: SendStream,
}

/// An answer: status and body.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub fields: String,
    pub body: String,
}

pub fn varint(value: u64) -> Vec<u8> {
    match value {
        0..0x40 => vec![value as u8],
        0x40..0x4000 => (value as u16 | 0x4000).to_be_bytes().to_vec(),
        0x4000..0x4000_0000 => (value as u32 | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (value | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

/// A frame or a capsule.
pub fn item(kind: u64, value: &[u8]) -> Vec<u8> {
    [&varint(kind)[..], &varint(value.len() as u64), value].concat()
}

/// A request in literals.
pub fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut section = vec![0, 0];
    for (name, value) in fields {
        prefixed(0x20, 3, name, &mut section);
        prefixed(0, 7, value, &mut section);
    }
    item(HEADERS, &section)
}

fn prefixed(flags: u8, bits: u32, text: &str, out: &mut Vec<u8>) {
    let mask = (1 << bits) - 1;
    if text.len() < mask {
        out.push(flags | text.len() as u8);
    } else {
        let left = text.len() - mask;
        out.extend([flags | mask as u8, (left & 0x7f) as u8 | 0x80, (left >> 7) as u8]);
    }
    out.extend_from_slice(text.as_bytes());
}

pub fn request<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
}

pub fn connect_request() -> Vec<(&'static str, &'static str)> {
    [request("CONNECT", version::WEBSOCKET_PATH), vec![(":protocol", "webtransport")]].concat()
}

pub const DATA: u64 = 0x00;
pub const HEADERS: u64 = 0x01;
pub const SETTINGS: u64 = 0x04;
pub const GOAWAY: u64 = 0x07;
pub const CLOSE_SESSION: u64 = 0x2843;
pub const DRAIN_SESSION: u64 = 0x78ae;

impl Http3 {
    pub async fn start(edge: &TestEdge) -> Self {
        Self::start_with(edge, edge.edge.local_address(), TransportConfig::default()).await
    }

    /// The same by another way, or with other limits.
    pub async fn start_with(
        edge: &TestEdge,
        remote: SocketAddr,
        transport: TransportConfig,
    ) -> Self {
        let mut http3 = Self::silent(edge, remote, transport).await;
        http3.control.write_all(&[0]).await.unwrap();
        // H3_DATAGRAM.
        http3.control.write_all(&item(SETTINGS, &[0x33, 1])).await.unwrap();
        http3
    }

    /// Without a word on the control stream.
    pub async fn silent(edge: &TestEdge, remote: SocketAddr, transport: TransportConfig) -> Self {
        let config = client_config(edge, version::HTTP3_ALPN, transport);
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let connecting = endpoint.connect_with(config, remote, "localhost").unwrap();
        let connection = within("a QUIC handshake", connecting).await.unwrap();
        let control = connection.open_uni().await.unwrap();
        Self { endpoint, connection, control }
    }

    /// Sends a request and the end of the stream.
    pub async fn ask(&self, fields: &[(&str, &str)]) -> Answer {
        let (mut send, mut receive) = within("a stream", self.connection.open_bi()).await.unwrap();
        send.write_all(&headers(fields)).await.unwrap();
        let _ = send.finish();
        answer(&mut receive).await
    }

    /// The code with which the edge ends the connection.
    pub async fn closed(&self) -> u64 {
        match within("the end of a connection", self.connection.closed()).await {
            quinn::ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("ended by {other}"),
        }
    }
}

/// The whole of an answer.
pub async fn answer(stream: &mut RecvStream) -> Answer {
    let bytes = within("an answer", stream.read_to_end(10_000)).await.unwrap();
    let (kind, section, rest) = split_item(&bytes).unwrap();
    assert_eq!(kind, HEADERS);
    let (status, fields) = read_section(section);
    let body = match split_item(rest) {
        Some((kind, body, rest)) => {
            assert!(kind == DATA && rest.is_empty());
            String::from_utf8(body.to_vec()).unwrap()
        }
        None => String::new(),
    };
    Answer { status, fields, body }
}

/// The status comes first, by the number of its name in the static table.
fn read_section(section: &[u8]) -> (u16, String) {
    let rest = section.strip_prefix(&[0, 0, 0x5f, 0x09, 3]).expect("a status");
    let (status, rest) = rest.split_at(3);
    let status = std::str::from_utf8(status).unwrap().parse().unwrap();
    (status, String::from_utf8_lossy(rest).into_owned())
}

/// Type, value and rest of what begins with an item.
pub fn split_item(bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (kind, bytes) = split_varint(bytes)?;
    let (length, bytes) = split_varint(bytes)?;
    let (value, rest) = bytes.split_at_checked(length as usize)?;
    Some((kind, value, rest))
}

pub fn split_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let (octets, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let value = octets[1..]
        .iter()
        .fold(u64::from(first & 0x3f), |all, octet| (all << 8) | u64::from(*octet));
    Some((value, rest))
}

pub async fn read_varint(stream: &mut RecvStream) -> u64 {
    let mut bytes = vec![0];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes.resize(1 << (bytes[0] >> 6), 0);
    stream.read_exact(&mut bytes[1..]).await.unwrap();
    split_varint(&bytes).unwrap().0
}

/// A client with a WebTransport session.
pub struct WebTransportClient {
    pub http3: Http3,
    /// The request that has begun the session.
    pub request: (SendStream, RecvStream),
    pub session: u64,
    pub commands: SendStream,
    replies: RecvStream,
    decoder: FrameDecoder,
}

impl WebTransportClient {
    /// A session of ours on a session of HTTP/3.
    pub async fn start(edge: &TestEdge, user: &str) -> Self {
        Self::start_on(Http3::start(edge).await, user).await
    }

    pub async fn start_on(http3: Http3, user: &str) -> Self {
        let mut client = Self::on(http3).await;
        client.send(&hello(user)).await;
        let welcome = client.reply(1).await;
        assert!(matches!(welcome, v1::reply::Result::Welcome(_)), "{welcome:?}");
        client
    }

    /// A session of HTTP/3, with a control stream.
    pub async fn on(http3: Http3) -> Self {
        let (mut send, mut receive) = http3.connection.open_bi().await.unwrap();
        let session = VarInt::from(send.id()).into_inner();
        send.write_all(&headers(&connect_request())).await.unwrap();
        let (kind, section) = within("an answer", read_item(&mut receive)).await;
        assert_eq!((kind, read_section(&section).0), (HEADERS, 200));
        let (commands, replies) = open_bi(&http3.connection, session).await;
        let decoder = FrameDecoder::new(limits::FRAME_BYTES);
        Self { http3, request: (send, receive), session, commands, replies, decoder }
    }

    pub async fn open_uni(&self) -> SendStream {
        let mut stream = within("a stream", self.http3.connection.open_uni()).await.unwrap();
        stream.write_all(&[varint(0x54), varint(self.session)].concat()).await.unwrap();
        stream
    }

    pub async fn open_bi(&self) -> (SendStream, RecvStream) {
        open_bi(&self.http3.connection, self.session).await
    }

    /// The next lane that the edge opens, behind its mark.
    pub async fn accept_lane(&self) -> RecvStream {
        loop {
            let accepted = within("a lane", self.http3.connection.accept_uni()).await;
            let mut stream = accepted.unwrap();
            // Another one is the edge's control stream.
            if read_varint(&mut stream).await == 0x54 {
                assert_eq!(read_varint(&mut stream).await, self.session);
                assert_eq!(read_varint(&mut stream).await, u64::from(version::LANE_STREAM));
                return stream;
            }
        }
    }

    pub fn send_datagram(&self, datagram: &[u8]) {
        let dressed = [&varint(self.session / 4)[..], datagram].concat();
        self.http3.connection.send_datagram(dressed.into()).unwrap();
    }

    /// A datagram of the session.
    pub async fn receive_datagram(&self) -> Vec<u8> {
        let datagram = within("a datagram", self.http3.connection.read_datagram()).await.unwrap();
        let (quarter, rest) = split_varint(&datagram).unwrap();
        assert_eq!(quarter, self.session / 4);
        rest.to_vec()
    }

    pub async fn send(&mut self, frame: &v1::Frame) {
        self.commands.write_all(&codec::encode_to_bytes(frame)).await.unwrap();
    }

    pub async fn receive(&mut self) -> v1::Frame {
        within("a frame", next_frame(&mut self.replies, &mut self.decoder)).await.unwrap()
    }

    pub async fn reply(&mut self, id: u32) -> v1::reply::Result {
        loop {
            let frame = self.receive().await;
            if let Some(result) = reply_to(&frame, id) {
                return result.clone();
            }
        }
    }

    pub async fn ping(&mut self, id: u32) {
        self.send(&super::ping(id)).await;
        let pong = self.reply(id).await;
        assert!(matches!(pong, v1::reply::Result::Pong(_)), "{pong:?}");
    }

    /// Capsules up to the one that ends the session, with its code and reason.
    pub async fn closed(&mut self) -> (Vec<u64>, u32, String) {
        let mut before = Vec::new();
        loop {
            let (frame, data) = within("a capsule", read_item(&mut self.request.1)).await;
            assert_eq!(frame, DATA);
            let (kind, value, rest) = split_item(&data).unwrap();
            assert!(rest.is_empty());
            if kind != CLOSE_SESSION {
                before.push(kind);
                continue;
            }
            let (code, reason) = value.split_at(4);
            let code = u32::from_be_bytes(code.try_into().unwrap());
            // Whoever knows says so; some have said so before.
            let _ = self.request.0.finish();
            return (before, code, String::from_utf8(reason.to_vec()).unwrap());
        }
    }
}

async fn open_bi(connection: &Connection, session: u64) -> (SendStream, RecvStream) {
    let (mut send, receive) = within("a stream", connection.open_bi()).await.unwrap();
    send.write_all(&[varint(0x41), varint(session)].concat()).await.unwrap();
    (send, receive)
}

pub async fn read_item(stream: &mut RecvStream) -> (u64, Vec<u8>) {
    let kind = read_varint(stream).await;
    let mut value = vec![0; read_varint(stream).await as usize];
    stream.read_exact(&mut value).await.unwrap();
    (kind, value)
}
