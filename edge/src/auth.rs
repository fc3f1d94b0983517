//! Access tokens to identities.

use sterna_core::Identity;

/// Checks access tokens (JWT).
#[derive(Debug)]
pub struct Authenticator {}

impl Authenticator {
    /// One reason for every refusal goes to the client; the log knows more.
    pub fn check(&self, _access_token: &str, _unix_ms: u64) -> Result<Identity, AuthError> {
        todo!()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("the access token is not valid")]
    Invalid,
    #[error("the access token has expired")]
    Expired,
}
