//! Where connections come in: [`socket`] binds, [`admission`] bounds, [`quic`] and [`wss`] accept,
//! [`http`] answers what is no WebSocket.
//! Ends when the edge drains; connections go on without it.

mod admission;
#[cfg(test)]
mod fuzz_tests;
mod http;
mod problem;
mod quic;
mod rewound;
mod socket;
mod upgrade;
mod wss;

pub use admission::Connections;
pub(crate) use admission::{Admission, Admitted, Refusal, canonical};
pub(crate) use quic::{QuicConfigs, accept as accept_quic};
pub(crate) use socket::{WorkerSockets, bind};
pub(crate) use upgrade::Refused;
pub(crate) use wss::accept as accept_wss;
