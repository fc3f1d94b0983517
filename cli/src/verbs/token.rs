//! `sterna token`: signs access tokens with the dev node's secret, with that of a configured node, or
//! with another HS256 one.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use jsonwebtoken::{EncodingKey, Header, get_current_timestamp};
use serde_json::{Value, json};
use sterna_edge::auth::{AuthConfig, KeyAlgorithm};

use crate::args::TokenArgs;
use crate::config::Config;
use crate::keys::{self, DevKeys};
use crate::output;
use crate::raw_config::{RawConfig, environment};

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

/// What a token is signed with, and what it says so that a node takes it as meant for it.
#[derive(Default)]
pub(crate) struct Signing {
    secret: Vec<u8>,
    kid: Option<String>,
    audience: Option<String>,
    issuer: Option<String>,
}

impl Signing {
    /// Nothing but a secret.
    pub(crate) fn new(secret: &str) -> Self {
        Self { secret: secret.as_bytes().to_vec(), ..Self::default() }
    }

    fn find(args: &TokenArgs) -> Result<Self> {
        if let Some(config) = &args.config {
            return Self::of_config(config);
        }
        let dev = || DevKeys::locate(&args.data_dir).token_secret;
        let path = args.secret_file.clone().unwrap_or_else(dev);
        let advice = "no secret to sign with; run `sterna dev` first, or name one with --secret-file, or \
                      a node's configuration with --config";
        let secret = keys::read_secret(&path).map_err(anyhow::Error::msg).context(advice)?;
        let (kid, audience, issuer) =
            (args.kid.clone(), args.audience.clone(), args.issuer.clone());
        Ok(Self { kid, audience, issuer, ..Self::new(&secret) })
    }

    fn of_config(path: &Path) -> Result<Self> {
        let raw = RawConfig::gather(path, environment(), &[]);
        match Config::from_raw(raw) {
            Ok(config) => Self::of_auth(config.auth),
            Err(complaints) => {
                complaints.iter().for_each(|it| output::complain(&anyhow!("{it}")));
                bail!("the configuration has {} errors; no token was made", complaints.len());
            }
        }
    }

    fn of_auth(auth: AuthConfig) -> Result<Self> {
        let mut keys = auth.keys.into_iter();
        let key = keys.find(|key| key.algorithm == KeyAlgorithm::Hs256).context(
            "the configuration has no HS256 key in `auth.keys`: whoever has the private key makes \
             tokens for this node",
        )?;
        let (audience, issuer) = (auth.audience, auth.issuer);
        Ok(Self { secret: key.material, kid: key.kid, audience, issuer })
    }
}

pub(crate) fn run(args: &TokenArgs) -> Result<ExitCode> {
    let signing = Signing::find(args)?;
    let mut grant = Grant::everything(args.user.as_str(), args.ttl);
    if !args.channels.is_empty() {
        grant.channels = json!(args.channels);
    }
    output::line(&sign(&grant, &signing)?)?;
    Ok(ExitCode::SUCCESS)
}

/// An HS256 token.
pub(crate) fn sign(grant: &Grant, signing: &Signing) -> Result<String> {
    let now = get_current_timestamp();
    let mut claims = json!({
        "sub": grant.user,
        "iat": now,
        "exp": now.saturating_add(grant.life.as_secs()),
        "channels": grant.channels,
    });
    for (claim, text) in [("aud", &signing.audience), ("iss", &signing.issuer)] {
        if let Some(text) = text {
            claims[claim] = json!(text);
        }
    }
    let header = Header { kid: signing.kid.clone(), ..Header::default() };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&signing.secret))
        .context("the token cannot be signed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_core::Action;
    use sterna_edge::auth::{AuthKey, Authenticator};
    use sterna_proto::ChannelId;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn auth(kid: Option<&str>) -> AuthConfig {
        let (kid, material) = (kid.map(str::to_owned), SECRET.as_bytes().to_vec());
        AuthConfig::new(vec![AuthKey { kid, algorithm: KeyAlgorithm::Hs256, material }])
    }

    fn check(token: &str) -> sterna_core::Identity {
        let authenticator = Authenticator::new(auth(None)).unwrap();
        authenticator.check(token, get_current_timestamp() * 1000).unwrap()
    }

    #[test]
    fn a_token_says_what_the_node_wants_to_hear() {
        let wanted = AuthConfig {
            audience: Some("sterna".into()),
            issuer: Some("https://login.example.com".into()),
            ..auth(Some("2026-1"))
        };
        let grant = Grant::everything("alice", Duration::from_secs(60));
        let authenticator = Authenticator::new(wanted.clone()).unwrap();
        let now = get_current_timestamp() * 1000;
        let token = sign(&grant, &Signing::of_auth(wanted.clone()).unwrap()).unwrap();
        assert_eq!(authenticator.check(&token, now).unwrap().user.as_str(), "alice");
        let bare = sign(&grant, &Signing::new(SECRET)).unwrap();
        authenticator.check(&bare, now).unwrap_err();
        let nobody = AuthConfig { keys: Vec::new(), ..wanted };
        let refused = Signing::of_auth(nobody).err().expect("there is no key");
        assert!(refused.to_string().contains("no HS256 key"), "{refused}");
    }

    #[test]
    fn a_token_opens_what_it_was_made_for() {
        let room = ChannelId::new("room:1").unwrap();
        let lobby = ChannelId::new("lobby").unwrap();
        let hour = Duration::from_secs(3600);
        let signing = Signing::new(SECRET);
        let all = check(&sign(&Grant::everything("alice", hour), &signing).unwrap());
        assert_eq!(all.user.as_str(), "alice");
        assert!(Action::ALL.iter().all(|action| all.permits(&room, *action)));
        let narrow = Grant { user: "bob".into(), life: hour, channels: json!(["room:*"]) };
        let signing = Signing { kid: Some("k1".into()), ..signing };
        let narrow = check(&sign(&narrow, &signing).unwrap());
        assert!(narrow.permits(&room, Action::Publish));
        assert!(!narrow.permits(&room, Action::Manage));
        assert!(!narrow.permits(&lobby, Action::Subscribe));
    }
}
