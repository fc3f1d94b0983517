//! What the cluster of a store is and how it is set, for an operator: facts, and no judgement. Connects
//! once, reads, and leaves; needs no schema and makes none.

use scylla::client::session::Session;
use scylla::statement::{Consistency, Statement};
use scylla::value::CqlValue;
use sterna_storage::StorageError;

use crate::columns::{Columns, integer, words};
use crate::config::ScyllaConfig;
use crate::cql::rows_of;
use crate::failure::{corrupt, refused};
use crate::{open, schema};

/// Whose software the nodes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    Scylla,
    Cassandra,
}

/// A cluster as it describes itself.
#[derive(Debug, Clone)]
pub struct ClusterFacts {
    pub product: Product,
    /// As a node says it, such as `5.0.5`.
    pub version: String,
    /// Nodes of the datacenter, and how many of them take connections.
    pub nodes: usize,
    pub connected: usize,
    /// When commits are written to a disk, where the product tells.
    pub commitlog_sync: Option<String>,
    /// `None` if there is none of the configured name.
    pub keyspace: Option<KeyspaceFacts>,
}

/// The keyspace of the store.
#[derive(Debug, Clone)]
pub struct KeyspaceFacts {
    /// Copies in the datacenter; `None` if its strategy does not say so by datacenter.
    pub replication: Option<u16>,
    /// Whether it is divided into tablets, of ScyllaDB.
    pub tablets: bool,
    /// The version of the tables; `None` if there are none.
    pub schema: Option<u32>,
    /// Why a conditional write cannot be decided, as far as a read that settles one can tell.
    pub undecided: Option<String>,
}

/// The version of the tables that this program needs.
pub const SCHEMA: u32 = schema::VERSION;

/// Asks the cluster of the configuration.
pub async fn examine(config: &ScyllaConfig) -> Result<ClusterFacts, StorageError> {
    let session = open::connect(config).await?;
    open::check_datacenter(&session, config).await?;
    let is_scylla = schema::is_scylla(&session).await?;
    let product = if is_scylla { Product::Scylla } else { Product::Cassandra };
    let (nodes, connected) = {
        let state = session.get_cluster_state();
        let own = state
            .get_nodes_info()
            .iter()
            .filter(|node| node.datacenter.as_deref() == Some(config.datacenter.as_str()));
        let up: Vec<bool> = own.map(|node| node.is_connected()).collect();
        (up.len(), up.into_iter().filter(|up| *up).count())
    };
    Ok(ClusterFacts {
        product,
        version: version(&session, product).await?,
        nodes,
        connected,
        commitlog_sync: commitlog_sync(&session, product).await?,
        keyspace: keyspace(&session, config, product).await?,
    })
}

async fn version(session: &Session, product: Product) -> Result<String, StorageError> {
    let asked = match product {
        Product::Scylla => "SELECT version FROM system.versions WHERE key = ?",
        Product::Cassandra => "SELECT release_version FROM system.local WHERE key = ?",
    };
    let found = schema::ask(session, asked, "local").await?;
    found.into_iter().next().map_or(Ok(String::new()), |mut row| row.text())
}

/// ScyllaDB syncs what was decided by Paxos whatever its setting is.
async fn commitlog_sync(
    session: &Session,
    product: Product,
) -> Result<Option<String>, StorageError> {
    if product == Product::Scylla {
        return Ok(None);
    }
    let asked = "SELECT value FROM system_views.settings WHERE name = ?";
    let found = schema::ask(session, asked, "commitlog_sync").await?;
    found.into_iter().next().map_or(Ok(None), |mut row| row.optional(words))
}

async fn keyspace(
    session: &Session,
    config: &ScyllaConfig,
    product: Product,
) -> Result<Option<KeyspaceFacts>, StorageError> {
    let asked = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let found = schema::ask(session, asked, &config.keyspace).await?;
    let Some(mut row) = found.into_iter().next() else { return Ok(None) };
    let replication = row.optional(|value| replication(value, &config.datacenter))?;
    let mut tablets = false;
    if product == Product::Scylla {
        let asked =
            "SELECT initial_tablets FROM system_schema.scylla_keyspaces WHERE keyspace_name = ?";
        for mut row in schema::ask(session, asked, &config.keyspace).await? {
            tablets |= row.optional(integer)?.is_some();
        }
    }
    session.use_keyspace(&config.keyspace, true).await.map_err(|error| {
        corrupt(format!("the keyspace is there and cannot be used: {error}")).with_source(error)
    })?;
    let schema = schema::version(session, config).await?;
    let undecided = if schema.is_some() { undecided(session).await } else { None };
    Ok(Some(KeyspaceFacts { replication: replication.flatten(), tablets, schema, undecided }))
}

/// `None` if it is no map of texts.
fn replication(value: CqlValue, datacenter: &str) -> Option<Option<u16>> {
    let CqlValue::Map(entries) = value else { return None };
    let named = entries.into_iter().find_map(|(name, copies)| {
        (words(name).as_deref() == Some(datacenter)).then(|| words(copies)).flatten()
    });
    Some(named.and_then(|copies| copies.parse().ok()))
}

async fn undecided(session: &Session) -> Option<String> {
    let mut look = Statement::new("SELECT value FROM meta WHERE name = 'schema'");
    look.set_consistency(Consistency::LocalSerial);
    let found: Result<Vec<Columns>, StorageError> = match session.query_unpaged(look, ()).await {
        Ok(found) => rows_of("meta", found),
        Err(error) => Err(refused(error)),
    };
    found.err().map(|error| error.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_those_of_the_datacenter() {
        let text = |text: &str| CqlValue::Text(text.to_owned());
        let by_datacenter = CqlValue::Map(vec![
            (text("class"), text("org.apache.cassandra.locator.NetworkTopologyStrategy")),
            (text("east"), text("3")),
            (text("west"), text("2")),
        ]);
        assert_eq!(replication(by_datacenter.clone(), "west"), Some(Some(2)));
        assert_eq!(replication(by_datacenter, "north"), Some(None));
        let simple = CqlValue::Map(vec![(text("replication_factor"), text("3"))]);
        assert_eq!(replication(simple, "east"), Some(None));
    }
}
