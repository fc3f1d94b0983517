//! Every promise of the storage roles, with the log in Cassandra: once as it is configured by itself,
//! and once in buckets so small that every channel goes from one to the next all the time.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use sterna_storage::{MemoryStore, Stores};
use sterna_storage_scylla::{ScyllaConfig, ScyllaStore};

use support::Keyspace;

mod support;

mod large_buckets {
    sterna_storage::conformance_suite! { super::place(|_| {}) }
}

mod small_buckets {
    sterna_storage::conformance_suite! {
        super::place(|config| {
            config.bucket_records = 7;
            config.bucket_bytes = 3_000;
        })
    }
}

/// The roles that are not of this engine are kept in memory.
fn place(configure: impl Fn(&mut ScyllaConfig)) -> impl Fn() -> Stores + Send + Sync {
    let keyspace = Keyspace::fresh();
    let mut config = keyspace.config();
    configure(&mut config);
    let others = MemoryStore::new();
    move || {
        let _kept = &keyspace;
        let connect = support::in_the_end(async || ScyllaStore::connect(&config).await);
        let store =
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(connect));
        store.stores(others.clone().stores())
    }
}
