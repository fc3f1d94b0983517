//! What is remembered. One trait per role, one reference implementation in memory, one conformance
//! suite that every engine passes; payloads are opaque bytes here.
//!
//! | role | trait | embedded | cluster |
//! |---|---|---|---|
//! | publications, heads, dedup | [`PublicationLog`] | RocksDB | TiDB / MySQL or ScyllaDB |
//! | channels and memberships | [`ChannelStore`] | RocksDB | with the log |
//! | delivered and read cursors | [`CursorStore`] | RocksDB | TiDB / MySQL |
//! | upper bound of issued ids | [`IdBoundStore`] | RocksDB | TiDB / MySQL |
//! | inboxes | [`InboxStore`] | RocksDB | TiDB / MySQL |
//! | relations of users | [`RelationStore`] | RocksDB | TiDB / MySQL |
//! | what commits still owe | [`IntentStore`] | RocksDB | with the log |
//! | users whose tokens are void | [`RevocationStore`] | RocksDB | TiDB / MySQL |
//! | what channels keep, holds, keys | [`KeepingStore`] | RocksDB | TiDB / MySQL |
//! | how far channels are archived | [`ArchivedStore`] | RocksDB | TiDB / MySQL |
//! | manifest of the archive | [`ManifestStore`] | RocksDB | TiDB / MySQL |
//! | segments of the archive | [`Segments`] | files | S3, GCS, Azure |
//! | worker numbers of ids | [`IdLeaseStore`] | memory | TiDB / MySQL |
//! | nodes that are alive | [`RosterStore`] | memory | TiDB / MySQL |
//! | old pages of logs, which may be lost | [`page::PageCache`] | | RocksDB, Redis |
//!
//! What may be lost at any moment without losing a publication, an order or a membership has roles
//! of its own, see [`volatile`].
//!
//! Engines live in crates of their own (`storage/rocks`, `storage/sql`, `storage/scylla`,
//! `storage/redis`, `storage/object`), since they are heavy to build; only the composition root names
//! one.

use std::sync::Arc;

pub mod archived;
pub mod channel;
pub mod cursor;
pub mod error;
pub mod id_bound;
pub mod id_lease;
pub mod inbox;
pub mod intent;
pub mod keeping;
pub mod layer;
pub mod log;
pub mod lookups;
pub mod manifest;
pub mod memory;
pub mod page;
pub mod record;
pub mod relation;
pub mod revocation;
pub mod roster;
pub mod segments;
pub mod sequence;
pub mod volatile;

#[cfg(feature = "planted")]
pub mod planted;

/// Whether a known bug is switched on here; `false` unless the feature `planted` is.
#[cfg(feature = "planted")]
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::is_planted($crate::planted::Bug::$bug)
    };
}

/// Whether a known bug is switched on here: none is in this build.
#[cfg(not(feature = "planted"))]
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(any(test, feature = "conformance"))]
pub mod fault;

pub use archived::{Archived, ArchivedChange, ArchivedError, ArchivedStore};
pub use channel::{ChannelRecord, ChannelStore, Created, Membership, MembershipChange};
pub use cursor::{CursorMove, CursorStore, MemberCursor};
pub use error::{Missing, StorageError, StorageErrorKind};
pub use id_bound::IdBoundStore;
pub use id_lease::IdLeaseStore;
pub use inbox::{InboxChange, InboxEntry, InboxState, InboxStore, Pts};
pub use intent::{Intent, IntentStore};
pub use keeping::{KeepingError, KeepingStore, Kept};
pub use layer::LogLayer;
pub use log::{
    Adoption, Append, AppendError, Duplicate, EpochStart, Head, PageLimit, PageRoom,
    PublicationLog, ReadError,
};
pub use lookups::{Lookups, TierLookups};
pub use manifest::{
    ManifestChange, ManifestEntry, ManifestError, ManifestStore, SegmentKey, SegmentState,
};
pub use memory::{MemorySegments, MemoryStore};
pub use record::{NewRecord, Origin, Record};
pub use relation::{Direction, Edge, Relation, RelationKind, RelationStore};
pub use revocation::{Revocation, RevocationStore};
pub use roster::{RosterEntry, RosterError, RosterStore};
pub use segments::{Behind, Links, Piece, Run, RunAt, Sealed, SegmentWriter, Segments};

/// Re-exported so that engines name the same type as the traits.
pub use futures_util::future::BoxFuture;

/// The engines a node runs on, one per role. Several roles may share one engine.
#[derive(Debug, Clone)]
pub struct Stores {
    pub log: Arc<dyn PublicationLog>,
    pub channels: Arc<dyn ChannelStore>,
    pub cursors: Arc<dyn CursorStore>,
    pub id_bound: Arc<dyn IdBoundStore>,
    pub inboxes: Arc<dyn InboxStore>,
    pub relations: Arc<dyn RelationStore>,
    pub intents: Arc<dyn IntentStore>,
    pub manifest: Arc<dyn ManifestStore>,
    pub archived: Arc<dyn ArchivedStore>,
    pub revocations: Arc<dyn RevocationStore>,
    pub keeping: Arc<dyn KeepingStore>,
    pub id_leases: Arc<dyn IdLeaseStore>,
    pub roster: Arc<dyn RosterStore>,
}
