//! What was ordered of channels, remembered for whoever reads them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::keeping::{Author, Deed, Kept, Order, Redaction};
use sterna_storage::{BoxFuture, KeepingError, KeepingStore, Record, StorageError};

use crate::cache::{Cache, REDACTIONS_HELD, Redacted, View};

/// Stands before a [`KeepingStore`]: what is ordered through it, it knows at once.
///
/// Where nobody else writes to the store that is all. In a cluster others do: the owner of a channel
/// gives its orders. Who becomes the owner asks for the channel's head first, and with it for these;
/// who was the owner and believes to be it still knows of them after `most_age`, at the latest.
#[derive(Debug)]
pub struct Keeper {
    store: Arc<dyn KeepingStore>,
    cache: Mutex<Cache>,
    most_age: Option<Duration>,
}

/// How old it may be, what a node of a cluster believes of a channel.
pub(crate) const MOST_AGE: Duration = Duration::from_secs(5);

impl Keeper {
    /// `shared`: other processes give orders, too.
    pub fn new(store: Arc<dyn KeepingStore>, shared: bool) -> Self {
        Self { store, cache: Mutex::default(), most_age: shared.then_some(MOST_AGE) }
    }

    /// What a reader has to know of a channel.
    pub(crate) async fn look(&self, channel: ChannelKey) -> Result<View, StorageError> {
        let changes = {
            let mut cache = self.cache();
            if let Some(view) = cache.get(&channel, self.most_age) {
                return Ok(view);
            }
            cache.changes
        };
        metrics::counter!("sterna_storage_keeping_lookups_total").increment(1);
        let kept = self.store.kept(vec![channel]).await?.pop().unwrap_or_default();
        let redacted = match kept.redacted {
            false => Redacted::None,
            true => self.redacted(channel).await?,
        };
        let key = kept.key.as_ref().map(|key| key.id);
        let view = View { floor: kept.floor, redacted, key };
        let mut cache = self.cache();
        // Otherwise something was ordered while this was read.
        if cache.changes == changes {
            cache.insert(channel, view.clone());
        }
        Ok(view)
    }

    /// The same, asked for anew where others give orders, too: whoever takes a channel over begins with
    /// its head, and must not believe what it knew when another one owned it.
    pub(crate) async fn look_anew(&self, channel: ChannelKey) -> Result<View, StorageError> {
        if self.most_age.is_some() {
            self.cache().forget(&channel);
        }
        self.look(channel).await
    }

    /// The same without asking anybody, however old.
    pub(crate) fn known(&self, channel: &ChannelKey) -> Option<View> {
        self.cache().get(channel, None)
    }

    async fn redacted(&self, channel: ChannelKey) -> Result<Redacted, StorageError> {
        let found = self.store.redactions(channel, Offset::ZERO, REDACTIONS_HELD + 1).await?;
        Ok(match found.len() > REDACTIONS_HELD {
            true => Redacted::Many,
            false => Redacted::These(found.into_iter().map(|redaction| redaction.offset).collect()),
        })
    }

    /// Empties what was redacted of a page.
    pub(crate) async fn hide(
        &self,
        channel: ChannelKey,
        view: &View,
        page: &mut [Record],
    ) -> Result<(), StorageError> {
        let Some(first) = page.first().map(|record| record.position.offset) else { return Ok(()) };
        let looked_up: Vec<Offset>;
        let redacted: &[Offset] = match &view.redacted {
            Redacted::None => return Ok(()),
            Redacted::These(offsets) => offsets,
            Redacted::Many => {
                // A page is dense: more than it has records do not lie in it.
                let before = Offset(first.0.saturating_sub(1));
                let found = self.store.redactions(channel, before, page.len()).await?;
                looked_up = found.into_iter().map(|redaction| redaction.offset).collect();
                &looked_up
            }
        };
        for record in page {
            if redacted.binary_search(&record.position.offset).is_ok() {
                record.body.payload = bytes::Bytes::new();
                record.redacted = true;
            }
        }
        Ok(())
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whatever becomes of an order, also when nobody waits for it any more: what was known is old.
struct Changing<'a>(&'a Keeper, ChannelKey);

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.cache().forget(&self.1);
    }
}

impl KeepingStore for Keeper {
    fn kept(&self, channels: Vec<ChannelKey>) -> BoxFuture<'_, Result<Vec<Kept>, StorageError>> {
        self.store.kept(channels)
    }

    fn keep(
        &self,
        channel: ChannelKey,
        order: Order,
        author: Author,
    ) -> BoxFuture<'_, Result<Kept, KeepingError>> {
        async move {
            let _changing = Changing(self, channel);
            self.store.keep(channel, order, author).await
        }
        .boxed()
    }

    fn redactions(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Redaction>, StorageError>> {
        self.store.redactions(channel, after, limit)
    }

    fn deeds(
        &self,
        channel: ChannelKey,
        before: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Deed>, StorageError>> {
        self.store.deeds(channel, before, limit)
    }

    fn raise_retention_clock(&self, to_ms: u64) -> BoxFuture<'_, Result<u64, StorageError>> {
        self.store.raise_retention_clock(to_ms)
    }
}
