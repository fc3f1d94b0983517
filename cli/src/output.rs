//! What verbs print: for people, or one JSON object a line. Publication ids are JSON texts because
//! JavaScript cannot hold 64 bits; epochs and offsets are numbers.

use std::io::{self, Write as _};

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sterna_client::{Ack, MemberChange, Position, Publication, v1};

/// How a verb prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Human,
    Json,
}

impl Format {
    pub(crate) fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Human }
    }
}

/// One line on standard output, at once: whoever reads it may be waiting.
pub(crate) fn line(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

/// For people who wait, on standard error.
pub(crate) fn hint(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

pub(crate) fn complain(error: &anyhow::Error) {
    // Nobody can be told when standard error is gone, too.
    let _ = writeln!(io::stderr(), "sterna: {error:#}");
}

pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    })
}

pub(crate) fn acked(format: Format, channel: &str, ack: &Ack) -> String {
    match format {
        Format::Json => acked_json(channel, ack).to_string(),
        Format::Human => {
            let twice = if ack.duplicate { ", stored by an earlier attempt" } else { "" };
            format!("{channel} {}{twice}", ack.position)
        }
    }
}

fn acked_json(channel: &str, ack: &Ack) -> Value {
    json!({
        "channel": channel,
        "epoch": ack.position.epoch.0,
        "offset": ack.position.offset.0,
        "id": ack.id.to_string(),
        "duplicate": ack.duplicate,
    })
}

pub(crate) fn publication(format: Format, publication: &Publication) -> String {
    match format {
        Format::Json => publication_json(publication).to_string(),
        Format::Human => {
            let text = match (&publication.member, std::str::from_utf8(&publication.payload)) {
                (Some(change), _) => member_line(change),
                (None, _) if publication.redacted => "(redacted)".to_owned(),
                (None, _) if is_redaction(publication) => redaction_line(publication),
                (None, Ok(text)) => printable(text),
                (None, Err(_)) => format!("({} bytes)", publication.payload.len()),
            };
            format!("{} {}: {text}", publication.position, printable(&publication.sender))
        }
    }
}

/// Where a channel ends, of which no publications are received.
pub(crate) fn head(format: Format, channel: &str, position: Position) -> String {
    match format {
        Format::Json => head_json(channel, position).to_string(),
        Format::Human => format!("{channel} ends at {position}"),
    }
}

fn head_json(channel: &str, position: Position) -> Value {
    json!({ "channel": channel, "epoch": position.epoch.0, "head_offset": position.offset.0 })
}

fn member_line(change: &MemberChange) -> String {
    let user = printable(&change.user);
    match change.role {
        Some(role) => format!("({user} is {} now)", role_name(role)),
        None => format!("({user} is no member any more)"),
    }
}

fn is_redaction(publication: &Publication) -> bool {
    publication.kind == v1::PublicationKind::Redaction
}

fn redaction_line(publication: &Publication) -> String {
    match publication.target_offset {
        0 => "(all before this was erased)".to_owned(),
        target => format!("(offset {target} was redacted)"),
    }
}

fn role_name(role: v1::Role) -> String {
    role.as_str_name().trim_start_matches("ROLE_").to_lowercase()
}

fn publication_json(publication: &Publication) -> Value {
    let mut object = json!({
        "channel": publication.channel,
        "epoch": publication.position.epoch.0,
        "offset": publication.position.offset.0,
        "id": publication.id.to_string(),
        "sender": publication.sender,
        "server_ts_ms": publication.server_ts_ms,
    });
    if let Some(change) = &publication.member {
        object["member"] = json!({ "user": change.user, "role": change.role.map(role_name) });
        return object;
    }
    if publication.redacted {
        object["redacted"] = true.into();
        return object;
    }
    if is_redaction(publication) {
        object["redaction_of"] = publication.target_offset.into();
        return object;
    }
    match std::str::from_utf8(&publication.payload) {
        Ok(text) => object["text"] = text.into(),
        Err(_) => object["base64"] = STANDARD.encode(&publication.payload).into(),
    }
    object
}

/// Text from elsewhere must not drive the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

pub(crate) fn state_name(state: v1::PresenceState) -> &'static str {
    match state {
        v1::PresenceState::Offline => "offline",
        v1::PresenceState::Online => "online",
        v1::PresenceState::Roaming => "roaming",
        v1::PresenceState::Detached => "detached",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(payload: &'static [u8]) -> Publication {
        Publication::from(v1::Publication {
            channel: "room:1".into(),
            epoch: 3,
            offset: 42,
            id: u64::MAX,
            sender: "alice".into(),
            payload: payload.into(),
            server_ts_ms: 1_800_000_000_123,
            ..Default::default()
        })
    }

    #[test]
    fn changes_of_members_are_told_as_such() {
        let told = |role: v1::Role| {
            let member = Some(v1::Member { user: "bob".into(), role: role.into() });
            let kind = v1::PublicationKind::Membership.into();
            Publication::from(v1::Publication { member, kind, ..Default::default() })
        };
        let joined = told(v1::Role::Admin);
        assert!(publication(Format::Human, &joined).ends_with("(bob is admin now)"));
        assert_eq!(publication_json(&joined)["member"], json!({ "user": "bob", "role": "admin" }));
        let left = told(v1::Role::Unspecified);
        assert!(publication(Format::Human, &left).ends_with("(bob is no member any more)"));
        assert_eq!(publication_json(&left)["member"], json!({ "user": "bob", "role": null }));
        assert!(publication_json(&left).get("text").is_none());
    }

    #[test]
    fn what_was_taken_away_is_told_as_such() {
        let told = |publication: v1::Publication| {
            let told = Publication::from(publication);
            (super::publication(Format::Human, &told), publication_json(&told))
        };
        let (line, json) = told(v1::Publication { redacted: true, ..Default::default() });
        assert!(line.ends_with("(redacted)"), "{line}");
        assert_eq!((&json["redacted"], json.get("text")), (&json!(true), None));
        let kind = v1::PublicationKind::Redaction.into();
        let marker = |target_offset| v1::Publication { kind, target_offset, ..Default::default() };
        let (line, json) = told(marker(7));
        assert!(line.ends_with("(offset 7 was redacted)"), "{line}");
        assert_eq!(json["redaction_of"], json!(7));
        assert!(told(marker(0)).0.ends_with("(all before this was erased)"));
    }

    #[test]
    fn shapes_that_scripts_depend_on() {
        assert_eq!(
            publication_json(&example(b"hi")),
            json!({
                "channel": "room:1", "epoch": 3, "offset": 42, "id": "18446744073709551615",
                "sender": "alice", "text": "hi", "server_ts_ms": 1_800_000_000_123_u64,
            })
        );
        assert_eq!(publication_json(&example(b"\xff\x00"))["base64"], "/wA=");
        assert!(publication_json(&example(b"\xff\x00")).get("text").is_none());
        let ack =
            Ack { position: Position::new(3, 42), id: u64::MAX, duplicate: false, server_ts_ms: 1 };
        assert_eq!(
            acked_json("room:1", &ack),
            json!({
                "channel": "room:1", "epoch": 3, "offset": 42, "id": "18446744073709551615",
                "duplicate": false,
            })
        );
        assert_eq!(acked(Format::Human, "room:1", &ack), "room:1 3:42");
        assert_eq!(
            head_json("room:1", ack.position),
            json!({ "channel": "room:1", "epoch": 3, "head_offset": 42 })
        );
        assert_eq!(head(Format::Human, "room:1", ack.position), "room:1 ends at 3:42");
    }

    #[test]
    fn foreign_text_cannot_drive_the_terminal() {
        let line = publication(Format::Human, &example(b"\x1b[2Jboo\r\n"));
        assert!(!line.contains('\x1b') && !line.contains('\n'), "{line:?}");
    }

    #[test]
    fn a_broken_pipe_is_recognised_through_its_context() {
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(is_broken_pipe(&error.context("printing")));
        assert!(!is_broken_pipe(&anyhow::anyhow!("something else")));
    }
}
