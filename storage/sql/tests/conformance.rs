//! Every promise of the storage roles, on MariaDB, in both layouts.
//!
//! `STERNA_LAYOUT=64x32` names the layout that is spread, as large as it comes in production. Its
//! tables are too many to be made for each promise: one store is emptied between them, so they come
//! one after the other, and making it takes minutes (`make test-layout`, which takes its folder away
//! afterwards).

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, OnceLock};

use sterna_storage::Stores;
use sterna_storage_sql::{Layout, SqlConfig, SqlStore};
use sterna_test_engines::{MariaDb, mariadb::Site};
use tokio::sync::{Mutex, OwnedMutexGuard};

mod single {
    sterna_storage::conformance_suite! { super::place(super::Layout::Single) }
}

mod sharded {
    sterna_storage::conformance_suite! { super::spread() }
}

type Place = Box<dyn Fn() -> Stores + Send + Sync>;

fn place(layout: Layout) -> Place {
    let url = MariaDb::shared().fresh_url();
    Box::new(move || open(&url, layout))
}

fn spread() -> Place {
    let Ok(named) = std::env::var("STERNA_LAYOUT") else {
        return place(Layout::Sharded { databases: 2, tables: 2 });
    };
    let (databases, tables) = named.split_once('x').expect("STERNA_LAYOUT is like 64x32");
    let layout = Layout::Sharded {
        databases: databases.parse().expect("a number of databases"),
        tables: tables.parse().expect("a number of tables"),
    };
    Whole::place(layout)
}

fn open(url: &str, layout: Layout) -> Stores {
    let config = SqlConfig { layout, ..SqlConfig::new(url) };
    wait(async { SqlStore::connect(config).await.unwrap().stores() })
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

/// One store in the layout of the environment, for all promises in turn.
struct Whole {
    server: MariaDb,
    url: String,
    turn: Arc<Mutex<()>>,
}

impl Whole {
    fn place(layout: Layout) -> Place {
        static WHOLE: OnceLock<Whole> = OnceLock::new();
        let whole = WHOLE.get_or_init(|| Self::make(layout));
        let turn: OwnedMutexGuard<()> = wait(Arc::clone(&whole.turn).lock_owned());
        whole.clear();
        Box::new(move || {
            // For as long as the promise has the place.
            let _ = &turn;
            open(&whole.url, layout)
        })
    }

    fn make(layout: Layout) -> Self {
        // Tens of thousands of files would only show how fast the file system is, and each table that is
        // made is synced several times; the server says which tables are written to.
        let options = [
            "--innodb-file-per-table=OFF",
            "--table-open-cache=40000",
            "--userstat=ON",
            "--innodb-buffer-pool-size=512M",
            "--innodb-log-file-size=256M",
            "--innodb-flush-method=nosync",
            "--innodb-doublewrite=OFF",
            "--debug-no-sync=ON",
        ];
        let server = MariaDb::start_at(Site::HERE, &options.map(str::to_owned));
        let url = server.fresh_url();
        let began = std::time::Instant::now();
        drop(open(&url, layout));
        let tables = server.execute(
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema LIKE 'test%'",
        );
        println!("{} tables are made in {:?}", tables.trim(), began.elapsed());
        server.execute("FLUSH TABLE_STATISTICS");
        Self { server, url, turn: Arc::default() }
    }

    /// Empties what the promise before has written to, but for what says which store it is.
    fn clear(&self) {
        let written = self.server.execute(
            "SELECT CONCAT('DELETE FROM `', table_schema, '`.', table_name, ';') \
             FROM information_schema.table_statistics \
             WHERE rows_changed > 0 AND table_schema LIKE 'test%' \
             AND table_name NOT IN ('meta', 'schema_versions')",
        );
        self.server.execute(&format!("{written} FLUSH TABLE_STATISTICS"));
    }
}
