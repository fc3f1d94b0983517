//! Revocations in memory.

use std::cmp::Reverse;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::MemoryStore;
use crate::{Revocation, RevocationStore, StorageError};

impl RevocationStore for MemoryStore {
    fn keep_revocation(&self, revocation: Revocation) -> BoxFuture<'_, Result<(), StorageError>> {
        let mut content = self.content();
        let kept = content.revocations.entry(revocation.user).or_default();
        *kept = revocation.before_ms.max(*kept);
        ready(Ok(())).boxed()
    }

    fn revocations(&self, most: usize) -> BoxFuture<'_, Result<Vec<Revocation>, StorageError>> {
        let content = self.content();
        let all = content.revocations.iter();
        let mut all: Vec<Revocation> = all
            .map(|(user, before_ms)| Revocation { user: user.clone(), before_ms: *before_ms })
            .collect();
        all.sort_unstable_by_key(|one| Reverse(one.before_ms));
        all.truncate(most);
        ready(Ok(all)).boxed()
    }
}
