//! What channels keep and for how long, between the core and its stores.
//!
//! ```text
//! core ──> KeptLog ──> (TieredLog ──>) log        hides what was redacted, answers gaps below floors
//!     └──> Keeper ──> KeepingStore                what was ordered; remembers it for the log
//! Sweeper ── gives up what is older than its retention, wraps keys anew
//! archiver ──> SealedSegments ──> segments        payloads under a key of their channel
//! ```
//!
//! The core knows none of this but the role [`KeepingStore`](sterna_storage::KeepingStore), by which it
//! gives orders. Reads fail rather than show what may have been given up: whoever cannot find out
//! what was ordered of a channel answers nothing of it.

mod cache;
mod clock;
mod fates;
mod keeper;
mod log;
mod root;
mod seal;
mod sweeper;

pub use clock::RetentionClock;
pub use fates::StoredFates;
pub use keeper::Keeper;
pub use log::KeptLog;
pub use root::{RootKeys, RootKeysError};
pub use seal::{DataKeys, Encrypt, SealedSegments};
pub use sweeper::{GivesUp, RetentionConfig, SweepReport, Sweeper};

/// In errors and metrics.
const ENGINE: &str = "keeping";
