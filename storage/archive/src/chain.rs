//! The runs of one channel, linked from the newest to the oldest.
//!
//! Each run has a link to the one before and one that jumps: either to the one before, or, when the
//! last two jumps were of one length, over both of them. So a run of depth n is found from any later
//! one in about 2·log2(n) steps, with two links each ("An applicative random-access stack", Myers
//! 1983). A step reads the index of one segment.

use std::time::Duration;

use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{Links, Run, RunAt, Segments, StorageError};

use crate::corrupt;

/// The newest run of a channel, and what the links of the next one are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The oldest archived offset.
    pub(crate) first: Offset,
    pub(crate) at: RunAt,
    /// Where the newest run jumps to; itself if it is the only one.
    pub(crate) jump: RunAt,
    /// Where that one jumps to.
    pub(crate) leap: RunAt,
    pub(crate) settled: Settled,
}

/// What has been archived for so long that the log may give it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) upto: Offset,
    /// The end of a run that was archived later, at this time.
    pub(crate) waiting: Offset,
    pub(crate) since_ms: u64,
}

impl Settled {
    /// The newest offset that was archived at least `grace` ago.
    pub(crate) fn upto(&self, now_ms: u64, grace: Duration) -> Offset {
        let waited = Duration::from_millis(now_ms.saturating_sub(self.since_ms));
        if waited >= grace { self.waiting } else { self.upto }
    }
}

impl Tail {
    /// A channel's first run.
    pub(crate) fn first(at: RunAt, now_ms: u64) -> Self {
        let upto = Offset(at.first.0.saturating_sub(1));
        let settled = Settled { upto, waiting: at.last, since_ms: now_ms };
        Self { first: at.first, at, jump: at, leap: at, settled }
    }

    /// The links of the run that follows.
    pub(crate) fn next_links(&self) -> Links {
        let Self { at, jump, leap, .. } = self;
        let length = |from: &RunAt, to: &RunAt| from.depth.saturating_sub(to.depth);
        let same_length = length(at, jump) == length(jump, leap);
        let jump = if same_length { leap } else { at };
        Links { depth: at.depth + 1, back: Some(*at), jump: Some(*jump) }
    }

    /// The tail when that run has been written.
    pub(crate) async fn followed_by(
        &self,
        segments: &dyn Segments,
        channel: ChannelKey,
        at: RunAt,
        (now_ms, grace): (u64, Duration),
    ) -> Result<Self, StorageError> {
        let jump = self.next_links().jump.unwrap_or(self.at);
        let leap = if jump == self.at {
            self.jump
        } else {
            run_at(segments, channel, &jump).await?.links.jump.unwrap_or(jump)
        };
        let upto = self.settled.upto(now_ms, grace);
        let settled = if upto == self.settled.waiting {
            Settled { upto, waiting: at.last, since_ms: now_ms }
        } else {
            // The one that waits goes on waiting, or with many short passes none would ever settle.
            self.settled
        };
        Ok(Self { first: self.first, at, jump, leap, settled })
    }

    /// The run that holds an offset, `None` for one before the archive's first.
    pub(crate) async fn find(
        &self,
        segments: &dyn Segments,
        channel: ChannelKey,
        offset: Offset,
    ) -> Result<Option<RunAt>, StorageError> {
        let mut at = self.at;
        let mut steps = 0_u64;
        while offset < at.first {
            if offset < self.first {
                return Ok(None);
            }
            // The newest run's jump is known without a look.
            let next = if at == self.at && self.jump != at && offset <= self.jump.last {
                self.jump
            } else {
                let links = run_at(segments, channel, &at).await?.links;
                let jump = links.jump.filter(|jump| offset <= jump.last);
                jump.or(links.back).ok_or_else(|| {
                    corrupt(format!("{channel:?}: {:?} has no link to offset {}", at, offset.0))
                })?
            };
            if next.depth >= at.depth || next.last >= at.first {
                return Err(corrupt(format!("{channel:?}: {at:?} is linked to {next:?}")));
            }
            at = next;
            steps += 1;
        }
        metrics::histogram!("sterna_archive_steps_count").record(steps as f64);
        if offset > at.last {
            return Err(corrupt(format!("{channel:?}: offset {} lies in no run", offset.0)));
        }
        Ok(Some(at))
    }
}

/// A run as its segment has it, which must be what a link says of it.
pub(crate) async fn run_at(
    segments: &dyn Segments,
    channel: ChannelKey,
    at: &RunAt,
) -> Result<Run, StorageError> {
    let found = segments.run(at.segment, channel).await?;
    match found {
        Some(run) if (run.first, run.last, run.links.depth) == (at.first, at.last, at.depth) => {
            Ok(run)
        }
        other => Err(corrupt(format!("{channel:?}: instead of {at:?} there is {other:?}"))),
    }
}
