//! What breaks RFC 6455 itself is closed with that RFC's codes, and a client's close is answered as
//! it asks. Frames are written byte by byte, since no library writes wrong ones.

#![allow(clippy::unwrap_used)]

mod common;

use common::wss::{WssClient, connect};
use common::{TestEdge, hello, ping, within};
use sterna_proto::{CloseReason, codec, limits, version};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// A frame with zeros for a mask, so that its payload stands there as it is.
fn frame(first_octet: u8, payload: &[u8]) -> Vec<u8> {
    [header(first_octet, payload.len()), payload.to_vec()].concat()
}

fn header(first_octet: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![first_octet];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => bytes.push(MASKED | short),
        (_, Ok(medium)) => {
            bytes.push(MASKED | 126);
            bytes.extend(medium.to_be_bytes());
        }
        _ => {
            bytes.push(MASKED | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes
}

fn close_frame(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FINAL | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// How the edge answers `bytes`: its close frame's payload. After that it ends the stream.
async fn answer(stream: &mut TlsStream<TcpStream>, bytes: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = async {
        // The edge may be gone before a flood is written.
        let _ = writer.write_all(bytes).await;
        let _ = writer.flush().await;
    };
    let (read, ()) = tokio::join!(close_payload(&mut reader), writing);
    read
}

async fn close_payload(reader: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    loop {
        let mut head = [0; 2];
        within("a frame", reader.read_exact(&mut head)).await.unwrap();
        let length = match head[1] {
            126 => usize::from(within("a length", reader.read_u16()).await.unwrap()),
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        within("a payload", reader.read_exact(&mut payload)).await.unwrap();
        if head[0] == FINAL | CLOSE {
            // Who does not answer may find the stream cut off.
            assert_eq!(within("the end", reader.read(&mut head)).await.unwrap_or(0), 0);
            return payload;
        }
    }
}

async fn raw(edge: &TestEdge) -> TlsStream<TcpStream> {
    connect(edge, version::SUBPROTOCOL_PROTOBUF).await.into_inner()
}

async fn assert_closed(edge: &TestEdge, bytes: &[u8], reason: CloseReason) {
    let payload = answer(&mut raw(edge).await, bytes).await;
    let shown = &bytes[..bytes.len().min(20)];
    assert_eq!(payload[..2], reason.code().to_be_bytes(), "{shown:x?}");
    assert_eq!(payload[2..], *reason.text().as_bytes(), "{shown:x?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_websocket_frame_is_a_protocol_error_of_the_websocket() {
    let edge = TestEdge::start().await;
    let continuation = frame(FINAL, b"nothing to continue");
    let interrupted = [frame(BINARY, b"begun"), frame(FINAL | BINARY, b"another")].concat();
    for bytes in [
        frame(FINAL | 0x40 | BINARY, b"a reserved bit"),
        frame(FINAL | 0x3, b"a reserved kind of data"),
        frame(FINAL | 0xb, b"a reserved kind of control"),
        [&[FINAL | BINARY, 4], &b"bare"[..]].concat(),
        frame(PING, b"a part of a ping"),
        frame(FINAL | PING, &[0; 126]),
        frame(FINAL | CLOSE, &[0; 126]),
        continuation,
        interrupted,
        frame(FINAL | CLOSE, &[3]),
    ] {
        assert_closed(&edge, &bytes, CloseReason::WebSocketProtocol).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_that_is_not_utf_8_is_told_as_such() {
    let edge = TestEdge::start().await;
    let over_two = [frame(TEXT, &[0xce]), frame(FINAL, &[0xce])].concat();
    for bytes in [
        frame(FINAL | TEXT, &[0xed, 0xa0, 0x80]),
        over_two,
        // Told at once, although the message goes on.
        frame(TEXT, &[0xff]),
        close_frame(1000, &[0xff]),
    ] {
        assert_closed(&edge, &bytes, CloseReason::WebSocketText).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_larger_than_any_frame_of_ours_are_too_big() {
    let edge = TestEdge::start().await;
    let in_parts = [frame(BINARY, &vec![0; limits::FRAME_BYTES]), frame(FINAL, &[0; 100])].concat();
    for bytes in [
        header(FINAL | BINARY, limits::FRAME_BYTES + 100),
        header(FINAL | BINARY, usize::MAX >> 1),
        in_parts,
        // Heard although much of it was not read.
        frame(FINAL | BINARY, &vec![0; 1 << 20]),
    ] {
        assert_closed(&edge, &bytes, CloseReason::WebSocketTooBig).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_close_is_answered_with_its_code_or_called_a_protocol_error() {
    let edge = TestEdge::start().await;
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        let payload = answer(&mut raw(&edge).await, &close_frame(code, b"done")).await;
        assert_eq!(payload[..2], code.to_be_bytes());
    }
    let payload = answer(&mut raw(&edge).await, &frame(FINAL | CLOSE, &[])).await;
    assert!(payload.is_empty(), "{payload:x?}");
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        let payload = answer(&mut raw(&edge).await, &close_frame(code, b"")).await;
        assert_eq!(payload[..2], CloseReason::WebSocketProtocol.code().to_be_bytes(), "{code}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_behind_commands_is_answered_too() {
    let edge = TestEdge::start().await;
    let mut stream = raw(&edge).await;
    let mut bytes = frame(FINAL | BINARY, &codec::encode_to_bytes(&hello("alice")));
    for id in 2..40 {
        bytes.extend(frame(FINAL | BINARY, &codec::encode_to_bytes(&ping(id))));
    }
    bytes.extend(close_frame(1001, b""));
    assert_eq!(answer(&mut stream, &bytes).await, 1001_u16.to_be_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_codes_are_the_same_in_a_session() {
    let edge = TestEdge::start().await;
    for (bytes, code) in [
        (frame(FINAL | 0x70 | BINARY, b""), 1002_u16),
        (frame(FINAL | TEXT, &[0xff]), 1007),
        (header(FINAL | BINARY, 1 << 40), 1009),
        (frame(FINAL | BINARY, &[0xff; 20]), CloseReason::ProtocolError.code()),
        (frame(FINAL | TEXT, b"{}"), CloseReason::ProtocolError.code()),
        (close_frame(4321, b""), 4321),
    ] {
        let mut stream = WssClient::start(&edge, "alice").await.socket.into_inner();
        let payload = answer(&mut stream, &bytes).await;
        assert_eq!(payload[..2], code.to_be_bytes());
    }
}
