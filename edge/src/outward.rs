//! The outward half of a connection with a session: from the session's outbox onto the transport.
//! Polled by the connection's one task; a delivery costs it one turn: frames are taken, handed to the
//! transport and, mostly, written at once.

use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use sterna_core::{Attachment, Outgoing};
use sterna_proto::CloseReason;
use tokio::time::Instant;

use crate::metrics::Meter;
use crate::stall::StallWatch;
use crate::transport::{End, Sender};

pub(crate) struct Outward<'a> {
    pub(crate) attachment: Attachment,
    pub(crate) sender: &'a mut Sender,
    meter: &'a Meter,
    batch: Vec<Outgoing>,
    stall: StallWatch,
}

impl<'a> Outward<'a> {
    pub(crate) fn new(attachment: Attachment, sender: &'a mut Sender, meter: &'a Meter) -> Self {
        Self { attachment, sender, meter, batch: Vec::new(), stall: StallWatch::default() }
    }

    /// Writes what there is to write, for a while. `Ready`: the connection ends.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        for _ in 0..BATCHES_A_TURN {
            if self.sender.pending_bytes() > 0 {
                let written = self.sender.poll_flush(cx);
                self.look_at_writes();
                match written {
                    Poll::Ready(Err(end)) => return Poll::Ready(end),
                    Poll::Pending if self.is_blocked() => return Poll::Pending,
                    _ => {}
                }
            }
            // What wakes this task outlives the future, so that it may be made anew each time.
            let given = pin!(self.attachment.next_batch(&mut self.batch)).poll(cx);
            let Poll::Ready(given) = given else { return Poll::Pending };
            if let Err(end) = self.check_right() {
                return Poll::Ready(end);
            }
            self.sender.queue(&mut self.batch, self.meter);
            if let Err(reason) = given {
                return Poll::Ready(End::Close(reason));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// So much waits to be written that the outbox is not asked for more: there, what is stale can
    /// still be replaced.
    pub(crate) fn is_blocked(&self) -> bool {
        self.sender.pending_bytes() >= WRITE_AHEAD_BYTES
    }

    /// Whether something has waited for so long and nothing has gone since.
    pub(crate) fn is_stalled(&mut self, patience: Duration) -> bool {
        self.look_at_writes();
        self.stall.is_over(patience, Instant::now())
    }

    /// I11: who has lost the session is not served and hears nothing more, also while so much waits
    /// to be written that the outbox is not asked.
    pub(crate) fn check_right(&self) -> Result<(), End> {
        match self.attachment.closing() {
            Some(
                reason @ (CloseReason::Revoked
                | CloseReason::TokenExpired
                | CloseReason::Superseded),
            ) => Err(reason.into()),
            // The outbox has the last word.
            _ => Ok(()),
        }
    }

    fn look_at_writes(&mut self) {
        self.stall.look(self.sender.pending_bytes(), Instant::now());
    }
}

/// Batches that are written before the connection looks at its other duties.
const BATCHES_A_TURN: usize = 8;

const WRITE_AHEAD_BYTES: usize = 64 * 1024;
