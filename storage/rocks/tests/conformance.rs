//! Every promise of the storage roles, with both durabilities.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use sterna_storage::Stores;
use sterna_storage_rocks::{Durability, RocksConfig, RocksStore};

mod fsync {
    sterna_storage::conformance_suite! { super::place(super::Durability::Fsync) }
}

mod os {
    sterna_storage::conformance_suite! { super::place(super::Durability::Os) }
}

fn place(durability: Durability) -> impl Fn() -> Stores + Send + Sync {
    let directory = tempfile::tempdir().unwrap();
    move || {
        let config = RocksConfig { durability, ..RocksConfig::new(directory.path()) };
        RocksStore::open(config).unwrap().stores()
    }
}
