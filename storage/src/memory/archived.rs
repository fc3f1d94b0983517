//! How far channels are archived, in memory.

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use sterna_proto::ChannelKey;

use super::MemoryStore;
use crate::archived::decide;
use crate::{Archived, ArchivedChange, ArchivedError, ArchivedStore, StorageError};

impl ArchivedStore for MemoryStore {
    fn archived(
        &self,
        channels: Vec<ChannelKey>,
    ) -> BoxFuture<'_, Result<Vec<Option<Archived>>, StorageError>> {
        let content = self.content();
        let found = channels.iter().map(|channel| content.archived.get(channel).cloned());
        ready(Ok(found.collect())).boxed()
    }

    fn change_archived(
        &self,
        changes: Vec<ArchivedChange>,
    ) -> BoxFuture<'_, Vec<Result<(), ArchivedError>>> {
        let mut content = self.content();
        let verdicts = changes.into_iter().map(|change| {
            decide(&change, content.archived.get(&change.channel))?;
            content.archived.insert(change.channel, change.archived);
            Ok(())
        });
        ready(verdicts.collect()).boxed()
    }
}
