//! What whoever waits for a measurement sees, on standard error: a bar of steps, a bar of time where only
//! that is known beforehand, or that something goes on. It moves by itself.

use std::fmt::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// A text with what has been done behind it. Hidden when standard error is no terminal.
#[derive(Debug, Clone)]
pub struct Progress(ProgressBar);

impl Progress {
    #[must_use]
    pub fn new(what: &str, steps: u64) -> Self {
        Self::on(ProgressDrawTarget::stderr(), what, steps)
    }

    /// For whoever reads what programs read.
    #[must_use]
    pub fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    fn on(target: ProgressDrawTarget, what: &str, steps: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps), target);
        let bar = bar.with_style(counted(steps)).with_message(what.to_owned());
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Self(bar)
    }

    pub fn step(&self) {
        self.0.inc(1);
    }

    /// So many of so many steps are done.
    pub fn reach(&self, done: u64, all: u64) {
        if self.0.length() != Some(all) {
            self.0.set_style(counted(all));
            self.0.set_length(all);
        }
        self.0.set_position(done);
    }

    /// Something else is done now; without steps nobody knows how much of it there is.
    pub fn next(&self, what: String, steps: u64) {
        self.begin(what, counted(steps), steps);
    }

    /// Something else is done now, for so long.
    pub fn lasts(&self, what: String, duration: Duration) {
        self.begin(what, timed(duration), 0);
    }

    fn begin(&self, what: String, style: ProgressStyle, steps: u64) {
        self.0.set_style(style);
        self.0.set_message(what);
        self.0.set_length(steps);
        self.0.set_position(0);
    }

    pub fn done(&self) {
        self.0.finish_and_clear();
    }
}

fn counted(steps: u64) -> ProgressStyle {
    style(if steps == 0 { UNKNOWN } else { STEPS })
}

fn timed(duration: Duration) -> ProgressStyle {
    let began = Instant::now();
    style(TIME).with_key("time", move |_: &ProgressState, out: &mut dyn Write| {
        // What cannot be drawn is missed by nobody.
        let _ = out.write_str(&part(began.elapsed(), duration));
    })
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// What has gone by of a time.
fn part(gone: Duration, whole: Duration) -> String {
    let (gone, whole) = (gone.as_secs_f64(), whole.as_secs_f64());
    let full = if gone < whole { (gone / whole * WIDTH as f64) as usize } else { WIDTH };
    let (full, empty) = ("█".repeat(full), "░".repeat(WIDTH - full));
    format!("{full}{empty} {gone:>4.0} of {whole:.0} s")
}

const STEPS: &str = "{msg:44} {wide_bar} {pos:>6}/{len} {elapsed:>4}";
const TIME: &str = "{msg:44} {time}";
const UNKNOWN: &str = "{msg:44} {spinner} {elapsed:>4}";

const WIDTH: usize = 24;

/// Often enough for a clock, and nothing beside a measurement.
const TICK: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use std::io::Result;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    /// Everything that was drawn.
    #[derive(Debug, Default, Clone)]
    struct Paper(Arc<Mutex<String>>);

    impl Paper {
        fn drawn(&self) -> String {
            self.0.lock().unwrap().clone()
        }

        fn until(&self, wanted: &str) {
            let until = Instant::now() + Duration::from_secs(30);
            while !self.drawn().contains(wanted) {
                assert!(Instant::now() < until, "no {wanted:?} in {:?}", self.drawn());
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            120
        }

        fn move_cursor_up(&self, _: usize) -> Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> Result<()> {
            Ok(())
        }

        fn flush(&self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stage_moves_while_nothing_is_told() {
        let paper = Paper::default();
        let target = ProgressDrawTarget::term_like(Box::new(paper.clone()));
        let progress = Progress::on(target, "load", 0);
        progress.lasts("baseline".to_owned(), Duration::from_secs(600));
        paper.until("1 of 600 s");
        progress.next("everybody leaves".to_owned(), 0);
        paper.until("everybody leaves");
        assert!(!paper.drawn().contains("/0"), "{}", paper.drawn());
        progress.next("read back".to_owned(), 7);
        progress.step();
        paper.until("1/7");
        progress.done();
    }

    #[test]
    fn a_time_that_is_over_is_full() {
        let part = |gone| part(Duration::from_secs(gone), Duration::from_secs(12));
        let bar = |full: usize| "█".repeat(full) + &"░".repeat(WIDTH - full);
        assert_eq!(part(0), format!("{}    0 of 12 s", bar(0)));
        assert_eq!(part(6), format!("{}    6 of 12 s", bar(WIDTH / 2)));
        assert_eq!(part(15), format!("{}   15 of 12 s", bar(WIDTH)));
    }
}
