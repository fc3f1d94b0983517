//! Streams of a connection.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::Bytes;
use quinn_proto::{ConnectionError, FinishError, ReadError, StreamId, VarInt, Written};

use super::connection::{Connection, wide};

/// The receiving side. Dropping one that has not ended asks the client to stop sending.
#[derive(Debug)]
pub(crate) struct RecvStream {
    connection: Connection,
    id: StreamId,
    ended: bool,
}

/// What a look at a stream has given.
#[derive(Debug)]
pub(crate) enum Read {
    Bytes(Bytes),
    /// Nothing has come.
    Blocked,
    /// The client has finished it, and everything was read.
    Finished,
    /// The client has given it up.
    Reset,
}

impl RecvStream {
    pub(super) fn new(connection: Connection, id: StreamId) -> Self {
        Self { connection, id, ended: false }
    }

    /// The client may know it by this number (RFC 9000, section 2.1).
    pub(crate) fn id(&self) -> u64 {
        self.id.into()
    }

    /// Asks the client to stop sending, with an error code that says why.
    pub(crate) fn stop(mut self, code: u64) {
        self.ask_to_stop(wide(code));
        self.ended = true;
    }

    fn ask_to_stop(&self, code: VarInt) {
        let inner = &self.connection.inner;
        // Fails on a stream that has ended meanwhile, which is what is wanted.
        let _ = inner.state.borrow_mut().proto.recv_stream(self.id).stop(code);
        inner.mark();
    }

    /// The next bytes, in order, as many as have come and at most `max`. What the client sees as
    /// read makes room for as much to be sent.
    pub(crate) fn read(&mut self, max: usize) -> Read {
        let inner = &self.connection.inner;
        let (read, transmit) = {
            let mut state = inner.state.borrow_mut();
            let mut stream = state.proto.recv_stream(self.id);
            let Ok(mut chunks) = stream.read(true) else {
                self.ended = true;
                return Read::Reset;
            };
            let read = match chunks.next(max) {
                Ok(Some(chunk)) => Read::Bytes(chunk.bytes),
                Ok(None) => Read::Finished,
                Err(ReadError::Blocked) => Read::Blocked,
                Err(ReadError::Reset(_)) => Read::Reset,
            };
            (read, chunks.finalize().should_transmit())
        };
        self.ended = matches!(read, Read::Finished | Read::Reset);
        if transmit {
            inner.mark();
        }
        read
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        let inner = &self.connection.inner;
        if self.ended || inner.state.borrow().is_over() {
            return;
        }
        self.ask_to_stop(inner.default_code());
    }
}

/// The sending side. Dropping it finishes the stream.
#[derive(Debug)]
pub(crate) struct SendStream {
    connection: Connection,
    id: StreamId,
}

/// Why bytes do not go onto a stream.
#[derive(Debug)]
pub(crate) enum WriteError {
    ConnectionLost(ConnectionError),
    /// The client does not want it, or it was finished.
    Stopped,
}

impl SendStream {
    pub(super) fn new(connection: Connection, id: StreamId) -> Self {
        Self { connection, id }
    }

    /// Higher goes first.
    pub(crate) fn set_priority(&self, priority: i32) {
        let mut state = self.connection.inner.state.borrow_mut();
        // Fails on a stream that is gone; the next write says so as well.
        let _ = state.proto.send_stream(self.id).set_priority(priority);
    }

    /// Takes as many bytes as flow control allows, without a copy, at least one.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<Result<Written, WriteError>> {
        let inner = &self.connection.inner;
        let written = {
            let mut state = inner.state.borrow_mut();
            if let Some(error) = state.error() {
                return Poll::Ready(Err(WriteError::ConnectionLost(error.clone())));
            }
            match state.proto.send_stream(self.id).write_chunks(chunks) {
                Ok(written) => written,
                Err(quinn_proto::WriteError::Blocked) => return state.wait(cx),
                Err(_) => return Poll::Ready(Err(WriteError::Stopped)),
            }
        };
        inner.mark();
        Poll::Ready(Ok(written))
    }

    /// What was written and has not arrived is given up.
    pub(crate) fn reset(self, code: u64) {
        let inner = &self.connection.inner;
        // Fails on a stream that is over.
        let _ = inner.state.borrow_mut().proto.send_stream(self.id).reset(wide(code));
        inner.mark();
    }

    /// No more will be written.
    pub(crate) fn finish(&mut self) {
        let inner = &self.connection.inner;
        // Fails on a stream that was finished before or that the client has stopped.
        if inner.state.borrow_mut().proto.send_stream(self.id).finish().is_ok() {
            inner.mark();
        }
    }

    /// Waits until the client has all of a finished stream or does not want it.
    pub(crate) async fn settled(&self) {
        poll_fn(|cx| {
            let mut state = self.connection.inner.state.borrow_mut();
            let on_its_way = matches!(state.proto.send_stream(self.id).stopped(), Ok(None));
            if on_its_way && !state.is_over() { state.wait(cx) } else { Poll::Ready(()) }
        })
        .await
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        let inner = &self.connection.inner;
        let changed = {
            let mut state = inner.state.borrow_mut();
            if state.is_over() {
                return;
            }
            let mut stream = state.proto.send_stream(self.id);
            match stream.finish() {
                Ok(()) => true,
                Err(FinishError::Stopped(reason)) => stream.reset(reason).is_ok(),
                Err(FinishError::ClosedStream) => false,
            }
        };
        if changed {
            inner.mark();
        }
    }
}
