//! Measures. [`run`] holds the measurements of `sterna bench`: a node, the raw limits of its
//! libraries (`sterna-bench-raw`) and peers under the same clients, each server a process of its
//! own. [`wire`] measures the two encodings of the protocol over a realistic mix of frames
//! ([`mix`]), without a node.
//!
//! The load generator lives on one thread, in a `LocalSet`: thousands of clients without locks. Only
//! [`run::latency`] has one more, and a peer with clients of its own ([`foreign`]) brings a program.

pub mod client;
pub mod dialect;
pub mod foreign;
pub mod http;
pub mod machine;
pub mod meter;
pub mod mix;
pub mod progress;
pub mod report;
pub mod run;
pub mod server;
pub mod target;
pub mod wire;
