//! What a publication costs a node from its command to its acknowledgement, without transport and
//! disk, and what it costs the store. Each count is for a round of [`CLIENTS`] publications.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sterna_core::config::Rate;
use sterna_core::{
    Attachment, ConnectionInfo, CoreConfig, Encoding, Identity, Node, Permission, SystemClock,
    TransportKind, Worker,
};
use sterna_proto::v1::command::Verb;
use sterna_proto::{ChannelId, ClientId, NodeId, Offset, Position, PublicationId, UserId, v1};
use sterna_storage::memory::MemoryStore;
use sterna_storage::{Append, NewRecord, Origin};
use sterna_storage_rocks::counted::OwnThread;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use crate::measured;

const CLIENTS: u32 = 64;
const CHANNELS: u32 = 4;
const PAYLOAD_BYTES: usize = 1024;

/// A round of all clients through one worker, the channels' owner and the memory store.
pub(crate) fn publication_round(repeats: u32) {
    let (runtime, local) = (paused(), LocalSet::new());
    let mut clients = local.block_on(&runtime, open(CLIENTS));
    let mut rounds: Vec<Vec<v1::Command>> = (0..repeats).rev().map(commands).collect();
    measured(repeats, &mut || {
        let Some(commands) = rounds.pop() else { return };
        local.block_on(&runtime, async {
            for (client, command) in clients.iter_mut().zip(commands) {
                assert!(client.handle(command).is_ok(), "the command is good");
            }
            let mut frames = Vec::new();
            for client in &mut clients {
                while frames.is_empty() {
                    assert!(client.next_batch(&mut frames).await.is_ok(), "it goes on");
                }
                frames.clear();
            }
        });
    });
}

/// Time stands still, or upkeep would be counted as often as the machine is slow.
pub(crate) fn paused() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    runtime.unwrap_or_else(|error| unreachable!("needs nothing of the system: {error}"))
}

/// Sessions of one worker.
pub(crate) async fn open(count: u32) -> Vec<Attachment> {
    let plenty = Rate { per_second: 1_000_000, burst: u32::MAX };
    let name = NodeId::new("node-1").unwrap_or_else(|_| unreachable!("a good name"));
    let mut config = CoreConfig::embedded(name, v1::Durability::Memory);
    (config.rates.publish, config.rates.user_publish) = (plenty, plenty);
    let node = Node::start(config, MemoryStore::new().stores(), Arc::new(SystemClock)).await;
    let node = node.unwrap_or_else(|error| unreachable!("memory is enough: {error}"));
    let worker = Worker::new(&node, 0);
    let carrying = worker.clone();
    tokio::task::spawn_local(async move { carrying.run().await });
    let mut clients = Vec::new();
    for number in 0..count {
        let hello = v1::Hello { client_id: format!("phone-{number}"), ..Default::default() };
        let opened = worker.open(1, hello, identity(number), connection()).await;
        let mut client = opened.unwrap_or_else(|reason| unreachable!("let in: {reason:?}"));
        let mut frames = Vec::new();
        // The Welcome.
        assert!(client.next_batch(&mut frames).await.is_ok());
        clients.push(client);
    }
    // Beats that have been begun come to rest.
    tokio::time::sleep(Duration::from_millis(1)).await;
    clients
}

fn identity(number: u32) -> Identity {
    Identity {
        user: UserId::new(&format!("user-{number}")).unwrap_or_else(|_| unreachable!("good")),
        permissions: vec![Permission::all("*")],
        expires_at_ms: None,
        issued_at_ms: None,
        operator: false,
    }
}

fn connection() -> ConnectionInfo {
    ConnectionInfo {
        transport: TransportKind::WebSocket,
        remote: ([127, 0, 0, 1], 9).into(),
        encoding: Encoding::Protobuf,
        datagrams: false,
    }
}

/// The round before which so many come.
fn commands(round: u32) -> Vec<v1::Command> {
    let publish = |number: u32| v1::Publish {
        channel: format!("room:{}", number % CHANNELS),
        payload: vec![b'x'; PAYLOAD_BYTES].into(),
        client_seq: u64::from(round) + 1,
        ..Default::default()
    };
    let command =
        |number| v1::Command { id: round + 2, verb: Some(Verb::Publish(publish(number))) };
    (0..CLIENTS).map(command).collect()
}

/// A commit of as many records by the store, without its sync.
pub(crate) fn store_commit(repeats: u32) {
    let Ok(directory) = tempfile::tempdir() else { return };
    let opened = OwnThread::open(directory.path());
    let mut store = opened.unwrap_or_else(|error| unreachable!("an empty folder: {error}"));
    let mut heads: Vec<Option<Position>> = vec![None; CHANNELS as usize];
    let mut rounds: VecDeque<Vec<NewRecord>> = (0..=repeats).map(records).collect();
    let mut commit = |records: Vec<NewRecord>| {
        let mut of_channels: Vec<Vec<NewRecord>> = vec![Vec::new(); CHANNELS as usize];
        for (number, record) in records.into_iter().enumerate() {
            of_channels[number % CHANNELS as usize].push(record);
        }
        let appends = of_channels.into_iter().enumerate();
        let appends = appends.map(|(number, records)| {
            let channel = ChannelId::new(&format!("room:{number}"));
            let channel = channel.unwrap_or_else(|_| unreachable!("a good name"));
            Append::new(channel.key(), heads[number], records)
        });
        let found = store.commit(appends.collect());
        for (head, found) in heads.iter_mut().zip(found) {
            *head = found.ok();
        }
        assert!(heads.iter().all(Option::is_some), "all are stored");
    };
    // The first one makes the channels.
    rounds.pop_front().into_iter().for_each(&mut commit);
    measured(repeats, &mut || rounds.pop_front().into_iter().for_each(&mut commit));
}

fn records(round: u32) -> Vec<NewRecord> {
    let record = |number: u32| {
        let user = UserId::new(&format!("user-{number}"));
        let user = user.unwrap_or_else(|_| unreachable!("a good name"));
        let client_id = ClientId::new("phone").unwrap_or_else(|_| unreachable!("a good name"));
        NewRecord {
            id: PublicationId(u64::from(round * CLIENTS + number + 1)),
            origin: Some(Origin {
                client_id: client_id.of_user(&user),
                client_seq: u64::from(round) + 1,
            }),
            sender: user,
            client_msg_id: bytes::Bytes::from_static(&[9; 16]),
            server_ts_ms: 1_900_000_000_000,
            client_ts_ms: 1_900_000_000_000,
            kind: 0,
            target_offset: Offset::ZERO,
            payload: vec![b'x'; PAYLOAD_BYTES].into(),
        }
    };
    (0..CLIENTS).map(record).collect()
}
