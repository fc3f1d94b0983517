//! Opening: connect, bring the schema up to date, and learn the store's birth.

use std::sync::atomic::AtomicBool;

use mysql_async::{Opts, OptsBuilder};
use sterna_proto::Epoch;
use sterna_storage::StorageError;

use crate::columns::{Columns, text};
use crate::config::{Layout, SqlConfig};
use crate::engine::Engine;
use crate::failure::{corrupt, unavailable};
use crate::ids::GATE;
use crate::place::{HOME, Places};
use crate::schema;
use crate::server::Server;

/// Opens the store that the configuration names. `progress` is told how many databases are up to
/// date, of how many.
pub(crate) async fn open(
    config: &SqlConfig,
    mut progress: impl FnMut(u16, u16),
) -> Result<Engine, StorageError> {
    let opts = parse_urls(config)?;
    let base = common_database(&opts)?;
    let places = Places::new(config.layout, &base).map_err(unavailable)?;
    let servers = opts.into_iter().map(|one| Server::new(OptsBuilder::from_opts(one), config));
    let mut engine = Engine {
        places,
        birth: Epoch(0),
        servers: servers.collect(),
        closed: AtomicBool::new(false),
    };
    for database in 0..engine.places.databases() {
        schema::bring_up(&engine, database, config.migrate).await?;
        progress(database + 1, engine.places.databases());
    }
    let layout = settle(&engine, "layout", &format!("'{}'", name_of(config))).await?;
    if layout != name_of(config) {
        let message = format!(
            "the store was made with the layout {layout:?}, and {:?} is configured: its rows would \
             not be found; configure the layout it was made with",
            name_of(config)
        );
        return Err(unavailable(message));
    }
    // By the server's clock, which all nodes share.
    let now = format!("GREATEST(1, UNIX_TIMESTAMP() - {BEGIN_UNIX_SECS})");
    let birth = settle(&engine, GATE, &now).await?;
    let seconds =
        birth.parse().map_err(|_| corrupt(format!("the birth {birth:?} is no number")))?;
    engine.birth = Epoch(seconds);
    Ok(engine)
}

fn parse_urls(config: &SqlConfig) -> Result<Vec<Opts>, StorageError> {
    if config.urls.is_empty() {
        return Err(unavailable("no URL of a server is configured"));
    }
    if config.layout == Layout::Single && config.urls.len() > 1 {
        return Err(unavailable("the layout `single` lies on one server: configure one URL"));
    }
    // The URL holds a password, so only its number is told.
    let parse = |(index, url): (usize, &String)| {
        Opts::from_url(url).map_err(|error| {
            unavailable(format!("URL number {} is not usable: {error}", index + 1))
        })
    };
    config.urls.iter().enumerate().map(parse).collect()
}

fn common_database(opts: &[Opts]) -> Result<String, StorageError> {
    let names: Vec<&str> = opts.iter().map(|one| one.db_name().unwrap_or_default()).collect();
    if names.iter().any(|name| name != &names[0]) {
        return Err(unavailable(format!("all URLs must name one database, not {names:?}")));
    }
    Ok(names[0].to_owned())
}

fn name_of(config: &SqlConfig) -> String {
    match config.layout {
        Layout::Single => "single".to_owned(),
        Layout::Sharded { databases, tables } => {
            format!("{databases} x {tables} on {}", config.urls.len())
        }
    }
}

/// The value that was settled first, by whichever node.
async fn settle(engine: &Engine, name: &str, expression: &str) -> Result<String, StorageError> {
    let meta = engine.places.home("meta");
    let read = format!("SELECT value FROM {meta} WHERE name = ?");
    let mut found = engine.home().read(&read, vec![text(name)]).await?;
    if found.is_empty() {
        let sql = format!("INSERT IGNORE INTO {meta} (name, value) VALUES (?, {expression})");
        engine.execute(HOME, sql, vec![text(name)]).await?;
        found = engine.home().read(&read, vec![text(name)]).await?;
    }
    let row = found.pop().ok_or_else(|| corrupt(format!("{name} is missing in meta")))?;
    Columns::of("meta", row).take()
}

/// 2024-01-01 00:00 UTC, where epochs begin.
const BEGIN_UNIX_SECS: u64 = 1_704_067_200;
