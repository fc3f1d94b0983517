//! The listener: a bounded number of connections, and none that sends its request drop by drop.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// How long to leave the kernel alone after it could not accept.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

/// A TCP listener with permits.
#[derive(Debug)]
pub(super) struct Bounded {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    read_deadline: Duration,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener, connections: usize, read_deadline: Duration) -> Self {
        let permits = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        Self { listener, permits, read_deadline }
    }
}

impl axum::serve::Listener for Bounded {
    type Io = Timed;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Timed, SocketAddr) {
        loop {
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
                unreachable!("the semaphore is never closed")
            };
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let deadline = Box::pin(tokio::time::sleep(self.read_deadline));
                    let every = self.read_deadline;
                    return (Timed { stream, deadline, every, _permit: permit }, address);
                }
                Err(error) => {
                    metrics::counter!("sterna_edge_http_accept_failures_total").increment(1);
                    tracing::warn!(%error, "cannot accept an HTTP connection");
                    tokio::time::sleep(ACCEPT_BACK_OFF).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection whose peer has a time to send a whole request, counted from the last answer.
#[derive(Debug)]
pub(super) struct Timed {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    every: Duration,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Timed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let end = Instant::now() + self.every;
        self.deadline.as_mut().reset(end);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::pin::pin;

    use axum::serve::Listener as _;
    use metrics_util::debugging::DebuggingRecorder;
    use socket2::SockRef;
    use tokio::time::timeout;

    use super::*;
    use crate::testing::moved_since;

    /// On a clock that stands still while there is anything else to do.
    #[tokio::test(start_paused = true)]
    async fn a_listener_that_cannot_accept_is_tried_again() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        let _here = metrics::set_default_local_recorder(&recorder);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let kernel = SockRef::from(&listener).try_clone().unwrap();
        // It does not listen any more, so every accept fails.
        kernel.shutdown(Shutdown::Both).unwrap();
        let mut bounded = Bounded::new(listener, 1, Duration::from_secs(30));
        let mut accept = pin!(bounded.accept());
        let soon = ACCEPT_BACK_OFF / 2;
        assert!(timeout(soon, accept.as_mut()).await.is_err(), "nobody has connected");
        let moved = moved_since(&snapshotter);
        assert_eq!(moved["sterna_edge_http_accept_failures_total"], 1.0, "it backs off");
        kernel.listen(1).unwrap();
        let address = kernel.local_addr().unwrap().as_socket().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (_, remote) = accept.await;
        assert_eq!(remote, client.local_addr().unwrap());
    }
}
