//! Role: users whose earlier access tokens are void (I11).

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use sterna_proto::UserId;

use crate::StorageError;

/// What is void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Whose tokens; `None`: everybody's.
    pub user: Option<UserId>,
    /// Those that were issued before this time, and those that do not say when.
    pub before_ms: u64,
}

impl Revocation {
    /// Whether it is about a token of this user, issued at this time if it says so.
    pub fn covers(&self, user: &UserId, issued_ms: Option<u64>) -> bool {
        self.user.as_ref().is_none_or(|mine| mine == user)
            && self.before_ms > 0
            && issued_ms.is_none_or(|issued_ms| issued_ms < self.before_ms)
    }
}

/// One time for each user and one for everybody, of which the latest is kept. Writes are durable when
/// they return.
pub trait RevocationStore: Send + Sync + Debug + 'static {
    /// An earlier time than the one that is kept changes nothing.
    fn keep_revocation(&self, revocation: Revocation) -> BoxFuture<'_, Result<(), StorageError>>;

    /// Those with the latest times, the latest first, at most `most`.
    fn revocations(&self, most: usize) -> BoxFuture<'_, Result<Vec<Revocation>, StorageError>>;
}
