//! Publications that outlive the process that published them.

use std::future::IntoFuture as _;
use std::path::{Path, PathBuf};

use sterna_client::{
    Client, ClientBuilder, Error, FileOutbox, OutboxChange, OutboxStore, OutboxStoreError,
    SendState, StoredOutbox,
};
use tempfile::TempDir;

use crate::support::client::{LONG, builder, connect, room};
use crate::support::{Node, Serve};

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("outbox")
}

fn with_outbox(node: &Node, path: &Path) -> ClientBuilder {
    builder(node).outbox_store(FileOutbox::open(path).unwrap())
}

/// The file as a crash at this moment would leave it.
fn crashed(path: &Path) -> PathBuf {
    let copy = path.with_extension("crashed");
    std::fs::copy(path, &copy).unwrap();
    copy
}

fn stored(node: &Node) -> Vec<String> {
    node.log.change(|state| {
        let log = state.channels.get("room:1").cloned().unwrap_or_default();
        log.iter().map(|p| String::from_utf8(p.payload.to_vec()).unwrap()).collect()
    })
}

#[tokio::test]
async fn what_was_never_sent_is_sent_by_the_next_process_in_order_and_once() {
    let (folder, node) = (tempfile::tempdir().unwrap(), Node::start(Serve::QuicOnly).await);
    let client = with_outbox(&node, &file(&folder)).build().unwrap();
    let sends: Vec<_> =
        (0..20).map(|n| client.publish(&room(), format!("{n:02}")).start()).collect();
    client.close().await;
    assert_eq!(sends[0].state(), SendState::Failed(Error::Closed));

    let client = connect(with_outbox(&node, &file(&folder))).await;
    let after = client.publish(&room(), "20").start();
    let restored = client.take_restored();
    assert_eq!(restored.len(), 20);
    for (restored, send) in restored.into_iter().zip(&sends) {
        assert_eq!(restored.send.message_id(), send.message_id());
        assert_eq!(restored.channel, room());
        restored.send.await.unwrap();
    }
    after.await.unwrap();
    assert!(client.take_restored().is_empty(), "given once");
    client.close().await;
    let expected: Vec<String> = (0..=20).map(|n| format!("{n:02}")).collect();
    assert_eq!(stored(&node), expected);

    let client = connect(with_outbox(&node, &file(&folder))).await;
    assert!(client.take_restored().is_empty(), "answered is over");
    client.close().await;
}

#[tokio::test]
async fn what_was_sent_and_not_answered_is_sent_again_and_known_to_the_node() {
    let (folder, node) = (tempfile::tempdir().unwrap(), Node::start(Serve::WebSocketOnly).await);
    let client = connect(with_outbox(&node, &file(&folder))).await;
    node.log.change(|state| state.mute = 3);
    let sends: Vec<_> = (0..3).map(|n| client.publish(&room(), format!("{n}")).start()).collect();
    node.log.until(|state| state.publishes.len() >= 3).await;
    // Sent, so it was on disk before.
    let path = crashed(&file(&folder));
    client.close().await;
    drop(sends);

    let client = connect(with_outbox(&node, &path)).await;
    let mut acks = Vec::new();
    for restored in client.take_restored() {
        acks.push(restored.send.await.unwrap());
    }
    assert_eq!(acks.len(), 3);
    assert!(acks.iter().all(|ack| ack.duplicate), "{acks:?}");
    assert_eq!(stored(&node), ["0", "1", "2"]);
    let (first, second) = node.log.change(|state| {
        let id = |n: usize| state.hellos[n].0.client_id.clone();
        (id(0), id(state.hellos.len() - 1))
    });
    assert_eq!(first, second, "the node knows publications by it");
    // Numbers go on above the restored ones.
    assert!(!client.publish(&room(), "3").await.unwrap().duplicate);
    client.close().await;
}

#[tokio::test]
async fn a_store_belongs_to_one_client_id_and_to_one_client_at_a_time() {
    let (folder, node) = (tempfile::tempdir().unwrap(), Node::start(Serve::QuicOnly).await);
    let client = with_outbox(&node, &file(&folder)).client_id("phone").build().unwrap();
    let taken = FileOutbox::open(file(&folder)).unwrap_err();
    assert!(matches!(taken, OutboxStoreError::InUse(_)), "{taken}");
    client.close().await;
    let other = with_outbox(&node, &file(&folder)).client_id("tablet").build().map(drop);
    assert!(matches!(&other, Err(Error::Config(why)) if why.contains("`phone`")), "{other:?}");
    let client = connect(with_outbox(&node, &file(&folder))).await;
    assert_eq!(node.log.change(|state| state.hellos[0].0.client_id.clone()), "phone");
    client.close().await;
}

/// Refuses the first insert, then panics.
#[derive(Debug, Default)]
struct Failing {
    writes: usize,
}

impl OutboxStore for Failing {
    fn load(&mut self, client_id: &str) -> Result<StoredOutbox, OutboxStoreError> {
        Ok(StoredOutbox { client_id: client_id.to_owned(), ..StoredOutbox::default() })
    }

    fn write(&mut self, _: &[OutboxChange]) -> Result<(), OutboxStoreError> {
        self.writes += 1;
        assert!(self.writes < 2, "a store with a bug");
        Err(OutboxStoreError::Other("the disk is full".into()))
    }
}

#[tokio::test]
async fn what_the_store_refuses_is_not_sent_and_a_store_that_dies_takes_nobody_along() {
    let node = Node::start(Serve::QuicOnly).await;
    let client: Client = connect(builder(&node).outbox_store(Failing::default())).await;
    for why in ["the disk is full", "failed for good", "failed for good"] {
        let publish = tokio::time::timeout(LONG, client.publish(&room(), "never").into_future());
        let error = publish.await.unwrap().unwrap_err();
        assert!(matches!(&error, Error::OutboxStore(text) if text.contains(why)), "{error:?}");
    }
    assert!(client.state().is_connected());
    client.close().await;
    assert!(stored(&node).is_empty());
}
