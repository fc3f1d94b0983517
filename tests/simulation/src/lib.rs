//! Thousands of schedules of nodes, clients and faults, each from one number, in virtual time and
//! without a network. The nodes are the real core on the real memory engine; the clients follow
//! the contract of the SDK; the [`checker`] judges what they have written down against the
//! invariants of ARCHITECTURE.md and knows nothing of the core.
//!
//! * [`plan`]: what a seed stands for. [`world`], [`faults`], [`run`]: it happens.
//! * [`client`], [`outbox`], [`wire`]: one client and its connection. [`store`], [`clock`]: what
//!   nodes stand on.
//! * [`cluster`]: several nodes, links between them, and what becomes of both.
//! * [`history`], [`checker`]: what happened, and whether it may. [`campaign`]: many seeds.
//! * [`entropy`], [`turn`]: keep chance out, so that a seed repeats itself.
//!
//! Everything of one schedule happens on one thread and ends with it.

pub mod branches;
pub mod campaign;
pub mod chance;
pub mod checker;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod entropy;
pub mod faults;
pub mod history;
pub mod outbox;
pub mod plan;
pub mod run;
pub mod store;
pub mod turn;
pub mod wire;
pub mod world;

pub use campaign::Campaign;
pub use run::{Outcome, run};
