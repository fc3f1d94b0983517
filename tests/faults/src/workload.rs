//! Users on QUIC and wss who talk in a few rooms while something breaks: each publishes several
//! things at a time, and each hears every room. What they tried, were promised and saw is written
//! down beside the node, where no fault reaches it. One task per user and one per subscription;
//! they end with [`Workload::finish`], or at once when dropped.

use std::collections::BTreeMap;
use std::future::IntoFuture as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sterna_client::{ChannelId, Client, Event, Subscribe, Subscription, Transport};
use sterna_client::{NetworkChange, SubscriptionState};
use sterna_system_tests::checker::{Acked, Seen};
use sterna_system_tests::crowd;
use sterna_system_tests::node::PATIENCE;
use sterna_system_tests::text::Writer;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::place::Place;

/// Nothing was promised or heard for this long: something is stuck.
const STANDSTILL: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(20);
/// Publications of one user that await their answers.
const ON_THE_WAY: usize = 8;
/// A user's pause between two publications is at most this.
const PAUSE_MS: u64 = 40;

/// Who talks where.
#[derive(Debug, Clone)]
pub struct Plan {
    pub rooms: usize,
    /// Who publish, and hear every room.
    pub speakers: usize,
    /// Who only hear one room each.
    pub listeners: usize,
    /// In turns; an empty list leaves the choice to the client.
    pub transports: Vec<Vec<Transport>>,
}

impl Default for Plan {
    fn default() -> Self {
        let transports = vec![vec![Transport::Quic], vec![Transport::WebSocket]];
        Self { rooms: 3, speakers: 4, listeners: 0, transports }
    }
}

/// What is known of one room.
#[derive(Debug, Clone, Default)]
pub struct Room {
    /// Sender and text, each sender's in its order.
    pub attempts: Vec<(String, String)>,
    pub acked: Vec<Acked>,
    /// What each subscriber saw, in its order.
    pub views: BTreeMap<String, Vec<Seen>>,
}

/// What is known of all rooms.
#[derive(Debug, Clone, Default)]
pub struct Record {
    pub rooms: BTreeMap<String, Room>,
    /// Nothing that may happen to an honest client: refusals, gaps, replaced logs.
    pub trouble: Vec<String>,
    /// The longest time in which nobody was answered or heard anything while somebody waited for it.
    pub quiet: Duration,
    /// From the last publication until all were answered and heard by everybody.
    pub settling: Duration,
}

impl Record {
    pub fn acked(&self) -> usize {
        self.rooms.values().map(|room| room.acked.len()).sum()
    }

    fn room(&mut self, room: &ChannelId) -> &mut Room {
        self.rooms.entry(room.to_string()).or_default()
    }

    fn heard(&self) -> usize {
        self.rooms.values().flat_map(|room| room.views.values()).map(Vec::len).sum()
    }

    /// Everybody who hears a room has heard all that was promised there.
    fn is_heard_by_all(&self) -> bool {
        self.rooms.values().all(|room| {
            let head = room.acked.iter().map(|acked| acked.offset).max().unwrap_or(0);
            room.views.values().all(|view| view.last().map_or(0, |seen| seen.offset) >= head)
        })
    }
}

/// Users at work.
#[derive(Debug)]
pub struct Workload {
    clients: Vec<Client>,
    record: Arc<Mutex<Record>>,
    stop: watch::Sender<bool>,
    speakers: JoinSet<()>,
    listeners: JoinSet<()>,
}

impl Workload {
    /// All users come and begin to talk.
    pub fn start(place: &Place, plan: &Plan, rng: &mut StdRng) -> Self {
        let rooms: Vec<ChannelId> = (0..plan.rooms)
            .map(|at| ChannelId::new(&format!("room:faults-{at}")).unwrap())
            .collect();
        let mut workload = Self {
            clients: Vec::new(),
            record: Arc::default(),
            stop: watch::Sender::new(false),
            speakers: JoinSet::new(),
            listeners: JoinSet::new(),
        };
        for at in 0..plan.speakers + plan.listeners {
            let speaks = at < plan.speakers;
            let name = format!("{}-{at}", if speaks { "speaker" } else { "listener" });
            let transports = &plan.transports[at % plan.transports.len()];
            let mut builder = place.clone().facing(at / 2).builder(&name);
            if !transports.is_empty() {
                builder = builder.transports(transports.iter().copied());
            }
            let client = builder.build().unwrap();
            let heard = if speaks { &rooms[..] } else { &rooms[at % rooms.len()..][..1] };
            for room in heard {
                workload.listen(&client, &name, room);
            }
            client.connect();
            if speaks {
                workload.speak(client.clone(), name, &rooms, rng.random());
            }
            workload.clients.push(client);
        }
        workload
    }

    fn listen(&mut self, client: &Client, name: &str, room: &ChannelId) {
        let subscription = client.subscribe(room, Subscribe::earliest()).unwrap();
        let record = Arc::clone(&self.record);
        lock(&record).room(room).views.insert(name.to_owned(), Vec::new());
        self.listeners.spawn(take_notes(subscription, record, name.to_owned(), room.clone()));
    }

    fn speak(&mut self, client: Client, name: String, rooms: &[ChannelId], seed: u64) {
        let speaker = Speaker {
            client,
            writer: Writer::new(&name, seed),
            name,
            rooms: rooms.to_vec(),
            rng: StdRng::seed_from_u64(seed),
            record: Arc::clone(&self.record),
        };
        self.speakers.spawn(speaker.talk(self.stop.subscribe()));
    }

    pub fn record(&self) -> Record {
        lock(&self.record).clone()
    }

    pub fn acked(&self) -> usize {
        lock(&self.record).acked()
    }

    /// Waits until so many more publications have been promised: the node is well and works.
    pub async fn go_on_for(&self, publications: usize) {
        let wanted = self.acked() + publications;
        self.wait("publications are acknowledged", |record| record.acked() >= wanted).await;
    }

    /// Waits until every user has a session.
    pub async fn all_connected(&self) {
        for client in &self.clients {
            client.ready(PATIENCE).await.unwrap();
        }
    }

    /// All devices wake up at once.
    pub fn wake(&self) {
        self.clients.iter().for_each(|it| it.network_changed(NetworkChange::Wake));
    }

    /// Connections beyond the first of each client.
    pub fn reconnects(&self) -> u64 {
        self.clients.iter().map(|client| client.statistics().reconnects).sum()
    }

    /// Waits until as many reconnects have happened, and says how many.
    pub async fn all_reconnects(&self, wanted: u64) -> u64 {
        within("everybody comes back", async {
            while self.reconnects() < wanted {
                tokio::time::sleep(POLL).await;
            }
        })
        .await;
        self.reconnects()
    }

    /// Everybody stops; returns when every publication has its answer and everybody has heard
    /// everything.
    pub async fn finish(mut self) -> Record {
        self.stop.send_replace(true);
        let stopped = Instant::now();
        let answered = async { while self.speakers.join_next().await.is_some() {} };
        if tokio::time::timeout(STANDSTILL, answered).await.is_err() {
            lock(&self.record).trouble.push("publications are never answered".to_owned());
            return self.record();
        }
        self.wait("everybody has heard everything", Record::is_heard_by_all).await;
        lock(&self.record).settling = stopped.elapsed();
        for client in &self.clients {
            client.close().await;
        }
        self.record()
    }

    async fn wait(&self, what: &str, wanted: impl Fn(&Record) -> bool) {
        let mut moved = (Instant::now(), (0, 0));
        loop {
            let progress = {
                let mut record = lock(&self.record);
                record.quiet = record.quiet.max(moved.0.elapsed());
                if wanted(&record) {
                    return;
                }
                (record.acked(), record.heard())
            };
            if progress != moved.1 {
                moved = (Instant::now(), progress);
            }
            let states: Vec<_> = self.clients.iter().map(Client::state).collect();
            assert!(moved.0.elapsed() < STANDSTILL, "{what}: not so, nothing moves: {states:#?}");
            tokio::time::sleep(POLL).await;
        }
    }
}

struct Speaker {
    client: Client,
    name: String,
    writer: Writer,
    rooms: Vec<ChannelId>,
    rng: StdRng,
    record: Arc<Mutex<Record>>,
}

impl Speaker {
    async fn talk(mut self, mut stop: watch::Receiver<bool>) {
        let mut on_the_way = FuturesUnordered::new();
        loop {
            let room = self.rooms[self.rng.random_range(0..self.rooms.len())].clone();
            let text = self.writer.next_line();
            lock(&self.record).room(&room).attempts.push((self.name.clone(), text.clone()));
            let send = self.client.publish(&room, text.clone()).start();
            on_the_way.push(async move { (room, text, send.into_future().await) });
            let pause = Duration::from_millis(self.rng.random_range(0..PAUSE_MS));
            let paused = tokio::time::sleep(pause);
            tokio::pin!(paused);
            loop {
                // Its value holds a lock.
                let stopped = async { drop(stop.wait_for(|stop| *stop).await) };
                tokio::select! {
                    () = stopped => {
                        while let Some(answer) = on_the_way.next().await {
                            self.note(answer);
                        }
                        return;
                    }
                    Some(answer) = on_the_way.next() => self.note(answer),
                    () = &mut paused, if on_the_way.len() < ON_THE_WAY => break,
                }
            }
        }
    }

    fn note(&self, answer: (ChannelId, String, Result<sterna_client::Ack, sterna_client::Error>)) {
        let (room, text, outcome) = answer;
        let mut record = lock(&self.record);
        match outcome {
            Ok(ack) => record.room(&room).acked.push(Acked {
                epoch: ack.position.epoch.0,
                offset: ack.position.offset.0,
                sender: self.name.clone(),
                text,
            }),
            Err(error) => record.trouble.push(format!("{} was refused: {error}", self.name)),
        }
    }
}

async fn take_notes(
    mut subscription: Subscription,
    record: Arc<Mutex<Record>>,
    name: String,
    room: ChannelId,
) {
    while let Some(event) = subscription.next().await {
        let mut record = lock(&record);
        let trouble = match event {
            Event::Publication(it) => {
                let view = record.room(&room).views.entry(name.clone()).or_default();
                view.push(crowd::seen(&it));
                continue;
            }
            Event::State(SubscriptionState::Subscribed {
                was_recovering: true,
                recovered: false,
                ..
            }) => "was not recovered".to_owned(),
            Event::Gap { .. } | Event::EpochChanged { .. } | Event::Error(_) => {
                format!("{event:?}")
            }
            _ => continue,
        };
        record.trouble.push(format!("{name} in {room}: {trouble}"));
    }
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap()
}

/// Fails the round when `future` takes so long that something is stuck.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("{what} takes for ever"))
}
