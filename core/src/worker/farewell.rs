//! A node that leaves tells its sessions so, one share after the other: all at once, they would all
//! write, reconnect and resume in the same instant, at the successor too. Pure: time comes in.

use std::ops::Range;
use std::time::Duration;

use sterna_proto::v1;
use tokio::time::Instant;

/// How many sessions of one worker are told in a second; a node lets in a few thousand.
pub const GO_AWAYS_PER_SECOND: u32 = 1000;

/// The last session is told after this part of the deadline at the latest, so that everybody has
/// time.
const SHARE_OF_DEADLINE: u32 = 4;

/// How often the next share is told.
const STEP: Duration = Duration::from_millis(50);

/// Who has been told.
#[derive(Debug)]
pub struct Farewell {
    go_away: v1::GoAway,
    began: Instant,
    spread: Duration,
    /// Slots of sessions; nobody comes any more.
    slots: usize,
    told: usize,
}

impl Farewell {
    /// To the sessions of so many slots.
    pub fn new(go_away: v1::GoAway, slots: usize, now: Instant) -> Self {
        let deadline = Duration::from_millis(go_away.deadline_ms.into());
        let paced =
            Duration::from_secs(1) * u32::try_from(slots).unwrap_or(u32::MAX) / GO_AWAYS_PER_SECOND;
        let spread = paced.min(deadline / SHARE_OF_DEADLINE);
        Self { go_away, began: now, spread, slots, told: 0 }
    }

    /// The slots whose turn has come, and what their sessions are told: the time that is left.
    pub fn due(&mut self, now: Instant) -> (Range<usize>, v1::GoAway) {
        let elapsed = now.saturating_duration_since(self.began);
        // A step ahead, or the first share would be empty.
        let share =
            (elapsed + STEP).as_secs_f64() / self.spread.as_secs_f64().max(f64::MIN_POSITIVE);
        let upto = ((self.slots as f64 * share.min(1.0)).ceil() as usize).max(self.told);
        let due = self.told..upto;
        self.told = upto;
        let elapsed_ms = u32::try_from(elapsed.as_millis()).unwrap_or(u32::MAX);
        let deadline_ms = self.go_away.deadline_ms.saturating_sub(elapsed_ms);
        (due, v1::GoAway { deadline_ms, ..self.go_away.clone() })
    }

    /// When there is more to do.
    pub fn next_at(&self, now: Instant) -> Option<Instant> {
        (self.told < self.slots).then(|| now + STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn farewell(slots: usize, deadline_ms: u32, now: Instant) -> Farewell {
        Farewell::new(v1::GoAway { deadline_ms, ..v1::GoAway::default() }, slots, now)
    }

    #[test]
    fn everybody_is_told_once_and_with_time_left() {
        for (slots, deadline_ms) in [(0, 10_000), (1, 10_000), (7, 0), (50_000, 10_000)] {
            let start = Instant::now();
            let (mut farewell, mut now) = (farewell(slots, deadline_ms, start), start);
            let (mut told, mut largest) = (0, 0);
            loop {
                let (due, go_away) = farewell.due(now);
                assert_eq!(due.start, told, "in order, none twice");
                (told, largest) = (due.end, largest.max(due.len()));
                assert!(go_away.deadline_ms >= deadline_ms - deadline_ms / SHARE_OF_DEADLINE);
                let Some(next) = farewell.next_at(now) else { break };
                assert!(next > now);
                now = next;
            }
            assert_eq!(told, slots);
            let spread = now - start;
            assert!(spread <= Duration::from_millis(u64::from(deadline_ms) / 4), "{spread:?}");
            if slots == 50_000 {
                assert!(largest < 1500, "{largest} of {slots} in one instant");
            }
        }
    }

    #[test]
    fn a_few_sessions_need_not_wait() {
        let now = Instant::now();
        let (due, _) = farewell(40, 10_000, now).due(now);
        assert_eq!(due, 0..40);
    }
}
