//! A client of the load generator: as little work as a client can do, so that thousands fit beside
//! the server. One task reads each; all of them live on one thread.

pub mod quic;
mod wss;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::dialect::{Dialect, Event, Message};
use crate::meter::Meter;

/// How clients reach a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Quic,
    Wss,
    /// A WebSocket without TLS, for peers that have none.
    Ws,
}

/// What all clients of one server share.
#[derive(Debug, Clone)]
pub struct Access {
    pub address: SocketAddr,
    pub transport: Transport,
    pub dialect: Rc<dyn Dialect>,
    /// Trusts the server's certificate.
    pub tls: Arc<rustls::ClientConfig>,
    pub quic: Option<quinn::Endpoint>,
    pub meter: Rc<Meter>,
}

/// One connection. Dropping it closes it.
#[derive(Debug)]
pub struct Client {
    writer: Writer,
    seen: Rc<Seen>,
    dialect: Rc<dyn Dialect>,
    reading: JoinHandle<()>,
    sequence: Cell<u64>,
}

#[derive(Debug)]
enum Writer {
    Quic(Mutex<quinn::SendStream>),
    Wss(Box<Mutex<wss::Sink>>),
}

/// What the reading task has seen.
#[derive(Debug)]
struct Seen {
    ready: Cell<bool>,
    subscribed: Cell<u32>,
    acked: Cell<u64>,
    ended: RefCell<Option<String>>,
    /// Said by the reader, sent by nobody yet.
    answers: RefCell<Vec<Message>>,
    changed: Notify,
    /// When publications whose acknowledgement is awaited were sent.
    sent: RefCell<std::collections::VecDeque<Instant>>,
    meter: Rc<Meter>,
}

impl Seen {
    fn on(&self, event: Event<'_>) {
        match event {
            Event::Delivered(payload) => return self.meter.on_delivery(payload),
            Event::Acked => {
                self.acked.set(self.acked.get() + 1);
                let sent = self.sent.borrow_mut().pop_front();
                self.meter.on_ack(sent.map(|sent| sent.elapsed()));
            }
            Event::Ready => self.ready.set(true),
            Event::Subscribed => self.subscribed.set(self.subscribed.get() + 1),
            Event::Refused(why) => self.meter.on_refusal(&why),
            Event::Answer(message) => self.answers.borrow_mut().push(message),
        }
        self.changed.notify_waiters();
    }

    fn end(&self, why: &str) {
        self.ended.replace(Some(why.to_owned()));
        self.meter.on_end();
        self.changed.notify_waiters();
    }

    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) -> Result<()> {
        let reached = async {
            loop {
                let changed = self.changed.notified();
                if done(self) {
                    return Ok(());
                }
                if let Some(why) = &*self.ended.borrow() {
                    bail!("the connection ended before {what}: {why}");
                }
                changed.await;
            }
        };
        timeout(ANSWER_DEADLINE, reached)
            .await
            .with_context(|| format!("no answer in {ANSWER_DEADLINE:?}: {what}"))?
    }
}

impl Client {
    /// Connects and greets.
    pub async fn connect(access: &Access, name: &str) -> Result<Self> {
        let seen = Rc::new(Seen {
            ready: Cell::new(false),
            subscribed: Cell::new(0),
            acked: Cell::new(0),
            ended: RefCell::default(),
            answers: RefCell::default(),
            changed: Notify::new(),
            sent: RefCell::default(),
            meter: access.meter.clone(),
        });
        let (writer, reading) = match access.transport {
            Transport::Quic => {
                let (send, reading) = Box::pin(quic::connect(access, seen.clone())).await?;
                (Writer::Quic(Mutex::new(send)), reading)
            }
            Transport::Wss | Transport::Ws => {
                let (sink, reading) = Box::pin(wss::connect(access, seen.clone())).await?;
                (Writer::Wss(Box::new(Mutex::new(sink))), reading)
            }
        };
        let dialect = access.dialect.clone();
        let client = Self { writer, seen, dialect, reading, sequence: Cell::new(0) };
        if let Some(hello) = client.dialect.hello(name) {
            client.send(hello).await?;
            client.seen.until("the server greeted", |seen| seen.ready.get()).await?;
            client.answer().await?;
        }
        Ok(client)
    }

    pub async fn subscribe(&self, channel: u32) -> Result<()> {
        let before = self.seen.subscribed.get();
        self.send(self.dialect.subscribe(channel)).await?;
        self.seen.until("subscribed", |seen| seen.subscribed.get() > before).await
    }

    /// Sends, and does not wait for the acknowledgement.
    pub async fn publish(&self, channel: u32, payload: &[u8]) -> Result<()> {
        self.sequence.set(self.sequence.get() + 1);
        self.seen.sent.borrow_mut().push_back(Instant::now());
        let message = self.dialect.publish(channel, payload, self.sequence.get());
        self.meter().on_publish();
        self.send(message).await
    }

    /// Waits until at most `most` publications are without acknowledgement.
    pub async fn acked_but(&self, most: u64) -> Result<()> {
        let wanted = self.sequence.get().saturating_sub(most);
        self.seen.until("acknowledged", |seen| seen.acked.get() >= wanted).await
    }

    pub async fn heartbeat(&self) -> Result<()> {
        match self.dialect.heartbeat() {
            Some(message) => self.send(message).await,
            None => Ok(()),
        }
    }

    /// Says what the dialect has to say by itself.
    pub async fn answer(&self) -> Result<()> {
        let answers = self.seen.answers.take();
        for message in answers {
            self.send(message).await?;
        }
        Ok(())
    }

    fn meter(&self) -> &Meter {
        &self.seen.meter
    }

    async fn send(&self, message: Message) -> Result<()> {
        match &self.writer {
            Writer::Quic(stream) => {
                let Message::Binary(bytes) = message else { bail!("text on a QUIC stream") };
                Ok(stream.lock().await.write_chunk(bytes).await?)
            }
            Writer::Wss(sink) => wss::send(&mut *sink.lock().await, message).await,
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// How long a server may take to answer under load.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
