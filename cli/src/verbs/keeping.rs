//! `sterna retention`, `hold`, `seal`, `redact`, `erase`: what a channel keeps. `sterna key`: the
//! master key that data keys are wrapped by.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sterna_storage::keeping::Retention;
use sterna_storage_keeping::RootKeys;

use super::operator::Operator;
use crate::args::{
    EraseArgs, KeyArgs, OperatorArgs, OwnRetention, RedactArgs, RetentionArgs, Switch, SwitchArgs,
};
use crate::keys;
use crate::output::{self, Format, printable};

pub(crate) fn retention(args: &RetentionArgs) -> Result<ExitCode> {
    let channel = args.channel.as_str();
    let Some(wanted) = args.retention else {
        let asked = json!({ "channel": channel, "limit": DEEDS });
        let kept = Operator::find(&args.operator)?.post("/api/v1/keeping", &asked)?;
        match Format::of(args.json) {
            Format::Json => output::line(&kept.to_string())?,
            Format::Human => told(&kept).iter().try_for_each(|line| output::line(line))?,
        }
        return Ok(ExitCode::SUCCESS);
    };
    let millis = match wanted {
        OwnRetention::Default => None,
        OwnRetention::Own(Retention::Forever) => Some(0),
        OwnRetention::Own(Retention::Millis(millis)) => Some(millis),
    };
    let order = json!({ "channel": channel, "retention_ms": millis, "reason": args.reason });
    give(&args.operator, "retention", order, args.json, "what is older goes at the next look")
}

pub(crate) fn hold(args: &SwitchArgs) -> Result<ExitCode> {
    let done = match args.switch {
        Switch::On => "nothing of the channel is given up until it is released",
        Switch::Off => "the hold has ended",
    };
    give(&args.operator, "hold", switched(args), args.json, done)
}

pub(crate) fn seal(args: &SwitchArgs) -> Result<ExitCode> {
    let done = match args.switch {
        Switch::On => "what is archived from now on is sealed, where marked channels are",
        Switch::Off => "what is archived from now on is not sealed, where only marked channels are",
    };
    give(&args.operator, "seal", switched(args), args.json, done)
}

fn switched(args: &SwitchArgs) -> Value {
    let (channel, on) = (args.channel.as_str(), args.switch == Switch::On);
    json!({ "channel": channel, "on": on, "reason": args.reason })
}

pub(crate) fn redact(args: &RedactArgs) -> Result<ExitCode> {
    let RedactArgs { channel, offsets, reason, .. } = args;
    let order = json!({ "channel": channel.as_str(), "offsets": offsets, "reason": reason });
    give(&args.operator, "redact", order, args.json, "nobody is given these payloads any more")
}

pub(crate) fn erase(args: &EraseArgs) -> Result<ExitCode> {
    let order = json!({ "channel": args.channel.as_str(), "reason": args.reason });
    give(&args.operator, "erase", order, args.json, "everything up to now is given up")
}

fn give(
    operator: &OperatorArgs,
    what: &str,
    order: Value,
    json: bool,
    done: &str,
) -> Result<ExitCode> {
    let answer = Operator::find(operator)?.post(&format!("/api/v1/{what}"), &order)?;
    match Format::of(json) {
        Format::Json => output::line(&answer.to_string())?,
        Format::Human => output::line(done)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What a channel keeps, for people.
fn told(kept: &Value) -> Vec<String> {
    let by = |deed: &Value| {
        let text = |name: &str| printable(deed[name].as_str().unwrap_or(""));
        format!("by {} at {} (Unix ms): {}", text("by"), deed["at_ms"], text("reason"))
    };
    let retention = match kept["retention_ms"].as_u64() {
        None => "as configured for its kind".to_owned(),
        Some(0) => "forever".to_owned(),
        Some(millis) => format!("{millis} ms"),
    };
    let mut lines = vec![
        format!("retention   {retention}"),
        format!("begins at   {}", kept["floor"]),
        format!("sealed      {}", if kept["sealed"] == true { "yes" } else { "no" }),
    ];
    if kept["hold"].is_object() {
        lines.push(format!("on hold     {}", by(&kept["hold"])));
    }
    if kept["erased"].is_object() {
        lines.push(format!("erased      {}", by(&kept["erased"])));
    }
    for deed in kept["deeds"].as_array().into_iter().flatten() {
        let what = printable(deed["what"].as_str().unwrap_or(""));
        let version = deed["version"].as_u64().unwrap_or(0);
        lines.push(format!("{version:>9}   {what} {}", by(deed)));
    }
    lines
}

pub(crate) fn key(args: &KeyArgs) -> Result<ExitCode> {
    let line = RootKeys::generate();
    let Some(path) = &args.file else {
        output::line(&line)?;
        return Ok(ExitCode::SUCCESS);
    };
    let earlier = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    if !earlier.is_empty() {
        RootKeys::read(path)?;
    }
    keys::replace(path, &format!("{line}\n{earlier}"), 0o600)?;
    RootKeys::read(path)?;
    output::line(&format!("{} has a new key; nodes use it when they start", path.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Deeds that are printed.
const DEEDS: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_told_with_who_and_why() {
        let deed = json!({
            "version": 3, "what": "put on hold", "by": "api.ops", "at_ms": 5, "reason": "a case\u{1b}",
        });
        let kept = json!({
            "retention_ms": 0, "floor": 7, "sealed": false, "hold": deed, "erased": null,
            "deeds": [deed],
        });
        let lines = told(&kept);
        assert_eq!(lines[0], "retention   forever");
        assert_eq!(lines[3], "on hold     by api.ops at 5 (Unix ms): a case\u{fffd}");
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn a_new_key_goes_before_those_that_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("root");
        for count in 1..=3 {
            key(&KeyArgs { file: Some(file.clone()) }).unwrap();
            let text = std::fs::read_to_string(&file).unwrap();
            assert_eq!(text.lines().count(), count);
        }
        let present = RootKeys::read(&file).unwrap().present();
        key(&KeyArgs { file: Some(file.clone()) }).unwrap();
        assert_ne!(RootKeys::read(&file).unwrap().present(), present);
        std::fs::write(&file, "no key").unwrap();
        assert!(key(&KeyArgs { file: Some(file.clone()) }).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "no key", "it is left as it is");
    }
}
