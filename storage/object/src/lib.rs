//! Segments of the archive in an object store or in local files. docs/archive.md is for operators.
//!
//! [`ObjectSegments`] is made by the composition root and shared through the trait
//! [`sterna_storage::Segments`]. It has no task of its own and decides nothing: which segments count
//! is said by the manifest. It needs no service to begin with, and every call ends by its deadline.
//!
//! An object is named after its [`SegmentKey`](sterna_storage::SegmentKey) (`name.rs`), is written
//! once, in parts while its records come (`upload.rs`), and appears whole or not at all; how its
//! bytes lie is in [`mod@format`]. Nothing refers to what was uploaded and not finished: of local files
//! the temporary goes with its writer, and after a crash with
//! [`remove`](sterna_storage::Segments::remove) of its key; parts in a service go by the writer's
//! abort, and otherwise by the service's lifecycle rule for incomplete uploads, which an operator
//! has to set.

mod config;
pub mod decode;
pub mod encode;
mod failure;
mod files;
pub mod format;
#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod fuzz_tests;
mod kept;
mod local;
mod name;
mod objects;
mod outlet;
mod reader;
mod record;
mod scan;
mod store;
#[cfg(test)]
mod testing;
mod upload;
pub mod verifier;

pub use config::{Keys, ObjectConfig, Place};
pub use files::{Each, ObjectFiles};
pub use name::{name_of, parse_name};
pub use outlet::Outlet;
pub use store::ObjectSegments;

/// In errors and metrics.
const ENGINE: &str = "object";
