//! The fault campaign: real nodes under real load, while something is broken on purpose.
//!
//! A [`scenario`] draws its faults from a seed, lets several users talk on QUIC and wss
//! ([`workload`]), and has what they saw judged against what they were promised ([`verdict`]).
//! [`campaign`] runs rounds of them, [`table`] counts and says what does not count; the binary beside it and `tests/campaign.rs` are its
//! two callers. Everything runs on this machine: nodes, mounts and tracers end with the round.

#![allow(clippy::unwrap_used)] // Everything here is test code: a failure is a panic that tells.

pub mod campaign;
mod disk;
mod gate;
mod injector;
mod place;
mod scenario;
pub mod table;
mod verdict;
mod workload;
