//! Routes in Redis: a hash for each channel, a version for each partition, changes published.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sterna_proto::{ChannelKey, NodeId};
use sterna_storage::StorageError;
use sterna_storage::volatile::{NodeRoute, Partition, Partitions, Route, RouteEvent, RouteTable};

use crate::calls::{Group, unexpected};
use crate::keys::hex;
use crate::{RedisStore, script, subscription};

impl RouteTable for RedisStore {
    fn partitions(&self) -> Partitions {
        self.keys.partitions
    }

    fn put_route(
        &self,
        channel: ChannelKey,
        route: NodeRoute,
        keep: Duration,
    ) -> BoxFuture<'_, Result<u64, StorageError>> {
        async move {
            let place = self.place(channel);
            let numbers = [route.incarnation, millis(keep)].map(|number| number.to_string());
            let arguments: [&[u8]; 6] = [
                place.channel.as_bytes(),
                route.node.as_str().as_bytes(),
                numbers[0].as_bytes(),
                numbers[1].as_bytes(),
                self.publish_verb().as_bytes(),
                &place.published,
            ];
            let keys: [&[u8]; 2] = [&place.route, &place.version];
            self.calls.run(Group::Routes, &script::ROUTE_PUT, &keys, &arguments).await
        }
        .boxed()
    }

    fn remove_route(
        &self,
        channel: ChannelKey,
        node: NodeId,
    ) -> BoxFuture<'_, Result<Option<u64>, StorageError>> {
        async move {
            let place = self.place(channel);
            let arguments: [&[u8]; 4] = [
                place.channel.as_bytes(),
                node.as_str().as_bytes(),
                self.publish_verb().as_bytes(),
                &place.published,
            ];
            let keys: [&[u8]; 2] = [&place.route, &place.version];
            self.calls.run(Group::Routes, &script::ROUTE_REMOVE, &keys, &arguments).await
        }
        .boxed()
    }

    fn route(&self, channel: ChannelKey) -> BoxFuture<'_, Result<Route, StorageError>> {
        async move {
            let key = self.place(channel).route;
            let answer: Vec<String> =
                self.calls.run(Group::Routes, &script::ROUTE_READ, &[&key], &[]).await?;
            parse_route(&answer).ok_or_else(|| unexpected("a route"))
        }
        .boxed()
    }

    fn partition_versions(
        &self,
        partitions: Vec<Partition>,
    ) -> BoxFuture<'_, Result<Vec<u64>, StorageError>> {
        async move {
            if partitions.is_empty() {
                return Ok(Vec::new());
            }
            let mut command = redis::cmd("MGET");
            for partition in &partitions {
                command.arg(self.keys.of_partition(VERSIONS, *partition));
            }
            let versions: Vec<Option<u64>> = self.calls.call(Group::Routes, &command).await?;
            if versions.len() != partitions.len() {
                return Err(unexpected("versions of some partitions only"));
            }
            Ok(versions.into_iter().map(|version| version.unwrap_or(0)).collect())
        }
        .boxed()
    }

    fn route_changes(&self) -> BoxStream<'static, RouteEvent> {
        subscription::changes(self.calls.clone(), self.keys.clone())
    }
}

/// The names of a channel's things.
struct Place {
    channel: String,
    route: Vec<u8>,
    version: Vec<u8>,
    published: Vec<u8>,
}

impl RedisStore {
    fn place(&self, channel: ChannelKey) -> Place {
        let partition = self.keys.partitions.of_channel(channel);
        let channel = hex(channel);
        Place {
            route: self.keys.within("route", partition, channel.as_bytes()),
            version: self.keys.of_partition(VERSIONS, partition),
            published: self.keys.of_partition(PUBLISHED, partition),
            channel,
        }
    }

    fn publish_verb(&self) -> &'static str {
        if self.calls.connector().config().cluster { "SPUBLISH" } else { "PUBLISH" }
    }
}

fn parse_route(answer: &[String]) -> Option<Route> {
    let (v, nodes) = answer.split_first()?;
    let nodes = nodes.chunks(2).map(|parts| {
        let [node, incarnation] = parts else { return None };
        Some(NodeRoute { node: NodeId::new(node).ok()?, incarnation: incarnation.parse().ok()? })
    });
    let mut nodes = nodes.collect::<Option<Vec<_>>>()?;
    nodes.sort_by(|one, other| one.node.cmp(&other.node));
    Some(Route { v: v.parse().ok()?, nodes })
}

/// As scripts take times to keep: from a millisecond to ten years.
pub(crate) fn millis(duration: Duration) -> u64 {
    const TEN_YEARS_MS: u64 = 10 * 366 * 24 * 3600 * 1000;
    u64::try_from(duration.as_millis()).unwrap_or(TEN_YEARS_MS).clamp(1, TEN_YEARS_MS)
}

const VERSIONS: &str = "rpv";

/// Where a partition's changes are published.
pub(crate) const PUBLISHED: &str = "routes";
