//! Measures what needs no running node: today the two encodings of the wire ([`wire`]), over a
//! realistic mix of frames ([`mix`]). The load generator of a node is `sterna bench`. Used by the
//! programs in `src/bin` and by tests; ships nowhere.

pub mod mix;
pub mod wire;
