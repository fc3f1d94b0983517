//! Old pages of logs in Redis: a hash for each channel, which ends a while after the last page came.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sterna_proto::ChannelKey;
use sterna_storage::StorageError;
use sterna_storage::page::{PAGE_BYTES, PageCache, PageName};

use crate::calls::Group;
use crate::keys::hex;
use crate::routes::millis;
use crate::{RedisStore, script};

/// Pages of one channel. Full: the oldest go.
pub const PAGES_KEPT: usize = 16;

/// How long they stay after the last one came.
const KEEP: Duration = Duration::from_secs(600);

impl PageCache for RedisStore {
    fn pages(
        &self,
        names: Vec<PageName>,
    ) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StorageError>> {
        async move {
            let Some(first) = names.first() else { return Ok(Vec::new()) };
            let mut command = redis::cmd("HMGET");
            command.arg(self.pages_key(first.channel)).arg(fields(&names));
            let found: Vec<Option<Vec<u8>>> = self.calls.call(Group::Pages, &command).await?;
            Ok(found.into_iter().map(|page| page.map(Bytes::from)).collect())
        }
        .boxed()
    }

    fn keep(&self, pages: Vec<(PageName, Bytes)>) -> BoxFuture<'_, Result<(), StorageError>> {
        async move {
            let (most, keep) = (PAGES_KEPT.to_string(), millis(KEEP).to_string());
            for (name, page) in pages.iter().filter(|(_, page)| page.len() <= PAGE_BYTES) {
                let key = self.pages_key(name.channel);
                let (epoch, number) = (name.epoch.0.to_string(), name.number.to_string());
                let arguments: [&[u8]; 5] =
                    [epoch.as_bytes(), number.as_bytes(), page, most.as_bytes(), keep.as_bytes()];
                let script = &script::PAGE_KEEP;
                let _left: usize =
                    self.calls.run(Group::Pages, script, &[&key], &arguments).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn drop_pages(&self, names: Vec<PageName>) -> BoxFuture<'_, Result<(), StorageError>> {
        async move {
            let Some(first) = names.first() else { return Ok(()) };
            let mut command = redis::cmd("HDEL");
            command.arg(self.pages_key(first.channel)).arg(fields(&names));
            let _dropped: usize = self.calls.call(Group::Pages, &command).await?;
            Ok(())
        }
        .boxed()
    }
}

impl RedisStore {
    fn pages_key(&self, channel: ChannelKey) -> Vec<u8> {
        self.keys.within("hot", self.keys.partitions.of_channel(channel), hex(channel).as_bytes())
    }
}

fn fields(names: &[PageName]) -> Vec<String> {
    names.iter().map(|name| format!("{}:{}", name.epoch.0, name.number)).collect()
}
