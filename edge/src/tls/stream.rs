//! TLS over TCP for very many connections that are silent most of the time. One keeps bytes of its
//! own only while a record has arrived in part or cannot be written yet; everything else passes
//! through buffers that the connections of a thread share.
//!
//! rustls is the protocol machine, by its unbuffered interface; its buffered one holds on to 4 KiB
//! for each connection.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::machine::{Machine, RECEIVE_BYTES, Stage};

/// The server's end of a connection. To be flushed after writing: what the socket has no room for is
/// kept until then.
#[derive(Debug)]
pub(crate) struct TlsStream {
    socket: TcpStream,
    machine: Machine,
    /// Received, and not yet the whole of what can be decrypted.
    incoming: Vec<u8>,
    /// Decrypted and not yet read.
    plain: Chunk,
    /// For the socket.
    outgoing: Chunk,
    /// What is in `outgoing` is tickets, which can wait for what is written next.
    tickets_wait: bool,
    /// What the client did wrong; boxed, as most do nothing.
    error: Option<Box<rustls::Error>>,
}

/// Bytes that are consumed from the front.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    at: usize,
}

/// What the connections of a thread share. Holds nothing of anybody between two calls.
struct Shared {
    received: Box<[u8]>,
    plain: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Shared {
    /// What somebody before has left, whose code panicked perhaps, is not for others.
    fn with<T>(act: impl FnOnce(&mut Self) -> T) -> T {
        SHARED.with_borrow_mut(|shared| {
            shared.plain.clear();
            shared.outgoing.clear();
            act(shared)
        })
    }
}

thread_local! {
    static SHARED: RefCell<Shared> = RefCell::new(Shared {
        received: vec![0; RECEIVE_BYTES].into(),
        plain: Vec::new(),
        outgoing: Vec::new(),
    });
}

impl TlsStream {
    /// The handshake. What is costly of it is the answer to the client's first flight: `turn` is waited
    /// for before anything of that is read.
    ///
    /// # Errors
    /// The client has gone, or what it sent is not TLS or not what both speak. It was told so by an
    /// alert.
    pub(crate) async fn accept(
        config: Arc<ServerConfig>,
        socket: TcpStream,
        turn: impl AsyncFn(),
    ) -> io::Result<Self> {
        let mut stream = Self {
            socket,
            machine: Machine::new(config)?,
            incoming: Vec::new(),
            plain: Chunk::default(),
            outgoing: Chunk::default(),
            tickets_wait: false,
            error: None,
        };
        loop {
            if !stream.machine.has_answered() {
                // Looks, since the runtime's word that there is something to read may be wrong.
                stream.socket.peek(&mut [0]).await?;
                turn().await;
            }
            let stage = poll_fn(|cx| stream.poll_receive(cx, None)).await?;
            if !stream.tickets_wait {
                poll_fn(|cx| stream.poll_send(cx)).await?;
            }
            if let Some(error) = &stream.error {
                return Err(invalid(error.clone()));
            }
            if stage == Some(Stage::Traffic) {
                return Ok(stream);
            }
        }
    }

    /// Receives once, answers what the protocol itself has to answer, and decrypts into `buffer` and,
    /// what that has no room for, `plain`. `None`: what came is an error, which is kept for whoever
    /// has read all that came before it.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: Option<&mut ReadBuf<'_>>,
    ) -> Poll<io::Result<Option<Stage>>> {
        // Answers that the socket had no room for.
        let _ = self.poll_send(cx)?;
        Shared::with(|shared| {
            let Shared { received, plain, outgoing } = shared;
            let kept = self.incoming.len();
            received[..kept].copy_from_slice(&self.incoming);
            let mut free = ReadBuf::new(&mut received[kept..]);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut free))?;
            let count = free.filled().len();
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let received = &mut received[..kept + count];
            let (done, advanced) = self.machine.advance(received, plain, outgoing);
            let goes_on = advanced.is_ok() && !self.machine.peer_has_closed();
            keep(&mut self.incoming, if goes_on { &received[done..] } else { &[] });
            let is_handshake = buffer.is_none();
            self.plain.put(buffer, plain);
            if is_handshake && matches!(advanced, Ok(Stage::Traffic)) && !self.plain.is_empty() {
                // A request came with the last flight: the tickets go with its answer.
                self.tickets_wait = true;
                self.outgoing.bytes.append(outgoing);
            }
            // A socket that fails does so again, and nothing that was read is lost meanwhile.
            let _ = self.send_shared(cx, outgoing);
            let stage = advanced.map_err(|error| self.error = Some(Box::new(error))).ok();
            Poll::Ready(Ok(stage))
        })
    }

    /// Hands what was encrypted to the socket; keeps what that has no room for.
    fn send_shared(&mut self, cx: &mut Context<'_>, shared: &mut Vec<u8>) -> io::Result<()> {
        let mut at = 0;
        let mut result = Ok(());
        // What came before has to go before.
        while self.outgoing.is_empty() && at < shared.len() {
            match write(&mut self.socket, cx, &shared[at..]) {
                Poll::Ready(Ok(count)) => at += count,
                Poll::Ready(Err(error)) => {
                    result = Err(error);
                    break;
                }
                Poll::Pending => break,
            }
        }
        self.outgoing.bytes.extend_from_slice(&shared[at..]);
        shared.clear();
        result
    }

    /// Hands what was kept to the socket.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tickets_wait = false;
        while !self.outgoing.is_empty() {
            let count = ready!(write(&mut self.socket, cx, self.outgoing.rest()))?;
            self.outgoing.consume(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for TlsStream {
    /// # Errors
    /// `UnexpectedEof`: the stream was cut off; its end is not what the client said. `InvalidData`:
    /// the client broke the protocol.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        while buffer.filled().len() == before && buffer.remaining() > 0 {
            if !this.plain.is_empty() {
                let count = buffer.remaining().min(this.plain.rest().len());
                buffer.put_slice(&this.plain.rest()[..count]);
                this.plain.consume(count);
            } else if let Some(error) = &this.error {
                return Poll::Ready(Err(invalid(error.clone())));
            } else if this.machine.peer_has_closed() {
                break;
            } else {
                ready!(this.poll_receive(cx, Some(buffer)))?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    /// Takes nothing while there is something left of earlier times but tickets, so that not more than
    /// one call's bytes wait; otherwise all, up to [`WRITE_BYTES`].
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let with_tickets = this.tickets_wait;
        if !with_tickets {
            ready!(this.poll_send(cx))?;
        }
        let taken = &bytes[..bytes.len().min(WRITE_BYTES)];
        Shared::with(|shared| {
            this.machine.encrypt(taken, &mut this.incoming, &mut shared.outgoing)?;
            if with_tickets {
                this.outgoing.bytes.append(&mut shared.outgoing);
                let _ = this.poll_send(cx)?;
            } else {
                this.send_shared(cx, &mut shared.outgoing)?;
            }
            Poll::Ready(Ok(taken.len()))
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    /// Says that no more comes, and ends the TCP stream in this direction.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.machine.close(&mut this.incoming, &mut this.outgoing.bytes);
        this.tickets_wait = false;
        while !this.outgoing.is_empty() {
            let count = ready!(poll_send_last(&this.socket, cx, this.outgoing.rest()))?;
            this.outgoing.consume(count);
        }
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}

impl Chunk {
    fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Gives the memory back with the last byte.
    fn consume(&mut self, count: usize) {
        self.at += count;
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Fills the reader's buffer from `bytes` and keeps the rest. Nothing is kept before that.
    fn put(&mut self, buffer: Option<&mut ReadBuf<'_>>, bytes: &mut Vec<u8>) {
        let mut at = 0;
        if let Some(buffer) = buffer {
            at = buffer.remaining().min(bytes.len());
            buffer.put_slice(&bytes[..at]);
        }
        self.bytes.extend_from_slice(&bytes[at..]);
        bytes.clear();
    }
}

/// Replaces what was kept, by an allocation of the right size or none.
fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    if !(kept.is_empty() && bytes.is_empty()) {
        *kept = bytes.to_vec();
    }
}

fn write(socket: &mut TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    Pin::new(socket).poll_write(cx, bytes).map(some)
}

/// A socket that takes nothing and has no error would be asked for ever.
fn some(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        written => written,
    }
}

/// Hands over the last bytes before the end, which leaves with them: one segment for both. The kernel
/// does not wait for the end for long.
fn poll_send_last(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        let flags = libc::MSG_MORE | libc::MSG_NOSIGNAL;
        let send = || SockRef::from(socket).send_with_flags(bytes, flags);
        match socket.try_io(Interest::WRITABLE, send) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(some(sent)),
        }
    }
}

fn invalid(error: Box<rustls::Error>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// What is encrypted for one call of the system.
pub(crate) const WRITE_BYTES: usize = 64 * 1024;

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
