//! The visitors: each connects, joins a channel, keeps its connection alive, publishes, and leaves
//! when its time is over. All count into one [`Tally`], which each stage empties.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use sterna_relay::Relay;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::account::{Ledger, Name};
use super::model::{Dice, Habits};
use crate::client::{Access, Client};
use crate::meter;
use crate::run::failure::{self, Failures};

/// What visitors did during one stage.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) arrived: u64,
    pub(crate) connected: u64,
    pub(crate) connect: Histogram<u64>,
    pub(crate) failures: Failures,
    /// Most sessions at once.
    pub(crate) most: u32,
    /// The longest that somebody came after the model said.
    pub(crate) late: Duration,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            arrived: 0,
            connected: 0,
            connect: meter::histogram(),
            failures: Failures::default(),
            most: 0,
            late: Duration::ZERO,
        }
    }
}

#[derive(Debug)]
pub(crate) struct World {
    habits: Habits,
    pub(crate) tally: RefCell<Tally>,
    pub(crate) ledger: RefCell<Ledger>,
    sessions: Cell<u32>,
    /// Everybody leaves.
    closing: watch::Sender<bool>,
}

/// Who comes, and where to.
struct Visit {
    number: u32,
    access: Access,
    channel: u32,
    dice: Dice,
}

impl World {
    pub(crate) fn new(habits: Habits) -> Rc<Self> {
        Rc::new(Self {
            habits,
            tally: RefCell::default(),
            ledger: RefCell::default(),
            sessions: Cell::new(0),
            closing: watch::Sender::new(false),
        })
    }

    pub(crate) fn take_tally(&self) -> Tally {
        let most = self.sessions.get();
        self.tally.replace(Tally { most, ..Tally::default() })
    }

    fn fail(&self, kind: &'static str) {
        self.tally.borrow_mut().failures.add(kind);
    }

    fn on_enter(&self, took: Duration) {
        let mut tally = self.tally.borrow_mut();
        tally.connected += 1;
        tally.connect.saturating_record(took.as_nanos() as u64);
        self.sessions.set(self.sessions.get() + 1);
        tally.most = tally.most.max(self.sessions.get());
    }

    async fn visit(&self, mut visit: Visit) {
        let began = Instant::now();
        let name = format!("visitor-{}", visit.number);
        let connecting = async {
            match timeout(PATIENCE, Client::connect(&visit.access, &name)).await {
                Ok(outcome) => outcome,
                Err(elapsed) => Err(elapsed.into()),
            }
        };
        let client = match connecting.await {
            Ok(client) => client,
            Err(error) => return self.fail(failure::kind(&error)),
        };
        self.on_enter(began.elapsed());
        if let Err(error) = self.stay(&client, &mut visit).await {
            self.fail(match failure::kind(&error) {
                failure::TIMED_OUT => "not answered",
                kind => kind,
            });
        } else if !matches!(timeout(PATIENCE, client.leave()).await, Ok(Ok(()))) {
            self.fail("no goodbye");
        }
        self.sessions.set(self.sessions.get() - 1);
    }

    async fn stay(&self, client: &Client, visit: &mut Visit) -> Result<()> {
        let Habits { lifetime, heartbeat, publish_every, .. } = self.habits;
        let until = Instant::now() + visit.dice.exponential(lifetime);
        timeout(PATIENCE, client.join(visit.channel)).await??;
        let mut closing = self.closing.subscribe();
        let mut sequence = 0;
        let mut next_publish = Instant::now() + visit.dice.exponential(publish_every);
        let mut next_heartbeat = Instant::now() + heartbeat;
        loop {
            tokio::select! {
                _ = closing.wait_for(|closing| *closing) => return Ok(()),
                () = sleep_until(until) => return Ok(()),
                () = sleep_until(next_heartbeat) => {
                    client.heartbeat().await?;
                    next_heartbeat = Instant::now() + heartbeat;
                }
                () = sleep_until(next_publish) => {
                    sequence += 1;
                    self.publish(client, visit, sequence).await?;
                    next_publish = Instant::now() + visit.dice.exponential(publish_every);
                }
            }
        }
    }

    async fn publish(&self, client: &Client, visit: &Visit, sequence: u32) -> Result<()> {
        let name = Name { visit: visit.number, sequence };
        let mut payload = visit.access.meter.payload(self.habits.payload_bytes);
        name.sign(&mut payload);
        let (before, _) = client.answers();
        let published = async {
            client.publish(visit.channel, &payload).await?;
            client.answered_but(0).await
        };
        let answered = timeout(PATIENCE, published).await;
        match answered {
            Ok(Ok(())) if client.answers().0 > before => {
                self.ledger.borrow_mut().on_ack(visit.channel, name);
                Ok(())
            }
            Ok(Ok(())) => {
                self.fail("publication refused");
                Ok(())
            }
            Ok(Err(error)) => {
                self.ledger.borrow_mut().unanswered += 1;
                Err(error)
            }
            Err(elapsed) => {
                self.ledger.borrow_mut().unanswered += 1;
                Err(elapsed.into())
            }
        }
    }
}

/// Lets visitors come, at whatever rate.
#[derive(Debug)]
pub(crate) struct Gate {
    world: Rc<World>,
    visits: JoinSet<()>,
    dice: Dice,
    next: Instant,
    count: u32,
    /// Paths that visitors are on still.
    relays: Vec<Relay>,
}

impl Gate {
    pub(crate) fn new(world: Rc<World>, seed: u64) -> Self {
        let dice = Dice::new(seed);
        Self {
            world,
            visits: JoinSet::new(),
            dice,
            next: Instant::now(),
            count: 0,
            relays: Vec::new(),
        }
    }

    /// Lets them come until `until`: to the servers in turn, each to one of `channels`.
    pub(crate) async fn open(
        &mut self,
        until: Instant,
        per_second: f64,
        access: &[Access],
        channels: u32,
    ) {
        let mean = Duration::from_secs_f64(1.0 / per_second.max(MIN_PER_SECOND));
        // Chance has no memory: what was drawn for another rate does not count.
        self.next = Instant::now() + self.dice.exponential(mean);
        while self.next < until {
            sleep_until(self.next).await;
            self.let_in(access, channels);
            self.next += self.dice.exponential(mean);
            while self.visits.try_join_next().is_some() {}
        }
        sleep_until(until).await;
    }

    fn let_in(&mut self, access: &[Access], channels: u32) {
        let Some(access) = access.get(self.count as usize % access.len().max(1)) else { return };
        self.count += 1;
        let late = self.next.elapsed();
        {
            let mut tally = self.world.tally.borrow_mut();
            tally.arrived += 1;
            tally.late = tally.late.max(late);
        }
        if self.visits.len() >= MOST_VISITS {
            return self.world.fail("no room in the load generator");
        }
        let dice = self.dice.another();
        let channel = self.dice.one_of(channels);
        let visit = Visit { number: self.count, access: access.clone(), channel, dice };
        let world = self.world.clone();
        self.visits.spawn_local(async move { world.visit(visit).await });
    }

    /// Keeps a path open for as long as there are visitors.
    pub(crate) fn keep(&mut self, relay: Relay) {
        self.relays.push(relay);
    }

    /// Sends everybody home and waits for them.
    pub(crate) async fn close(mut self) {
        self.world.closing.send_replace(true);
        while self.visits.join_next().await.is_some() {}
        for relay in self.relays {
            relay.shutdown().await;
        }
    }
}

/// How long a visitor waits for anything.
const PATIENCE: Duration = Duration::from_secs(5);

/// Visits at a time: each WebSocket takes a file of this process.
const MOST_VISITS: usize = 16_000;

const MIN_PER_SECOND: f64 = 0.001;
