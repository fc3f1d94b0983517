//! What a node keeps where everything may be lost at any moment (I6): where channels are listened
//! to, who was present, what users and repeated requests have used up. In a cluster with Redis all
//! nodes share it; otherwise it lies in this process, and what only others would read is not
//! written.
//!
//! Nothing here decides about a publication, and no acknowledgement waits for it. Nodes tell each
//! other the same directly; what is read here is known sooner, and what is lost is put again by
//! whoever knows it ([`keeper`]). An engine that does not answer is not waited for ([`health`]).

mod deltas;
mod health;
pub(crate) mod keeper;
mod kept;
mod losses;
mod recalls;
mod user_rates;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sterna_proto::link::v1 as wire;
use sterna_proto::{ChannelKey, NodeId, SessionId, UserId};
pub use sterna_storage::volatile::{Begun, Claim, RESULT_BYTES, SESSIONS_PER_USER};
use sterna_storage::volatile::{
    DirectoryEntry, MemoryVolatile, Partition, Partitions, Route, VolatileStores,
};
use tokio::time::Instant;

use crate::cluster::Incarnation;
use crate::config::Rate;
use crate::fanout::route_cache::RouteCacheConfig;
use crate::fanout::routes::Routes;

pub use health::VolatileState;
pub(crate) use recalls::Recalled;

use deltas::Deltas;
use health::Health;
use kept::{Kept, Times};
use losses::Losses;
use recalls::Recalls;
use user_rates::UserRates;

/// See the module. Shared by all shards and workers of a node.
#[derive(Debug)]
pub struct Volatile {
    stores: VolatileStores,
    is_shared: bool,
    health: Health,
    routes: Routes,
    own_routes: Mutex<Kept<(ChannelKey, NodeId), u64>>,
    sessions: Mutex<Kept<SessionId, (UserId, DirectoryEntry)>>,
    deltas: Mutex<Deltas>,
    recalls: Recalls,
    losses: Mutex<Losses>,
    user_rates: UserRates,
}

impl Volatile {
    /// `shared`: what all nodes of the cluster have; none: this process's own memory.
    pub(crate) fn new(shared: Option<VolatileStores>, user_rate: Rate) -> Self {
        let is_shared = shared.is_some();
        let stores = shared.unwrap_or_else(|| MemoryVolatile::new(Partitions::default()).stores());
        let cache = RouteCacheConfig { entries: ROUTES_CACHED, ..Default::default() };
        if is_shared {
            metrics::gauge!("sterna_core_volatile_active").set(1.0);
        }
        Self {
            is_shared,
            health: Health::default(),
            routes: Routes::new(stores.routes.clone(), cache),
            own_routes: Mutex::new(Kept::new(ROUTE_TIMES, ROUTES_KEPT)),
            sessions: Mutex::new(Kept::new(SESSION_TIMES, SESSIONS_KEPT)),
            deltas: Mutex::default(),
            recalls: Recalls::default(),
            losses: Mutex::default(),
            user_rates: UserRates::new(user_rate),
            stores,
        }
    }

    /// Of a node that is alone.
    pub fn alone(user_rate: Rate) -> Self {
        Self::new(None, user_rate)
    }

    /// Whether other nodes read what is put here.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    pub fn state(&self) -> VolatileState {
        self.health.state()
    }

    /// How long what nodes share has not answered; zero: it answers, `None`: nothing is shared.
    pub fn silence(&self) -> Option<Duration> {
        self.is_shared.then(|| match self.state() {
            VolatileState::Answering => Duration::ZERO,
            VolatileState::Silent { since, .. } => since,
        })
    }

    /// A node has attached to a channel that is owned here.
    pub(crate) fn on_attached(&self, channel: ChannelKey, node: NodeId, process: Incarnation) {
        if self.is_shared && !self.own_routes().want((channel, node), process.0, now()) {
            metrics::counter!("sterna_core_routes_unkept_total").increment(1);
        }
    }

    /// It listens no more.
    pub(crate) fn on_detached(&self, channel: ChannelKey, node: NodeId) {
        if self.is_shared {
            self.own_routes().unwant(&(channel, node), now());
        }
    }

    /// Other owners tell where the channels of these slots are listened to. What stands in the table
    /// stays there for them.
    pub(crate) fn on_released(&self, slots: &HashSet<u16>) {
        if self.is_shared && !slots.is_empty() {
            self.own_routes().forget(|(channel, _)| slots.contains(&channel.slot()));
        }
    }

    /// Which nodes have attached to a channel, as far as owners have told; `None`: go on without.
    pub(crate) async fn route(&self, channel: ChannelKey) -> Option<Arc<Route>> {
        self.health.ask(self.routes.route(channel)).await
    }

    /// The same after a node that the route with version `v` names has said that it does not
    /// listen. Nobody asks that node again.
    pub(crate) async fn route_after_not_here(
        &self,
        channel: ChannelKey,
        v: u64,
        node: NodeId,
    ) -> Option<Arc<Route>> {
        self.health.ask(self.stores.routes.remove_route(channel, node)).await?;
        self.health.ask(self.routes.route_after_not_here(channel, v)).await
    }

    /// A session has said that it is present in a channel that is owned here, or how.
    pub(crate) fn on_presence(&self, change: wire::Present) {
        if self.is_shared {
            self.deltas().note(self.stores.routes.partitions(), change);
        }
    }

    /// Who was present in a channel, as its owners have said lately; `None`: ask nobody else.
    pub(crate) async fn recall(&self, channel: ChannelKey) -> Option<Recalled> {
        let partition = self.partition(channel);
        let read = self.recalls.read(&*self.stores.presence, partition);
        let recalled = self.health.ask(read).await?;
        Some(recalled.get(&channel).cloned().unwrap_or_default())
    }

    /// A session of this node has begun, or has come back to it.
    pub(crate) fn on_session(&self, user: &UserId, entry: DirectoryEntry) {
        if self.is_shared {
            let is_kept = self.sessions().want(entry.session, (user.clone(), entry), now());
            metrics::gauge!("sterna_core_directory_sessions").set(self.sessions().len() as f64);
            if !is_kept {
                tracing::debug!(%user, "the directory has no room for another session of this node");
            }
        }
    }

    pub(crate) fn on_session_ended(&self, session: SessionId) {
        if self.is_shared {
            self.sessions().unwant(&session, now());
        }
    }

    /// Where a user's sessions are, as far as their edges have told.
    pub async fn sessions_of(&self, user: UserId, most: usize) -> Option<Vec<DirectoryEntry>> {
        self.health.ask(self.stores.directory.sessions_of(user, most)).await
    }

    /// Takes one publication from what the user may publish on all nodes together, or says when to
    /// come again. Never waits: what other nodes have taken is known a moment later.
    pub fn try_take(&self, user: &UserId) -> Result<(), Duration> {
        self.user_rates.try_take(user, Instant::now())
    }

    /// Whether a request with this key was made before. `None`, here and below: nobody knows, go on
    /// as without a key.
    pub async fn begin_once(&self, key: Bytes, fingerprint: u64, lease: Duration) -> Option<Begun> {
        self.health.ask(self.stores.idempotency.begin(key, fingerprint, lease)).await
    }

    /// Keeps the answer for repetitions.
    pub async fn finish_once(
        &self,
        key: Bytes,
        claim: Claim,
        result: Bytes,
        keep: Duration,
    ) -> Option<bool> {
        self.health.ask(self.stores.idempotency.finish(key, claim, result, keep)).await
    }

    /// It was not done: a repetition is carried out.
    pub async fn abandon_once(&self, key: Bytes, claim: Claim) -> Option<bool> {
        self.health.ask(self.stores.idempotency.abandon(key, claim)).await
    }

    /// Raises the second guard of ids and answers with the highest that anybody knows; `None`: the
    /// durable bound has to do.
    pub(crate) async fn raise_floor(&self, worker: u16, floor_ms: u64) -> Option<u64> {
        if !self.is_shared {
            return None;
        }
        let asked = self.health.ask(self.stores.id_floor.raise_floor(worker, floor_ms));
        tokio::time::timeout(FLOOR_PATIENCE, asked).await.ok().flatten()
    }

    /// Partitions of which owners have to say again who is present, since nobody could follow.
    fn take_incomplete(&self) -> HashSet<Partition> {
        self.deltas().take_incomplete()
    }

    pub(crate) fn partition(&self, channel: ChannelKey) -> Partition {
        self.stores.routes.partitions().of_channel(channel)
    }

    fn own_routes(&self) -> MutexGuard<'_, Kept<(ChannelKey, NodeId), u64>> {
        lock(&self.own_routes)
    }

    fn sessions(&self) -> MutexGuard<'_, Kept<SessionId, (UserId, DirectoryEntry)>> {
        lock(&self.sessions)
    }

    fn deltas(&self) -> MutexGuard<'_, Deltas> {
        lock(&self.deltas)
    }

    fn losses(&self) -> MutexGuard<'_, Losses> {
        lock(&self.losses)
    }
}

/// Whatever a panic has left half done is put right by the next refresh.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of the runtime's clock, which tests hold.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Routes that one node keeps in the table: one for each channel that it owns and node that listens
/// there. More are not told; whoever takes those channels over waits until they are attached to.
pub const ROUTES_KEPT: usize = 262_144;

/// Sessions of one node in the directory. More are not told.
pub const SESSIONS_KEPT: usize = 262_144;

/// Routes that were read lately.
const ROUTES_CACHED: usize = 65_536;

/// What is wrong in a route is found by whoever follows it; so routes are kept for long, and a million
/// of them cost some four thousand writes a second.
const ROUTE_TIMES: Times = Times {
    refresh: Duration::from_secs(300),
    linger: Duration::from_secs(10),
    retry: Duration::from_secs(1),
};
pub(crate) const ROUTE_KEPT_FOR: Duration = Duration::from_secs(600);

/// The lease of their edge is what ends entries in time.
const SESSION_TIMES: Times = Times {
    refresh: Duration::from_secs(12 * 3600),
    linger: Duration::ZERO,
    retry: Duration::from_secs(1),
};

/// The durable bound holds without it; a start does not wait for it.
const FLOOR_PATIENCE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn i12_routes_beyond_the_limit_are_not_told() {
        let recorder = metrics_util::debugging::DebuggingRecorder::new();
        metrics::with_local_recorder(&recorder, || {
            let memory = MemoryVolatile::new(Partitions::new(1));
            let rate = Rate { per_second: 1, burst: 1 };
            let volatile = Volatile::new(Some(memory.stores()), rate);
            let node = NodeId::new("e1").expect("a name");
            for n in 0..=ROUTES_KEPT {
                let channel = ChannelKey((n as u128).to_be_bytes());
                volatile.on_attached(channel, node.clone(), Incarnation(1));
            }
            assert_eq!(volatile.own_routes().len(), ROUTES_KEPT);
            volatile.on_released(&HashSet::from([0]));
            assert_eq!(volatile.own_routes().len(), 0, "all of them lie in the first slot");
        });
        let told = recorder.snapshotter().snapshot().into_vec();
        let name = "sterna_core_routes_unkept_total";
        assert!(told.iter().any(|(key, ..)| key.key().name() == name));
    }
}
