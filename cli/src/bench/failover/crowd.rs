//! Clients that lose their edge: each a task that connects, follows its channel, and connects
//! again when it is cut off, behind what has come. The tasks end with [`Crowd::leave`], or at once
//! when dropped.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use sterna_bench::client::{Access, Client, Trail, Transport};
use sterna_bench::dialect::Sterna;
use sterna_bench::meter::Meter;
use sterna_bench::progress::Progress;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::bench::cluster::Cluster;
use crate::bench::cluster_args::FailoverArgs;
use crate::bench::field;

/// Handshakes at a time, as long as nobody is in a hurry.
const CONNECTING: usize = 64;

/// The longest wait before another try.
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// Longer than a crowd takes to gather; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(180);

const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(super) struct Crowd {
    state: Rc<State>,
    tasks: RefCell<JoinSet<()>>,
}

struct State {
    members: Vec<Member>,
    jitter: Duration,
    connecting: Semaphore,
    /// Since when arrivals are timed: from their own beginning, or from a common disaster.
    since: Cell<Option<Instant>>,
    arrived: RefCell<Vec<Duration>>,
    tries: Cell<u64>,
    changed: Notify,
    meter: Rc<Meter>,
}

struct Member {
    room: u32,
    /// Where it connects, and where it does when that is gone.
    edges: Vec<Access>,
    client: RefCell<Option<Rc<Client>>>,
    trail: Cell<Trail>,
}

/// What became of all that was acknowledged.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) published: u64,
    pub(super) due: u64,
    pub(super) missing: u64,
    pub(super) repeated: u64,
}

impl Verdict {
    pub(super) fn is_clean(&self) -> bool {
        self.missing == 0 && self.repeated == 0
    }
}

/// How a user reaches an edge.
pub(super) fn access(
    cluster: &Cluster,
    edge: SocketAddr,
    user: &str,
    meter: &Rc<Meter>,
) -> Result<Access> {
    let keys = cluster.keys();
    Ok(Access {
        address: edge,
        transport: Transport::Wss,
        dialect: Arc::new(Sterna { token: field::token_of(user, keys)? }),
        tls: field::trusting(&keys.ca)?,
        quic: None,
        meter: meter.clone(),
    })
}

impl Crowd {
    pub(super) fn new(cluster: &Cluster, args: &FailoverArgs, meter: &Rc<Meter>) -> Result<Self> {
        let edges = cluster.edges();
        let common = access(cluster, edges[0], "nobody", meter)?;
        let member = |n: u32| {
            let token = field::token_of(&format!("user-{n}"), cluster.keys())?;
            let dialect = Arc::new(Sterna { token });
            let at = |address: &SocketAddr| Access {
                address: *address,
                dialect: dialect.clone(),
                ..common.clone()
            };
            // Afterwards they spread over those that are left.
            let (first, others) = edges.split_first().unwrap_or_else(|| unreachable!("edges"));
            let mut edges: Vec<Access> = others.iter().map(at).collect();
            let turn = n as usize % edges.len();
            edges.rotate_left(turn);
            edges.insert(0, at(first));
            let room = n / args.room;
            Ok(Member { room, edges, client: RefCell::default(), trail: Cell::default() })
        };
        let state = State {
            members: (0..args.sessions).map(member).collect::<Result<_>>()?,
            jitter: args.jitter,
            connecting: Semaphore::new(CONNECTING),
            since: Cell::new(None),
            arrived: RefCell::default(),
            tries: Cell::new(0),
            changed: Notify::new(),
            meter: meter.clone(),
        };
        Ok(Self { state: Rc::new(state), tasks: RefCell::default() })
    }

    /// Brings all of them to the first edge.
    pub(super) async fn come(&self, progress: &Progress) -> Result<()> {
        for n in 0..self.state.members.len() {
            self.tasks.borrow_mut().spawn_local(live(self.state.clone(), n));
        }
        self.state.all_arrived(progress).await
    }

    /// Waits until all are back, the edge having died a moment ago.
    pub(super) async fn come_back(&self, progress: &Progress) -> Result<()> {
        self.state.all_arrived(progress).await
    }

    /// The same, for those who only want to know when.
    pub(super) async fn back(&self) {
        let all = self.state.members.len();
        loop {
            let changed = self.state.changed.notified();
            if self.state.arrived.borrow().len() >= all {
                return;
            }
            changed.await;
        }
    }

    /// How long each took, and what tries failed; from now on arrivals are timed from now.
    pub(super) fn arrivals(&self) -> (Vec<Duration>, u64) {
        (self.state.arrived.take(), self.state.tries.take())
    }

    /// What follows is timed from this moment; who has come before is not among those who are back.
    pub(super) fn disaster(&self) {
        self.state.arrived.take();
        self.state.since.set(Some(Instant::now()));
    }

    /// How long deliveries took, since this was asked last: the percentiles in a list of a thousand.
    pub(super) fn delays(&self) -> Vec<Duration> {
        let (delivery, _) = self.state.meter.take_times();
        let us = |us: f64| Duration::from_secs_f64(us / 1e6);
        let shares = [(510, delivery.p50), (480, delivery.p99), (10, delivery.max)];
        shares.into_iter().flat_map(|(count, value)| vec![us(value); count]).collect()
    }

    /// Waits until everybody has the last publication of its room, and adds up.
    pub(super) async fn verdict(&self, published: &[u64]) -> Result<Verdict> {
        let heard = |member: &Member| {
            let wanted = published[member.room as usize];
            member.now().place.is_some_and(|(_, offset)| offset >= wanted)
        };
        let all_heard = async {
            while !self.state.members.iter().all(heard) {
                sleep(LOOK_AGAIN).await;
            }
        };
        // What is missing at the end of all patience is counted below.
        let _ = timeout(PATIENCE, all_heard).await;
        let mut verdict = Verdict { published: published.iter().sum(), ..Verdict::default() };
        for member in &self.state.members {
            let (trail, last) = (member.now(), published[member.room as usize]);
            // The first made the room, before anybody was there.
            verdict.due += last - 1;
            let reached = trail.place.map_or(1, |(_, offset)| offset);
            verdict.missing += last.saturating_sub(reached) + trail.skipped;
            verdict.repeated += trail.repeated;
        }
        Ok(verdict)
    }

    pub(super) async fn leave(self) {
        self.tasks.take().shutdown().await;
    }
}

impl State {
    async fn all_arrived(&self, progress: &Progress) -> Result<()> {
        let all = self.members.len();
        let mut told = 0;
        let arrived = async {
            loop {
                let changed = self.changed.notified();
                let now = self.arrived.borrow().len();
                (told..now).for_each(|_| progress.step());
                told = now;
                if now >= all {
                    return;
                }
                changed.await;
            }
        };
        if timeout(PATIENCE, arrived).await.is_err() {
            let (now, refusal) = (self.arrived.borrow().len(), self.meter.last_refusal());
            bail!("only {now} of {all} clients got in; the last refusal: {refusal:?}");
        }
        Ok(())
    }

    fn on_arrival(&self, began: Instant) {
        let since = self.since.get().unwrap_or(began);
        self.arrived.borrow_mut().push(since.elapsed());
        self.changed.notify_waiters();
    }
}

impl Member {
    /// What has come so far.
    fn now(&self) -> Trail {
        self.client.borrow().as_ref().map_or(self.trail.get(), |client| client.trail())
    }
}

/// Connects and follows, again and again.
async fn live(state: Rc<State>, n: usize) {
    let member = &state.members[n];
    let mut failures = 0;
    let mut edge = 0;
    loop {
        let calm = state.since.get().is_none();
        let permit = if calm { state.connecting.acquire().await.ok() } else { None };
        let began = Instant::now();
        match enter(member, n, edge).await {
            Ok(client) => {
                drop(permit);
                failures = 0;
                member.client.replace(Some(client.clone()));
                state.on_arrival(began);
                client.ended().await;
                member.trail.set(client.trail());
                member.client.replace(None);
            }
            Err(_) => {
                drop(permit);
                state.tries.set(state.tries.get() + 1);
                failures += 1;
            }
        }
        let most = state.jitter.saturating_mul(1 << failures.min(5)).min(LONGEST_WAIT);
        sleep(most.mul_f64(rand::random())).await;
        edge = 1 + failures as usize % (member.edges.len() - 1);
    }
}

async fn enter(member: &Member, n: usize, edge: usize) -> Result<Rc<Client>> {
    let client = Client::connect(&member.edges[edge], &format!("client-{n}")).await?;
    client.follow(member.room, member.trail.get()).await?;
    Ok(Rc::new(client))
}
