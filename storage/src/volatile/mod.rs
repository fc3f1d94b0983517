//! What may be forgotten at any moment (I6): where channels and sessions are, presence on its way,
//! rates. One trait per role; each has an implementation in memory, for a node alone, and one on
//! Redis for a cluster (`storage/redis`).
//!
//! | role | trait | when everything in it is lost |
//! |---|---|---|
//! | nodes interested in a channel | [`RouteTable`] | owners put their routes again |
//! | sessions of a user | [`Directory`] | edges put their sessions again |
//! | presence on its way | [`PresenceDeltas`] | readers ask edges for snapshots |
//! | rates | [`RateCounters`] | buckets are full again |
//! | idempotency keys | [`IdempotencyStore`] | a repeated command runs again; the log still knows its origin |
//! | second guard of ids | [`IdFloor`] | the durable bound holds (I10) |
//! | whether it was lost | [`LossSentinel`] | tells so, once to each that asks |
//!
//! # Failures
//!
//! `Unavailable` means that there was no answer. The call may still have taken effect, and that
//! does no harm: every call here may be repeated, at worst a rate is counted twice. Callers go on
//! without the role, as the table says, and try again later.

use std::sync::Arc;

mod directory;
mod feed;
mod id_floor;
pub mod idempotency;
mod memory;
mod partition;
mod presence;
mod rate;
mod route;
mod sentinel;

pub use directory::{Beat, Directory, DirectoryEntry, ENTRIES_KEPT, SESSIONS_PER_USER, SessionPut};
pub use feed::{CHANGES_HELD, RouteFeed};
pub use id_floor::IdFloor;
pub use idempotency::{Begun, Claim, IdempotencyStore, KEY_BYTES, RESULT_BYTES};
pub use memory::MemoryVolatile;
pub use partition::{Partition, Partitions};
pub use presence::{DELTAS_KEPT, Delta, DeltaId, DeltaPage, PresenceDeltas};
pub use rate::{Rate, RateCounters, Taken};
pub use route::{NodeRoute, Route, RouteChange, RouteEvent, RouteTable};
pub use sentinel::{Boot, LossSentinel, Sentinel};

/// The engines of what may be lost, one per role.
#[derive(Debug, Clone)]
pub struct VolatileStores {
    pub routes: Arc<dyn RouteTable>,
    pub directory: Arc<dyn Directory>,
    pub presence: Arc<dyn PresenceDeltas>,
    pub rates: Arc<dyn RateCounters>,
    pub idempotency: Arc<dyn IdempotencyStore>,
    pub id_floor: Arc<dyn IdFloor>,
    pub sentinel: Arc<dyn LossSentinel>,
}
