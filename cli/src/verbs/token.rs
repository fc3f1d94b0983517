//! `sterna token`: signs access tokens with the dev node's secret, or another HS256 one.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jsonwebtoken::{EncodingKey, Header, get_current_timestamp};
use serde_json::{Value, json};

use crate::args::TokenArgs;
use crate::keys::{self, DevKeys};
use crate::output;

/// What a token is to say.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) user: String,
    pub(crate) life: Duration,
    pub(crate) channels: Value,
}

impl Grant {
    /// Every action in every channel.
    pub(crate) fn everything(user: &str, life: Duration) -> Self {
        let actions = ["publish", "subscribe", "history", "presence", "manage"];
        let channels = json!([{ "pattern": "*", "actions": actions }]);
        Self { user: user.to_owned(), life, channels }
    }
}

pub(crate) fn run(args: &TokenArgs) -> Result<ExitCode> {
    let path =
        args.secret_file.clone().unwrap_or_else(|| DevKeys::locate(&args.data_dir).token_secret);
    let secret = keys::read_secret(&path)
        .map_err(anyhow::Error::msg)
        .context("no secret to sign with; run `sterna dev` first or name one with --secret-file")?;
    let mut grant = Grant::everything(args.user.as_str(), args.ttl);
    if !args.channels.is_empty() {
        grant.channels = json!(args.channels);
    }
    output::line(&sign(&grant, secret.as_bytes(), args.kid.clone())?)?;
    Ok(ExitCode::SUCCESS)
}

/// An HS256 token.
pub(crate) fn sign(grant: &Grant, secret: &[u8], kid: Option<String>) -> Result<String> {
    let now = get_current_timestamp();
    let claims = json!({
        "sub": grant.user,
        "iat": now,
        "exp": now.saturating_add(grant.life.as_secs()),
        "channels": grant.channels,
    });
    let header = Header { kid, ..Header::default() };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret))
        .context("the token cannot be signed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_core::Action;
    use sterna_edge::auth::{AuthConfig, AuthKey, Authenticator, KeyAlgorithm};
    use sterna_proto::ChannelId;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn check(token: &str) -> sterna_core::Identity {
        let key = AuthKey { kid: None, algorithm: KeyAlgorithm::Hs256, material: SECRET.to_vec() };
        let authenticator = Authenticator::new(AuthConfig::new(vec![key])).unwrap();
        authenticator.check(token, get_current_timestamp() * 1000).unwrap()
    }

    #[test]
    fn a_token_opens_what_it_was_made_for() {
        let room = ChannelId::new("room:1").unwrap();
        let lobby = ChannelId::new("lobby").unwrap();
        let hour = Duration::from_secs(3600);
        let all = check(&sign(&Grant::everything("alice", hour), SECRET, None).unwrap());
        assert_eq!(all.user.as_str(), "alice");
        assert!(Action::ALL.iter().all(|action| all.permits(&room, *action)));
        let narrow = Grant { user: "bob".into(), life: hour, channels: json!(["room:*"]) };
        let narrow = check(&sign(&narrow, SECRET, Some("k1".into())).unwrap());
        assert!(narrow.permits(&room, Action::Publish));
        assert!(!narrow.permits(&room, Action::Manage));
        assert!(!narrow.permits(&lobby, Action::Subscribe));
    }
}
