//! Access tokens (JWT, RFC 7519 and RFC 8725) to identities.
//!
//! Owns the keys that tokens are checked with and the list of revocations. Called by the handshake
//! of every connection and by the HTTP API; never does I/O. A key is bound to one algorithm, so
//! the token's header chooses among configured keys and can neither bring a key (`jku`, `x5u`,
//! `jwk` are not looked at) nor change how one is used.
//!
//! Claims: `sub` is the user. `exp` is required unless the configuration says otherwise; `nbf`,
//! `iat`, `aud` and `iss` as in the RFC, times in whole seconds. `channels` lists what the holder
//! may do: a text is a pattern and stands for publish, subscribe, history and presence; an object
//! `{"pattern": "room:*", "actions": ["subscribe"]}` names its actions, and only an object can
//! give `manage`. Without the claim the token opens no channel.

mod claims;
mod keys;
mod revocations;

#[cfg(test)]
mod tests;

use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sterna_core::Identity;
use sterna_proto::{UserId, limits};

use claims::{Claims, Header};
use revocations::Revocations;

pub use keys::{AuthKey, KeyAlgorithm, KeyError};

/// What an [`Authenticator`] can be told.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    pub keys: Vec<AuthKey>,
    /// When set, `aud` must be or hold this text. When not, a token meant for somebody (`aud`) is
    /// refused, as RFC 7519 asks.
    pub audience: Option<String>,
    /// When set, `iss` must be this text.
    pub issuer: Option<String>,
    /// How far the clocks of issuer and node may differ.
    pub leeway: Duration,
    /// False lets tokens without `exp` in; they never expire.
    pub require_expiry: bool,
}

impl AuthConfig {
    /// The defaults around these keys: expiry required, 10 seconds of leeway.
    pub fn new(keys: Vec<AuthKey>) -> Self {
        Self {
            keys,
            audience: None,
            issuer: None,
            leeway: Duration::from_secs(10),
            require_expiry: true,
        }
    }
}

/// Checks access tokens (JWT).
#[derive(Debug)]
pub struct Authenticator {
    keys: keys::KeySet,
    audience: Option<String>,
    issuer: Option<String>,
    leeway_ms: u64,
    require_expiry: bool,
    revocations: Mutex<Revocations>,
}

/// All a client hears of a refusal; the log knows more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("the access token is not valid")]
    Invalid,
    #[error("the access token has expired")]
    Expired,
}

impl Authenticator {
    /// Fails when a key cannot serve its algorithm.
    pub fn new(config: AuthConfig) -> Result<Self, KeyError> {
        Ok(Self {
            keys: keys::KeySet::new(&config.keys)?,
            audience: config.audience,
            issuer: config.issuer,
            leeway_ms: u64::try_from(config.leeway.as_millis()).unwrap_or(u64::MAX),
            require_expiry: config.require_expiry,
            revocations: Mutex::new(Revocations::default()),
        })
    }

    /// One reason for every refusal goes to the client; the log knows more.
    pub fn check(&self, access_token: &str, unix_ms: u64) -> Result<Identity, AuthError> {
        let verdict = self.verify(access_token, unix_ms);
        let result = match &verdict {
            Ok(_) => "ok",
            Err(Refusal::Expired) => "expired",
            Err(_) => "invalid",
        };
        metrics::counter!("sterna_edge_token_checks_total", "result" => result).increment(1);
        verdict.map_err(|refusal| {
            tracing::debug!(%refusal, "access token refused");
            match refusal {
                Refusal::Expired => AuthError::Expired,
                _ => AuthError::Invalid,
            }
        })
    }

    /// Refuses from now on every token of `user` issued before this time (I11). Sessions that are
    /// open already are the core's to end.
    pub fn revoke(&self, user: &UserId, before_ms: u64) {
        let mut revocations = self.revocations.lock().unwrap_or_else(|held| held.into_inner());
        revocations.add(user.clone(), before_ms);
    }

    fn verify(&self, access_token: &str, unix_ms: u64) -> Result<Identity, Refusal> {
        if access_token.len() > limits::ACCESS_TOKEN_BYTES {
            return Err(Refusal::TooLong(access_token.len()));
        }
        let (message, signature) =
            access_token.rsplit_once('.').ok_or(Refusal::Shape("not three parts"))?;
        let (header, payload) = message.split_once('.').ok_or(Refusal::Shape("not three parts"))?;
        let header: Header = decode_part(header, "header")?;
        if header.crit.is_some() {
            return Err(Refusal::Shape("critical extensions are not known here"));
        }
        self.keys.verify(&header, message.as_bytes(), signature)?;
        // Nothing of the payload is parsed before its signature holds.
        let claims: Claims = decode_part(payload, "claims")?;
        self.judge(claims, unix_ms)
    }

    fn judge(&self, claims: Claims, unix_ms: u64) -> Result<Identity, Refusal> {
        let user = UserId::new(&claims.sub).map_err(|error| Refusal::Subject(error.to_string()))?;
        self.check_addressee(&claims)?;
        let issued_ms = claims.iat.map(|iat| iat.unix_ms());
        if let Some(start) = claims.nbf.map(|nbf| nbf.unix_ms()).max(issued_ms)
            && start > unix_ms.saturating_add(self.leeway_ms)
        {
            return Err(Refusal::Early);
        }
        let expires_at_ms = claims.exp.map(|exp| exp.unix_ms().saturating_add(self.leeway_ms));
        match expires_at_ms {
            None if self.require_expiry => return Err(Refusal::Missing("exp")),
            Some(end) if end <= unix_ms => return Err(Refusal::Expired),
            _ => {}
        }
        let revocations = self.revocations.lock().unwrap_or_else(|held| held.into_inner());
        if revocations.covers(&user, issued_ms) {
            return Err(Refusal::Revoked);
        }
        drop(revocations);
        let permissions = claims.channels.into_permissions().map_err(Refusal::Channels)?;
        Ok(Identity { user, permissions, expires_at_ms, operator: false })
    }

    fn check_addressee(&self, claims: &Claims) -> Result<(), Refusal> {
        match (&self.audience, &claims.aud) {
            (None, None) => {}
            (Some(wanted), Some(given)) if given.contains(wanted) => {}
            _ => return Err(Refusal::Audience),
        }
        match &self.issuer {
            Some(wanted) if claims.iss.as_ref() != Some(wanted) => Err(Refusal::Issuer),
            _ => Ok(()),
        }
    }
}

/// Why a token is refused, for the log only: it never holds a part of the token.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0} bytes are above the limit")]
    TooLong(usize),
    #[error("not a JWT: {0}")]
    Shape(&'static str),
    #[error("the {0} is not base64url")]
    Base64(&'static str),
    #[error("the {part} cannot be read: {error}")]
    Json { part: &'static str, error: serde_json::Error },
    #[error("no configured key has this kid and algorithm")]
    NoKey,
    #[error("the signature does not hold")]
    Signature,
    #[error("sub is no user: {0}")]
    Subject(String),
    #[error("the claim {0} is missing")]
    Missing(&'static str),
    #[error("aud does not fit the configured audience")]
    Audience,
    #[error("iss is not the configured issuer")]
    Issuer,
    #[error("valid only later (nbf, iat)")]
    Early,
    #[error("expired")]
    Expired,
    #[error("revoked")]
    Revoked,
    #[error("channels: {0}")]
    Channels(&'static str),
}

fn decode_part<T: serde::de::DeserializeOwned>(
    text: &str,
    part: &'static str,
) -> Result<T, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Base64(part))?;
    // serde would take a list for a struct, member by member.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Refusal::Shape("a part is not a JSON object"));
    }
    serde_json::from_slice(&bytes).map_err(|error| Refusal::Json { part, error })
}
