//! What a publication means and where it goes. Two halves meet at the [`link`]:
//!
//! * the **session half** runs inside an edge's workers: [`worker`] owns the sessions of one thread
//!   and its shard of the [`fanout::hub`]; [`session`] decides what a command means;
//! * the **channel half** runs on cores: [`channel`] sequences and stores, answers recovery, and
//!   spreads what was committed to the links that have asked for it; [`presence`] knows who is in.
//!
//! Between them may lie a [`cluster`] of nodes, which the [`link`] hides.
//!
//! Nothing here knows a client's socket, a certificate, HTTP or the name of a storage engine.

pub mod authz;
pub mod channel;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod error;
pub mod fanout;
pub mod id;
pub mod identity;
pub mod inbox;
pub mod limit;
pub mod link;
mod membership;
pub mod node;
pub mod order;
mod placing;
pub mod presence;
pub mod push;
pub mod revocations;
pub mod session;
pub mod tasks;
pub mod threads;
pub mod vitals;
pub mod volatile;
pub mod worker;

pub use clock::{Clock, ManualClock, SystemClock};
pub use cluster::balance::AffinityKey;
pub use config::{CoreConfig, QueueLimits};
pub use error::CoreError;
pub use identity::{Action, Identity, Permission};
pub use node::{ChannelKeeping, DrainProgress, Node, Ordered};
pub use placing::Newcomer;
pub use push::{EncodedPush, Encoding, SharedPush};
pub use session::{ConnectionInfo, Lane, Outgoing, TransportKind};
pub use tasks::{Tasks, note_panic, vital};
pub use threads::Threads;
pub use worker::{Attachment, Worker};
