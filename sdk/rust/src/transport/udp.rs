//! A UDP socket that does not take the endpoint down with it. quinn ends an endpoint, and with it
//! every connection, at the first I/O error of its socket, but phones break sockets
//! whenever they sleep or change networks. The guard swallows the error, behaves like a path that
//! loses everything, and asks for a fresh socket.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime as _, UdpPoller};
use tokio::sync::Notify;

/// Opens a guarded socket of the family of `remote`. `needs_rebind` is rung when it breaks.
pub(crate) fn open(
    remote: SocketAddr,
    needs_rebind: Arc<Notify>,
) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    let any: SocketAddr = match remote {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    let inner = quinn::TokioRuntime.wrap_udp_socket(socket)?;
    Ok(Arc::new(Guarded { inner, needs_rebind }))
}

#[derive(Debug)]
pub(crate) struct Guarded {
    inner: Arc<dyn AsyncUdpSocket>,
    needs_rebind: Arc<Notify>,
}

impl Guarded {
    fn on_broken(&self, error: &io::Error) {
        tracing::debug!(%error, "the UDP socket broke; asking for a fresh one");
        self.needs_rebind.notify_one();
    }
}

impl AsyncUdpSocket for Guarded {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let inner = self.inner.clone().create_io_poller();
        Box::pin(GuardedPoller { inner })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match self.inner.try_send(transmit) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                self.on_broken(&error);
                // As if the packet were lost on the way.
                Ok(())
            }
            result => result,
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        match self.inner.poll_recv(cx, bufs, meta) {
            Poll::Ready(Err(error)) if error.kind() != io::ErrorKind::ConnectionReset => {
                self.on_broken(&error);
                // The endpoint polls again when it has been given the fresh socket.
                Poll::Pending
            }
            result => result,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

struct GuardedPoller {
    inner: Pin<Box<dyn UdpPoller>>,
}

impl UdpPoller for GuardedPoller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An error here ends the connection; the next try_send meets and swallows it instead.
        self.inner.as_mut().poll_writable(cx).map(|_| Ok(()))
    }
}

impl fmt::Debug for GuardedPoller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuardedPoller")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use futures_util::task::noop_waker;

    /// A socket as iOS leaves it behind.
    #[derive(Debug)]
    struct Dead;

    impl AsyncUdpSocket for Dead {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            Box::pin(DeadPoller)
        }

        fn try_send(&self, _: &Transmit<'_>) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            _: &mut [IoSliceMut<'_>],
            _: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok((Ipv4Addr::LOCALHOST, 1).into())
        }
    }

    #[derive(Debug)]
    struct DeadPoller;

    impl UdpPoller for DeadPoller {
        fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }
    }

    #[test]
    fn a_dead_socket_is_a_lossy_path_that_asks_for_another() {
        let needs_rebind = Arc::new(Notify::new());
        let guarded =
            Arc::new(Guarded { inner: Arc::new(Dead), needs_rebind: needs_rebind.clone() });
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        assert!(guarded.poll_recv(&mut cx, &mut [], &mut []).is_pending());
        assert!(needs_rebind.notified().now_or_never().is_some());
        let transmit = Transmit {
            destination: (Ipv4Addr::LOCALHOST, 2).into(),
            ecn: None,
            contents: &[],
            segment_size: None,
            src_ip: None,
        };
        assert!(guarded.try_send(&transmit).is_ok());
        assert!(needs_rebind.notified().now_or_never().is_some());
        let mut poller = guarded.create_io_poller();
        assert!(matches!(poller.as_mut().poll_writable(&mut cx), Poll::Ready(Ok(()))));
    }
}
