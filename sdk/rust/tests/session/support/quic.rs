//! The scripted node on QUIC.

use std::sync::Arc;

use sterna_proto::v1::{Frame, frame::Body, push};
use sterna_proto::{FrameDecoder, codec, limits, version};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::log::{Log, Say, close, open};

pub(super) async fn serve_quic(endpoint: quinn::Endpoint, log: Arc<Log>) {
    let mut tasks = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        let log = log.clone();
        tasks.spawn(async move {
            let Ok(connection) = incoming.await else { return };
            let Ok((send, recv)) = connection.accept_bi().await else { return };
            let (id, says) = open(&log);
            tokio::select! {
                () = quic_control(send, recv, says, &log, &connection) => {}
                () = quic_bulk(&connection, &log) => {}
            }
            close(&log, id);
        });
    }
}

async fn quic_bulk(connection: &quinn::Connection, log: &Log) {
    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
        let bytes = recv.read_to_end(limits::FRAME_BYTES).await.unwrap();
        let mut decoder = FrameDecoder::new(limits::FRAME_BYTES);
        decoder.extend(&bytes);
        let Some(Body::Command(command)) = decoder.next().unwrap().unwrap().body else { continue };
        for frame in log.change(|state| state.answer(command, "quic")) {
            send.write_all(&codec::encode_to_bytes(&frame)).await.unwrap();
        }
        send.finish().unwrap();
    }
    std::future::pending().await
}

async fn quic_control(
    mut send: quinn::SendStream,
    mut recv: quinn::RecvStream,
    mut says: mpsc::Receiver<Say>,
    log: &Log,
    connection: &quinn::Connection,
) {
    let mut decoder = FrameDecoder::new(limits::FRAME_BYTES);
    let mut lane: Option<quinn::SendStream> = None;
    loop {
        tokio::select! {
            chunk = recv.read_chunk(65536, true) => {
                let Ok(Some(chunk)) = chunk else { return };
                decoder.extend(&chunk.bytes);
                while let Some(frame) = decoder.next().unwrap() {
                    let Some(Body::Command(command)) = frame.body else { continue };
                    for frame in log.change(|state| state.answer(command, "quic")) {
                        if send.write_all(&codec::encode_to_bytes(&frame)).await.is_err() { return }
                    }
                }
            }
            say = says.recv() => match say {
                Some(Say::Push(event)) => {
                    let is_publication = matches!(event, push::Event::Publication(_));
                    let bytes = codec::encode_to_bytes(&Frame::push(event));
                    if is_publication {
                        if lane.is_none() {
                            let mut fresh = connection.open_uni().await.unwrap();
                            fresh.write_all(&[version::LANE_STREAM]).await.unwrap();
                            lane = Some(fresh);
                        }
                        if lane.as_mut().unwrap().write_all(&bytes).await.is_err() { return }
                    } else if send.write_all(&bytes).await.is_err() { return }
                }
                Some(Say::Close(reason)) => {
                    connection.close(u32::from(reason.code()).into(), reason.text().as_bytes());
                    return;
                }
                Some(Say::Cut) | None => {
                    connection.close(0u32.into(), b"cut");
                    return;
                }
            }
        }
    }
}
