//! `sterna trace`: the way of the next publication of a channel through one node.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::operator::Operator;
use crate::args::TraceArgs;
use crate::output::{self, Format, printable};

/// How often the node is asked whether it has been seen.
const EVERY: Duration = Duration::from_millis(200);

/// Once it has been seen, its last steps are waited for.
const SETTLE: Duration = Duration::from_millis(500);

pub(crate) fn run(args: &TraceArgs) -> Result<ExitCode> {
    let operator = Operator::find(&args.operator)?;
    let body = json!({ "channel": args.channel.as_str() });
    let armed = operator.post("/api/v1/operate/trace", &body)?;
    let path = format!("/api/v1/operate/trace?trace={}", armed["trace"].as_str().unwrap_or(""));
    output::hint(&format!("waiting for the next publication in {} (Ctrl-C ends)", args.channel));
    loop {
        let trace = operator.get(&path)?;
        match trace["state"].as_str() {
            Some("waiting") => std::thread::sleep(EVERY),
            Some("seen") => break,
            _ => bail!("nothing was published in {} for a minute", args.channel),
        }
    }
    std::thread::sleep(SETTLE);
    let trace = operator.get(&path)?;
    match Format::of(args.json) {
        Format::Json => output::line(&trace.to_string())?,
        Format::Human => {
            for line in lines(&trace) {
                output::line(&line)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for the position, and one for each step.
fn lines(trace: &Value) -> Vec<String> {
    let name = printable(trace["channel"].as_str().unwrap_or(""));
    let place = match (&trace["position"]["epoch"], &trace["position"]["offset"]) {
        (Value::Number(epoch), Value::Number(offset)) => format!("{name} {epoch}:{offset}"),
        _ => format!("{name}, not stored"),
    };
    let steps = trace["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    [place].into_iter().chain(steps.iter().map(step)).collect()
}

fn step(step: &Value) -> String {
    let at = step["at_us"].as_f64().unwrap_or(0.0) / 1000.0;
    let node = printable(step["node"].as_str().unwrap_or(""));
    let what = step["what"].as_str().unwrap_or("");
    let count = step["count"].as_u64().map_or(String::new(), |count| format!(": {count}"));
    format!("{at:>10.3} ms  {node}  {what}{count}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_lines_that_names_from_elsewhere_cannot_break() {
        let trace = json!({
            "channel": "room:1", "position": { "epoch": 3, "offset": 42 },
            "steps": [
                { "at_us": 0, "node": "e\u{1b}[2J", "what": "received", "count": null },
                { "at_us": 1042, "node": "c1", "what": "given to sessions", "count": 312 },
            ],
        });
        let found = lines(&trace);
        assert_eq!(found[0], "room:1 3:42");
        assert!(!found[1].contains('\u{1b}'), "{found:?}");
        assert_eq!(found[2], "     1.042 ms  c1  given to sessions: 312");
        assert_eq!(lines(&json!({ "channel": "a" })), ["a, not stored"]);
    }
}
