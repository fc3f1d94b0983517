//! Where connections come in: [`socket`] binds, [`admission`] bounds, [`quic`] and [`wss`] accept.
//! Ends when the edge drains; connections go on without it.

mod admission;
#[cfg(test)]
mod fuzz_tests;
mod quic;
mod socket;
mod upgrade;
mod wss;

pub use admission::Connections;
pub(crate) use admission::{Admission, Admitted, Refusal, canonical};
pub(crate) use quic::{QuicConfigs, accept as accept_quic};
pub(crate) use socket::{WorkerSockets, bind};
pub(crate) use upgrade::Refused;
pub(crate) use wss::accept as accept_wss;
