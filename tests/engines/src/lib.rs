//! The engines that storage tests run against, each as a process of its own on a free loopback port:
//! servers that a test starts, hurts and ends. Called by tests alone; nothing that ships knows this
//! crate. A started process ends with its handle, and with the test process however that ends.

pub mod batches;
pub mod cassandra;
pub mod commits;
pub mod mariadb;
mod place;
pub mod process;
pub mod redis;
pub mod s3;
mod tidb;

pub use cassandra::Cassandra;
pub use mariadb::{MariaDb, Site};
pub use s3::S3Server;
