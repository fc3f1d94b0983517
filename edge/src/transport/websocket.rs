//! A WebSocket (RFC 6455) on a TLS stream: tungstenite is the protocol, polled by one task that may
//! use different wakers for reading and for writing.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame, Role, WebSocketConfig, WebSocketContext,
};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::tls::TlsStream;

#[derive(Debug)]
pub(crate) struct WebSocket {
    stream: TlsStream,
    protocol: WebSocketContext,
    /// Nothing more is read: it has closed or failed.
    ended: bool,
    /// The stream had no room for all of what was taken.
    blocked: bool,
}

impl WebSocket {
    /// After the upgrade was answered. `read_ahead`: bytes that came behind the client's request.
    pub(crate) fn new(stream: TlsStream, read_ahead: Vec<u8>, config: WebSocketConfig) -> Self {
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

    pub(crate) fn into_stream(self) -> TlsStream {
        self.stream
    }

    fn with<T>(
        &mut self,
        cx: &mut Context<'_>,
        act: impl FnOnce(&mut WebSocketContext, &mut Polled<'_, '_>) -> Result<T, Error>,
    ) -> Poll<Result<T, Error>> {
        match act(&mut self.protocol, &mut Polled { stream: &mut self.stream, cx }) {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            done => Poll::Ready(done),
        }
    }
}

/// The stream as something that would block.
struct Polled<'a, 'b> {
    stream: &'a mut TlsStream,
    cx: &'a mut Context<'b>,
}

impl io::Read for Polled<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        unblocked(Pin::new(&mut *self.stream).poll_read(self.cx, &mut buffer))?;
        Ok(buffer.filled().len())
    }
}

impl io::Write for Polled<'_, '_> {
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
