//! Role: which nodes have attached to a channel.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sterna_proto::{ChannelKey, NodeId};

use super::{Partition, Partitions};
use crate::StorageError;

/// The interest of one node: an edge near the owner, or the relay of another region. A node and not
/// its region, because whoever takes a channel over has to know the edges of its own region one by
/// one, and the roster tells the region of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRoute {
    pub node: NodeId,
    /// Which start of that node; later ones have higher numbers.
    pub incarnation: u64,
}

/// A channel's interested nodes, in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Goes up with every change, also beyond a loss of everything; 0 if nothing is known.
    pub v: u64,
    pub nodes: Vec<NodeRoute>,
}

/// Somebody has changed a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteChange {
    pub channel: ChannelKey,
    pub partition: Partition,
    /// Of the route, after the change.
    pub v: u64,
    /// Of the partition, after the change: one more than before it, or any other number if
    /// changes or everything before them were lost.
    pub pv: u64,
}

/// What a subscriber hears. Nothing of it is certain to arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteEvent {
    Changed(RouteChange),
    /// Changes of this partition may have gone unheard until now.
    Lost(Partition),
}

/// Routes are a hint and never a right. A node's route ends by itself when it is not put again
/// within the time it was to be kept.
pub trait RouteTable: Send + Sync + Debug + 'static {
    fn partitions(&self) -> Partitions;

    /// Adds or replaces a node's route and keeps it for that long. Answers with the new `v`.
    fn put_route(
        &self,
        channel: ChannelKey,
        route: NodeRoute,
        keep: Duration,
    ) -> BoxFuture<'_, Result<u64, StorageError>>;

    /// Answers with the new `v`; `None` if there was no such route, which changes nothing.
    fn remove_route(
        &self,
        channel: ChannelKey,
        node: NodeId,
    ) -> BoxFuture<'_, Result<Option<u64>, StorageError>>;

    fn route(&self, channel: ChannelKey) -> BoxFuture<'_, Result<Route, StorageError>>;

    /// The present `pv` of each, in the order of the question; 0 where nothing has changed yet. A
    /// subscriber compares them now and then, because the last change before a quiet time may have
    /// gone unheard.
    fn partition_versions(
        &self,
        partitions: Vec<Partition>,
    ) -> BoxFuture<'_, Result<Vec<u64>, StorageError>>;

    /// Changes from now on. Begins with `Lost` for each partition as soon as its changes are heard,
    /// and says so again whenever they may have been missed and when they are heard again. Nothing
    /// happens unless it is polled; it ends only by being dropped.
    fn route_changes(&self) -> BoxStream<'static, RouteEvent>;
}
