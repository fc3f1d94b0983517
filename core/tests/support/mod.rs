//! A node in memory and clients that speak to it without a transport.

#![allow(dead_code, clippy::unwrap_used)]

pub mod cluster;
pub mod stores;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use sterna_core::session::{Outgoing, OutgoingBody};
use sterna_core::{
    Attachment, ConnectionInfo, CoreConfig, Encoding, Identity, Node, Permission, SystemClock,
    TransportKind, Worker,
};
use sterna_proto::v1::{self, command::Verb, push::Event, reply::Result as Reply};
use sterna_proto::{CloseReason, NodeId, UserId};
use sterna_storage::Stores;
use sterna_storage::memory::MemoryStore;

pub fn config() -> CoreConfig {
    CoreConfig::embedded(NodeId::new("test").unwrap(), v1::Durability::Memory)
}

pub async fn node(config: CoreConfig, stores: Stores) -> Node {
    Node::start(config, stores, Arc::new(SystemClock)).await.unwrap()
}

/// A test that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test with one node and one worker on this thread.
pub fn with_worker<F: Future<Output = ()>>(test: impl FnOnce(Node, Worker) -> F) {
    with_workers(config(), MemoryStore::new().stores(), 1, |node, mut workers| {
        let worker = workers.remove(0);
        test(node, worker)
    });
}

pub fn with_workers<F: Future<Output = ()>>(
    config: CoreConfig,
    stores: Stores,
    count: u16,
    test: impl FnOnce(Node, Vec<Worker>) -> F,
) {
    run(tokio::runtime::Builder::new_current_thread(), PATIENCE, config, stores, count, test);
}

/// As [`with_workers`], but time passes only while everybody waits for it.
pub fn with_held_clock<F: Future<Output = ()>>(
    config: CoreConfig,
    stores: Stores,
    count: u16,
    test: impl FnOnce(Node, Vec<Worker>) -> F,
) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.start_paused(true);
    run(runtime, 100 * PATIENCE, config, stores, count, test);
}

fn run<F: Future<Output = ()>>(
    mut runtime: tokio::runtime::Builder,
    patience: Duration,
    config: CoreConfig,
    stores: Stores,
    count: u16,
    test: impl FnOnce(Node, Vec<Worker>) -> F,
) {
    let runtime = runtime.enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let node = node(config, stores).await;
        let workers: Vec<Worker> = (0..count).map(|index| Worker::new(&node, index)).collect();
        let loops: Vec<_> = workers
            .iter()
            .cloned()
            .map(|worker| tokio::task::spawn_local(async move { worker.run().await }))
            .collect();
        tokio::time::timeout(patience, test(node.clone(), workers)).await.unwrap();
        assert!(node.shutdown(Duration::from_secs(10)).await);
        for task in loops {
            task.await.unwrap();
        }
    });
}

/// Runs a test whose metrics are its own: everything happens on this thread.
pub fn counted(test: impl FnOnce(&Snapshotter)) {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || test(&snapshotter));
}

/// The sum of a counter over its labels; snapshots take what they show.
pub fn counts(snapshotter: &Snapshotter, names: &[&str]) -> Vec<u64> {
    let snapshot = snapshotter.snapshot().into_vec();
    let of_name = |name: &&str| {
        let of = snapshot.iter().filter(|(key, ..)| key.key().name() == *name);
        of.map(|(.., value)| match value {
            DebugValue::Counter(count) => *count,
            other => panic!("{name} is {other:?}"),
        })
        .sum()
    };
    names.iter().map(of_name).collect()
}

pub fn identity(user: &str) -> Identity {
    Identity {
        user: UserId::new(user).unwrap(),
        permissions: vec![Permission::all("*")],
        expires_at_ms: None,
        issued_at_ms: None,
        operator: false,
    }
}

/// One connection; keeps what it has received.
pub struct TestClient {
    pub attachment: Attachment,
    pub welcome: v1::Welcome,
    inbox: std::collections::VecDeque<v1::Frame>,
    next_id: u32,
}

pub fn connection() -> ConnectionInfo {
    ConnectionInfo {
        transport: TransportKind::Quic,
        remote: "127.0.0.1:1000".parse().unwrap(),
        encoding: Encoding::Protobuf,
        datagrams: true,
    }
}

impl TestClient {
    pub async fn connect(worker: &Worker, user: &str) -> Self {
        let hello = v1::Hello { client_id: format!("{user}-phone"), ..Default::default() };
        Self::hello(worker, user, hello).await.unwrap()
    }

    pub async fn hello(worker: &Worker, user: &str, hello: v1::Hello) -> Result<Self, CloseReason> {
        Self::open(worker, identity(user), hello).await
    }

    pub async fn hello_as(worker: &Worker, identity: Identity, hello: v1::Hello) -> Self {
        Self::open(worker, identity, hello).await.unwrap()
    }

    async fn open(
        worker: &Worker,
        identity: Identity,
        hello: v1::Hello,
    ) -> Result<Self, CloseReason> {
        let attachment = worker.open(1, hello, identity, connection()).await?;
        let mut client = Self {
            attachment,
            welcome: v1::Welcome::default(),
            inbox: Default::default(),
            next_id: 1,
        };
        match client.reply(1).await {
            Reply::Welcome(welcome) => client.welcome = welcome,
            other => panic!("{other:?}"),
        }
        Ok(client)
    }

    pub fn send(&mut self, verb: Verb) -> u32 {
        self.next_id += 1;
        let id = self.next_id;
        self.attachment.handle(v1::Command { id, verb: Some(verb) }).unwrap();
        id
    }

    pub async fn ask(&mut self, verb: Verb) -> Reply {
        let id = self.send(verb);
        self.reply(id).await
    }

    pub async fn reply(&mut self, id: u32) -> Reply {
        loop {
            let at = self.inbox.iter().position(|frame| {
                matches!(&frame.body, Some(v1::frame::Body::Reply(reply)) if reply.id == id)
            });
            if let Some(at) = at
                && let Some(v1::frame::Body::Reply(reply)) = self.inbox.remove(at).unwrap().body
            {
                return reply.result.unwrap();
            }
            self.receive().await.unwrap();
        }
    }

    /// The next push, in order.
    pub async fn push(&mut self) -> Event {
        loop {
            let at = self
                .inbox
                .iter()
                .position(|frame| matches!(&frame.body, Some(v1::frame::Body::Push(_))));
            if let Some(at) = at
                && let Some(v1::frame::Body::Push(push)) = self.inbox.remove(at).unwrap().body
            {
                return push.event.unwrap();
            }
            self.receive().await.unwrap();
        }
    }

    /// What has been received and nobody has asked for.
    pub fn take_received(&mut self) -> Vec<v1::Frame> {
        self.inbox.drain(..).collect()
    }

    pub async fn publication(&mut self) -> v1::Publication {
        match self.push().await {
            Event::Publication(publication) => publication,
            other => panic!("expected a publication, got {other:?}"),
        }
    }

    pub async fn receipt(&mut self) -> v1::Receipt {
        loop {
            if let Event::Receipt(receipt) = self.push().await {
                return receipt;
            }
        }
    }

    pub async fn presence(&mut self) -> v1::PresenceMember {
        match self.push().await {
            Event::Presence(change) => change.member.unwrap(),
            other => panic!("expected a change of presence, got {other:?}"),
        }
    }

    pub async fn receive(&mut self) -> Result<(), CloseReason> {
        let mut batch: Vec<Outgoing> = Vec::new();
        let result = self.attachment.next_batch(&mut batch).await;
        self.inbox.extend(batch.into_iter().map(|outgoing| match outgoing.body {
            OutgoingBody::Own(frame) => *frame,
            OutgoingBody::Shared(push) => push.frame().clone(),
        }));
        result
    }

    pub async fn subscribe(
        &mut self,
        channel: &str,
        since: Option<v1::Position>,
    ) -> v1::Subscribed {
        match self.ask(subscribe(channel, since)).await {
            Reply::Subscribed(subscribed) => subscribed,
            other => panic!("{other:?}"),
        }
    }

    pub async fn publish(&mut self, channel: &str, seq: u64, text: &str) -> v1::Published {
        match self.ask(publish(channel, seq, text)).await {
            Reply::Published(published) => published,
            other => panic!("{other:?}"),
        }
    }
}

pub fn subscribe(channel: &str, since: Option<v1::Position>) -> Verb {
    Verb::Subscribe(v1::Subscribe { channel: channel.into(), since, ..Default::default() })
}

/// To be listed and to hear who comes and goes.
pub fn join(channel: &str) -> v1::Subscribe {
    v1::Subscribe { channel: channel.into(), presence: true, ..Default::default() }
}

pub fn with_receipts(channel: &str) -> Verb {
    let channel = channel.to_owned();
    Verb::Subscribe(v1::Subscribe { channel, receipts: true, ..Default::default() })
}

pub fn publish(channel: &str, client_seq: u64, text: &str) -> Verb {
    Verb::Publish(v1::Publish {
        channel: channel.into(),
        payload: text.to_owned().into(),
        client_seq,
        ..Default::default()
    })
}

pub fn error(reply: Reply) -> v1::Error {
    match reply {
        Reply::Error(error) => error,
        other => panic!("expected an error, got {other:?}"),
    }
}
