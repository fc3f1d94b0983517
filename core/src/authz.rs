//! May this identity do this in this channel? The access token must allow it, and so must the
//! channel's own rules. Pure; the owner of the channel asks for every command (I11).

use sterna_proto::v1::{self, ChannelAccess, ChannelKind, Role};
use sterna_proto::{ChannelId, ErrorCode};
use sterna_storage::ChannelRecord;

use crate::identity::{Action, Identity};

/// What the rules of a channel that does not exist yet say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    /// Allowed once the channel has been created, with the identity as its owner.
    CreateFirst,
}

/// Whether a missing channel comes into being by use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstUse {
    Creates,
    Fails,
}

/// Decides. `role` is the identity's membership in the channel, if any.
pub fn allow(
    identity: &Identity,
    channel: &ChannelId,
    record: Option<&ChannelRecord>,
    role: Option<Role>,
    action: Action,
    first_use: FirstUse,
) -> Result<Verdict, v1::Error> {
    if !identity.permits(channel, action) {
        return Err(denied(format!("the access token does not allow to {} here", action.name())));
    }
    if let Some((low, high)) = direct_users(channel)? {
        if !identity.operator && identity.user != low && identity.user != high {
            return Err(denied("only its two users may use a direct channel"));
        }
        if action == Action::Manage {
            return Err(denied("the members of a direct channel are in its name"));
        }
        return Ok(if record.is_some() { Verdict::Allow } else { Verdict::CreateFirst });
    }
    let Some(record) = record else { return missing(identity, channel, action, first_use) };
    if identity.operator || by_role(record, role, action) {
        return Ok(Verdict::Allow);
    }
    Err(match (record.access, action) {
        (ChannelAccess::Open, Action::Publish) => denied("your role may read here, not publish"),
        (_, Action::Manage) => denied("only admins and owners may change a channel"),
        _ if role.is_none() => denied("only members may use this channel"),
        _ => denied("your role does not allow this"),
    })
}

/// A channel is made by whoever may publish there. To others it does not exist.
fn missing(
    identity: &Identity,
    channel: &ChannelId,
    action: Action,
    first_use: FirstUse,
) -> Result<Verdict, v1::Error> {
    let uses = matches!(action, Action::Publish | Action::Subscribe | Action::Presence);
    let may_create = uses && identity.permits(channel, Action::Publish);
    match first_use {
        FirstUse::Creates if may_create => Ok(Verdict::CreateFirst),
        _ => Err(v1::Error::new(
            ErrorCode::UnknownChannel,
            format!("there is no channel {channel}; create it first"),
        )),
    }
}

/// What the channel itself allows to a role, whatever the access token says.
pub fn by_role(record: &ChannelRecord, role: Option<Role>, action: Action) -> bool {
    let open = record.access == ChannelAccess::Open;
    match action {
        Action::Manage => role >= Some(Role::Admin),
        Action::Publish if record.kind == ChannelKind::Broadcast => role >= Some(Role::Member),
        Action::Publish => match role {
            Some(role) => role >= Role::Member,
            None => open,
        },
        Action::Subscribe | Action::History | Action::Presence => open || role.is_some(),
    }
}

fn direct_users(
    channel: &ChannelId,
) -> Result<Option<(sterna_proto::UserId, sterna_proto::UserId)>, v1::Error> {
    channel.direct_users().map_err(|error| v1::Error::new(ErrorCode::BadRequest, error.to_string()))
}

fn denied(message: impl Into<String>) -> v1::Error {
    v1::Error::new(ErrorCode::PermissionDenied, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Permission;
    use sterna_proto::UserId;

    fn identity(user: &str, pattern: &str) -> Identity {
        Identity {
            user: UserId::new(user).unwrap(),
            permissions: vec![Permission::all(pattern)],
            expires_at_ms: None,
            issued_at_ms: None,
            operator: false,
        }
    }

    fn record(name: &str, kind: ChannelKind, access: ChannelAccess) -> ChannelRecord {
        ChannelRecord {
            name: ChannelId::new(name).unwrap(),
            kind,
            access,
            created_by: UserId::new("owner").unwrap(),
            created_at_ms: 1,
        }
    }

    fn ask(record: &ChannelRecord, role: Option<Role>, action: Action) -> bool {
        allow(&identity("alice", "*"), &record.name, Some(record), role, action, FirstUse::Fails)
            .is_ok()
    }

    #[test]
    fn i11_roles_decide_what_a_channel_allows() {
        use Action::{Manage, Publish, Subscribe};
        let group = record("g", ChannelKind::Group, ChannelAccess::Members);
        let open = record("o", ChannelKind::Group, ChannelAccess::Open);
        let broadcast = record("b", ChannelKind::Broadcast, ChannelAccess::Open);
        for (channel, role, action, expected) in [
            (&group, None, Subscribe, false),
            (&group, None, Publish, false),
            (&group, Some(Role::Reader), Subscribe, true),
            (&group, Some(Role::Reader), Publish, false),
            (&group, Some(Role::Member), Publish, true),
            (&group, Some(Role::Member), Manage, false),
            (&group, Some(Role::Admin), Manage, true),
            (&open, None, Publish, true),
            (&open, Some(Role::Reader), Publish, false),
            (&open, None, Manage, false),
            (&broadcast, None, Subscribe, true),
            (&broadcast, None, Publish, false),
            (&broadcast, Some(Role::Member), Publish, true),
        ] {
            assert_eq!(
                ask(channel, role, action),
                expected,
                "{} {role:?} {action:?}",
                channel.name
            );
        }
    }

    #[test]
    fn i11_the_token_comes_first() {
        let open = record("room:1", ChannelKind::Group, ChannelAccess::Open);
        let outsider = identity("alice", "other:*");
        for action in Action::ALL {
            let verdict = allow(
                &outsider,
                &open.name,
                Some(&open),
                Some(Role::Owner),
                action,
                FirstUse::Creates,
            );
            assert_eq!(verdict.unwrap_err().code, ErrorCode::PermissionDenied.number());
        }
    }

    #[test]
    fn i11_direct_channels_belong_to_two() {
        let name = ChannelId::new("dm:alice:bob").unwrap();
        let ask =
            |user| allow(&identity(user, "*"), &name, None, None, Action::Publish, FirstUse::Fails);
        assert_eq!(ask("alice"), Ok(Verdict::CreateFirst));
        assert_eq!(ask("bob"), Ok(Verdict::CreateFirst));
        assert_eq!(ask("carol").unwrap_err().code, ErrorCode::PermissionDenied.number());
    }

    #[test]
    fn a_missing_channel_is_made_by_whoever_may_publish() {
        let name = ChannelId::new("room:1").unwrap();
        let reader = Identity {
            permissions: vec![Permission {
                pattern: "room:*".into(),
                actions: vec![Action::Subscribe, Action::History],
            }],
            ..identity("alice", "*")
        };
        let ask =
            |who: &Identity, action, first_use| allow(who, &name, None, None, action, first_use);
        let writer = identity("alice", "room:*");
        assert_eq!(ask(&writer, Action::Subscribe, FirstUse::Creates), Ok(Verdict::CreateFirst));
        assert!(ask(&writer, Action::History, FirstUse::Creates).is_err());
        assert!(ask(&writer, Action::Publish, FirstUse::Fails).is_err());
        assert!(ask(&reader, Action::Subscribe, FirstUse::Creates).is_err());
    }
}
