//! Which worker a UDP packet belongs to. Every connection id that a worker hands out names the
//! worker, and a program in the kernel reads it from each packet, so that a client
//! whose address has changed still reaches the worker that holds its connection.

mod attach;
mod connection_id;
mod program;

pub(crate) use attach::attach;
pub(crate) use connection_id::{ConnectionIds, NodeNumber};
pub(crate) use program::steering_program;

/// Most workers of one edge: what five bits of a connection id's first octet can name.
pub const MAX_WORKERS: usize = 32;

/// Bits of a connection id's first octet that name the worker; the upper three are the config id.
const STEER_MASK: u8 = 0x1f;
