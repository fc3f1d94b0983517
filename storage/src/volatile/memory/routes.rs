//! Routes in memory.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};
use sterna_proto::{ChannelKey, NodeId};

use super::{Ending, MemoryVolatile};
use crate::StorageError;
use crate::volatile::{
    NodeRoute, Partition, Partitions, Route, RouteChange, RouteFeed, RouteTable,
};

impl RouteTable for MemoryVolatile {
    fn partitions(&self) -> Partitions {
        self.partitions
    }

    fn put_route(
        &self,
        channel: ChannelKey,
        route: NodeRoute,
        keep: Duration,
    ) -> BoxFuture<'_, Result<u64, StorageError>> {
        let now = self.now();
        let partition = self.partitions.of_channel(channel);
        let mut content = self.content();
        let v = content.number();
        let routes = &mut content.routes;
        routes.channels.make_room(|nodes| nodes.values().all(|(_, ends_at)| *ends_at <= now));
        let nodes = routes.channels.map.entry(channel).or_default();
        nodes.insert(route.node.clone(), (route, now.saturating_add(keep)));
        routes.on_change(channel, partition, v);
        ready(Ok(v)).boxed()
    }

    fn remove_route(
        &self,
        channel: ChannelKey,
        node: NodeId,
    ) -> BoxFuture<'_, Result<Option<u64>, StorageError>> {
        let partition = self.partitions.of_channel(channel);
        let mut content = self.content();
        let nodes = content.routes.channels.map.get_mut(&channel);
        if nodes.is_none_or(|nodes| nodes.remove(&node).is_none()) {
            return ready(Ok(None)).boxed();
        }
        let v = content.number();
        content.routes.on_change(channel, partition, v);
        ready(Ok(Some(v))).boxed()
    }

    fn route(&self, channel: ChannelKey) -> BoxFuture<'_, Result<Route, StorageError>> {
        let now = self.now();
        let content = self.content();
        let v = content.routes.versions.map.get(&channel).copied().unwrap_or(0);
        let nodes = content.routes.channels.map.get(&channel).into_iter().flatten();
        let nodes = nodes.filter(|(_, (_, ends_at))| *ends_at > now);
        let nodes = nodes.map(|(_, (route, _))| route.clone()).collect();
        ready(Ok(Route { v, nodes })).boxed()
    }

    fn partition_versions(
        &self,
        partitions: Vec<Partition>,
    ) -> BoxFuture<'_, Result<Vec<u64>, StorageError>> {
        let content = self.content();
        let pv = |partition| content.routes.partitions.get(&partition).copied().unwrap_or(0);
        ready(Ok(partitions.into_iter().map(pv).collect())).boxed()
    }

    fn route_changes(&self) -> BoxStream<'static, crate::volatile::RouteEvent> {
        let feed = RouteFeed::default();
        feed.push_lost(self.partitions.all());
        self.content().routes.feeds.push(feed.clone());
        feed.boxed()
    }
}

#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Nodes with the time at which they end.
    channels: Ending<ChannelKey, BTreeMap<NodeId, (NodeRoute, Duration)>>,
    versions: Ending<ChannelKey, u64>,
    partitions: HashMap<Partition, u64, ahash::RandomState>,
    feeds: Vec<RouteFeed>,
}

impl Routes {
    fn on_change(&mut self, channel: ChannelKey, partition: Partition, v: u64) {
        let channels = &self.channels.map;
        if self.versions.map.len() >= self.versions.look_at {
            self.versions.map.retain(|channel, _| channels.contains_key(channel));
        }
        self.versions.make_room(|_| false);
        self.versions.map.insert(channel, v);
        let pv = self.partitions.entry(partition).or_default();
        *pv += 1;
        let change = RouteChange { channel, partition, v, pv: *pv };
        self.feeds.retain(|feed| !feed.is_read_by_nobody());
        self.feeds.iter().for_each(|feed| feed.push_change(change));
    }

    /// Subscribers hear nothing of it but for the leap in the partitions' versions.
    pub(super) fn forget(&mut self) {
        self.channels = Ending::default();
        self.versions = Ending::default();
        self.partitions.values_mut().for_each(|pv| *pv += LEAP);
    }
}

/// More changes than a subscriber can have missed and take for all there were.
const LEAP: u64 = 1 << 20;
