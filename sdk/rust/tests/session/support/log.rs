//! What the scripted node stores, how it behaves, and what it answers.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use bytes::Bytes;
use sterna_proto::CloseReason;
use sterna_proto::v1::{self, Frame, command::Verb, push, reply};
use tokio::sync::{mpsc, watch};

/// What the node stores and how it behaves.
#[derive(Default)]
pub struct Log {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
pub struct State {
    pub channels: HashMap<String, Vec<v1::Publication>>,
    stored: HashMap<(String, String, u64), u64>,
    pub hellos: Vec<(v1::Hello, &'static str)>,
    pub refreshes: Vec<String>,
    pub publishes: Vec<u64>,
    /// Channels that were asked for, beside those of Hellos.
    pub subscribes: Vec<String>,
    /// Channels whose Subscribes are not answered.
    pub mute_channels: HashSet<String>,
    connections: Vec<(u64, mpsc::Sender<Say>)>,
    next_connection: u64,
    pub closed: HashSet<u64>,
    /// The refused publication of each channel.
    pub refused: HashMap<String, u64>,
    /// Commands to answer with BUSY, by count.
    pub busy: usize,
    /// Publishes to store without answering, by count.
    pub mute: usize,
    /// Hellos to refuse with this.
    pub refuse: Option<v1::Error>,
    pub token_lifetime_ms: u64,
    /// Publications that are stored and not pushed, by count.
    pub lose_pushes: usize,
}

/// What a test makes a connection do.
#[derive(Debug, Clone)]
pub enum Say {
    Push(push::Event),
    Close(CloseReason),
    Cut,
}

impl Log {
    pub fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.state.lock().unwrap());
        self.changed.send_modify(|version| *version += 1);
        result
    }

    /// Waits until the node's state satisfies `condition`.
    pub async fn until(&self, condition: impl Fn(&State) -> bool) {
        let mut changes = self.changed.subscribe();
        let wait = changes.wait_for(|_| condition(&self.state.lock().unwrap()));
        tokio::time::timeout(std::time::Duration::from_secs(20), wait)
            .await
            .expect("the node did not get there")
            .unwrap();
    }

    pub fn store(&self, channel: &str, payload: &str) -> u64 {
        self.change(|state| state.store(channel, payload))
    }

    /// To the newest connection.
    pub fn say(&self, say: Say) {
        let sender = self.state.lock().unwrap().connections.last().unwrap().1.clone();
        sender.try_send(say).unwrap();
    }
}

impl State {
    pub fn store(&mut self, channel: &str, payload: &str) -> u64 {
        let publication = v1::Publication {
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            ..v1::Publication::default()
        };
        self.store_publication(channel, publication)
    }

    pub fn store_publication(&mut self, channel: &str, mut publication: v1::Publication) -> u64 {
        let log = self.channels.entry(channel.to_owned()).or_default();
        publication.channel = channel.to_owned();
        publication.epoch = 1;
        publication.offset = log.len() as u64 + 1;
        log.push(publication.clone());
        let offset = publication.offset;
        if self.lose_pushes > 0 {
            self.lose_pushes -= 1;
        } else {
            for (_, sender) in &self.connections {
                let _ = sender.try_send(Say::Push(push::Event::Publication(publication.clone())));
            }
        }
        offset
    }

    fn page(&self, ask: &v1::Subscribe) -> v1::Subscribed {
        let log = self.channels.get(&ask.channel).map(Vec::as_slice).unwrap_or_default();
        let head = log.len() as u64;
        let since = ask.since.map_or(head, |position| position.offset.min(head));
        let limit = match ask.page_publications {
            0 => 5,
            n => n.min(5) as usize,
        };
        let page: Vec<_> = log[since as usize..].iter().take(limit).cloned().collect();
        let upto = since + page.len() as u64;
        v1::Subscribed {
            channel: ask.channel.clone(),
            position: Some(v1::Position { epoch: 1, offset: upto }),
            publications: page,
            live: upto == head,
            head_offset: head,
            ..v1::Subscribed::default()
        }
    }

    /// Frames that answer a command.
    pub(super) fn answer(&mut self, command: v1::Command, transport: &'static str) -> Vec<Frame> {
        let id = command.id;
        let result = match command.verb.unwrap() {
            Verb::Hello(hello) => return self.greet(id, hello, transport),
            Verb::Publish(publish) => match self.publish(publish) {
                Some(result) => result,
                None => return vec![],
            },
            Verb::Subscribe(ask) => {
                self.subscribes.push(ask.channel.clone());
                if self.mute_channels.contains(&ask.channel) {
                    return vec![];
                }
                reply::Result::Subscribed(self.page(&ask))
            }
            Verb::Ping(ping) => reply::Result::Pong(v1::Pong {
                client_time_ms: ping.client_time_ms,
                ..v1::Pong::default()
            }),
            Verb::Refresh(refresh) => {
                self.refreshes.push(refresh.access_token);
                reply::Result::Done(v1::Done {})
            }
            Verb::History(history) => reply::Result::History(v1::HistoryPage {
                channel: history.channel.clone(),
                epoch: 1,
                publications: self.channels.get(&history.channel).cloned().unwrap_or_default(),
                ..v1::HistoryPage::default()
            }),
            _ => reply::Result::Done(v1::Done {}),
        };
        if id == 0 { vec![] } else { vec![Frame::reply(id, result)] }
    }

    fn greet(&mut self, id: u32, hello: v1::Hello, transport: &'static str) -> Vec<Frame> {
        let asks = hello.subscriptions.clone();
        let resumed = !hello.resume_ticket.is_empty();
        self.hellos.push((hello, transport));
        if let Some(error) = self.refuse.clone() {
            return vec![Frame::reply(id, reply::Result::Error(error))];
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let expires = match self.token_lifetime_ms {
            0 => 0,
            ms => now.as_millis() as u64 + ms,
        };
        let welcome = v1::Welcome {
            session_id: "session".into(),
            resume_ticket: Bytes::from_static(b"ticket"),
            heartbeat_ms: 20_000,
            resumed,
            token_expires_at_ms: expires,
            ..v1::Welcome::default()
        };
        let mut frames = vec![Frame::reply(id, reply::Result::Welcome(welcome))];
        frames.extend(asks.iter().map(|ask| Frame::push(push::Event::Subscribed(self.page(ask)))));
        frames
    }

    fn publish(&mut self, publish: v1::Publish) -> Option<reply::Result> {
        self.publishes.push(publish.client_seq);
        // As a node: what follows a refused publication is refused until that one comes again.
        let first = self.refused.get(&publish.channel).copied();
        let out_of_turn = first.is_some_and(|first| publish.client_seq > first);
        if self.busy > 0 || out_of_turn {
            if !out_of_turn {
                self.busy -= 1;
                self.refused.insert(publish.channel, publish.client_seq);
            }
            let error = v1::Error::new(sterna_proto::ErrorCode::Busy, "busy");
            return Some(reply::Result::Error(error.with_retry_after_ms(50)));
        }
        self.refused.remove(&publish.channel);
        let client = self.hellos.last().map(|(hello, _)| hello.client_id.clone()).unwrap();
        let key = (client, publish.channel.clone(), publish.client_seq);
        let known = self.stored.get(&key).copied();
        let offset = known.unwrap_or_else(|| {
            let publication = v1::Publication {
                payload: publish.payload.clone(),
                client_msg_id: publish.client_msg_id.clone(),
                ..v1::Publication::default()
            };
            self.store_publication(&publish.channel, publication)
        });
        self.stored.insert(key, offset);
        if self.mute > 0 {
            self.mute -= 1;
            return None;
        }
        Some(reply::Result::Published(v1::Published {
            channel: publish.channel,
            epoch: 1,
            offset,
            duplicate: known.is_some(),
            ..v1::Published::default()
        }))
    }
}

pub(super) fn open(log: &Log) -> (u64, mpsc::Receiver<Say>) {
    let (sender, says) = mpsc::channel(4096);
    let id = log.change(|state| {
        state.next_connection += 1;
        state.connections.push((state.next_connection, sender));
        state.next_connection
    });
    (id, says)
}

pub(super) fn close(log: &Log, id: u64) {
    log.change(|state| {
        state.connections.retain(|(other, _)| *other != id);
        state.closed.insert(id);
    });
}
