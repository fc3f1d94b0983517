//! One process of the cluster, as everybody inside it sees it.

use std::sync::Arc;
use std::time::Duration;

use sterna_storage::Stores;

use crate::clock::Clock;
use crate::config::CoreConfig;
use crate::error::CoreError;
use crate::link::{LinkCommand, LinkReply};

/// Handle of a node; cheap to clone, usable from every thread.
#[derive(Debug, Clone)]
pub struct Node {}

impl Node {
    /// Starts the shards on the current (multi-thread) runtime.
    pub async fn start(
        _config: CoreConfig,
        _stores: Stores,
        _clock: Arc<dyn Clock>,
    ) -> Result<Self, CoreError> {
        todo!()
    }

    pub fn config(&self) -> &CoreConfig {
        todo!()
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        todo!()
    }

    /// For the HTTP API, which has no session: one command, one answer.
    pub async fn call(&self, _command: LinkCommand) -> LinkReply {
        todo!()
    }

    /// Channels in name order, for listings.
    pub async fn channels(
        &self,
        _after: Option<sterna_proto::ChannelId>,
        _limit: usize,
    ) -> LinkReply {
        todo!()
    }

    /// Sessions with and without a connection.
    pub fn session_count(&self) -> usize {
        todo!()
    }

    /// Completes with the reason when the node must stop because storage failed for good (I1).
    pub async fn failed(&self) -> String {
        todo!()
    }

    /// New sessions are refused from now on and all sessions are told to move.
    pub fn start_drain(&self, _deadline: Duration, _successor: String) {
        todo!()
    }

    pub fn is_draining(&self) -> bool {
        todo!()
    }

    /// Ends the shards, commits what waits and closes the stores. False: something did not end in
    /// time.
    pub async fn shutdown(&self, _deadline: Duration) -> bool {
        todo!()
    }
}
