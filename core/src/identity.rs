//! Who acts, and what the access token lets them do.

use sterna_proto::{ChannelId, UserId};

/// What somebody wants to do in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Publish,
    /// Receive what is published, and recover from any position: whoever may hear a channel may
    /// hear what was missed.
    Subscribe,
    /// Read pages without being subscribed.
    History,
    /// Be listed, list others, hear who comes and goes.
    Presence,
    /// Create the channel, change its members.
    Manage,
}

impl Action {
    pub const ALL: [Self; 5] =
        [Self::Publish, Self::Subscribe, Self::History, Self::Presence, Self::Manage];

    /// As access tokens write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::History => "history",
            Self::Presence => "presence",
            Self::Manage => "manage",
        }
    }
}

/// Lets its holder do some actions in the channels that a pattern names. A pattern is a channel
/// name, or a prefix followed by `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    pub pattern: String,
    pub actions: Vec<Action>,
}

impl Permission {
    /// Every action in the channels of `pattern`.
    pub fn all(pattern: impl Into<String>) -> Self {
        Self { pattern: pattern.into(), actions: Action::ALL.to_vec() }
    }

    fn covers(&self, channel: &ChannelId, action: Action) -> bool {
        let name = channel.as_str();
        let named = match self.pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == self.pattern,
        };
        named && self.actions.contains(&action)
    }
}

/// A checked access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub user: UserId,
    pub permissions: Vec<Permission>,
    /// Unix time in milliseconds after which the identity is void; `None`: never.
    pub expires_at_ms: Option<u64>,
    /// Unix time in milliseconds at which the token says that it was issued.
    pub issued_at_ms: Option<u64>,
    /// Acts on behalf of the operator (API key): membership is not asked for.
    pub operator: bool,
}

impl Identity {
    /// Whether the token lets its holder do this; the channel's own rules come on top.
    pub fn permits(&self, channel: &ChannelId, action: Action) -> bool {
        self.permissions.iter().any(|permission| permission.covers(channel, action))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_names_or_prefixes() {
        let channel = |name| ChannelId::new(name).unwrap();
        let identity = Identity {
            user: UserId::new("alice").unwrap(),
            permissions: vec![
                Permission { pattern: "room:*".into(), actions: vec![Action::Subscribe] },
                Permission::all("lobby"),
            ],
            expires_at_ms: None,
            issued_at_ms: None,
            operator: false,
        };
        assert!(identity.permits(&channel("room:1"), Action::Subscribe));
        assert!(!identity.permits(&channel("room:1"), Action::Publish));
        assert!(!identity.permits(&channel("rooms"), Action::Subscribe));
        assert!(identity.permits(&channel("lobby"), Action::Manage));
        assert!(!identity.permits(&channel("lobby2"), Action::Manage));
    }
}
