//! Where publications go: into this machine, or into a database that many nodes share.

use std::path::{Path, PathBuf};

use sterna_proto::v1;
use sterna_storage_rocks::Durability;
use sterna_storage_scylla::ScyllaConfig;
use sterna_storage_sql::{Layout, SqlConfig, Tls};

use super::Reader;
use crate::keys;
use crate::pages::PageSettings;

#[derive(Debug, Clone)]
pub(crate) enum StoreConfig {
    /// Forgets everything at the end of the process.
    Memory,
    Rocks {
        directory: PathBuf,
        durability: Durability,
        accept_truncated: bool,
    },
    /// MySQL, MariaDB or TiDB, with the log in it or beside it.
    Sql(Box<DatabaseConfig>),
}

/// What cores share.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseConfig {
    pub(crate) sql: SqlConfig,
    /// Where publications, members of channels and intents are, if not in the SQL store.
    pub(crate) scylla: Option<ScyllaConfig>,
}

impl StoreConfig {
    pub(crate) fn durability(&self) -> v1::Durability {
        match self {
            Self::Memory => v1::Durability::Memory,
            Self::Rocks { durability: Durability::Fsync, .. } => v1::Durability::Fsync,
            Self::Rocks { durability: Durability::Os, .. } => v1::Durability::Os,
            Self::Sql(_) => v1::Durability::External,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Engine {
    Rocks,
    Memory,
    Sql,
}

impl Reader {
    pub(super) fn store(&mut self, data_dir: Option<&Path>) -> Option<StoreConfig> {
        let directory = self.path("store.directory");
        let durability = self
            .choice("store.durability", &[("fsync", Durability::Fsync), ("os", Durability::Os)]);
        let accept_truncated = self.bool("store.accept_truncated", false);
        let engines =
            [("rocksdb", Engine::Rocks), ("memory", Engine::Memory), ("sql", Engine::Sql)];
        let engine = self.choice("store.engine", &engines)?;
        let scylla = self.scylla(matches!(engine, Engine::Sql));
        match engine {
            Engine::Rocks => Some(StoreConfig::Rocks {
                directory: scylla.and(directory.or_else(|| Some(data_dir?.join("store"))))?,
                durability: durability?,
                accept_truncated: accept_truncated?,
            }),
            Engine::Memory => scylla.map(|_| StoreConfig::Memory),
            Engine::Sql => {
                let sql = self.sql();
                Some(StoreConfig::Sql(Box::new(DatabaseConfig { sql: sql?, scylla: scylla? })))
            }
        }
    }

    /// `Some(None)`: no pages are kept on this machine's disk.
    pub(super) fn pages(&mut self, store: Option<&StoreConfig>) -> Option<Option<PageSettings>> {
        let bytes = self.integer("store.page_cache_bytes", 1 << 30, 16 << 20..=1 << 44);
        let Some(directory) = self.path("store.page_cache") else { return bytes.map(|_| None) };
        let Some(StoreConfig::Sql(database)) = store else {
            let reason = "for cores on a database (`store.engine = \"sql\"`); what lies on this \
                          machine anyway needs no copy";
            return self.refuse("store.page_cache", reason);
        };
        // What stands before the @ is who asks, and a secret.
        let place =
            |url: &String| url.rsplit_once('@').map_or(url.as_str(), |(_, place)| place).to_owned();
        let mut places: Vec<String> = database.sql.urls.iter().map(place).collect();
        places.extend(database.scylla.iter().map(|log| log.keyspace.clone()));
        Some(Some(PageSettings { directory, bytes: bytes?, database: places.join(" ") }))
    }

    fn sql(&mut self) -> Option<SqlConfig> {
        let urls = self.texts("store.urls");
        if urls.is_empty() {
            return self.missing("store.urls");
        }
        if urls.iter().any(|url| !url.starts_with("mysql://")) {
            let reason = "write mysql://user:password@host:port/database for each server";
            return self.refuse("store.urls", reason);
        }
        let sharded = self.choice("store.layout", &[("single", false), ("sharded", true)])?;
        let databases = self.integer("store.databases", 64, 1..=2048);
        let tables = self.integer("store.tables", 32, 1..=2048);
        let (databases, tables) = (databases? as u16, tables? as u16);
        if !databases.is_power_of_two() || !tables.is_power_of_two() {
            let reason = "`store.databases` and `store.tables` are powers of two";
            return self.refuse("store.databases", reason);
        }
        let mut sql = SqlConfig::new(String::new());
        sql.tls = self.sql_tls()?;
        let writes =
            self.integer("store.write_connections", sql.write_connections as u64, 1..=1000);
        let reads = self.integer("store.read_connections", sql.read_connections as u64, 1..=1000);
        sql.patience = self.duration("store.patience", "5s", "1s", "1m")?;
        sql.urls = urls;
        sql.migrate = self.bool("store.migrate", true)?;
        sql.write_connections = writes? as usize;
        sql.read_connections = reads? as usize;
        if sharded {
            sql.layout = Layout::Sharded { databases, tables };
        }
        Some(sql)
    }

    fn sql_tls(&mut self) -> Option<Tls> {
        let authorities = self.path("store.authorities");
        if let Some(Err(text)) = authorities.as_deref().map(keys::read_chain) {
            return self.refuse("store.authorities", text);
        }
        match self.bool("store.tls", authorities.is_some())? {
            true => Some(Tls::Required { authorities }),
            false if authorities.is_none() => Some(Tls::AsTheUrlsSay),
            false => self.refuse("store.tls", "`store.authorities` are of no use without it"),
        }
    }
}
