//! The listener: a bounded number of connections, and none that sends its request drop by drop or
//! leaves its answer lying. While a request is worked on, its own deadline counts, not these. When
//! all connections are taken, those that have no request make room early: `/readyz` has to answer
//! whoever else holds connections.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};

use crate::descriptors;
use crate::places::{GRACE, Place, Places};

/// How long to leave the kernel alone after it could not accept.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

/// How often a connection without a request looks whether it has to make room.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A TCP listener with so many places.
#[derive(Debug)]
pub(super) struct Bounded {
    listener: TcpListener,
    places: Places,
    read_deadline: Duration,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener, connections: usize, read_deadline: Duration) -> Self {
        Self { listener, places: Places::new(connections), read_deadline }
    }
}

impl axum::serve::Listener for Bounded {
    type Io = Timed;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Timed, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) if !descriptors::leave_room(&stream) => {
                    metrics::counter!("sterna_edge_http_accept_failures_total").increment(1);
                }
                Ok((stream, address)) => {
                    let place = self.places.take().await;
                    return (Timed::new(stream, self.read_deadline, place), address);
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

/// Whether anything is being worked on for a connection: a request, or what it was upgraded to.
#[derive(Debug, Clone, Default)]
pub(super) struct Working(Arc<AtomicUsize>);

impl Working {
    /// From now until the returned value is dropped.
    pub(super) fn begin(&self) -> impl Drop + use<> {
        struct Begun(Working);
        impl Drop for Begun {
            fn drop(&mut self) {
                self.0.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.0.fetch_add(1, Ordering::Relaxed);
        Begun(self.clone())
    }

    fn is_working(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
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
    /// When to look at the time that has passed.
    alarm: Pin<Box<Sleep>>,
    since: Instant,
    every: Duration,
    working: Working,
    place: Place,
}

impl Timed {
    fn new(stream: TcpStream, every: Duration, place: Place) -> Self {
        let alarm = Box::pin(tokio::time::sleep(every.min(GRACE)));
        let (since, working) = (Instant::now(), Working::default());
        Self { stream, alarm, since, every, working, place }
    }

    fn restart(&mut self) {
        self.since = Instant::now();
        let alarm = self.since + self.every.min(GRACE);
        self.alarm.as_mut().reset(alarm);
    }

    fn check<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        while self.alarm.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let end = self.since + self.every;
            if now >= end || self.place.is_wanted() {
                metrics::counter!("sterna_edge_http_slow_peers_total").increment(1);
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.alarm.as_mut().reset(end.min(now + LOOK_AGAIN));
        }
        Poll::Pending
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
