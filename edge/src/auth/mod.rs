//! Access tokens (JWT, RFC 7519 and RFC 8725) to identities.
//!
//! Owns the keys that tokens are checked with and the list of revocations. Called by the handshake
//! of every connection and by the HTTP API; only [`jwks`] does I/O, in a task of its own. A key is bound to one algorithm, so
//! the token's header chooses among configured keys and can neither bring a key (`jku`, `x5u`,
//! `jwk` are not looked at) nor change how one is used.
//!
//! Claims: `sub` is the user. `exp` is required unless the configuration says otherwise; `nbf`,
//! `iat`, `aud` and `iss` as in the RFC, times in whole seconds. `channels` lists what the holder
//! may do: a text is a pattern and stands for publish, subscribe, history and presence; an object
//! `{"pattern": "room:*", "actions": ["subscribe"]}` names its actions, and only an object can
//! give `manage`. Without the claim the token opens no channel.

mod claims;
pub mod jwks;
mod keys;

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jwks::{Jwks, JwksConfig};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sterna_core::Identity;
use sterna_core::revocations::Revocations;
use sterna_proto::{UserId, limits};

use claims::{Claims, Header};

pub use keys::{AuthKey, KeyAlgorithm, KeyError};

/// What an [`Authenticator`] can be told.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    pub keys: Vec<AuthKey>,
    /// Keys that somebody else publishes, beside those.
    pub jwks: Option<JwksConfig>,
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
            jwks: None,
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
    jwks: Option<Jwks>,
    audience: Option<String>,
    issuer: Option<String>,
    leeway_ms: u64,
    require_expiry: bool,
    revocations: Arc<Revocations>,
}

/// All a client hears of a refusal; the log knows more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("the access token is not valid")]
    Invalid,
    #[error("the access token has expired")]
    Expired,
    /// Only for those who do not wait: the key may be published already and is asked for.
    #[error("the key of this access token is not here yet; try again")]
    Later,
}

impl Authenticator {
    /// Fails when a key cannot serve its algorithm.
    pub fn new(config: AuthConfig) -> Result<Self, KeyError> {
        if config.keys.is_empty() && config.jwks.is_none() {
            return Err(KeyError::None);
        }
        Ok(Self {
            keys: keys::KeySet::new(&config.keys)?,
            jwks: config.jwks.map(Jwks::new),
            audience: config.audience,
            issuer: config.issuer,
            leeway_ms: u64::try_from(config.leeway.as_millis()).unwrap_or(u64::MAX),
            require_expiry: config.require_expiry,
            revocations: Arc::default(),
        })
    }

    /// Refuses what is on this list from now on (I11); before, it had one of its own.
    #[must_use]
    pub fn sharing(self, revocations: Arc<Revocations>) -> Self {
        Self { revocations, ..self }
    }

    /// Reads the keys of a JWKS for the first time, bounded by its deadline. What fails is logged and
    /// tried again by [`keep_fresh`](Self::keep_fresh).
    pub async fn read_published_keys(&self) {
        if let Some(jwks) = &self.jwks {
            jwks.refresh().await;
        }
    }

    /// Keeps the keys of a JWKS fresh until it is dropped; without one there is nothing to do.
    pub async fn keep_fresh(&self) {
        match &self.jwks {
            Some(jwks) => jwks.keep_fresh().await,
            None => std::future::pending().await,
        }
    }

    /// Whether there is any key at all.
    pub fn has_keys(&self) -> bool {
        self.keys.len() + self.jwks.as_ref().map_or(0, |jwks| jwks.keys().len()) > 0
    }

    /// As [`check_fresh`](Self::check_fresh), for those who cannot wait: when its key may have been
    /// published a moment ago, the token is to be shown again ([`AuthError::Later`]).
    pub fn check(&self, access_token: &str, unix_ms: u64) -> Result<Identity, AuthError> {
        let verdict = self.verify(access_token, unix_ms);
        if let (Err(Refusal::UnknownKid), Some(jwks)) = (&verdict, &self.jwks)
            && jwks.ask()
        {
            return tell(verdict).map_err(|_| AuthError::Later);
        }
        tell(verdict)
    }

    /// Whether a token holds. Waits for the keys of a JWKS when the token names one that is not
    /// known yet and they may be read anew. One reason for every refusal goes to the client; the
    /// log knows more.
    pub async fn check_fresh(
        &self,
        access_token: &str,
        unix_ms: impl Fn() -> u64,
    ) -> Result<Identity, AuthError> {
        let seen = self.jwks.as_ref().map_or(0, Jwks::finished);
        let verdict = self.verify(access_token, unix_ms());
        if let (Err(Refusal::UnknownKid), Some(jwks)) = (&verdict, &self.jwks)
            && jwks.newer(seen).await
        {
            return tell(self.verify(access_token, unix_ms()));
        }
        tell(verdict)
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
        self.verify_signature(&header, message.as_bytes(), signature)?;
        // Nothing of the payload is parsed before its signature holds.
        let claims: Claims = decode_part(payload, "claims")?;
        self.judge(claims, unix_ms)
    }

    fn verify_signature(
        &self,
        header: &Header,
        message: &[u8],
        signature: &str,
    ) -> Result<(), Refusal> {
        let configured = self.keys.verify(header, message, signature);
        let (Err(refusal), Some(jwks)) = (&configured, &self.jwks) else { return configured };
        match jwks.keys().verify(header, message, signature) {
            Err(Refusal::NoKey) if header.kid.is_some() => Err(Refusal::UnknownKid),
            Err(Refusal::NoKey) if !matches!(refusal, Refusal::NoKey) => configured,
            published => published,
        }
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
        if self.revocations.covers(&user, issued_ms) {
            return Err(Refusal::Revoked);
        }
        let permissions = claims.channels.into_permissions().map_err(Refusal::Channels)?;
        Ok(Identity { user, permissions, expires_at_ms, issued_at_ms: issued_ms, operator: false })
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
    #[error("no key, configured or published, has this kid and algorithm")]
    UnknownKid,
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

fn tell(verdict: Result<Identity, Refusal>) -> Result<Identity, AuthError> {
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
