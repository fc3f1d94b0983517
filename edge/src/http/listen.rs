//! The listener: a bounded number of connections, and none that sends its request drop by drop or
//! leaves its answer lying. While a request is worked on, its own deadline counts, not these.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
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
                    return (Timed::new(stream, self.read_deadline, permit), address);
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

/// Whether a request of a connection is being worked on.
#[derive(Debug, Clone, Default)]
pub(super) struct Working(Arc<AtomicBool>);

impl Working {
    /// From now until the returned value is dropped.
    pub(super) fn begin(&self) -> impl Drop + use<> {
        struct Begun(Working);
        impl Drop for Begun {
            fn drop(&mut self) {
                self.0.0.store(false, Ordering::Relaxed);
            }
        }
        self.0.store(true, Ordering::Relaxed);
        Begun(self.clone())
    }

    fn is_working(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Working {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        stream.io().working.clone()
    }
}

/// A connection whose peer has a time to send a request, counted from the last answer, and again
/// to take some of its answer.
#[derive(Debug)]
pub(super) struct Timed {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    every: Duration,
    working: Working,
    _permit: OwnedSemaphorePermit,
}

impl Timed {
    fn new(stream: TcpStream, every: Duration, permit: OwnedSemaphorePermit) -> Self {
        let deadline = Box::pin(tokio::time::sleep(every));
        Self { stream, deadline, every, working: Working::default(), _permit: permit }
    }

    fn restart(&mut self) {
        let end = Instant::now() + self.every;
        self.deadline.as_mut().reset(end);
    }

    fn check<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if !self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Pending;
        }
        metrics::counter!("sterna_edge_http_slow_peers_total").increment(1);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.working.is_working() {
            // Here only the end of the connection is looked for, or the body comes.
            self.restart();
        } else if let Poll::Ready(late) = self.check(context) {
            return Poll::Ready(late);
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
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Ready(written) => {
                self.restart();
                Poll::Ready(written)
            }
            Poll::Pending => self.check(context),
        }
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
