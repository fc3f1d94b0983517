//! From an owner to everybody who subscribed: the owner spreads to links ([`crate::channel`]), a
//! worker's [`hub`] to its sessions.

pub mod hub;
