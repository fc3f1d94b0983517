//! `sterna inbox`: what is unread in the channels of a user, once or as it changes.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};
use sterna_client::{Client, InboxEntry, v1};

use super::connect;
use crate::args::InboxArgs;
use crate::output::{self, printable};

pub(crate) fn run(args: &InboxArgs) -> Result<ExitCode> {
    let print = async |client: &Client| print(args, client).await;
    connect::block_on(connect::with_client(&args.connect, print))?;
    Ok(ExitCode::SUCCESS)
}

async fn print(args: &InboxArgs, client: &Client) -> Result<()> {
    let mut touches = args.live.then(|| client.inbox_touches());
    let mut since = None;
    loop {
        let inbox = client.sync(since).await?;
        since = Some(inbox.position);
        if args.json {
            for entry in &inbox.entries {
                output::line(&entry_json(entry).to_string())?;
            }
        } else {
            for line in table(&inbox.entries) {
                output::line(&line)?;
            }
        }
        let Some(touches) = &mut touches else { return Ok(()) };
        tokio::select! {
            touch = touches.next() => if touch.is_none() {
                return Ok(());
            },
            error = connect::given_up(client) => return Err(error),
        }
    }
}

/// One line for each entry, in columns.
fn table(entries: &[InboxEntry]) -> Vec<String> {
    let names: Vec<String> = entries.iter().map(|entry| printable(&entry.channel)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let line = |(name, entry): (&String, &InboxEntry)| {
        let text =
            format!("{name:width$}  {:>6} unread  {}  {}", entry.unread, entry.head, flags(entry));
        text.trim_end().to_owned()
    };
    names.iter().zip(entries).map(line).collect()
}

fn flags(entry: &InboxEntry) -> String {
    let all = [
        (entry.pinned, "pinned"),
        (entry.muted, "muted"),
        (entry.removed, "removed"),
        (entry.left, "left"),
    ];
    let set: Vec<&str> = all.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
    set.join(" ")
}

fn kind_name(kind: v1::ChannelKind) -> &'static str {
    match kind {
        v1::ChannelKind::Direct => "direct",
        v1::ChannelKind::Group => "group",
        v1::ChannelKind::Broadcast => "broadcast",
        v1::ChannelKind::Unspecified => "unspecified",
    }
}

fn entry_json(entry: &InboxEntry) -> Value {
    json!({
        "channel": entry.channel,
        "kind": kind_name(entry.kind),
        "epoch": entry.head.epoch.0,
        "head_offset": entry.head.offset.0,
        "last_ts_ms": entry.last_ts_ms,
        "read_offset": entry.read.0,
        "unread": entry.unread,
        "muted": entry.muted,
        "pinned": entry.pinned,
        "deleted_before": entry.deleted_before.0,
        "removed": entry.removed,
        "left": entry.left,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(channel: &str, unread: u64) -> InboxEntry {
        InboxEntry::from(v1::InboxEntry {
            channel: channel.into(),
            kind: v1::ChannelKind::Direct.into(),
            epoch: 3,
            head_offset: 42,
            read_offset: 42 - unread,
            unread,
            muted: unread > 9,
            ..Default::default()
        })
    }

    #[test]
    fn shapes_that_scripts_depend_on() {
        let wanted = json!({
            "channel": "dm:alice:bob", "kind": "direct", "epoch": 3, "head_offset": 42,
            "last_ts_ms": 0, "read_offset": 40, "unread": 2, "muted": false, "pinned": false,
            "deleted_before": 0, "removed": false, "left": false,
        });
        assert_eq!(entry_json(&example("dm:alice:bob", 2)), wanted);
    }

    #[test]
    fn people_get_columns_that_names_from_elsewhere_cannot_break() {
        let lines = table(&[example("room:1", 12), example("dm:alice:bob", 0)]);
        assert_eq!(lines[0], "room:1            12 unread  3:42  muted");
        assert_eq!(lines[1], "dm:alice:bob       0 unread  3:42");
        assert!(!table(&[example("\u{1b}[2J", 1)])[0].contains('\u{1b}'));
    }
}
