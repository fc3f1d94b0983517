//! What whoever waits for a measurement sees, on standard error.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar with a text in front. Hidden when standard error is no terminal.
#[derive(Debug, Clone)]
pub struct Progress(ProgressBar);

impl Progress {
    #[must_use]
    pub fn new(what: &str, steps: u64) -> Self {
        let style = ProgressStyle::with_template("{msg:44} {wide_bar} {pos:>6}/{len} {elapsed:>4}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::new(steps).with_style(style).with_message(what.to_owned()))
    }

    pub fn step(&self) {
        self.0.inc(1);
    }

    /// So many of so many steps are done.
    pub fn reach(&self, done: u64, all: u64) {
        self.0.set_length(all);
        self.0.set_position(done);
    }

    /// Something else is done now.
    pub fn next(&self, what: String, steps: u64) {
        self.0.set_message(what);
        self.0.set_length(steps);
        self.0.set_position(0);
    }

    pub fn done(&self) {
        self.0.finish_and_clear();
    }
}
