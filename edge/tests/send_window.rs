//! What an edge takes on for a client that has stopped acknowledging: its send window and no more.
//! Alone in its process, because it counts every byte that an edge sends.

#![allow(clippy::unwrap_used)]

mod common;
#[allow(dead_code, reason = "the unit tests use more of it")]
#[path = "../src/testing.rs"]
mod testing;

use common::quic::QuicClient;
use common::wss::WssClient;
use common::{TestEdge, publish, subscribe};
use metrics_util::debugging::DebuggingRecorder;
use quinn::TransportConfig;
use sterna_proto::v1;

const KIB: usize = 1024;
const PAYLOAD_BYTES: usize = 60 * KIB;
const PUBLICATIONS: usize = 80;
const SEND_WINDOW: usize = 1024 * KIB;
/// What is taken from the outbox ahead of the window, the batch that goes above, and small frames.
const AHEAD: usize = 768 * KIB;

#[test]
fn a_client_that_acknowledges_nothing_costs_its_send_window() {
    let recorder = DebuggingRecorder::new();
    let sent = recorder.snapshotter();
    recorder.install().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let edge = runtime.block_on(TestEdge::start_with(|settings| settings.workers = 1));
    // This runtime runs only while somebody blocks on it; between that, its client is dead to the
    // network although its socket is open.
    let sleeping = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut wide = TransportConfig::default();
    wide.stream_receive_window((16 * 1024 * KIB as u32).into());
    let asleep = sleeping.block_on(async {
        let mut client = QuicClient::start_with(&edge, "asleep", wide).await;
        client.send(&subscribe(2, "room:1")).await;
        client.reply(2).await;
        client
    });
    let awake = runtime.block_on(async {
        let mut reader = WssClient::start(&edge, "reader").await;
        reader.send(&[subscribe(2, "room:1")]).await;
        reader.reply(2).await;
        let mut writer = QuicClient::start(&edge, "writer").await;
        let writing = async {
            for id in (2..).take(PUBLICATIONS) {
                writer.send(&publish(id, "room:1", vec![7; PAYLOAD_BYTES])).await;
                writer.reply(id).await;
            }
        };
        tokio::join!(hear_all(&mut reader), writing);
        (reader, writer)
    });
    let moved = testing::moved_since(&sent);
    let to = |transport: &str| {
        moved[&format!("sterna_edge_sent_bytes_total transport={transport}")] as usize
    };
    assert!(to("wss") >= PUBLICATIONS * PAYLOAD_BYTES);
    let to_asleep = to("quic");
    assert!(to_asleep >= SEND_WINDOW / 2, "{to_asleep} bytes");
    assert!(to_asleep <= SEND_WINDOW + AHEAD, "{to_asleep} bytes");
    drop((asleep, awake));
}

/// Reads until the last publication has come.
async fn hear_all(reader: &mut WssClient) {
    let mut heard = 0;
    while heard < PUBLICATIONS {
        if let Some(v1::frame::Body::Push(v1::Push {
            event: Some(v1::push::Event::Publication(_)),
        })) = reader.receive().await.body
        {
            heard += 1;
        }
    }
}
