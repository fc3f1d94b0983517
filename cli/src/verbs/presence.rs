//! `sterna presence`: who is in a channel now.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};
use sterna_client::{Client, v1};

use super::connect;
use crate::args::PresenceArgs;
use crate::output::{self, printable, state_name};

pub(crate) fn run(args: &PresenceArgs) -> Result<ExitCode> {
    let ask =
        async |client: &Client| client.presence(&args.channel).await.map_err(connect::explained);
    let list = connect::block_on(connect::with_client(&args.connect, ask))?;
    if args.json {
        output::line(&list_json(&list).to_string())?;
    } else {
        for member in &list.members {
            let state = state_name(member.state());
            output::line(&format!("{} {state}", printable(&member.user)))?;
        }
        output::line(&format!("{} in {}", list.total, args.channel))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list_json(list: &v1::PresenceList) -> Value {
    let members: Vec<Value> = list
        .members
        .iter()
        .map(|member| {
            json!({
                "user": member.user,
                "state": state_name(member.state()),
                "sessions": member.sessions,
                "since_ms": member.since_ms,
            })
        })
        .collect();
    json!({ "channel": list.channel, "members": members, "total": list.total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_that_scripts_depend_on() {
        let member = v1::PresenceMember {
            user: "alice".into(),
            state: v1::PresenceState::Online.into(),
            sessions: 2,
            since_ms: 5,
        };
        let list = v1::PresenceList { channel: "a".into(), members: vec![member], total: 1 };
        let wanted = json!({
            "channel": "a", "total": 1,
            "members": [{ "user": "alice", "state": "online", "sessions": 2, "since_ms": 5 }],
        });
        assert_eq!(list_json(&list), wanted);
    }
}
