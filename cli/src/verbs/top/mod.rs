//! `sterna top`: a cluster as one of its nodes sees it, drawn anew every few seconds; printed where
//! there is no terminal. Asks, shows and changes nothing.

mod keys;
mod model;
mod screen;
mod table;
mod view;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use crossterm::event::EventStream;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::connect::block_on;
use super::operator::Operator;
use crate::args::TopArgs;
use crate::output;

use keys::{Keys, Pressed};
use model::{Cluster, Inspection};
use screen::Screen;
use table::{Line, Tone, piece, rendered};

pub(crate) fn run(args: &TopArgs) -> Result<ExitCode> {
    let operator = Operator::find(&args.operator)?;
    let asking = Asking { operator, most: args.most };
    let on_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    block_on(async {
        match args.once || args.json || !on_terminal {
            true => print(args, &asking).await,
            false => watch(args, &asking).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Once, or again and again.
async fn print(args: &TopArgs, asking: &Asking) -> Result<()> {
    let keys = Keys::new(args);
    let mut tick = tokio::time::interval(args.interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let terminal = std::io::stdout().is_terminal();
    let width = if terminal { Screen::width() } else { usize::MAX };
    loop {
        tick.tick().await;
        let said = asking.ask().await?;
        if args.json {
            output::line(&json!({ "cluster": said.cluster, "node": said.node }).to_string())?;
        } else {
            for line in said.lines(&keys, width)? {
                output::line(&rendered(&line, width, terminal && wants_colour()))?;
            }
        }
        if args.once {
            return Ok(());
        }
    }
}

/// Until somebody presses `q`. A node that does not answer leaves the last view.
async fn watch(args: &TopArgs, asking: &Asking) -> Result<()> {
    // Before the terminal is changed: a wrong key is an error to read.
    let mut said = asking.ask().await?;
    let mut keys = Keys::new(args);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut screen = Screen::open(wants_colour()).context("this terminal cannot be drawn on")?;
    let mut pressed = EventStream::new();
    let mut tick = tokio::time::interval(args.interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.reset();
    let mut trouble = None;
    loop {
        let bottom = trouble.as_ref().map_or_else(
            || keys.bottom(),
            |trouble: &String| vec![piece(trouble.clone(), Tone::Bad)],
        );
        screen.draw(&said.lines(&keys, Screen::width())?, &bottom)?;
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            event = pressed.next() => match event {
                Some(event) => {
                    if keys.on_event(&event?) == Pressed::Quit {
                        return Ok(());
                    }
                }
                None => return Ok(()),
            },
            _ = tick.tick(), if !keys.is_paused() => match asking.ask().await {
                Ok(answer) => {
                    said = answer;
                    trouble = None;
                }
                Err(error) => trouble = Some(format!("{error:#}")),
            },
        }
    }
}

/// Colour is not wanted by everybody (no-color.org).
fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

struct Asking {
    operator: Operator,
    most: u8,
}

/// What the node said.
struct Said {
    cluster: Value,
    node: Value,
}

impl Asking {
    async fn ask(&self) -> Result<Said> {
        let (operator, most) = (self.operator.clone(), self.most);
        let ask = move || -> Result<Said> {
            Ok(Said {
                cluster: operator.get("/api/v1/operate/cluster")?,
                node: operator.get(&format!("/api/v1/operate/node?most={most}"))?,
            })
        };
        tokio::task::spawn_blocking(ask).await.context("asking has panicked")?
    }
}

impl Said {
    fn lines(&self, keys: &Keys, width: usize) -> Result<Vec<Line>> {
        let unlike = "the node answers in a way that this release does not know";
        let mut cluster: Cluster = serde_json::from_value(self.cluster.clone()).context(unlike)?;
        let mut inspection: Inspection =
            serde_json::from_value(self.node.clone()).context(unlike)?;
        cluster.filter(keys.filter());
        inspection.filter(keys.filter());
        cluster.sort(keys.sort(), keys.is_reversed());
        Ok(view::lines(&cluster, &inspection, width))
    }
}
