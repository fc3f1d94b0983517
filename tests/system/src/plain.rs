//! A client over plain HTTP as a person with curl would be one: JSON, an answer of events, and a request
//! on a connection of its own for everything that is said.

use std::collections::VecDeque;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sterna_proto::version;
use tokio::task::JoinSet;

use crate::node::Node;
use crate::raw::{tls, within};
use crate::sdk::{TOKEN_LIFE, token};

/// A connection, until it is dropped.
#[derive(Debug)]
pub struct PlainClient {
    pub stream: String,
    pub number: u64,
    body: Incoming,
    rest: String,
    events: VecDeque<(String, Value)>,
    /// Ends with this, as on a network that is gone.
    _connection: JoinSet<hyper::Result<()>>,
}

/// One request, alone on its TCP connection; the task carries the answer's body.
pub async fn ask(
    node: &Node,
    method: &str,
    fields: &[(&str, &str)],
    body: String,
) -> (Response<Incoming>, JoinSet<hyper::Result<()>>) {
    let stream = TokioIo::new(tls(node).await.unwrap());
    let (mut sender, moving) = http1::handshake(stream).await.unwrap();
    let mut connection = JoinSet::new();
    connection.spawn(moving);
    let mut request = Request::builder().method(method).uri(version::HTTP_PATH);
    for (name, value) in [("host", "localhost")].iter().chain(fields) {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    (within("an answer", sender.send_request(request)).await.unwrap(), connection)
}

/// Status and JSON of a request whose answer is whole.
pub async fn told(
    node: &Node,
    method: &str,
    fields: &[(&str, &str)],
    body: String,
) -> (u16, Value) {
    let (answer, _connection) = ask(node, method, fields, body).await;
    let status = answer.status().as_u16();
    let body = within("a body", answer.into_body().collect()).await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

pub const JSON: (&str, &str) = ("content-type", version::MEDIA_TYPE_JSON);

impl PlainClient {
    /// A connection with a session, and its Welcome. `hello`: what it holds beside the token.
    pub async fn start(node: &Node, user: &str, mut hello: Value) -> (Self, Value) {
        hello["accessToken"] = token(node, user, TOKEN_LIFE).into();
        hello["clientId"] = format!("{user}-device").into();
        let frame = json!({ "command": { "id": 1, "hello": hello } });
        let (answer, connection) = ask(node, "POST", &[JSON], frame.to_string()).await;
        assert_eq!(answer.status(), 200);
        let mut client = Self {
            stream: String::new(),
            number: 0,
            body: answer.into_body(),
            rest: String::new(),
            events: VecDeque::new(),
            _connection: connection,
        };
        let (name, open) = client.next().await.unwrap();
        assert_eq!(name, "open");
        client.stream = open["stream"].as_str().unwrap().to_owned();
        let welcome = client.reply(1).await;
        (client, welcome["welcome"].clone())
    }

    /// The next event and its name. `None`: the answer is whole, or broke.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let frame = within("an event", self.body.frame()).await?.ok()?;
            self.rest.push_str(std::str::from_utf8(frame.data_ref()?).unwrap());
            while let Some(end) = self.rest.find("\n\n") {
                let event: String = self.rest.drain(..end + 2).collect();
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
                };
                if let Some(data) = field("data: ") {
                    let data = serde_json::from_str(&data).unwrap();
                    self.events.push_back((field("event: ").unwrap_or_default(), data));
                }
            }
        }
    }

    /// The next frame.
    pub async fn frame(&mut self) -> Value {
        let (name, frame) = self.next().await.expect("a frame");
        assert_eq!(name, "", "{frame}");
        frame
    }

    /// The reply to command `id`; what comes before is skipped.
    pub async fn reply(&mut self, id: u32) -> Value {
        loop {
            let frame = self.frame().await;
            if frame["reply"]["id"] == id {
                return frame["reply"].clone();
            }
        }
    }

    /// Sends frames under this number, and says what was told.
    pub async fn send_as(&self, node: &Node, number: u64, frames: &[Value]) -> (u16, Value) {
        let number = number.to_string();
        let fields = [
            JSON,
            (version::HTTP_STREAM_FIELD, self.stream.as_str()),
            (version::HTTP_SEQUENCE_FIELD, &number),
        ];
        let body: Vec<String> = frames.iter().map(Value::to_string).collect();
        told(node, "POST", &fields, body.join("\n")).await
    }

    /// Sends frames under the next number.
    pub async fn send(&mut self, node: &Node, frames: &[Value]) {
        self.number += 1;
        let told = self.send_as(node, self.number, frames).await;
        assert_eq!(told, (204, Value::Null));
    }

    /// The code of the last event; what comes before is skipped.
    pub async fn close_code(&mut self) -> u64 {
        let mut last = None;
        while let Some(event) = self.next().await {
            last = Some(event);
        }
        let (name, data) = last.expect("an event");
        assert_eq!(name, "close", "{data}");
        data["code"].as_u64().unwrap()
    }
}

/// A command as JSON.
pub fn command(id: u32, verb: &str, what: Value) -> Value {
    json!({ "command": { "id": id, verb: what } })
}
