//! The engines that storage tests run against, each as a process of its own on a free loopback port.
//! Called by tests alone. A started process ends with its handle, and with the test process however
//! that ends.

pub mod mariadb;
mod process;

pub use mariadb::MariaDb;
