//! From an owner to everybody who subscribed: the owner spreads to links ([`crate::channel`]), a
//! node to those behind it ([`interests`]), and keeps the newest of it ([`edge_rings`]), a worker's [`hub`] to its sessions. What a link has no
//! room for becomes one of its [`debts`]. [`routes`] knows the nodes that a channel goes to.

pub mod debts;
pub(crate) mod edge_rings;
pub mod hub;
pub mod interests;
pub mod route_cache;
#[cfg(test)]
mod route_cache_tests;
pub mod routes;
