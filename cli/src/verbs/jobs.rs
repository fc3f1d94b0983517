//! Orders work from a running node and watches it. The node carries it out whoever watches: Ctrl-C here
//! ends the watching alone.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use sterna_bench::progress::Progress;

use super::operator::Operator;

/// How often the node is asked how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// So many answers in a row may be lost.
const SILENCES: u32 = 25;

/// Leaves an order and waits for what comes of it.
pub(super) fn carry_out(operator: &Operator, path: &str, order: &Value) -> Result<Value> {
    let begun = operator.post(path, order)?;
    let id = begun["job"].as_str().context("the node does not say which job it has begun")?;
    let bar = Progress::new("begun", 0);
    let ended = watch(operator, id, &bar);
    bar.done();
    ended
}

fn watch(operator: &Operator, id: &str, bar: &Progress) -> Result<Value> {
    let (mut stage, mut silent) = (String::new(), 0);
    loop {
        match operator.get(&format!("/api/v1/operate/job?job={id}")) {
            Ok(mut job) => {
                silent = 0;
                let of = job["of"].as_u64().unwrap_or(0);
                if job["stage"] != stage.as_str() {
                    job["stage"].as_str().unwrap_or_default().clone_into(&mut stage);
                    bar.next(stage.clone(), of);
                }
                bar.reach(job["done"].as_u64().unwrap_or(0), of);
                match job["state"].as_str() {
                    Some("running") => {}
                    Some("done") => return Ok(job["result"].take()),
                    _ => bail!("{}", job["error"].as_str().unwrap_or("it failed without a word")),
                }
            }
            Err(error) if silent + 1 == SILENCES => {
                return Err(error.context("the node does not say what came of it"));
            }
            Err(_) => silent += 1,
        }
        thread::sleep(LOOK_AGAIN);
    }
}
