//! A stream to the client, and the bytes that wait to be written to it.

use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::quic::{SendStream, WriteError};
use crate::transport::COPY_BYTES;

#[derive(Debug)]
pub(in crate::transport) struct OutStream {
    stream: SendStream,
    chunks: Vec<Bytes>,
    /// Chunks that are written whole.
    written: usize,
}

impl OutStream {
    pub(in crate::transport) fn new(stream: SendStream) -> Self {
        Self { stream, chunks: Vec::new(), written: 0 }
    }

    /// Takes bytes to write.
    pub(in crate::transport) fn push(&mut self, bytes: Bytes) {
        self.chunks.push(bytes);
    }

    /// Nothing waits to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// No more will be written.
    pub(in crate::transport) fn finish(&mut self) {
        self.stream.finish();
    }

    /// Waits until the client has all of a finished stream or does not want it.
    pub(in crate::transport) async fn settled(&self) {
        self.stream.settled().await;
    }

    /// Puts small chunks together: one chunk costs more than copying it does.
    pub(super) fn join_chunks(&mut self) {
        if self.chunks.len() - self.written < 2 {
            return;
        }
        let mut joined = Vec::new();
        let mut small = BytesMut::new();
        for chunk in self.chunks.drain(self.written..) {
            if chunk.len() < COPY_BYTES {
                small.put(chunk);
                continue;
            }
            if !small.is_empty() {
                joined.push(small.split().freeze());
            }
            joined.push(chunk);
        }
        if !small.is_empty() {
            joined.push(small.freeze());
        }
        self.chunks.append(&mut joined);
    }

    pub(in crate::transport) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WriteError>> {
        while self.written < self.chunks.len() {
            let chunks = &mut self.chunks[self.written..];
            self.written += ready!(self.stream.poll_write(cx, chunks))?.chunks;
        }
        // An idle stream keeps no buffer.
        self.chunks = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    pub(super) fn pending_bytes(&self) -> usize {
        self.chunks[self.written..].iter().map(Bytes::len).sum()
    }
}
