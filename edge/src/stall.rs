//! Notices that a client does not take what is written to it. Pure: it is shown how much waits to
//! be written, and says since when nothing of it has gone.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct StallWatch {
    unwritten: usize,
    stalled_since: Option<Instant>,
}

impl StallWatch {
    /// To be shown what waits at least before and after more is queued, or what went meanwhile
    /// hides behind what came.
    pub(crate) fn look(&mut self, unwritten: usize, now: Instant) {
        if unwritten == 0 {
            self.stalled_since = None;
        } else if unwritten < self.unwritten {
            self.stalled_since = Some(now);
        } else {
            self.stalled_since.get_or_insert(now);
        }
        self.unwritten = unwritten;
    }

    /// Whether something has waited for so long and nothing has gone since.
    pub(crate) fn is_over(&self, patience: Duration, now: Instant) -> bool {
        self.stalled_since.is_some_and(|since| now - since >= patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn who_reads_steadily_is_not_slow_although_something_always_waits() {
        let mut watch = StallWatch::default();
        let start = Instant::now();
        for second in 0..120 {
            let now = start + Duration::from_secs(second);
            watch.look(50_000, now);
            // As much is queued as was written.
            watch.look(60_000, now);
            assert!(!watch.is_over(PATIENCE, now), "second {second}");
        }
    }

    #[test]
    fn who_does_not_read_is_slow_however_much_is_queued() {
        let mut watch = StallWatch::default();
        let start = Instant::now();
        for second in 0..=60 {
            let now = start + Duration::from_secs(second);
            let unwritten = 1_000 + second as usize;
            watch.look(unwritten, now);
            watch.look(unwritten + 1, now);
            assert_eq!(watch.is_over(PATIENCE, now), second >= 30, "second {second}");
        }
        let now = start + Duration::from_secs(61);
        watch.look(0, now);
        watch.look(10, now + PATIENCE);
        assert!(!watch.is_over(PATIENCE, now + PATIENCE), "nothing waited until now");
    }
}
