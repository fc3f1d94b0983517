//! What of channels is to go from the archive, as the store has it.

use std::sync::Arc;

use futures_util::FutureExt as _;
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{BoxFuture, KeepingStore, StorageError};
use sterna_storage_archive::{Fate, Fates};

/// Answers for whoever writes segments anew. Of a channel on hold nothing goes: not even what was
/// given up before the hold, as long as its bytes are there.
#[derive(Debug)]
pub struct StoredFates {
    store: Arc<dyn KeepingStore>,
}

impl StoredFates {
    pub fn new(store: Arc<dyn KeepingStore>) -> Self {
        Self { store }
    }

    async fn redacted(
        &self,
        channel: ChannelKey,
        first: Offset,
    ) -> Result<Vec<Offset>, StorageError> {
        let (mut all, mut after) = (Vec::new(), Offset(first.0.saturating_sub(1)));
        loop {
            let page = self.store.redactions(channel, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(all) };
            after = last.offset;
            all.extend(page.into_iter().map(|redaction| redaction.offset));
        }
    }
}

impl Fates for StoredFates {
    fn fates(&self, channels: Vec<ChannelKey>) -> BoxFuture<'_, Result<Vec<Fate>, StorageError>> {
        async move {
            let kept = self.store.kept(channels.clone()).await?;
            let mut fates = Vec::with_capacity(kept.len());
            for (channel, kept) in channels.into_iter().zip(kept) {
                if kept.hold.is_some() {
                    fates.push(Fate { first: Offset(1), redacted: Vec::new() });
                    continue;
                }
                let redacted = match kept.redacted {
                    true => self.redacted(channel, kept.floor).await?,
                    false => Vec::new(),
                };
                fates.push(Fate { first: kept.floor, redacted });
            }
            Ok(fates)
        }
        .boxed()
    }
}

const PAGE: usize = 1000;
