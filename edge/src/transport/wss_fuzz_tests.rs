//! Fuzz target of a session's WebSocket: whatever a client sends, and however it comes in pieces, what
//! is heard of it is the same, and what the client is told makes sense to it.

use std::pin::Pin;

use sterna_core::session::{Lane, OutgoingBody};
use sterna_fuzz::{Script, check};
use tokio::io::ReadBuf;

use super::*;

#[test]
fn fuzz_wss_session() {
    check!("wss_session", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        let encoding = if script.flag() { Encoding::Json } else { Encoding::Protobuf };
        let (ahead, piece) = (usize::from(script.byte()), usize::from(script.byte()).max(1));
        let told = u32::from(script.below(20));
        let mut stream = Vec::new();
        while let Some(step) = script.step() {
            send(step, encoding, &mut script, &mut stream);
        }
        let whole = Case { encoding, ahead: 0, piece: usize::MAX, is_full: false, told };
        let torn = Case { ahead, piece, is_full: true, ..whole };
        let (whole, torn) = (whole.serve(&stream), torn.serve(&stream));
        assert_eq!(torn, whole, "in pieces of {piece}, {ahead} ahead");
    });
}

/// What a client does next, mostly what it may.
fn send(step: u8, encoding: Encoding, script: &mut Script<'_>, stream: &mut Vec<u8>) {
    let data = if encoding == Encoding::Json { 1 } else { 2 };
    match step % 8 {
        // Frames in a message, which come in several pieces of their own.
        0 | 1 => {
            let (frames, parts) = (1 + script.below(3), 1 + usize::from(script.below(3)));
            let frames = if encoding == Encoding::Json { 1 } else { frames };
            let message: Vec<u8> =
                (0..frames).flat_map(|n| encoded(&frame(n.into(), 20), encoding)).collect();
            let parts: Vec<&[u8]> = message.chunks(message.len().div_ceil(parts)).collect();
            for (at, part) in parts.iter().enumerate() {
                let is_last = at + 1 == parts.len();
                let opcode = if at == 0 { data } else { 0 };
                put(stream, u8::from(is_last) << 7 | opcode, part, part.len() as u64, true);
            }
        }
        2 => {
            let message = encoded(&frame(7, usize::from(script.byte()) * 1200), encoding);
            put(stream, 0x80 | data, &message, message.len() as u64, true);
        }
        3 => {
            let text = script.bytes(125);
            let opcode = 0x89 + u8::from(script.flag());
            (0..=script.below(30)).for_each(|_| put(stream, opcode, text, text.len() as u64, true));
        }
        4 => {
            let text = script.bytes(125);
            put(stream, 0x88, text, text.len() as u64, true);
        }
        5 => {
            let content = script.bytes(200);
            put(stream, 0x80 | data, content, content.len() as u64, true);
        }
        // Anything in the place of the header.
        6 => {
            let (first, masked) = (script.byte(), script.below(8) > 0);
            let content = script.bytes(200);
            let claimed = match script.flag() {
                true => content.len() as u64,
                false => script.number(),
            };
            put(stream, first, content, claimed, masked);
        }
        _ => stream.extend_from_slice(script.bytes(60)),
    }
}

/// A frame of RFC 6455, section 5.2, with the shortest length but that of zero, which takes eight bytes.
fn put(stream: &mut Vec<u8>, first: u8, content: &[u8], claimed: u64, masked: bool) {
    stream.push(first);
    let mask = u8::from(masked) << 7;
    match claimed {
        1..=125 => stream.push(mask | claimed as u8),
        126..=0xffff => {
            stream.push(mask | 126);
            stream.extend_from_slice(&(claimed as u16).to_be_bytes());
        }
        _ => {
            stream.push(mask | 127);
            stream.extend_from_slice(&claimed.to_be_bytes());
        }
    }
    let key = if masked { [1, 2, 3, 4] } else { [0; 4] };
    if masked {
        stream.extend_from_slice(&key);
    }
    stream.extend(content.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
}

fn frame(id: u64, payload: usize) -> v1::Frame {
    let publication =
        v1::Publication { id, payload: vec![b'x'; payload].into(), ..Default::default() };
    let event = Some(v1::push::Event::Publication(publication));
    v1::Frame { body: Some(v1::frame::Body::Push(v1::Push { event })) }
}

fn encoded(frame: &v1::Frame, encoding: Encoding) -> Bytes {
    own(frame).encoded(encoding)
}

fn own(frame: &v1::Frame) -> Outgoing {
    Outgoing { lane: Lane::Control, body: OutgoingBody::Own(Box::new(frame.clone())) }
}

/// How the bytes come, and how many frames the client is told.
#[derive(Debug, Clone, Copy)]
struct Case {
    encoding: Encoding,
    ahead: usize,
    piece: usize,
    /// Every second write finds no room.
    is_full: bool,
    told: u32,
}

impl Case {
    /// The frames that were heard, and how it ended.
    fn serve(self, stream: &[u8]) -> (Vec<v1::Frame>, End) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        // All pings come at one time.
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let (ahead, rest) = stream.split_at(self.ahead.min(stream.len()));
        let said = Rc::new(RefCell::new(Vec::new()));
        let wire = Wire {
            rest: rest.to_vec().into(),
            piece: self.piece,
            rests: false,
            is_full: self.is_full,
            said: said.clone(),
        };
        let (frames, end) = runtime.block_on(self.session(wire, ahead.to_vec()));
        check_said(&said.borrow(), self.encoding, self.told);
        (frames, end)
    }

    async fn session(self, wire: Wire, ahead: Vec<u8>) -> (Vec<v1::Frame>, End) {
        let socket = Rc::new(RefCell::new(socket(wire, ahead)));
        let remote = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut receiver = WssReceiver::new(socket.clone(), remote, self.encoding);
        let mut sender = WssSender::new(socket, self.encoding);
        let meter = Meter::new(TransportKind::WebSocket);
        let mut heard = Vec::new();
        let mut told = 0..self.told;
        let end = loop {
            match receiver.receive(&meter).await {
                Ok(received) => {
                    let most = match heard.is_empty() {
                        true => limits::HELLO_FRAME_BYTES,
                        false => limits::FRAME_BYTES,
                    };
                    assert!(codec::encoded_len(&received.frame) <= most + LENGTH_BYTES);
                    heard.push(received.frame);
                    receiver.on_session_open();
                }
                Err(end) => break end,
            }
            sender.queue(&mut told.by_ref().take(3).map(|n| own(&frame(n.into(), 40))).collect());
            if let Err(end) = sender.flush().await {
                break end;
            }
            assert_eq!(sender.pending_bytes(), 0);
        };
        drop(receiver);
        sender.close(CloseReason::Normal).await;
        (heard, end)
    }
}

/// The client is told frames in their order, answers to its pings, and at most once that it ends, after
/// which nothing comes.
fn check_said(mut said: &[u8], encoding: Encoding, told: u32) {
    let mut frames = (0..told).map(|n| encoded(&frame(n.into(), 40), encoding));
    let mut has_closed = false;
    while let [first, length, rest @ ..] = said {
        assert!(!has_closed, "something comes behind the close");
        let (length, rest) = match length {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            short => {
                assert!(*short < 126, "a server masks nothing, and no message here is so long");
                (usize::from(*short), rest)
            }
        };
        let (content, rest) = rest.split_at(length);
        match (first, encoding) {
            (0x81, Encoding::Json) => assert_eq!(Some(content), frames.next().as_deref()),
            (0x82, Encoding::Protobuf) => {
                let mut content = content;
                while !content.is_empty() {
                    let frame = frames.next().unwrap();
                    content = content.strip_prefix(&frame[..]).unwrap();
                }
            }
            (0x88, _) => has_closed = true,
            (0x8a, _) => assert!(content.len() <= 125),
            other => panic!("{other:?} is nothing that a client is told"),
        }
        said = rest;
    }
    assert!(said.is_empty(), "cut inside of a header");
}

/// A connection of which the client's end is a script.
#[derive(Debug)]
struct Wire {
    rest: VecDeque<u8>,
    piece: usize,
    /// The next read finds nothing yet.
    rests: bool,
    is_full: bool,
    said: Rc<RefCell<Vec<u8>>>,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if std::mem::replace(&mut self.rests, false) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let count = self.piece.min(self.rest.len()).min(buffer.remaining());
        self.rests = self.piece < usize::MAX && count > 0;
        self.rest.drain(..count).for_each(|byte| buffer.put_slice(&[byte]));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.piece < usize::MAX && std::mem::replace(&mut self.is_full, false) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.is_full = true;
        self.said.borrow_mut().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
