//! A thousand clients on real sockets are cut off at once, first by their network, then by the
//! death of the node, and all come back at once: sessions go on where they can, everybody recovers
//! exactly what was published meanwhile (I13), others hear no more about it than there are
//! sessions, the node's memory stays bounded and it serves newcomers all the while.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::collections::HashSet;
use std::future::IntoFuture as _;
use std::time::{Duration, Instant};

use sterna_client::{
    Ack, ChannelId, Client, Event, Position, Subscribe, Subscription, Transport, v1,
};
use sterna_relay::{Relay, RelayConfig};
use sterna_system_tests::checker::{Acked, Checker};
use sterna_system_tests::crowd::{Crowd, Member};
use sterna_system_tests::node::{Node, PATIENCE};
use sterna_system_tests::sdk;
use sterna_system_tests::text::Writer;
use tokio::task::JoinSet;
use tokio::time::timeout;

const CLIENTS: usize = 1000;
const ROOMS: usize = 20;
/// Room 0 is watched: its members are told who is in it.
const WATCHED: usize = CLIENTS / ROOMS;
const SPEAKER: &str = "speaker";
const NEWCOMERS: usize = 4;
/// Of a node that is told nothing else.
const RESUME_WINDOW: Duration = Duration::from_secs(120);

const MIB: u64 = 1024 * 1024;
const MEASURED_PEAK_RESIDENT_BYTES: u64 = 150 * MIB;
const RESIDENT_BYTES_AT_MOST: u64 = 3 * MEASURED_PEAK_RESIDENT_BYTES;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i13_a_thousand_clients_cut_off_at_once_come_back_to_everything() {
    let mut scene = Scene::open().await;
    for _ in 0..storms() {
        scene.break_network().await;
        scene.kill_node().await;
    }
    scene.close().await;
}

fn storms() -> usize {
    if std::env::var_os("STERNA_LONG").is_some() { 10 } else { 1 }
}

struct Scene {
    node: Node,
    relay: Relay,
    crowd: Crowd,
    speaker: Speaker,
    watcher: Watcher,
}

impl Scene {
    async fn open() -> Self {
        let node = Node::start().await;
        let relay = Relay::start(RelayConfig::new(node.client_address())).await.unwrap();
        let rooms: Vec<ChannelId> = (0..ROOMS).map(room).collect();
        let watcher = Watcher::start(&node, &rooms[0]).await;
        let speaker = Speaker::start(&node, &rooms).await;
        let crowd = Crowd::gather(&node, relay.address(), CLIENTS, &subscribed(&rooms)).await;
        let mut scene = Self { node, relay, crowd, speaker, watcher };
        scene.speaker.say(3).await;
        scene.all_are_well().await;
        scene
    }

    /// The network of all is gone at once: TCP is reset, UDP comes back from other ports.
    async fn break_network(&mut self) {
        self.relay.block();
        let before = sessions_begun(&self.node).await;
        let reconnects_before = reconnects(&self.crowd);
        let broken = Instant::now();
        self.speaker.say(10).await;
        self.relay.rebind().await.unwrap();
        self.relay.cut_tcp();
        self.relay.unblock();
        self.crowd.wake();
        let said = welcome_newcomers(&self.node).await;
        self.all_are_well().await;
        let begun = sessions_begun(&self.node).await - before;
        // On a busy machine one has no answer in time and says Hello again: the node answers both. Who
        // needs longer there than a session waits for its client finds none any more.
        let newcomers = NEWCOMERS as f64..=said as f64;
        let is_late = broken.elapsed() > RESUME_WINDOW;
        assert!(
            newcomers.contains(&begun) || is_late,
            "no session but newcomers' is new: {begun} are, {said} Hellos of newcomers"
        );
        let reconnected = reconnects(&self.crowd) - reconnects_before;
        assert!(reconnected >= CLIENTS as u64 / 2, "TCP was cut: {reconnected} reconnects");
    }

    async fn kill_node(&mut self) {
        self.relay.block();
        self.speaker.say(10).await;
        self.node.kill().await;
        self.node.restart().await;
        self.relay.unblock();
        self.crowd.wake();
        welcome_newcomers(&self.node).await;
        self.speaker.say(10).await;
        self.all_are_well().await;
        let begun = sessions_begun(&self.node).await;
        assert!(begun >= CLIENTS as f64, "the sessions died with the node: {begun} new ones");
    }

    /// All are connected and have heard everything; the watcher was told no more than needed.
    async fn all_are_well(&mut self) {
        self.all_have_heard().await;
        self.crowd.wait("all are connected", Member::is_live).await;
        let hellos = hellos(&self.crowd, &self.watcher.room);
        self.watcher.check_news(WATCHED, hellos, self.speaker.mark().await).await;
        let resident = self.node.resident_bytes();
        assert!(resident.peak <= RESIDENT_BYTES_AT_MOST, "{resident:?}");
    }

    async fn all_have_heard(&mut self) {
        let Self { crowd, speaker, .. } = self;
        crowd.wait("all hear the speaker", |it| speaker.has_been_heard_by(it)).await;
    }

    async fn close(mut self) {
        // The last mark as well: the watcher may hear it before others do.
        self.all_have_heard().await;
        check_views(&self.crowd, &mut self.speaker.rooms);
        self.crowd.disperse().await;
        self.speaker.client.close().await;
        self.watcher.client.close().await;
        self.relay.shutdown().await;
        assert!(self.node.terminate().await.success(), "{}", self.node.log());
    }
}

fn room(number: usize) -> ChannelId {
    ChannelId::new(&format!("room:storm-{number}")).unwrap()
}

fn subscribed(rooms: &[ChannelId]) -> Vec<(ChannelId, Subscribe)> {
    let everything = Subscribe::earliest();
    let mut subscribed: Vec<_> = rooms.iter().map(|it| (it.clone(), everything)).collect();
    subscribed[0].1 = everything.with_presence();
    subscribed
}

/// Publishes to all rooms, straight to the node, and keeps the promises that it is given.
struct Speaker {
    client: Client,
    writer: Writer,
    rooms: Vec<Room>,
}

struct Room {
    channel: ChannelId,
    checker: Checker,
    said: usize,
}

impl Speaker {
    async fn start(node: &Node, rooms: &[ChannelId]) -> Self {
        let client = sdk::connect(node, SPEAKER, Transport::Quic).await;
        let room = |it: &ChannelId| Room { channel: it.clone(), checker: Checker::new(), said: 0 };
        let rooms = rooms.iter().map(room).collect();
        Self { client, writer: Writer::new(SPEAKER, 11), rooms }
    }

    /// So many publications to every room; all are acknowledged when it returns.
    async fn say(&mut self, times: usize) {
        for _ in 0..times {
            let rooms = self.rooms.iter_mut();
            let sent: Vec<_> = rooms
                .map(|room| {
                    let text = self.writer.next_line();
                    room.checker.attempt(SPEAKER, &text);
                    let send = self.client.publish(&room.channel, text.clone()).start();
                    (room, send, text)
                })
                .collect();
            for (room, send, text) in sent {
                let ack = timeout(PATIENCE, send.into_future()).await.expect("an answer");
                room.keep(ack.unwrap(), text);
            }
        }
    }

    /// One publication to the watched room, by which others can tell what came before.
    async fn mark(&mut self) -> Position {
        let text = self.writer.next_line();
        let room = &mut self.rooms[0];
        room.checker.attempt(SPEAKER, &text);
        let ack = sdk::publish(&self.client, &room.channel, &text).await;
        room.keep(ack, text);
        ack.position
    }

    /// Whether somebody has as much as was said in his room.
    fn has_been_heard_by(&self, member: &Member) -> bool {
        let room = self.rooms.iter().find(|room| room.channel == member.room).unwrap();
        member.seen_count() >= room.said
    }
}

impl Room {
    fn keep(&mut self, ack: Ack, text: String) {
        let (epoch, offset) = (ack.position.epoch.0, ack.position.offset.0);
        self.checker.ack(Acked { epoch, offset, sender: SPEAKER.to_owned(), text });
        self.said += 1;
    }
}

/// Somebody outside the crowd who is told who is in the watched room.
struct Watcher {
    client: Client,
    room: ChannelId,
    subscription: Subscription,
    /// Users of whom it was told last that they are online.
    online: HashSet<String>,
    /// Said by those in the room until the last look.
    hellos: u64,
}

impl Watcher {
    async fn start(node: &Node, room: &ChannelId) -> Self {
        let client = sdk::connect(node, "watcher", Transport::WebSocket).await;
        let subscription = client.subscribe(room, Subscribe::latest().with_presence()).unwrap();
        let (room, online) = (room.clone(), HashSet::new());
        Self { client, room, subscription, online, hellos: 0 }
    }

    /// All are there, each with one session, and since the last look nobody came or left more
    /// often than Hellos were said: on a busy machine some have no answer in time and are said
    /// again, and the node cannot know that nobody has waited for what it answers.
    async fn check_news(&mut self, sessions: usize, hellos: u64, until: Position) {
        let there = timeout(PATIENCE, self.everybody(sessions + 1)).await;
        there.unwrap_or_else(|_| panic!("{sessions} sessions are not all in {}", self.room));
        let (mut joins, mut leaves) = (0, 0);
        loop {
            match timeout(PATIENCE, self.subscription.next()).await.expect("news").unwrap() {
                Event::Publication(it) if it.position >= until => break,
                Event::Presence(change) => {
                    let member = change.member.unwrap_or_default();
                    match member.state() {
                        v1::PresenceState::Online => {
                            joins += usize::from(self.online.insert(member.user));
                        }
                        // From one way of being away to the next is no news.
                        _ => leaves += usize::from(self.online.remove(&member.user)),
                    }
                }
                Event::Lagged { missed } => panic!("{missed} joins and leaves were dropped"),
                Event::Error(error) => panic!("the watcher's subscription has ended: {error}"),
                _ => {}
            }
        }
        let said = (hellos - std::mem::replace(&mut self.hellos, hellos)) as usize;
        let news = said.max(sessions);
        assert!(joins <= news + 1, "{joins} joins of {sessions} sessions, {said} Hellos");
        assert!(leaves <= news, "{leaves} leaves of {sessions} sessions, {said} Hellos");
    }

    async fn everybody(&self, users: usize) {
        loop {
            let list = self.client.presence(&self.room).await.unwrap();
            let online = |it: &&v1::PresenceMember| {
                it.sessions == 1 && it.state() == v1::PresenceState::Online
            };
            if list.members.iter().filter(online).count() == users {
                assert_eq!(list.members.len(), users, "nobody is there twice: {list:?}");
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Clients that nobody has seen before are served while the crowd storms in. How many Hellos they said.
async fn welcome_newcomers(node: &Node) -> u64 {
    let mut tasks = JoinSet::new();
    for at in 0..NEWCOMERS {
        let builder = sdk::builder(node, &format!("newcomer-{at}"));
        let transport = [Transport::Quic, Transport::WebSocket][at % 2];
        let client = builder.transports([transport]).build().unwrap();
        tasks.spawn(async move {
            client.connect();
            client.ready(PATIENCE).await.unwrap();
            let lobby = ChannelId::new("room:newcomers").unwrap();
            sdk::publish(&client, &lobby, "good evening").await;
            let said = client.statistics().hellos;
            client.close().await;
            said
        });
    }
    let mut said = 0;
    while let Some(ended) = tasks.join_next().await {
        said += ended.unwrap();
    }
    said
}

async fn sessions_begun(node: &Node) -> f64 {
    node.metric_of("sterna_core_sessions_opened_total", "how=\"new\"").await.unwrap()
}

fn reconnects(crowd: &Crowd) -> u64 {
    crowd.members().iter().map(|member| member.statistics().reconnects).sum()
}

/// Said by all members of a room so far.
fn hellos(crowd: &Crowd, room: &ChannelId) -> u64 {
    let members = crowd.members().iter().filter(|it| it.room == *room);
    members.map(|it| it.statistics().hellos).sum()
}

fn check_views(crowd: &Crowd, rooms: &mut [Room]) {
    for room in rooms {
        let members: Vec<_> = crowd.members().iter().filter(|it| it.room == room.channel).collect();
        assert_eq!(members.len(), CLIENTS / ROOMS, "{}", room.channel);
        for member in members {
            let notes = member.notes();
            assert_eq!(notes.trouble, Vec::<String>::new(), "{}", member.name);
            room.checker.view(&member.name, notes.seen);
        }
        room.checker.assert_clean();
    }
}
