//! A WebSocket (RFC 6455) on a TLS stream, or a test's: tungstenite is the protocol, polled by one
//! task that may use different wakers for reading and for writing. What is written most, messages of
//! frames, goes past it: made in a buffer that the connections of a thread share, and encrypted from there.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame, Role, WebSocketConfig, WebSocketContext,
};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::tls::{TlsStream, WRITE_BYTES};

thread_local! {
    /// Messages on their way to be encrypted. Holds nothing of anybody between two calls.
    static MESSAGES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How frames become messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageKind {
    /// One for each frame.
    Text,
    /// Frames side by side.
    Binary,
}

#[derive(Debug)]
pub(crate) struct WebSocket<S = TlsStream> {
    stream: S,
    protocol: WebSocketContext,
    /// Nothing more is read: it has closed or failed.
    ended: bool,
    /// The stream had no room for all of what was taken.
    blocked: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// After the upgrade was answered. `read_ahead`: bytes that came behind the client's request.
    pub(crate) fn new(stream: S, read_ahead: Vec<u8>, config: WebSocketConfig) -> Self {
        let protocol =
            WebSocketContext::from_partially_read(read_ahead, Role::Server, Some(config));
        Self { stream, protocol, ended: false, blocked: false }
    }

    /// `None`: closed by both, or an error came before. Pings are answered on the way.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let message = self.with(cx, |protocol, stream| protocol.read(stream));
        match ready!(message) {
            Ok(message) => Poll::Ready(Some(Ok(message))),
            Err(error) => {
                self.ended = true;
                let is_end = matches!(error, Error::ConnectionClosed | Error::AlreadyClosed);
                Poll::Ready((!is_end).then_some(Err(error)))
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Whether a message is taken. As long as the stream has no room, none is.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.blocked { self.poll_flush(cx) } else { Poll::Ready(Ok(())) }
    }

    /// Takes a message, and writes it as far as there is room.
    pub(crate) fn write(&mut self, cx: &mut Context<'_>, message: Message) -> Result<(), Error> {
        match self.with(cx, |protocol, stream| protocol.write(stream, message)) {
            Poll::Ready(result) => result,
            Poll::Pending => {
                self.blocked = true;
                Ok(())
            }
        }
    }

    /// Takes the first of `frames` as whole messages, as many as go out at once, and
    /// writes them as far as there is room. Ready with how many; to be flushed afterwards.
    pub(crate) fn poll_write_frames<'a>(
        &mut self,
        cx: &mut Context<'_>,
        frames: impl Iterator<Item = &'a Bytes> + Clone,
        kind: MessageKind,
    ) -> Poll<Result<usize, Error>> {
        ready!(self.poll_ready(cx))?;
        let Some(first) = frames.clone().next() else { return Poll::Ready(Ok(0)) };
        if first.len() > GATHERED_BYTES || !self.protocol.can_write() {
            let message = match kind {
                MessageKind::Text => Message::Text(text(first)),
                MessageKind::Binary => Message::Binary(first.clone()),
            };
            self.write(cx, message)?;
            return Poll::Ready(Ok(1));
        }
        MESSAGES.with_borrow_mut(|messages| {
            messages.clear();
            let count = gather(frames, kind, messages);
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, messages))?;
            debug_assert_eq!(written, messages.len(), "the stream takes all of it or nothing");
            Poll::Ready(Ok(count))
        })
    }

    /// Writes all that was taken, and answers to pings and closes.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let flushed = ready!(self.with(cx, |protocol, stream| protocol.flush(stream)));
        self.blocked = false;
        match flushed {
            // The client hears it.
            Err(Error::ConnectionClosed) => Poll::Ready(Ok(())),
            flushed => Poll::Ready(flushed),
        }
    }

    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Says why it ends, or answers the client's own close.
    pub(crate) async fn close(&mut self, frame: CloseFrame) -> Result<(), Error> {
        let mut frame = Some(Message::Close(Some(frame)));
        poll_fn(|cx| {
            ready!(self.poll_ready(cx))?;
            frame.take().map_or(Ok(()), |frame| self.write(cx, frame))?;
            self.poll_flush(cx)
        })
        .await
    }

    pub(crate) fn into_stream(self) -> S {
        self.stream
    }

    fn with<T>(
        &mut self,
        cx: &mut Context<'_>,
        act: impl FnOnce(&mut WebSocketContext, &mut Polled<'_, '_, S>) -> Result<T, Error>,
    ) -> Poll<Result<T, Error>> {
        match act(&mut self.protocol, &mut Polled { stream: &mut self.stream, cx }) {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            done => Poll::Ready(done),
        }
    }
}

/// Frames from the front as messages; how many there was room for, at least one.
fn gather<'a>(
    frames: impl Iterator<Item = &'a Bytes> + Clone,
    kind: MessageKind,
    messages: &mut Vec<u8>,
) -> usize {
    let mut left = GATHERED_BYTES;
    let fits = |frame: &&Bytes| match left.checked_sub(frame.len() + HEADER_BYTES) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let count = frames.clone().take_while(fits).count().max(1);
    let taken = frames.take(count);
    match kind {
        MessageKind::Text => taken.for_each(|frame| {
            put_header(messages, TEXT, frame.len());
            messages.extend_from_slice(frame);
        }),
        MessageKind::Binary => {
            put_header(messages, BINARY, taken.clone().map(|frame| frame.len()).sum());
            taken.for_each(|frame| messages.extend_from_slice(frame));
        }
    }
    count
}

/// The header of a whole message (RFC 6455, section 5.2); a server masks nothing.
fn put_header(messages: &mut Vec<u8>, opcode: u8, len: usize) {
    messages.push(FINAL | opcode);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short @ 0..=125), _) => messages.push(short),
        (_, Ok(medium)) => {
            messages.push(126);
            messages.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            messages.push(127);
            messages.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

fn text(frame: &Bytes) -> Utf8Bytes {
    Utf8Bytes::try_from(frame.clone()).unwrap_or_else(|_| unreachable!("JSON is UTF-8"))
}

/// The stream as something that would block.
struct Polled<'a, 'b, S> {
    stream: &'a mut S,
    cx: &'a mut Context<'b>,
}

impl<S: AsyncRead + Unpin> io::Read for Polled<'_, '_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        unblocked(Pin::new(&mut *self.stream).poll_read(self.cx, &mut buffer))?;
        Ok(buffer.filled().len())
    }
}

impl<S: AsyncWrite + Unpin> io::Write for Polled<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        unblocked(Pin::new(&mut *self.stream).poll_write(self.cx, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        unblocked(Pin::new(&mut *self.stream).poll_flush(self.cx))
    }
}

fn unblocked<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

const FINAL: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// The longest header.
const HEADER_BYTES: usize = 10;

/// Frames that go out at once, so that the stream takes all of their messages or nothing: it is not to
/// stop inside of one, into which an answer to a ping could fall.
const GATHERED_BYTES: usize = WRITE_BYTES - HEADER_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(sizes: &[usize], kind: MessageKind) -> (usize, Vec<u8>) {
        let frames: Vec<_> = sizes.iter().map(|size| Bytes::from(vec![b'x'; *size])).collect();
        let mut messages = Vec::new();
        let count = gather(frames.iter(), kind, &mut messages);
        assert!(messages.len() <= WRITE_BYTES, "the stream takes it at once");
        (count, messages)
    }

    #[test]
    fn frames_share_a_binary_message_up_to_a_size() {
        let (count, messages) = gathered(&[10, 20, 30], MessageKind::Binary);
        assert_eq!((count, messages.len(), &messages[..2]), (3, 62, &[0x82, 60][..]));
        let (count, messages) = gathered(&[100, 100], MessageKind::Binary);
        assert_eq!((count, messages.len(), &messages[..4]), (2, 204, &[0x82, 126, 0, 200][..]));
        let (count, messages) = gathered(&[4000; 40], MessageKind::Binary);
        assert_eq!((count, messages.len()), (16, 64_004));
        let (count, messages) = gathered(&[GATHERED_BYTES, 1], MessageKind::Binary);
        assert_eq!((count, messages.len()), (1, GATHERED_BYTES + 4));
    }

    #[test]
    fn each_frame_is_a_text_message() {
        let (count, messages) = gathered(&[3, 200], MessageKind::Text);
        assert_eq!((count, messages.len()), (2, 2 + 3 + 4 + 200));
        assert_eq!(
            (&messages[..5], &messages[5..9]),
            (&b"\x81\x03xxx"[..], &b"\x81\x7e\x00\xc8"[..])
        );
        let (count, messages) = gathered(&[100; 1000], MessageKind::Text);
        assert_eq!((count, messages.len()), (595, 595 * 102));
    }

    #[test]
    fn a_long_message_says_its_length_in_eight_bytes() {
        let mut header = Vec::new();
        put_header(&mut header, BINARY, 65_536);
        assert_eq!(header, [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
