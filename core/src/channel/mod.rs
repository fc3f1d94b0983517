//! Channels as their owner sees them: [`sequence`] gives order, [`ring`] holds what is new,
//! [`recover`] finds what a position is missing, and a [`shard`] is the task that owns a fixed
//! share of all channels and does the waiting for them.

pub mod recover;
pub mod ring;
pub(crate) mod rings;
pub mod sequence;
pub mod shard;

mod calls;
mod cursors;
mod denied;
mod examine;
pub(crate) mod flights;
mod heirs;
mod hints;
mod keep;
pub(crate) mod members;
mod missed;
mod origins;
mod pages;
mod presence_beacon;
mod present;
mod recall;
mod rehome;
mod spread;
mod state;
pub(crate) mod work;

pub(crate) use members::channel_info;
