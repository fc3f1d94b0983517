//! Every promise of the volatile roles, on a single server and on a Cluster.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod common;

mod single {
    sterna_storage::volatile_conformance_suite! { super::common::single_place() }
}

mod cluster {
    sterna_storage::volatile_conformance_suite! { super::common::cluster_place() }
}
