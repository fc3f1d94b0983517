//! Datagrams in memory, in the place of a socket: a test moves them, and says who they are from.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};

use quinn_proto::Transmit;
use quinn_udp::RecvMeta;

#[derive(Debug, Default)]
pub(super) struct Wire {
    arriving: RefCell<VecDeque<(SocketAddr, Vec<u8>)>>,
    sent: RefCell<Vec<(SocketAddr, Vec<u8>)>>,
    driver: RefCell<Option<Waker>>,
}

impl Wire {
    /// A datagram as if it came from `from`.
    pub(super) fn deliver(&self, from: SocketAddr, datagram: Vec<u8>) {
        self.arriving.borrow_mut().push_back((from, datagram));
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// What was sent since, one by one, with whom to.
    pub(super) fn take_sent(&self) -> Vec<(SocketAddr, Vec<u8>)> {
        self.sent.take()
    }

    pub(super) fn send(&self, transmit: &Transmit, contents: &[u8]) {
        let contents = &contents[..transmit.size];
        let each = transmit.segment_size.unwrap_or(contents.len()).max(1);
        let datagrams = contents.chunks(each).map(|it| (transmit.destination, it.to_vec()));
        self.sent.borrow_mut().extend(datagrams);
    }

    pub(super) fn poll_receive(
        &self,
        cx: &Context<'_>,
        slices: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<usize> {
        let mut arriving = self.arriving.borrow_mut();
        let mut count = 0;
        for (slice, meta) in slices.iter_mut().zip(metas) {
            let Some((from, datagram)) = arriving.pop_front() else { break };
            let len = datagram.len().min(slice.len());
            slice[..len].copy_from_slice(&datagram[..len]);
            *meta = RecvMeta { addr: from, len, stride: len, ..RecvMeta::default() };
            count += 1;
        }
        if count == 0 {
            self.driver.replace(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        Poll::Ready(count)
    }
}
