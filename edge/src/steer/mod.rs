//! Which worker, and which node, a datagram belongs to. Every connection id names the node for
//! balancers before it ([`quic_lb`]) and the worker for a program in the kernel ([`program`]), so
//! that a client whose address has changed still reaches the thread that holds its connection.

mod attach;
mod connection_id;
mod program;
mod quic_lb;

pub(crate) use attach::attach;
pub(crate) use connection_id::ConnectionIds;
pub use connection_id::IdFormat;
pub(crate) use program::Steering;

/// Most workers of one edge: what five bits of a connection id can name.
pub const MAX_WORKERS: usize = 32;

/// Bits of an octet of a connection id that name the worker.
const STEER_MASK: u8 = 0x1f;
