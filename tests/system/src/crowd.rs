//! Hundreds of clients of the SDK in this process, half on QUIC and half on WebSocket, each in one
//! room, each writing down what it saw. One task per client; they end with [`Crowd::disperse`], or
//! at once when dropped.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sterna_client::{
    ChannelId, Client, ClientBuilder, Event, NetworkChange, Publication, Statistics, Subscribe,
    Subscription, SubscriptionState, Transport,
};
use tokio::task::JoinSet;

use crate::checker::Seen;
use crate::node::Node;
use crate::sdk;

/// No change anywhere in the crowd for this long means that nothing moves any more.
const STANDSTILL: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
/// Clients that connect at a time while the crowd gathers: a storm is what tests make of it later.
const GATHERED_AT_ONCE: usize = 100;

/// Clients that share a network and a node.
#[derive(Debug)]
pub struct Crowd {
    members: Vec<Member>,
    tasks: JoinSet<()>,
}

/// One client.
#[derive(Debug)]
pub struct Member {
    pub name: String,
    pub room: ChannelId,
    client: Client,
    notes: Arc<Mutex<Notes>>,
}

/// What a client was told.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    pub seen: Vec<Seen>,
    /// Gaps, logs that were replaced, and errors: nothing that may happen to a good client.
    pub trouble: Vec<String>,
    live: bool,
}

impl Crowd {
    /// `size` clients that reach the node through `place`, spread over `rooms`, each of which is
    /// subscribed as `options` says.
    pub async fn gather(
        node: &Node,
        place: SocketAddr,
        size: usize,
        rooms: &[(ChannelId, Subscribe)],
    ) -> Self {
        Self::gather_as(|user| sdk::builder(node, user).connect_to(place), size, rooms).await
    }

    /// The same of users whose clients are made so.
    pub async fn gather_as(
        client_of: impl Fn(&str) -> ClientBuilder,
        size: usize,
        rooms: &[(ChannelId, Subscribe)],
    ) -> Self {
        let mut crowd = Self { members: Vec::new(), tasks: JoinSet::new() };
        while crowd.members.len() < size {
            let wanted = size.min(crowd.members.len() + GATHERED_AT_ONCE);
            while crowd.members.len() < wanted {
                let at = crowd.members.len();
                let (room, options) = &rooms[at % rooms.len()];
                // Every room has both.
                let transport = [Transport::Quic, Transport::WebSocket][at / rooms.len() % 2];
                let name = format!("member-{at}");
                let builder = client_of(&name).client_id(&name);
                crowd.add(name, builder.transports([transport]), room, *options);
            }
            crowd.wait("a part of the crowd is there", Member::is_live).await;
        }
        crowd
    }

    /// Waits until all members are as wanted.
    pub async fn wait(&self, what: &str, wanted: impl Fn(&Member) -> bool) {
        let mut moved = (Instant::now(), Vec::new());
        loop {
            let missing = self.members.iter().filter(|member| !wanted(member)).count();
            if missing == 0 {
                return;
            }
            let progress: Vec<_> = self.members.iter().map(Member::progress).collect();
            if progress != moved.1 {
                moved = (Instant::now(), progress);
            }
            let stands = moved.0.elapsed() > STANDSTILL;
            assert!(!stands, "{what}: not so for {missing} of {}, and nothing moves", self.len());
            tokio::time::sleep(POLL).await;
        }
    }

    /// The operating system of every member reports that the device is awake: all move at once.
    pub fn wake(&self) {
        self.members.iter().for_each(|it| it.client.network_changed(NetworkChange::Wake));
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// All take their leave.
    pub async fn disperse(mut self) {
        for member in &self.members {
            self.tasks.spawn(close(member.client.clone()));
        }
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }

    fn add(&mut self, name: String, builder: ClientBuilder, room: &ChannelId, options: Subscribe) {
        let client = builder.build().unwrap();
        let subscription = client.subscribe(room, options).unwrap();
        let notes = Arc::new(Mutex::new(Notes::default()));
        self.tasks.spawn(take_notes(subscription, Arc::clone(&notes)));
        client.connect();
        self.members.push(Member { name, room: room.clone(), client, notes });
    }
}

impl Member {
    pub fn notes(&self) -> Notes {
        self.notes.lock().unwrap().clone()
    }

    pub fn seen_count(&self) -> usize {
        self.notes.lock().unwrap().seen.len()
    }

    pub fn statistics(&self) -> Statistics {
        self.client.statistics()
    }

    /// Whether it has a connection and its subscription is served.
    pub fn is_live(&self) -> bool {
        self.client.state().is_connected() && self.notes.lock().unwrap().live
    }

    fn progress(&self) -> (usize, u64, bool) {
        (self.seen_count(), self.client.statistics().connects, self.is_live())
    }
}

async fn close(client: Client) {
    client.close().await;
}

async fn take_notes(mut subscription: Subscription, notes: Arc<Mutex<Notes>>) {
    while let Some(event) = subscription.next().await {
        let mut notes = notes.lock().unwrap();
        match event {
            Event::Publication(publication) => notes.seen.push(seen(&publication)),
            Event::State(state) => {
                notes.live = matches!(state, SubscriptionState::Subscribed { .. });
                let was_lost = matches!(
                    state,
                    SubscriptionState::Subscribed { was_recovering: true, recovered: false, .. }
                );
                if was_lost {
                    notes.trouble.push(format!("{state:?}"));
                }
            }
            Event::Gap { .. } | Event::EpochChanged { .. } | Event::Error(_) => {
                notes.trouble.push(format!("{event:?}"));
            }
            _ => {}
        }
    }
}

/// A publication as the checker wants it.
pub fn seen(publication: &Publication) -> Seen {
    Seen {
        epoch: publication.position.epoch.0,
        offset: publication.position.offset.0,
        sender: publication.sender.clone(),
        text: String::from_utf8(publication.payload.to_vec()).unwrap(),
    }
}
