//! What the machine itself takes: how often, and for how long, a loop that does nothing but look at the
//! clock is held up on the core of the servers. What holds it up, a host that gives the core to others
//! or a thread of the kernel, holds up every server there, and whatever waits meanwhile is part of the
//! latencies that are measured.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::machine;
use crate::server::on_the_core;

/// How to start a process that runs the loop. It is given `--milliseconds`, calls [`watch`] and prints
/// what comes.
#[derive(Debug, Clone)]
pub struct StallLoop {
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

/// What the loop saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Stalls {
    pub watched_ms: f64,
    /// Of half a millisecond and more.
    pub count: u64,
    /// All of them together.
    pub sum_ms: f64,
    pub longest_ms: f64,
}

/// The loop itself.
#[must_use]
pub fn watch(duration: Duration) -> Stalls {
    let began = Instant::now();
    let mut stalls = Stalls::default();
    let mut last = began;
    while last - began < duration {
        let now = Instant::now();
        stalls.note(now - last);
        last = now;
    }
    stalls.watched_ms = in_ms(last - began);
    stalls
}

impl StallLoop {
    pub(crate) async fn run(&self) -> Result<Stalls> {
        let mut command = tokio::process::Command::from(on_the_core(&self.program));
        command
            .args(&self.arguments)
            .arg(format!("--milliseconds={}", WATCHED.as_millis()))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = command.output().await.context("the loop over the clock does not start")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the loop over the clock failed: {}", complaint.trim());
        serde_json::from_slice(&output.stdout).context("the loop over the clock printed nothing")
    }
}

impl Stalls {
    fn note(&mut self, gap: Duration) {
        if gap >= STALL {
            self.count += 1;
            self.sum_ms += in_ms(gap);
            self.longest_ms = self.longest_ms.max(in_ms(gap));
        }
    }

    pub(crate) fn add(&mut self, more: &Self) {
        self.watched_ms += more.watched_ms;
        self.count += more.count;
        self.sum_ms += more.sum_ms;
        self.longest_ms = self.longest_ms.max(more.longest_ms);
    }

    pub(crate) fn text(&self) -> String {
        let Self { watched_ms, count, sum_ms, longest_ms } = self;
        format!(
            "a loop that only looks at the clock, alone on {}, was held up {count} times in {:.0} s for \
             {:.1} ms or more: {sum_ms:.1} ms in all, {longest_ms:.1} ms at most; what does that to it \
             does it to servers",
            if machine::can_pin() { "the servers' core" } else { "this machine" },
            watched_ms / 1e3,
            in_ms(STALL),
        )
    }
}

fn in_ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

const STALL: Duration = Duration::from_micros(500);

/// How long it watches before each round.
pub(super) const WATCHED: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_of_half_a_millisecond_and_more_count() {
        let mut stalls = Stalls::default();
        [499, 500, 3_000, 20].map(Duration::from_micros).into_iter().for_each(|it| stalls.note(it));
        assert_eq!((stalls.count, stalls.sum_ms, stalls.longest_ms), (2, 3.5, 3.0));
        stalls.add(&Stalls { watched_ms: 10.0, count: 1, sum_ms: 7.0, longest_ms: 7.0 });
        let expected = Stalls { watched_ms: 10.0, count: 3, sum_ms: 10.5, longest_ms: 7.0 };
        assert_eq!(stalls, expected);
    }

    #[test]
    fn the_loop_watches_for_as_long_as_it_is_told() {
        let stalls = watch(Duration::from_millis(20));
        assert!(stalls.watched_ms >= 20.0);
        assert!(stalls.sum_ms <= stalls.watched_ms, "{stalls:?}");
    }
}
