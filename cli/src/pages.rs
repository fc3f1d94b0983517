//! Puts caches of old pages in front of the log that cores share.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use sterna_storage::Stores;
use sterna_storage::page::PageCache;
use sterna_storage_pages::CachedLog;
use sterna_storage_redis::RedisStore;
use sterna_storage_rocks::PageFiles;

/// A cache on the disk of one core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageSettings {
    pub(crate) directory: PathBuf,
    pub(crate) bytes: u64,
    /// Whose pages they are: the servers, without who asks them.
    pub(crate) database: String,
}

/// From here on the log that the stores name reads through these caches, the nearest first.
pub(crate) fn put_in_front(
    stores: &mut Stores,
    local: Option<&PageSettings>,
    shared: Option<RedisStore>,
) -> Result<()> {
    let mut caches: Vec<(&'static str, Arc<dyn PageCache>)> = Vec::new();
    if let Some(PageSettings { directory, bytes, database }) = local {
        let files = PageFiles::open(directory, *bytes, database)
            .context("cannot keep pages in `store.page_cache`")?;
        caches.push(("local", Arc::new(files)));
    }
    caches.extend(shared.map(|redis| ("redis", Arc::new(redis) as Arc<dyn PageCache>)));
    if !caches.is_empty() {
        stores.log = Arc::new(CachedLog::new(stores.log.clone(), caches));
    }
    Ok(())
}
