//! The nodes that are interested in a channel, as owners ask for them: from the
//! [cache](super::route_cache), or from the route table behind it.
//!
//! The node makes it, runs [`Routes::listen`] as one of its tasks and ends that by dropping it;
//! without it, routes are up to their time to live behind and nothing else is different. The cache
//! is locked for moments and never across an await.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use sterna_proto::ChannelKey;
use sterna_storage::StorageError;
use sterna_storage::volatile::{Route, RouteTable};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::route_cache::{Look, RouteCache, RouteCacheConfig};

/// Routes of channels; share it by `Arc`.
#[derive(Debug)]
pub struct Routes {
    table: Arc<dyn RouteTable>,
    cache: Mutex<RouteCache>,
}

impl Routes {
    pub fn new(table: Arc<dyn RouteTable>, config: RouteCacheConfig) -> Self {
        let cache = Mutex::new(RouteCache::new(config, table.partitions()));
        Self { table, cache }
    }

    /// Where a publication of this channel goes. Fails only if the table has to be asked and does
    /// not answer; then nodes find the publication by its position.
    pub async fn route(&self, channel: ChannelKey) -> Result<Arc<Route>, StorageError> {
        let look = self.cache().look(channel, now());
        self.follow(look).await
    }

    /// Where it goes instead, after somebody whom the route with version `v` names said that it is
    /// not there. Send by it once and leave it at that.
    pub async fn route_after_not_here(
        &self,
        channel: ChannelKey,
        v: u64,
    ) -> Result<Arc<Route>, StorageError> {
        let look = self.cache().on_not_here(channel, v, now());
        self.follow(look).await
    }

    /// Hears of changes and compares versions, until it is dropped.
    pub async fn listen(&self) {
        tokio::select! {
            () = self.hear_changes() => {}
            () = self.compare_versions() => {}
        }
    }

    async fn hear_changes(&self) {
        let mut changes = self.table.route_changes();
        while let Some(event) = changes.next().await {
            self.cache().on_event(event);
        }
    }

    async fn compare_versions(&self) {
        let mut times = interval(COMPARE_EVERY);
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            times.tick().await;
            let (check, asked) = self.cache().check_versions();
            if asked.is_empty() {
                continue;
            }
            match self.table.partition_versions(asked).await {
                Ok(versions) => self.cache().on_versions(check, &versions),
                Err(error) => tracing::debug!(%error, "versions of routes are compared later"),
            }
        }
    }

    async fn follow(&self, look: Look) -> Result<Arc<Route>, StorageError> {
        let fill = match look {
            Look::Cached(route) => {
                count("cached");
                return Ok(route);
            }
            Look::Read(fill) => fill,
        };
        count("read");
        match self.table.route(fill.channel()).await {
            Ok(route) => {
                let route = Arc::new(route);
                self.cache().fill(fill, route.clone());
                Ok(route)
            }
            Err(error) => {
                self.cache().give_up(&fill);
                Err(error)
            }
        }
    }

    fn cache(&self) -> MutexGuard<'_, RouteCache> {
        // Whatever a panic left behind ends by its time to live.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(result: &'static str) {
    metrics::counter!("sterna_core_route_lookups_total", "result" => result).increment(1);
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// So long may the last change before a quiet time go unheard.
const COMPARE_EVERY: Duration = Duration::from_secs(2);

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
