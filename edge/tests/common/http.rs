//! A client over plain HTTP: one answer that goes on, and requests on connections of their own.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sterna_proto::{FrameDecoder, codec, limits, v1, version};
use tokio::task::JoinSet;

use super::wss::tls;
use super::{TestEdge, hello, reply_to, within};

pub const PROTOBUF: (&str, &str) = ("content-type", version::MEDIA_TYPE_PROTOBUF);
pub const JSON: (&str, &str) = ("content-type", version::MEDIA_TYPE_JSON);

/// A TCP connection for requests one after the other.
pub struct Requests {
    sender: http1::SendRequest<Full<Bytes>>,
    connection: JoinSet<hyper::Result<()>>,
}

impl Requests {
    pub async fn connect(edge: &TestEdge) -> Self {
        let stream = TokioIo::new(tls(edge).await.unwrap());
        let (sender, moving) = http1::handshake(stream).await.unwrap();
        let mut connection = JoinSet::new();
        connection.spawn(moving);
        Self { sender, connection }
    }

    pub async fn ask(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        within("the answer before", self.sender.ready()).await.unwrap();
        within("an answer", self.sender.send_request(request)).await.unwrap()
    }

    /// Status and JSON of an answer that is whole; null without a body.
    pub async fn told(
        &mut self,
        method: &str,
        fields: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> (u16, Value) {
        whole(self.ask(method, version::HTTP_PATH, fields, body).await).await
    }

    /// Until the other side has ended the connection.
    pub async fn ended(mut self) {
        within("the end of a connection", self.connection.join_next()).await;
    }
}

pub async fn whole(answer: Response<Incoming>) -> (u16, Value) {
    let status = answer.status().as_u16();
    let body = within("a body", answer.into_body().collect()).await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// An event: its name and its data.
pub type Event = (String, String);

/// The answer of events.
pub struct Events {
    body: Incoming,
    rest: String,
    events: VecDeque<Event>,
    pub comments: usize,
    // Its connection ends with it.
    _requests: Requests,
}

impl Events {
    pub async fn open(edge: &TestEdge, fields: &[(&str, &str)], body: impl Into<Bytes>) -> Self {
        let mut requests = Requests::connect(edge).await;
        let answer = requests.ask("POST", version::HTTP_PATH, fields, body).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-store, no-transform");
        assert_eq!(answer.headers()["x-accel-buffering"], "no");
        Self {
            body: answer.into_body(),
            rest: String::new(),
            events: VecDeque::new(),
            comments: 0,
            _requests: requests,
        }
    }

    /// `None`: the answer is whole, or broke.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let frame = within("an event", self.body.frame()).await?.ok()?;
            self.rest.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
            while let Some((event, rest)) = self.rest.split_once("\n\n") {
                match parse(event) {
                    Some(event) => self.events.push_back(event),
                    None => self.comments += 1,
                }
                self.rest = rest.to_owned();
            }
        }
    }

    /// The code in the last event; those before it are skipped.
    pub async fn close_code(&mut self) -> u64 {
        let mut last = None;
        while let Some(event) = self.next().await {
            last = Some(event);
        }
        let (name, data) = last.unwrap();
        assert_eq!(name, "close");
        serde_json::from_str::<Value>(&data).unwrap()["code"].as_u64().unwrap()
    }
}

fn parse(event: &str) -> Option<Event> {
    let (mut name, mut data) = (String::new(), None);
    for line in event.lines() {
        match line.split_once(": ") {
            Some(("event", value)) => name = value.to_owned(),
            Some(("data", value)) => data = Some(value.to_owned()),
            _ => assert!(line.starts_with(':'), "{line}"),
        }
    }
    Some((name, data?))
}

pub struct HttpClient {
    pub events: Events,
    pub stream: String,
    pub number: u64,
    decoder: FrameDecoder,
}

impl HttpClient {
    /// A connection with a session.
    pub async fn start(edge: &TestEdge, user: &str) -> Self {
        let (client, _) = Self::begin(edge, hello(user)).await;
        client
    }

    /// With what the node has welcomed it with.
    pub async fn begin(edge: &TestEdge, hello: v1::Frame) -> (Self, v1::Welcome) {
        let mut events = Events::open(edge, &[PROTOBUF], codec::encode_to_bytes(&hello)).await;
        let (name, data) = events.next().await.unwrap();
        assert_eq!(name, "open");
        let open: Value = serde_json::from_str(&data).unwrap();
        let stream = open["stream"].as_str().unwrap().to_owned();
        let decoder = FrameDecoder::new(limits::FRAME_BYTES);
        let mut client = Self { events, stream, number: 0, decoder };
        match client.reply(1).await {
            v1::reply::Result::Welcome(welcome) => (client, welcome),
            other => panic!("no welcome but {other:?}"),
        }
    }

    /// The fields of a request of this client with this number.
    pub fn fields<'a>(&'a self, number: &'a str) -> [(&'a str, &'a str); 3] {
        [
            PROTOBUF,
            (version::HTTP_STREAM_FIELD, &self.stream),
            (version::HTTP_SEQUENCE_FIELD, number),
        ]
    }

    /// All frames in one request, the next one.
    pub async fn send(&mut self, on: &mut Requests, frames: &[v1::Frame]) {
        self.number += 1;
        let number = self.number.to_string();
        let told = on.told("POST", &self.fields(&number), encoded(frames)).await;
        assert_eq!(told, (204, Value::Null));
    }

    pub async fn receive(&mut self) -> v1::Frame {
        loop {
            if let Some(frame) = self.decoder.next().unwrap() {
                return frame;
            }
            let (name, data) = self.events.next().await.expect("an event with frames");
            assert_eq!(name, "", "{data}");
            self.decoder.extend(&STANDARD.decode(data).unwrap());
        }
    }

    pub async fn reply(&mut self, id: u32) -> v1::reply::Result {
        loop {
            let frame = self.receive().await;
            if let Some(result) = reply_to(&frame, id) {
                return result.clone();
            }
        }
    }
}

pub fn encoded(frames: &[v1::Frame]) -> Vec<u8> {
    frames.iter().flat_map(codec::encode_to_bytes).collect()
}
