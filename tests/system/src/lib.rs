//! What the tests of the whole share: reading the repository's own source ([`source`]), running the
//! real node as a process ([`node`], [`served`]) and its verbs beside it ([`process`]), clients of
//! the SDK alone ([`sdk`]) and by the hundred ([`crowd`]), clients without it ([`raw`]), attackers
//! ([`flood`]), several nodes ([`cluster`]), traffic through them ([`traffic`]), clocks
//! that go wrong ([`fake_clock`]) and networks that are
//! cut ([`network`]), a balancer before edges ([`balancer`]), realistic conversations ([`text`]), and
//! judging what subscribers saw ([`checker`]).
//! Used by the tests beside it and by the fault campaign.

#![allow(clippy::unwrap_used)] // Everything here is test code: a failure is a panic that tells.

pub mod balancer;
pub mod checker;
pub mod cluster;
pub mod crowd;
pub mod fake_clock;
pub mod flood;
pub mod network;
pub mod node;
pub mod plain;
pub mod process;
pub mod raw;
pub mod sdk;
pub mod served;
pub mod source;
pub mod text;
pub mod traffic;
