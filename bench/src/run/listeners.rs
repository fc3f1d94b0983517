//! Subscribers on a thread of their own, for measurements of time: whoever publishes and encrypts
//! keeps none of them waiting. Notes for how long at a time the thread has work, which is the most
//! that it can have added to a time by itself. Owned by a measurement; the thread ends with
//! [`Listeners`].

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use hdrhistogram::Histogram;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::client::{Access, Client, Transport, quic};
use crate::dialect::Dialect;
use crate::meter::{self, Counts, Meter, Percentiles};
use crate::target::Running;

/// What the thread needs to reach a server by itself.
struct Reach {
    address: SocketAddr,
    transport: Transport,
    dialect: Arc<dyn Dialect>,
    tls: Arc<rustls::ClientConfig>,
    /// When the meter of the publishers was made.
    began: Instant,
}

/// What the thread is asked.
#[derive(Debug)]
enum Question {
    Counts(oneshot::Sender<Counts>),
    /// Since the last time.
    Heard(oneshot::Sender<Heard>),
}

/// How long deliveries took, and what the thread did meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) delivery: Percentiles,
    /// Stretches of work between two pauses.
    pub(crate) busy: Percentiles,
}

/// The subscribers, one for each channel.
#[derive(Debug)]
pub(crate) struct Listeners {
    questions: Option<mpsc::Sender<Question>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Listeners {
    /// Subscribes to channels 0 to `channels` - 1. Times count from where those of the server's meter do.
    pub(crate) async fn gather(running: &Running, channels: u32) -> Result<Self> {
        let access = &running.access;
        let reach = Reach {
            address: access.address,
            transport: access.transport,
            dialect: access.dialect.clone(),
            tls: access.tls.clone(),
            began: access.meter.began(),
        };
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let (ready, gathered) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("listeners".to_owned())
            .spawn(move || listen(&reach, channels, ready, asked))?;
        let mut listeners = Self { questions: Some(questions), thread: Some(thread) };
        if gathered.await.is_err() {
            listeners.end()?;
        }
        Ok(listeners)
    }

    pub(crate) async fn counts(&self) -> Result<Counts> {
        self.ask(Question::Counts).await
    }

    pub(crate) async fn heard(&self) -> Result<Heard> {
        self.ask(Question::Heard).await
    }

    /// Waits until so much was delivered in all.
    pub(crate) async fn delivered(&self, wanted: u64) -> Result<()> {
        while self.counts().await?.delivered < wanted {
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let questions = self.questions.as_ref().context("the subscribers have ended")?;
        questions.send(question(answer)).await.ok().context("the subscribers have ended")?;
        answered.await.context("the subscribers have ended")
    }

    /// Waits for the thread, and says what was wrong.
    fn end(&mut self) -> Result<()> {
        self.questions = None;
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        // What was wrong has shown itself in what was asked.
        drop(self.end());
    }
}

/// The thread.
fn listen(
    reach: &Reach,
    channels: u32,
    ready: oneshot::Sender<()>,
    mut asked: mpsc::Receiver<Question>,
) -> Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(TURNS_BETWEEN_LOOKS)
        .on_thread_unpark(|| WORK.with_borrow_mut(Work::begin))
        .on_thread_park(|| WORK.with_borrow_mut(Work::end))
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let (access, clients) = gather(reach, channels).await?;
        // Whoever waits for it is told by the question that is not answered.
        let _ = ready.send(());
        while let Some(question) = asked.recv().await {
            match question {
                Question::Counts(answer) => drop(answer.send(access.meter.counts())),
                Question::Heard(answer) => {
                    let (delivery, _) = access.meter.take_times();
                    let busy = WORK.with_borrow_mut(Work::take);
                    drop(answer.send(Heard { delivery, busy }));
                }
            }
        }
        drop(clients);
        Ok(())
    })
}

async fn gather(reach: &Reach, channels: u32) -> Result<(Access, Vec<Client>)> {
    let access = Access {
        address: reach.address,
        transport: reach.transport,
        dialect: reach.dialect.clone(),
        quic: match reach.transport {
            Transport::Quic => Some(quic::Endpoints::new(&reach.tls, reach.dialect.alpn())?),
            Transport::Wss | Transport::Ws => None,
        },
        tls: reach.tls.clone(),
        meter: Rc::new(Meter::since(reach.began)),
    };
    let join = |channel: u32| {
        let access = &access;
        async move {
            let client = Client::connect(access, &format!("listener-{channel}")).await?;
            client.subscribe(channel).await?;
            anyhow::Ok(client)
        }
    };
    let clients = stream::iter((0..channels).map(join)).buffer_unordered(CONNECTING);
    let clients = clients.try_collect().await?;
    Ok((access, clients))
}

/// The stretches of work of this thread.
struct Work {
    since: Option<Instant>,
    stretches: Histogram<u64>,
}

thread_local! {
    static WORK: RefCell<Work> =
        RefCell::new(Work { since: None, stretches: meter::histogram() });
}

impl Work {
    fn begin(&mut self) {
        self.since = Some(Instant::now());
    }

    fn end(&mut self) {
        if let Some(since) = self.since.take() {
            self.stretches.saturating_record(since.elapsed().as_nanos() as u64);
        }
    }

    fn take(&mut self) -> Percentiles {
        let taken = Percentiles::of(&self.stretches);
        self.stretches.reset();
        taken
    }
}

/// One is asked after the other.
const QUESTIONS: usize = 1;

/// Tasks that run until sockets are looked at again: what has come is noted soon.
const TURNS_BETWEEN_LOOKS: u32 = 4;

/// Handshakes at a time.
const CONNECTING: usize = 32;

const LOOK_AGAIN: Duration = Duration::from_millis(2);
