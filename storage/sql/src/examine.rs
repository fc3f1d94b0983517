//! What the servers of a store are and how they are set, for an operator: facts, and no judgement.
//! Connects once to each server, reads, and leaves; needs no schema and makes none.

use std::collections::BTreeMap;
use std::time::Instant;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder};
use sterna_storage::StorageError;

use crate::NOW_MS;
use crate::config::SqlConfig;
use crate::failure::{refused, unavailable};

/// Whose software a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    MySql,
    MariaDb,
    TiDb,
}

/// One server as it describes itself.
#[derive(Debug, Clone)]
pub struct ServerFacts {
    /// `host:port`.
    pub address: String,
    pub product: Product,
    /// As the server says it, such as `10.11.6-MariaDB`.
    pub version: String,
    /// How far its clock is ahead of this machine's, in milliseconds; half of the way is taken off.
    pub clock_ahead_ms: i64,
    /// Global variables by name; those that this product does not have are missing.
    pub variables: BTreeMap<String, String>,
}

/// Asks every server of the configuration. An error is that of the first one that cannot be asked,
/// after its address.
pub async fn examine(config: &SqlConfig) -> Result<Vec<ServerFacts>, (String, StorageError)> {
    let mut found = Vec::new();
    for (index, url) in config.urls.iter().enumerate() {
        let opts = Opts::from_url(url).map_err(|error| {
            let which = format!("URL number {}", index + 1);
            (which, unavailable(format!("it is not usable: {error}")))
        })?;
        let address = format!("{}:{}", opts.ip_or_hostname(), opts.tcp_port());
        let asking = tokio::time::timeout(config.patience, ask(opts, address.clone()));
        match asking.await {
            Ok(Ok(facts)) => found.push(facts),
            Ok(Err(error)) => return Err((address, refused(error))),
            Err(_) => return Err((address, unavailable("the server does not answer in time"))),
        }
    }
    Ok(found)
}

async fn ask(opts: Opts, address: String) -> Result<ServerFacts, mysql_async::Error> {
    let opts = OptsBuilder::from_opts(opts).prefer_socket(false).db_name(None::<String>);
    let mut conn = Conn::new(opts).await?;
    let version: Option<String> = conn.query_first("SELECT VERSION()").await?;
    let version = version.unwrap_or_default();
    let (asked, before) = (Instant::now(), unix_ms());
    let server_ms: Option<i64> = conn.query_first(format!("SELECT {NOW_MS}")).await?;
    let halfway = before + asked.elapsed().as_millis() as i64 / 2;
    let rows: Vec<(String, Option<String>)> = conn.query("SHOW GLOBAL VARIABLES").await?;
    conn.disconnect().await?;
    Ok(ServerFacts {
        address,
        product: product(&version),
        version,
        clock_ahead_ms: server_ms.map_or(0, |server| server - halfway),
        variables: rows
            .into_iter()
            .map(|(name, value)| (name, value.unwrap_or_default()))
            .collect(),
    })
}

fn product(version: &str) -> Product {
    match version {
        version if version.contains("TiDB") => Product::TiDb,
        version if version.contains("MariaDB") => Product::MariaDb,
        _ => Product::MySql,
    }
}

fn unix_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_told_by_their_versions() {
        assert_eq!(product("8.4.2"), Product::MySql);
        assert_eq!(product("10.11.6-MariaDB-0+deb12u1"), Product::MariaDb);
        assert_eq!(product("8.0.11-TiDB-v8.1.0"), Product::TiDb);
    }
}
