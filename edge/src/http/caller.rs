//! Who calls: an API key acts for the operator, an access token for its user.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use sha2::{Digest as _, Sha256};
use sterna_core::config::Rate;
use sterna_core::limit::TokenBucket;
use sterna_core::volatile::Volatile;
use sterna_core::{Identity, Permission};
use sterna_proto::{ClientId, ErrorCode, UserId, v1};
use tokio::time::Instant;

use super::Surface;
use super::answer::ApiError;
use super::elsewhere::OfPeer;
use crate::auth::AuthError;

/// Most configured API keys: each is compared with every request's.
const API_KEYS: usize = 64;

/// Shortest secret of an API key.
const SECRET_BYTES: usize = 24;

/// Longest id of an API key.
const ID_BYTES: usize = 32;

/// Users whose rate is remembered. Full: all start afresh, which is counted.
const RATED_USERS: usize = 10_000;

/// What the holder of an API key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Act for the operator in every channel, and change what the node does.
    #[default]
    Operator,
    /// Look at how nodes, sessions and channels fare. Nothing changes by it, and no payload shows.
    Observer,
}

/// A key of the operator, or of somebody who watches.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Names the key in logs and as the sender of its publications (`api.ID`).
    pub id: String,
    pub secret: String,
    pub role: Role,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("id", &self.id)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// Why configured API keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    #[error("{0} API keys are configured; at most {API_KEYS} are allowed")]
    TooMany(usize),
    #[error("`{0}` cannot name an API key; use up to {ID_BYTES} of a-z, A-Z, 0-9, - and _")]
    Id(String),
    #[error("the API key id `{0}` is used twice; give every key its own")]
    Twice(String),
    #[error("the secret of API key `{0}` is shorter than {SECRET_BYTES} bytes; make a longer one")]
    Short(String),
}

/// The configured keys. Secrets are kept and compared as hashes, so that the time of a comparison
/// tells nothing about them.
#[derive(Debug)]
pub(super) struct ApiKeys(Vec<(Arc<Principal>, [u8; 32])>);

impl ApiKeys {
    pub(super) fn new(keys: &[ApiKey]) -> Result<Self, ApiKeyError> {
        if keys.len() > API_KEYS {
            return Err(ApiKeyError::TooMany(keys.len()));
        }
        let mut known = Vec::with_capacity(keys.len());
        for (at, key) in keys.iter().enumerate() {
            if keys[..at].iter().any(|earlier| earlier.id == key.id) {
                return Err(ApiKeyError::Twice(key.id.clone()));
            }
            if key.secret.len() < SECRET_BYTES {
                return Err(ApiKeyError::Short(key.id.clone()));
            }
            known.push((Arc::new(principal(key)?), Sha256::digest(&key.secret).into()));
        }
        Ok(Self(known))
    }

    fn find(&self, secret: &str) -> Option<Arc<Principal>> {
        let hash: [u8; 32] = Sha256::digest(secret).into();
        self.0.iter().find(|(_, known)| *known == hash).map(|(principal, _)| principal.clone())
    }
}

fn principal(key: &ApiKey) -> Result<Principal, ApiKeyError> {
    let ApiKey { id, role, .. } = key;
    let invalid = || ApiKeyError::Id(id.chars().take(40).collect());
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if id.is_empty() || id.len() > ID_BYTES || !id.chars().all(plain) {
        return Err(invalid());
    }
    let operator = *role == Role::Operator;
    let identity = Identity {
        user: UserId::new(&format!("api.{id}")).map_err(|_| invalid())?,
        permissions: if operator { vec![Permission::all("*")] } else { Vec::new() },
        expires_at_ms: None,
        issued_at_ms: None,
        operator,
    };
    let client_id = ClientId::new(&format!("http:{id}")).map_err(|_| invalid())?;
    Ok(Principal { identity: Arc::new(identity), client_id, role: *role })
}

#[derive(Debug)]
struct Principal {
    identity: Arc<Identity>,
    client_id: ClientId,
    role: Role,
}

/// Whoever sent the request, checked.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) identity: Arc<Identity>,
    /// With a hash of the Idempotency-Key the key of a publication (I3).
    pub(super) client_id: ClientId,
    /// Of the API key; `None`: a user's access token.
    pub(super) role: Option<Role>,
}

impl Caller {
    /// What only the operator may do, as in "drain the node".
    pub(super) fn check_operator(&self, what: &str) -> Result<(), ApiError> {
        if self.role == Some(Role::Operator) {
            return Ok(());
        }
        let message = match self.role {
            Some(_) => format!("an observer's API key cannot {what}; use an operator's"),
            None => format!("only an API key may {what}"),
        };
        Err(ApiError(v1::Error::new(ErrorCode::PermissionDenied, message)))
    }

    /// Whether another node asks, for somebody there.
    pub(super) fn is_peer(&self) -> bool {
        self.client_id.as_str() == PEER
    }

    pub(super) fn role_name(&self) -> &'static str {
        match self.role {
            Some(Role::Operator) => "operator",
            Some(Role::Observer) => "observer",
            None => "user",
        }
    }

    /// What an observer may do as well, as in "look at the cluster".
    pub(super) fn check_observer(&self, what: &str) -> Result<(), ApiError> {
        if self.role.is_some() {
            return Ok(());
        }
        let message = format!("only an API key may {what}");
        Err(ApiError(v1::Error::new(ErrorCode::PermissionDenied, message)))
    }
}

impl FromRequestParts<Arc<Surface>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        surface: &Arc<Surface>,
    ) -> Result<Self, ApiError> {
        identify(parts, surface).await.map_err(ApiError)
    }
}

/// No API key is called so: their ids have no colon.
const PEER: &str = "http::peer";

/// Whoever looks from another node of the cluster, which has checked who that is.
fn peer() -> Result<Caller, v1::Error> {
    let invalid =
        |error: sterna_proto::InvalidId| v1::Error::new(ErrorCode::Internal, error.to_string());
    let identity = Identity {
        user: UserId::new("api.peer").map_err(invalid)?,
        permissions: Vec::new(),
        expires_at_ms: None,
        issued_at_ms: None,
        operator: false,
    };
    let client_id = ClientId::new(PEER).map_err(invalid)?;
    Ok(Caller { identity: Arc::new(identity), client_id, role: Some(Role::Observer) })
}

async fn identify(parts: &Parts, surface: &Surface) -> Result<Caller, v1::Error> {
    if parts.extensions.get::<OfPeer>().is_some() {
        return peer();
    }
    let secret = presented(parts).ok_or_else(|| {
        unauthorized("send `Authorization: Bearer` with an access token or an API key")
    })?;
    if let Some(principal) = surface.keys.find(secret) {
        let identity = principal.identity.clone();
        let (client_id, role) = (principal.client_id.clone(), Some(principal.role));
        return Ok(Caller { identity, client_id, role });
    }
    let now = || surface.parts.node.clock().unix_ms();
    let checked = surface.parts.auth.check_fresh(secret, now).await;
    let identity = checked.map_err(|error| match error {
        AuthError::Expired => v1::Error::new(ErrorCode::TokenExpired, error.to_string()),
        AuthError::Invalid | AuthError::Later => {
            unauthorized("neither an access token nor an API key of this node")
        }
    })?;
    let client_id = client_id_of(&identity.user)?;
    Ok(Caller { client_id, identity: Arc::new(identity), role: None })
}

fn presented(parts: &Parts) -> Option<&str> {
    let mut keys = parts.headers.get_all("x-api-key").iter();
    let mut authorizations = parts.headers.get_all(header::AUTHORIZATION).iter();
    match (authorizations.next(), authorizations.next(), keys.next(), keys.next()) {
        (None, None, Some(key), None) => key.to_str().ok(),
        (Some(authorization), None, None, None) => {
            let (scheme, secret) = authorization.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
        }
        // Two answers to one question: neither counts.
        _ => None,
    }
}

/// A user name can be as long as a client id, so its hash stands for it.
fn client_id_of(user: &UserId) -> Result<ClientId, v1::Error> {
    let hash = Sha256::digest(user.as_str());
    let name = format!("http:user:{}", super::input::uuid_text(&hash[..20]));
    ClientId::new(&name).map_err(|error| v1::Error::new(ErrorCode::Internal, error.to_string()))
}

fn unauthorized(message: &str) -> v1::Error {
    v1::Error::new(ErrorCode::Unauthorized, message)
}

/// What users may do of one kind over HTTP: as much as one session. API keys are not limited.
#[derive(Debug)]
pub(super) struct Rates {
    rate: Rate,
    buckets: Mutex<HashMap<UserId, TokenBucket>>,
}

impl Rates {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, buckets: Mutex::default() }
    }

    /// Takes one from the caller's bucket.
    pub(super) fn take(&self, caller: &Caller) -> Result<(), v1::Error> {
        self.try_take(caller).map_err(too_much)
    }

    /// Takes one publication from the caller's bucket, and from what the user may publish with all
    /// sessions on all nodes together.
    pub(super) fn take_publication(
        &self,
        caller: &Caller,
        shared: &Volatile,
    ) -> Result<(), v1::Error> {
        let user = &caller.identity.user;
        let of_user = |()| if caller.identity.operator { Ok(()) } else { shared.try_take(user) };
        self.try_take(caller).and_then(of_user).map_err(too_much)
    }

    fn try_take(&self, caller: &Caller) -> Result<(), Duration> {
        if caller.identity.operator {
            return Ok(());
        }
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(|held| held.into_inner());
        if buckets.len() >= RATED_USERS && !buckets.contains_key(&caller.identity.user) {
            metrics::counter!("sterna_edge_http_rates_forgotten_total")
                .increment(buckets.len() as u64);
            buckets.clear();
        }
        let bucket = buckets
            .entry(caller.identity.user.clone())
            .or_insert_with(|| TokenBucket::new(self.rate, now));
        bucket.try_take(now)
    }
}

fn too_much(wait: Duration) -> v1::Error {
    let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).max(1);
    v1::Error::new(ErrorCode::RateLimited, "too much at once for this user; slow down")
        .with_retry_after_ms(wait_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::moved_by;

    fn caller(user: &str) -> Caller {
        let user = UserId::new(user).unwrap();
        let client_id = client_id_of(&user).unwrap();
        let identity = Identity {
            user,
            permissions: vec![],
            expires_at_ms: None,
            issued_at_ms: None,
            operator: false,
        };
        Caller { identity: Arc::new(identity), client_id, role: None }
    }

    /// On a clock that stands still, so that no bucket fills meanwhile.
    #[tokio::test(start_paused = true)]
    async fn one_user_too_many_starts_all_rates_afresh() {
        let rates = Rates::new(Rate { per_second: 1, burst: 1 });
        let moved = moved_by(|| {
            for n in 0..RATED_USERS {
                rates.take(&caller(&format!("user-{n}"))).unwrap();
            }
            let error = rates.take(&caller("user-0")).unwrap_err();
            assert_eq!(error.name, "RATE_LIMITED", "who is known is limited");
            rates.take(&caller("one-more")).unwrap();
            rates.take(&caller("user-0")).unwrap();
        });
        assert_eq!(moved["sterna_edge_http_rates_forgotten_total"], RATED_USERS as f64);
    }

    #[tokio::test(start_paused = true)]
    async fn a_publication_counts_with_those_of_the_users_sessions_and_the_operators_never() {
        let rates = Rates::new(Rate { per_second: 100, burst: 100 });
        let shared = Volatile::alone(Rate { per_second: 1, burst: 2 });
        let user = caller("u");
        shared.try_take(&user.identity.user).unwrap();
        rates.take_publication(&user, &shared).unwrap();
        let error = rates.take_publication(&user, &shared).unwrap_err();
        assert_eq!((error.name.as_str(), error.retry_after_ms), ("RATE_LIMITED", 1000));
        rates.take(&user).unwrap();
        let identity = Identity { operator: true, ..(*user.identity).clone() };
        let (client_id, role) = (user.client_id, Some(Role::Operator));
        let operator = Caller { identity: Arc::new(identity), client_id, role };
        rates.take_publication(&operator, &shared).unwrap();
    }
}
