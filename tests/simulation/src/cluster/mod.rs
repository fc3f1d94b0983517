//! Several nodes in one schedule: cores over one store, edges, regions, and links between all of
//! them. The nodes are the real core with its real router, lanes and membership; what is simulated
//! is what carries frames ([`links`] over a [`network`]), what each node reaches of the store
//! ([`stores`]), and the processes themselves ([`nodes`]).
//!
//! A seed stands for the nodes, their times, the clients and the faults ([`plan`]); the faults strike
//! ([`faults`]) while clients publish, and then everything has to heal ([`run`]). One seed again:
//!
//! ```text
//! STERNA_SEED=17 cargo test -p sterna-simulation --test clusters replay
//! ```
//!
//! The times of the cluster (beat, lease, patience) are about a quarter of the usual ones, so that
//! a schedule of some seconds sees leases end and ways heal.

pub mod calm;
pub mod faults;
pub mod links;
pub mod network;
pub mod nodes;
pub mod plan;
pub mod run;
pub mod stores;
