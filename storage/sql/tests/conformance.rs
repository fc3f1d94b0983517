//! Every promise of the storage roles, on MariaDB, in both layouts.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use sterna_storage::Stores;
use sterna_storage_sql::{Layout, SqlConfig, SqlStore};
use sterna_test_engines::MariaDb;

mod single {
    sterna_storage::conformance_suite! { super::place(super::Layout::Single) }
}

mod sharded {
    sterna_storage::conformance_suite! {
        super::place(super::Layout::Sharded { databases: 2, tables: 2 })
    }
}

fn place(layout: Layout) -> impl Fn() -> Stores + Send + Sync {
    let url = MariaDb::shared().fresh_url();
    move || {
        let config = SqlConfig { layout, ..SqlConfig::new(&url) };
        let connect = async { SqlStore::connect(config).await.unwrap().stores() };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(connect))
    }
}
