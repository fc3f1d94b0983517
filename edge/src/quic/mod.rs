//! QUIC itself: the protocol machine of `quinn-proto` (RFC 9000), moved by one loop for each worker.
//!
//! A worker is one thread, so that nothing here takes a lock, crosses a channel or costs a task for
//! each connection: [`Endpoint`] holds the connections of a worker, `driver` reads the socket, fires
//! timers and writes what connections have to say, [`Connection`] and its streams are what
//! `transport::quic` sees. One buffer for packets on their way out serves all connections; an idle
//! one keeps none. Knows packets and streams, never a frame of ours.

mod connection;
mod deadlines;
mod driver;
mod endpoint;
#[cfg(test)]
mod fuzz_tests;
mod socket;
mod streams;
#[cfg(test)]
mod tests;
mod tls;
#[cfg(test)]
mod wire;

pub(crate) use connection::{Arrival, Connection};
pub(crate) use endpoint::{Endpoint, Incoming};
pub(crate) use quinn_proto::ConnectionError;
pub(crate) use streams::{Read, RecvStream, SendStream, WriteError};
pub(crate) use tls::{Protocol, ServerTls};

use std::time::Instant;

/// By the runtime's clock, which its timers follow too, and which tests move.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
