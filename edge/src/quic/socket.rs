//! The UDP socket of a worker: many datagrams for a system call, in both directions.

use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::task::{Context, Poll, ready};

use quinn_proto::{EcnCodepoint, Transmit};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use tokio::io::Interest;

#[derive(Debug)]
pub(super) struct Socket {
    socket: tokio::net::UdpSocket,
    state: UdpSocketState,
    /// Every second send fails as if the kernel's buffer were full, which loopback never fills.
    #[cfg(test)]
    pub(super) full: Option<std::cell::Cell<bool>>,
    /// So many times in turn the kernel fails to receive.
    #[cfg(test)]
    pub(super) failures: std::cell::Cell<usize>,
    /// Instead of the kernel.
    #[cfg(test)]
    pub(super) wire: Option<std::rc::Rc<super::wire::Wire>>,
}

impl Socket {
    /// Has to be called inside the worker's runtime.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self {
            socket: tokio::net::UdpSocket::from_std(socket)?,
            state,
            #[cfg(test)]
            full: None,
            #[cfg(test)]
            failures: std::cell::Cell::new(0),
            #[cfg(test)]
            wire: None,
        })
    }

    /// Whether datagrams may be cut on their way, so that the path's size cannot be found out.
    pub(super) fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    /// Datagrams to one client that may go out as one.
    pub(super) fn segments(&self) -> usize {
        self.state.max_gso_segments().clamp(1, SEGMENTS)
    }

    /// `WouldBlock`: the kernel's buffer is full. Other failures are logged by the library, at most
    /// one a minute: to QUIC they are lost packets.
    pub(super) fn try_send(&self, transmit: &Transmit, contents: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if let Some(full) = &self.full
            && !full.replace(!full.get())
        {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        #[cfg(test)]
        if let Some(wire) = &self.wire {
            wire.send(transmit, contents);
            return Ok(());
        }
        let transmit = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
            contents: &contents[..transmit.size],
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        };
        self.socket.try_io(Interest::WRITABLE, || {
            self.state.send(UdpSockRef::from(&self.socket), &transmit)
        })
    }

    /// Waits until the kernel takes datagrams again.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        #[cfg(test)]
        if self.full.is_some() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.socket.poll_send_ready(cx)
    }

    /// Fills `buffers` with what has arrived; the number of them that hold something.
    pub(super) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut ReceiveBuffers,
    ) -> Poll<io::Result<usize>> {
        #[cfg(test)]
        if self.failures.get() > 0 {
            self.failures.set(self.failures.get() - 1);
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        #[cfg(test)]
        if let Some(wire) = &self.wire {
            let (mut slices, metas) = buffers.parts();
            return wire.poll_receive(cx, &mut slices, metas).map(Ok);
        }
        loop {
            ready!(self.socket.poll_recv_ready(cx))?;
            let received = self.socket.try_io(Interest::READABLE, || {
                let (mut slices, metas) = buffers.parts();
                self.state.recv(UdpSockRef::from(&self.socket), &mut slices, metas)
            });
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
    }

    pub(super) fn receive_buffers(&self, datagram_bytes: usize) -> ReceiveBuffers {
        let each = datagram_bytes * self.state.gro_segments();
        ReceiveBuffers {
            bytes: vec![0; each * BATCH_SIZE].into(),
            metas: [RecvMeta::default(); BATCH_SIZE],
        }
    }
}

/// Room for what one system call can bring.
pub(super) struct ReceiveBuffers {
    bytes: Box<[u8]>,
    metas: [RecvMeta; BATCH_SIZE],
}

impl ReceiveBuffers {
    fn parts(&mut self) -> ([IoSliceMut<'_>; BATCH_SIZE], &mut [RecvMeta]) {
        let each = self.bytes.len() / BATCH_SIZE;
        let mut chunks = self.bytes.chunks_mut(each);
        // There are as many chunks as slices; one without room would only receive nothing.
        let slices = std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or(&mut [])));
        (slices, &mut self.metas)
    }

    /// What the buffer `index` holds, and about whom.
    pub(super) fn get(&self, index: usize) -> (&[u8], RecvMeta) {
        let meta = self.metas[index];
        let start = index * (self.bytes.len() / BATCH_SIZE);
        (&self.bytes[start..start + meta.len], meta)
    }
}

impl std::fmt::Debug for ReceiveBuffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveBuffers").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// Congestion as a router on the way has marked it.
pub(super) fn ecn_of(meta: &RecvMeta) -> Option<EcnCodepoint> {
    meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8))
}

/// Datagrams of one client in one system call: beyond this the gain is small and others wait.
const SEGMENTS: usize = 10;
