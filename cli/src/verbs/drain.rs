//! `sterna drain`: leaves an order with a node's HTTP surface and watches it leave. The node carries
//! the order out whoever watches: Ctrl-C here ends the watching alone.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use serde_json::{Value, json};

use super::operator::Operator;
use crate::args::DrainArgs;
use crate::output::{self, Format};

/// How often the node is asked how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How long a node may take to end once the deadline has passed.
const AFTER_DEADLINE: Duration = Duration::from_secs(60);

/// One answer may be lost; a node that has been asked so often in vain has ended.
const SILENCES: u32 = 2;

/// How far the node is, as it says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Progress {
    left_ms: u64,
    successor: String,
    sessions: u64,
    connections: u64,
    slots: u64,
}

pub(crate) fn run(args: &DrainArgs) -> Result<ExitCode> {
    let operator = Operator::find(&args.operator)?;
    let mut order = json!({ "deadline_ms": args.deadline.as_millis() as u64 });
    if let Some(successor) = &args.successor {
        order["successor"] = successor.as_str().into();
    }
    let taken = operator.post("/api/v1/drain", &order)?;
    let format = Format::of(args.json);
    if args.no_wait {
        match format {
            Format::Json => output::line(&taken.to_string())?,
            Format::Human => output::line(&format!(
                "the node is leaving; clients have {} ms",
                taken["deadline_ms"]
            ))?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let deadline = Duration::from_millis(taken["deadline_ms"].as_u64().unwrap_or(0));
    Watch::new(operator, format, deadline).run()
}

/// Asks until the node does not answer any more, and tells what has changed.
struct Watch {
    operator: Operator,
    format: Format,
    began: Instant,
    give_up: Duration,
    bar: ProgressBar,
    /// Connections at the beginning.
    all: u64,
    last: Option<Progress>,
}

impl Watch {
    fn new(operator: Operator, format: Format, deadline: Duration) -> Self {
        let shows_bar = format == Format::Human && std::io::stderr().is_terminal();
        let target =
            if shows_bar { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let give_up = deadline + AFTER_DEADLINE;
        Self { operator, format, began: Instant::now(), give_up, bar, all: 0, last: None }
    }

    fn run(mut self) -> Result<ExitCode> {
        let mut silent = 0;
        loop {
            match self.operator.get("/api/v1/operate/drain") {
                Ok(answer) => {
                    silent = 0;
                    // It may have the order and not have begun.
                    if answer["draining"] == true {
                        self.tell(serde_json::from_value(answer)?)?;
                    }
                }
                Err(_) if silent + 1 == SILENCES => return self.left(),
                Err(_) => silent += 1,
            }
            if self.began.elapsed() > self.give_up {
                self.bar.finish_and_clear();
                bail!("the node has not left; its log says what it waits for");
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    fn tell(&mut self, progress: Progress) -> Result<()> {
        self.all = self.all.max(progress.connections);
        if !self.bar.is_hidden() {
            self.draw(&progress)?;
        } else if self.last.as_ref().is_none_or(|last| last.has_changed(&progress)) {
            output::line(&match self.format {
                Format::Json => progress.json().to_string(),
                Format::Human => progress.text(),
            })?;
        }
        self.last = Some(progress);
        Ok(())
    }

    fn draw(&self, progress: &Progress) -> Result<()> {
        if self.last.is_none() {
            self.bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} moved  {msg}")?);
        }
        self.bar.set_length(self.all);
        self.bar.set_position(self.all - progress.connections);
        self.bar.set_message(progress.text());
        Ok(())
    }

    /// Its surface is closed after its clients have gone and its channels are given away.
    fn left(self) -> Result<ExitCode> {
        self.bar.finish_and_clear();
        let took_ms = self.began.elapsed().as_millis() as u64;
        output::line(&match self.format {
            Format::Json => json!({ "event": "left", "took_ms": took_ms }).to_string(),
            Format::Human => format!("the node has left after {}", seconds(took_ms)),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Progress {
    /// Time alone is no news.
    fn has_changed(&self, later: &Self) -> bool {
        Self { left_ms: later.left_ms, ..self.clone() } != *later
    }

    fn text(&self) -> String {
        let successor = match self.successor.as_str() {
            "" => "wherever there is room".to_owned(),
            named => format!("to {named}"),
        };
        format!(
            "{} sessions and {} connections go {successor} within {}; {} of 2048 slots to give away",
            self.sessions,
            self.connections,
            seconds(self.left_ms),
            self.slots
        )
    }

    fn json(&self) -> Value {
        json!({
            "event": "leaving",
            "left_ms": self.left_ms,
            "successor": self.successor,
            "sessions": self.sessions,
            "connections": self.connections,
            "slots": self.slots,
        })
    }
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        let successor = "other:4443".to_owned();
        Progress { left_ms: 4200, successor, sessions: 7, connections: 8, slots: 100 }
    }

    #[test]
    fn a_line_says_who_is_left_and_where_they_go() {
        let text = progress().text();
        for part in ["7 sessions", "8 connections", "other:4443", "4.2 s", "100 of 2048 slots"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let nowhere = Progress { successor: String::new(), ..progress() };
        assert!(nowhere.text().contains("wherever there is room"));
    }

    #[test]
    fn a_line_follows_when_something_has_moved() {
        assert!(!progress().has_changed(&Progress { left_ms: 1, ..progress() }));
        assert!(progress().has_changed(&Progress { slots: 99, ..progress() }));
        assert!(progress().has_changed(&Progress { sessions: 6, ..progress() }));
        assert_eq!(progress().json()["event"], "leaving");
    }
}
