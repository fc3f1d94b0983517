//! The runs of one channel, linked from the newest to the oldest.
//!
//! Each run has a link to the one before and one that jumps: either to the one before, or, when the
//! last two jumps were of one length, over both of them. So a run of depth n is found from any later
//! one in about 2·log2(n) steps, with two links each ("An applicative random-access stack", Myers
//! 1983). A step reads the index of one segment.

use std::time::Duration;

use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{Links, Run, RunAt, StorageError};

use crate::corrupt;
use crate::library::Library;

/// The newest run of a channel, and what the links of the next one are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The oldest offset that was archived.
    pub(crate) first: Offset,
    /// What lies before was given up since: nobody reads it, and its runs may be gone. 0: nothing was.
    pub(crate) floor: Offset,
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
        Self { first: at.first, floor: Offset::ZERO, at, jump: at, leap: at, settled }
    }

    /// The oldest offset that the archive gives.
    pub(crate) fn begins(&self) -> Offset {
        self.first.max(self.floor)
    }

    /// The links of the run that follows.
    pub(crate) fn next_links(&self) -> Links {
        let Self { at, jump, leap, .. } = self;
        let jump = if is_over_both(at, jump, leap) { leap } else { at };
        Links { depth: at.depth + 1, back: Some(*at), jump: Some(*jump) }
    }

    /// The tail when that run has been written.
    pub(crate) async fn followed_by(
        &self,
        library: &Library,
        channel: ChannelKey,
        at: RunAt,
        (now_ms, grace): (u64, Duration),
    ) -> Result<Self, StorageError> {
        let jump = self.next_links().jump.unwrap_or(self.at);
        let leap = if jump == self.at {
            self.jump
        } else if jump.last < self.floor {
            // Nothing before it is ever looked for: as if it were the first.
            jump
        } else {
            run_at(library, channel, &jump, self.floor).await?.links.jump.unwrap_or(jump)
        };
        let upto = self.settled.upto(now_ms, grace);
        let settled = if upto == self.settled.waiting {
            Settled { upto, waiting: at.last, since_ms: now_ms }
        } else {
            // The one that waits goes on waiting, or with many short passes none would ever settle.
            self.settled
        };
        Ok(Self { first: self.first, floor: self.floor, at, jump, leap, settled })
    }

    /// The run that holds an offset, by the name of a segment that leads to it; `None` for one before
    /// the archive's first.
    ///
    /// A run that was merged with those before it has the links of the oldest of them. So whichever
    /// run a link leads to, what follows it ends before that run begins: the search comes to an end.
    pub(crate) async fn find(
        &self,
        library: &Library,
        channel: ChannelKey,
        offset: Offset,
    ) -> Result<Option<RunAt>, StorageError> {
        if offset < self.begins() {
            return Ok(None);
        }
        let mut at = self.at;
        let mut steps = 0_u64;
        while offset < at.first {
            // The newest run's jump is known without a look.
            let next = if at == self.at && self.jump != at && offset <= self.jump.last {
                self.jump
            } else {
                let run = run_at(library, channel, &at, self.floor).await?;
                at = RunAt {
                    segment: at.segment,
                    first: run.first,
                    last: run.last,
                    depth: run.links.depth,
                };
                if run.first <= offset {
                    break;
                }
                let jump = run.links.jump.filter(|jump| offset <= jump.last);
                jump.or(run.links.back).ok_or_else(|| {
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

/// Whether what comes behind `at` jumps over its jump and the next one: where they are of one length,
/// or, between runs that were merged, of about one.
fn is_over_both(at: &RunAt, jump: &RunAt, leap: &RunAt) -> bool {
    let length = |from: &RunAt, to: &RunAt| u64::from(from.depth.saturating_sub(to.depth));
    let (one, other) = (length(at, jump), length(jump, leap));
    other > 0 && 2 * one > other
}

/// The links of a run that was merged with those before it, whose oldest has these. Of its jumps that
/// one is short more often than not, and the long ones of the others are lost: it gets another, which
/// [depends on nothing but its own offsets](jump_over).
pub(crate) async fn relink(
    library: &Library,
    channel: ChannelKey,
    (first, last, links): (Offset, Offset, Links),
    floor: Offset,
) -> Result<Links, StorageError> {
    let Some(back) = links.back else { return Ok(links) };
    let wanted = jump_over(first, last).max(floor);
    let mut at = back;
    while wanted < at.first {
        let run = run_at(library, channel, &at, floor).await?;
        if run.first <= wanted {
            break;
        }
        let jump = run.links.jump.filter(|jump| wanted <= jump.last);
        let Some(next) = jump.or(run.links.back) else { break };
        if next.depth >= run.links.depth || next.last >= run.first {
            return Err(corrupt(format!("{channel:?}: {at:?} is linked to {next:?}")));
        }
        at = next;
    }
    Ok(Links { jump: Some(at), ..links })
}

/// Where a merged run with these offsets jumps to: before its first.
///
/// As if runs of its size were the places of a row from offset 0 on. The place that is `i` before a
/// multiple of 2^k jumps to where the last 2^(k - i) before that multiple begin: so what jumps too far
/// has a neighbour that jumps half as far, and a search takes some 2·log2(n) steps, as it does among
/// the archiver's own runs. Runs of several sizes share the multiples, and it does not matter in which
/// order they were merged, nor what becomes of those before.
fn jump_over(first: Offset, last: Offset) -> Offset {
    let (first, last) = (u128::from(first.0), u128::from(last.0));
    let size = (last + 1 - first).ilog2();
    // It covers two places at most; of all that they offer, the furthest.
    let mut furthest = first.saturating_sub(1);
    for place in first >> size..=last >> size {
        for k in 1..u64::BITS {
            let top = place.div_ceil(1 << k) << k;
            let Some(far) = k.checked_sub(u32::try_from(top - place).unwrap_or(u32::MAX)) else {
                continue;
            };
            let begins = top.saturating_sub(1 << far) << size;
            furthest = if far > 0 { furthest.min(begins) } else { furthest };
        }
    }
    Offset(u64::try_from(furthest.max(1)).unwrap_or(u64::MAX))
}

/// A run as it lies now, which must be what a link says of it, or hold that. Of a run from before
/// `floor` only what lies behind it is wanted.
pub(crate) async fn run_at(
    library: &Library,
    channel: ChannelKey,
    at: &RunAt,
    floor: Offset,
) -> Result<Run, StorageError> {
    let found = library.run(at.segment, channel).await?;
    if let Some((segment, Some(run))) = found {
        let depth = run.links.depth;
        let is_it = if segment == at.segment {
            (run.first, run.last, depth) == (at.first, at.last, at.depth)
        } else {
            run.first <= at.first.max(floor) && run.last >= at.last && depth <= at.depth
        };
        if is_it {
            return Ok(run);
        }
    }
    Err(corrupt(format!("{channel:?}: instead of {at:?} there is {found:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_leads_before_its_run_whatever_its_offsets() {
        let max = u64::MAX;
        for (first, last) in [(1, 1), (1, 9), (2, 2), (8, 9), (max, max), (1, max), (max / 2, max)]
        {
            let jump = jump_over(Offset(first), Offset(last)).0;
            assert!(jump < first || jump == 1, "{first} to {last}: {jump}");
        }
    }

    #[test]
    fn merged_runs_of_any_sizes_are_searched_in_few_steps() {
        for (least, most) in [(1, 1), (45, 45), (64, 64), (40, 80), (10, 100), (1, 1000)] {
            // In whichever order they are merged: a jump depends on offsets alone.
            let mut ends = vec![0_u64];
            let mut size = least;
            while ends.len() <= 1_000 {
                ends.push(ends[ends.len() - 1] + size);
                size = least + (size * 7_919 + 13) % (most - least + 1);
            }
            let mut deepest = 0;
            for wanted in ends[..1_000].iter().map(|end| end + 1) {
                let (mut at, mut steps) = (1_000, 0);
                while wanted <= ends[at - 1] {
                    let jump = jump_over(Offset(ends[at - 1] + 1), Offset(ends[at])).0;
                    assert!(jump <= ends[at - 1]);
                    at = if wanted <= jump {
                        ends.partition_point(|end| *end < jump)
                    } else {
                        at - 1
                    };
                    steps += 1;
                }
                deepest = steps.max(deepest);
            }
            assert!(deepest <= 4 * 10, "{least} to {most}: {deepest} steps");
        }
    }
}
