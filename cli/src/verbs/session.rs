//! `sterna session`: one session of a node, what it is subscribed to, and where its client has been.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use super::operator::Operator;
use crate::args::SessionArgs;
use crate::output::{self, Format, printable};

pub(crate) fn run(args: &SessionArgs) -> Result<ExitCode> {
    let operator = Operator::find(&args.operator)?;
    let found = operator.get(&format!("/api/v1/operate/session?session={}", args.session))?;
    match Format::of(args.json) {
        Format::Json => output::line(&found.to_string())?,
        Format::Human => {
            for line in lines(&found) {
                output::line(&line)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(session: &Value) -> Vec<String> {
    let text = |value: &Value| printable(value.as_str().unwrap_or(""));
    let network = match session["network"].as_str() {
        Some(network) => format!(" ({network})"),
        None => String::new(),
    };
    let attached = match session["attached"].as_bool() {
        Some(true) => {
            format!("{} from {}{network}", text(&session["transport"]), text(&session["remote"]))
        }
        _ => "without a connection, may be resumed".to_owned(),
    };
    let queue = &session["queue"];
    let mut lines = vec![
        format!(
            "{} as {} at {}",
            text(&session["user"]),
            text(&session["client"]),
            text(&session["edge"])
        ),
        attached,
        format!(
            "{} frames given, {} of {} wait",
            session["sent_frames"], queue["frames"], queue["bound_frames"]
        ),
    ];
    for one in session["subscriptions"].as_array().into_iter().flatten() {
        lines.push(format!(
            "{}  {}:{} of {}  {}  {}",
            text(&one["channel"]),
            one["epoch"],
            one["offset"],
            one["head_offset"],
            text(&one["state"]),
            text(&one["activity"])
        ));
    }
    for leg in session["paths"].as_array().into_iter().flatten() {
        let gap =
            leg["gap_ms"].as_u64().map_or(String::new(), |ms| format!(", silent {ms} ms at most"));
        let lost = leg["lost"].as_u64().map_or(String::new(), |lost| format!(", {lost} lost"));
        lines.push(format!(
            "{}  {} → {}  {}{}{gap}{lost}",
            leg["unix_ms"],
            text(&leg["from"]),
            text(&leg["to"]),
            text(&leg["kind"]).replace('_', " "),
            networks(leg)
        ));
    }
    lines
}

/// Where the client has said so.
fn networks(leg: &Value) -> String {
    match (leg["network_from"].as_str(), leg["network_to"].as_str()) {
        (Some(from), Some(to)) if from != to => format!(", {from} → {to}"),
        (_, Some(at)) | (Some(at), None) => format!(", {at}"),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_session_is_told_in_lines_that_its_names_cannot_break() {
        let session = json!({
            "user": "ana\u{1b}[2J", "client": "phone", "edge": "e1", "attached": true,
            "transport": "quic", "remote": "10.0.0.2:7", "network": "cellular", "sent_frames": 9,
            "queue": { "frames": 1, "bound_frames": 256 },
            "subscriptions": [{
                "channel": "room:1", "epoch": 3, "offset": 4, "head_offset": 5, "state": "behind",
                "activity": "active",
            }],
            "paths": [{
                "unix_ms": 8, "from": "10.0.0.1:6", "to": "10.0.0.2:7", "kind": "path_changed",
                "network_from": "wifi", "network_to": "cellular", "gap_ms": 84, "lost": 0,
            }, {
                "unix_ms": 9, "from": "10.0.0.2:7", "to": "10.0.0.3:8", "kind": "resumed",
                "network_from": "cellular", "network_to": "wifi", "gap_ms": null, "lost": null,
            }],
        });
        let found = lines(&session);
        assert!(!found[0].contains('\u{1b}'), "{found:?}");
        assert_eq!(
            found[1..],
            [
                "quic from 10.0.0.2:7 (cellular)",
                "9 frames given, 1 of 256 wait",
                "room:1  3:4 of 5  behind  active",
                "8  10.0.0.1:6 → 10.0.0.2:7  path changed, wifi → cellular, silent 84 ms at most, \
                 0 lost",
                "9  10.0.0.2:7 → 10.0.0.3:8  resumed, cellular → wifi",
            ]
        );
    }
}
