//! What the answering end of a lane owes the asking one: calls that are being carried out, and answers
//! that are not written yet because the other end takes what was written before so slowly. Both are
//! bounded by number, answers by bytes too, so that a node that does not read costs no more than that
//! (I12). What is beyond is a page, which can be asked for again: acknowledgements are small, always
//! kept, and as few as calls.

use std::collections::VecDeque;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use prost::Message as _;
use sterna_proto::link::v1 as wire;
use sterna_proto::v1::reply::Result as Reply;
use tokio::sync::mpsc;

use crate::link::lane::LaneError;
use crate::link::wire as frames;
use crate::link::{Answering, LinkReply};

/// Calls of one lane that are carried out, or whose answers are not written, at a time. Full: the lane
/// is not read.
pub const LANE_ANSWERS: usize = 4096;

/// What answers of one lane may weigh that are not written. Full: pages are refused as BUSY; whoever
/// asked asks again.
pub const LANE_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of answers after which a write takes no more of them.
const WRITE_BYTES: usize = 1024 * 1024;

/// Beside what is encoded, roughly.
const FIXED_BYTES: usize = 128;

type Open = FuturesUnordered<futures_util::future::BoxFuture<'static, (u64, LinkReply)>>;

/// See the module.
pub(super) struct Answers {
    asked: mpsc::Receiver<(u64, Answering)>,
    open: Open,
    unwritten: Unwritten,
}

impl Answers {
    pub fn new(asked: mpsc::Receiver<(u64, Answering)>) -> Self {
        Self { asked, open: Open::new(), unwritten: Unwritten::new(LANE_ANSWER_BYTES) }
    }

    /// Nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.unwritten.frames.is_empty()
    }

    /// Waits for another answer, or for another call. Cancel-safe.
    pub async fn more(&mut self) -> Result<(), LaneError> {
        let has_room = self.open.len() + self.unwritten.frames.len() < LANE_ANSWERS;
        tokio::select! {
            Some((id, reply)) = self.open.next() => self.unwritten.push(id, reply),
            call = self.asked.recv(), if has_room => {
                let lost = || LaneError::Lost("nobody reads calls any more".into());
                let (id, answer) = call.ok_or_else(lost)?;
                self.open.push(answer.map(move |reply| (id, reply)).boxed());
            }
            // Everything is answered, and has to be written first.
            else => std::future::pending().await,
        }
        Ok(())
    }

    /// Gives the next write what is known, the oldest first.
    pub fn take(&mut self, out: &mut Vec<wire::Frame>) {
        while let Some(Some((id, reply))) = self.open.next().now_or_never() {
            self.unwritten.push(id, reply);
        }
        self.unwritten.take(out);
    }

    /// Waits for a write. What is answered meanwhile is looked at when it is, so that what has no room
    /// goes at once.
    pub async fn during(
        &mut self,
        write: impl Future<Output = Result<(), LaneError>>,
    ) -> Result<(), LaneError> {
        let mut write = std::pin::pin!(write);
        loop {
            tokio::select! {
                written = &mut write => return written,
                more = self.more() => more?,
            }
        }
    }
}

/// Answers that wait to be written.
struct Unwritten {
    frames: VecDeque<(wire::Frame, usize)>,
    bytes: usize,
    max_bytes: usize,
}

impl Unwritten {
    fn new(max_bytes: usize) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, max_bytes }
    }

    fn push(&mut self, id: u64, reply: LinkReply) {
        let is_page = reply.as_ref().is_ok_and(is_page);
        let mut frame = frames::answer(id, reply);
        let mut len = weight(&frame);
        if is_page && self.bytes + len > self.max_bytes {
            metrics::counter!("sterna_link_answers_refused_total").increment(1);
            frame = frames::answer(id, Err(crate::link::memory::busy()));
            len = weight(&frame);
        }
        self.bytes += len;
        self.frames.push_back((frame, len));
    }

    fn take(&mut self, out: &mut Vec<wire::Frame>) {
        let mut taken = 0;
        while taken < WRITE_BYTES {
            let Some((frame, len)) = self.frames.pop_front() else { return };
            self.bytes -= len;
            taken += len;
            out.push(frame);
        }
    }
}

/// Only read, so that asking again changes nothing; anything else has been done and must be told.
fn is_page(reply: &Reply) -> bool {
    matches!(
        reply,
        Reply::Subscribed(_)
            | Reply::History(_)
            | Reply::Presence(_)
            | Reply::Members(_)
            | Reply::Inbox(_)
    )
}

fn weight(frame: &wire::Frame) -> usize {
    FIXED_BYTES + frame.encoded_len()
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
