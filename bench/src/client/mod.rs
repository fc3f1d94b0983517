//! A client of the load generator: as little work as a client can do, so that thousands fit beside
//! the server. One task reads each; all of them live on one thread.

pub mod quic;
pub mod tls;
mod wss;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::dialect::{Dialect, Event, Message, Page, Place};
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
    pub dialect: Arc<dyn Dialect>,
    /// Trusts the server's certificate.
    pub tls: Arc<rustls::ClientConfig>,
    pub quic: Option<quic::Endpoints>,
    pub meter: Rc<Meter>,
}

/// One connection. Dropping it closes it.
#[derive(Debug)]
pub struct Client {
    writer: Writer,
    seen: Rc<Seen>,
    dialect: Arc<dyn Dialect>,
    reading: JoinHandle<()>,
    sequence: Cell<u64>,
    /// Subscribed to because it publishes to them.
    publishes_to: RefCell<HashSet<u32>>,
}

#[derive(Debug)]
enum Writer {
    Quic(Mutex<quinn::SendStream>),
    Wss(Box<Mutex<wss::Sink>>),
}

/// What a client asked for, the server does not want to do.
#[derive(Debug)]
pub struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "refused: {}", self.0)
    }
}

impl std::error::Error for Refused {}

/// What came of a channel, as far as the dialect knows places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trail {
    /// Of the newest that came; where it began before any has.
    pub place: Option<Place>,
    /// Publications of an epoch that others came after, and they did not.
    pub skipped: u64,
    /// Publications that came again.
    pub repeated: u64,
}

impl Trail {
    fn on(&mut self, place: Place) {
        if let Some((epoch, offset)) = self.place
            && epoch == place.0
        {
            if place.1 <= offset {
                self.repeated += 1;
                return;
            }
            self.skipped += place.1 - offset - 1;
        }
        self.place = Some(place);
    }
}

/// What the reading task has seen.
#[derive(Debug)]
struct Seen {
    ready: Cell<bool>,
    name: RefCell<String>,
    subscribed: Cell<u32>,
    acked: Cell<u64>,
    refused: Cell<u64>,
    page: RefCell<Option<Page>>,
    trail: Cell<Trail>,
    /// The end of the connection is wanted.
    leaving: Cell<bool>,
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
            Event::At(place) => {
                let mut trail = self.trail.get();
                trail.on(place);
                return self.trail.set(trail);
            }
            Event::Stands(place) => {
                let mut trail = self.trail.get();
                trail.place.get_or_insert(place);
                return self.trail.set(trail);
            }
            Event::Ready => self.ready.set(true),
            Event::Named(name) => name.clone_into(&mut self.name.borrow_mut()),
            Event::Subscribed => self.subscribed.set(self.subscribed.get() + 1),
            Event::Refused(why) => {
                self.refused.set(self.refused.get() + 1);
                self.meter.on_refusal(&why);
            }
            Event::Lagged(why) => self.meter.on_refusal(&why),
            Event::Page(page) => {
                self.page.replace(Some(page));
            }
            Event::Answer(message) => self.answers.borrow_mut().push(message),
        }
        self.changed.notify_waiters();
    }

    fn end(&self, why: &str) {
        self.ended.replace(Some(why.to_owned()));
        if !self.leaving.get() {
            self.meter.on_end();
        }
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
            name: RefCell::default(),
            subscribed: Cell::new(0),
            acked: Cell::new(0),
            refused: Cell::new(0),
            page: RefCell::default(),
            trail: Cell::default(),
            leaving: Cell::new(false),
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
        let client = Self {
            writer,
            seen,
            dialect,
            reading,
            sequence: Cell::new(0),
            publishes_to: RefCell::default(),
        };
        if let Some(hello) = client.dialect.hello(name) {
            client.send(hello).await?;
            client.seen.until("the server greeted", |seen| seen.ready.get()).await?;
            client.answer().await?;
        }
        Ok(client)
    }

    pub async fn subscribe(&self, channel: u32) -> Result<()> {
        let message = self.dialect.subscribe(channel, &self.seen.name.borrow());
        self.subscribe_with(message).await
    }

    /// Subscribes and reads the newest publications, as far as the dialect can.
    pub async fn join(&self, channel: u32) -> Result<()> {
        let message = self.dialect.join(channel, &self.seen.name.borrow());
        self.subscribe_with(message).await
    }

    /// Subscribes, behind what has come by an earlier connection.
    pub async fn follow(&self, channel: u32, trail: Trail) -> Result<()> {
        self.seen.trail.set(trail);
        let name = self.seen.name.borrow().clone();
        let message = match trail.place {
            Some(place) => self.dialect.follow(channel, place, &name),
            None => self.dialect.subscribe(channel, &name),
        };
        self.subscribe_with(message).await
    }

    /// What has come of the channel that it follows.
    #[must_use]
    pub fn trail(&self) -> Trail {
        self.seen.trail.get()
    }

    /// Waits until the connection has ended.
    pub async fn ended(&self) {
        loop {
            let changed = self.seen.changed.notified();
            if self.seen.ended.borrow().is_some() {
                return;
            }
            changed.await;
        }
    }

    async fn subscribe_with(&self, message: Message) -> Result<()> {
        let (before, refused) = (self.seen.subscribed.get(), self.seen.refused.get());
        self.send(message).await?;
        let answered = |seen: &Seen| seen.subscribed.get() > before || seen.refused.get() > refused;
        self.seen.until("subscribed", answered).await?;
        match self.seen.subscribed.get() > before {
            true => Ok(()),
            false => Err(Refused(self.meter().last_refusal()).into()),
        }
    }

    /// Sends, and does not wait for the acknowledgement.
    pub async fn publish(&self, channel: u32, payload: &[u8]) -> Result<()> {
        if self.dialect.subscribes_to_publish() && self.publishes_to.borrow_mut().insert(channel) {
            self.subscribe(channel).await?;
        }
        self.sequence.set(self.sequence.get() + 1);
        self.seen.sent.borrow_mut().push_back(Instant::now());
        let sequence = self.sequence.get();
        let message = self.dialect.publish(channel, payload, sequence, &self.seen.name.borrow());
        self.meter().on_publish();
        self.send(message).await
    }

    /// Waits until at most `most` publications are without acknowledgement.
    pub async fn acked_but(&self, most: u64) -> Result<()> {
        let wanted = self.sequence.get().saturating_sub(most);
        self.seen.until("acknowledged", |seen| seen.acked.get() >= wanted).await
    }

    /// Waits until at most `most` publications are without an answer, refusals among the answers.
    pub async fn answered_but(&self, most: u64) -> Result<()> {
        let wanted = self.sequence.get().saturating_sub(most);
        let answered = |seen: &Seen| seen.acked.get() + seen.refused.get() >= wanted;
        self.seen.until("acknowledged", answered).await
    }

    /// How many publications were acknowledged, and how many things refused.
    #[must_use]
    pub fn answers(&self) -> (u64, u64) {
        (self.seen.acked.get(), self.seen.refused.get())
    }

    /// What a channel holds behind a position, (0, 0) for all; a page of it.
    pub async fn history(&self, channel: u32, epoch: u32, after: u64) -> Result<Page> {
        let message = self.dialect.history(channel, epoch, after);
        self.seen.page.take();
        self.send(message.context("this server has no history")?).await?;
        self.seen.until("read", |seen| seen.page.borrow().is_some()).await?;
        self.seen.page.take().context("the page has gone")
    }

    /// Ends the session in good order and waits until the server has closed the connection.
    pub async fn leave(self) -> Result<()> {
        self.seen.leaving.set(true);
        let Some(goodbye) = self.dialect.goodbye() else { return Ok(()) };
        self.send(goodbye).await?;
        timeout(ANSWER_DEADLINE, self.ended()).await.context("no end after a goodbye")
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

#[cfg(test)]
mod tests {
    use super::Trail;

    #[test]
    fn a_trail_counts_what_is_missing_and_what_comes_again() {
        let mut trail = Trail::default();
        for place in [(1, 5), (1, 6), (1, 6), (1, 9), (2, 10), (2, 11)] {
            trail.on(place);
        }
        assert_eq!(trail, Trail { place: Some((2, 11)), skipped: 2, repeated: 1 });
    }
}
