//! `sterna archive`: what lies in the archive, archiving at once, and whether all of it can be read. A
//! running node is asked for what only it can do, since a store of one machine is open at one process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use sterna_bench::progress::Progress;
use sterna_edge::http::{HttpConfig, Role};
use sterna_storage::{StorageError, StorageErrorKind, Stores};
use sterna_storage_archive::{Progress as Done, SHARDS, status, verify_beside};
use sterna_storage_keeping::Keeper;

mod export;
mod restore;

use super::jobs;
use super::operator::Operator;
use crate::archive::{Archive, passed_json, status_json, verified_json};
use crate::args::{ArchiveArgs, ArchiveOf, ArchiveVerb, ConfigArgs, StoreArgs};
use crate::config::{ArchiveSettings, Config, StoreConfig};
use crate::output::{self, Format};
use crate::raw_config::{RawConfig, environment};
use crate::stores::{connect_database, open_stores};

/// What is asked of an archive that is there.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Status,
    Run,
    Verify,
}

pub(crate) fn run(args: &ArchiveArgs) -> Result<ExitCode> {
    let (asked, of) = match &args.verb {
        ArchiveVerb::Status(of) => (Asked::Status, of),
        ArchiveVerb::Run(of) => (Asked::Run, of),
        ArchiveVerb::Verify(of) => (Asked::Verify, of),
        ArchiveVerb::Restore(args) => return restore::run(args),
        ArchiveVerb::Export(args) => return export::run(args),
    };
    let found = match &of.config {
        None => ask(&Operator::find(&of.operator)?, asked),
        Some(file) => {
            let overrides = of.overrides.clone();
            with_config(&ConfigArgs { config: file.clone(), overrides }, asked, of)
        }
    }?;
    print(asked, &found, Format::of(of.json))
}

/// The configuration, or every complaint about it.
pub(super) fn read_config(args: &ConfigArgs) -> Result<Config> {
    let raw = RawConfig::gather(&args.config, environment(), &args.overrides);
    Config::from_raw(raw).map_err(|complaints| {
        complaints.iter().for_each(|it| output::complain(&anyhow!("{it}")));
        anyhow!("the configuration has {} errors", complaints.len())
    })
}

/// Works on the store itself, or asks the node that has it.
fn with_config(args: &ConfigArgs, asked: Asked, of: &ArchiveOf) -> Result<Value> {
    let config = read_config(args)?;
    let Some(settings) = config.archive else {
        bail!("`archive.url` is not set: everything stays in the store");
    };
    let Some(store) = config.store else { bail!("this node has no store") };
    let local = match &store {
        StoreConfig::Sql(_) => None,
        local => match open_stores(local, StoreArgs::default()) {
            Ok((stores, _)) => Some(stores),
            Err(error) if is_held(&error) => return ask(&holder(&config.http, of)?, asked),
            Err(error) => return Err(error),
        },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (archive, _) = opened(settings, &store, local).await?;
        match asked {
            Asked::Status => Ok(status_json(&status(&archive.tiers).await?)),
            Asked::Run => archive_now(&archive).await,
            Asked::Verify => read_again(&archive).await,
        }
    })
}

/// An archive beside the store of this machine, or beside a database.
async fn opened(
    settings: ArchiveSettings,
    store: &StoreConfig,
    local: Option<Stores>,
) -> Result<(Archive, Stores)> {
    let mut stores = match (store, local) {
        (StoreConfig::Sql(database), _) => {
            connect_database(database, StoreArgs::default()).await?.1
        }
        (_, Some(stores)) => stores,
        (_, None) => bail!("this node has no store"),
    };
    let keeper = Arc::new(Keeper::new(stores.keeping.clone(), true));
    let archive = Archive::open(settings, &mut stores, &keeper)?;
    Ok((archive, stores))
}

/// Another process has the store.
fn is_held(error: &anyhow::Error) -> bool {
    let storage = error.downcast_ref::<StorageError>();
    storage.is_some_and(|error| error.kind == StorageErrorKind::Unavailable)
}

/// The node of this configuration, which has the store.
fn holder(http: &HttpConfig, of: &ArchiveOf) -> Result<Operator> {
    if of.operator.api_key_file.is_some() {
        return Operator::find(&of.operator);
    }
    let key = http.api_keys.iter().find(|key| key.role == Role::Operator);
    let key = key.context(
        "a running node has the store, and `http.api_keys` has no operator's key to ask it with",
    )?;
    let mut address: SocketAddr = http.address;
    if address.port() == 0 {
        bail!("a running node has the store, on a port of chance: name it with --url");
    }
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    Ok(Operator::new(address, &key.secret))
}

/// Has a running node do it.
fn ask(operator: &Operator, asked: Asked) -> Result<Value> {
    match asked {
        Asked::Status => operator.get("/api/v1/operate/archive"),
        Asked::Run => jobs::carry_out(operator, "/api/v1/archive/run", &json!({})),
        Asked::Verify => jobs::carry_out(operator, "/api/v1/archive/verify", &json!({})),
    }
}

async fn archive_now(archive: &Archive) -> Result<Value> {
    let bar = Progress::new("archiving", 0);
    let mut at = "archiving";
    let told = |stage: &'static str, done: u16| {
        if std::mem::replace(&mut at, stage) != stage {
            bar.next(stage.to_owned(), SHARDS.into());
        }
        bar.reach(done.into(), SHARDS.into());
    };
    let passed = archive.pass_now(&|_| true, told).await;
    bar.done();
    Ok(passed_json(&passed?))
}

async fn read_again(archive: &Archive) -> Result<Value> {
    let bar = Progress::new("segments read again", 0);
    let mut follows = false;
    let verified =
        verify_beside(&archive.tiers, Some(&*archive.fates), |progress| match progress {
            Done::Segments { done, of } => bar.reach(done, of),
            Done::Slots { done, of } => {
                if !std::mem::replace(&mut follows, true) {
                    bar.next("chains followed".to_owned(), of.into());
                }
                bar.reach(done.into(), of.into());
            }
        });
    let verified = verified.await;
    bar.done();
    Ok(verified_json(&verified?))
}

fn print(asked: Asked, found: &Value, format: Format) -> Result<ExitCode> {
    let damages = found["damages"].as_array().map_or(&[][..], Vec::as_slice);
    if format == Format::Json {
        output::line(&found.to_string())?;
    } else {
        for damage in damages {
            output::line(damage.as_str().unwrap_or_default())?;
        }
        output::line(&in_words(asked, found))?;
    }
    let failed = [&found["failed"], &found["compaction"]["failed"]];
    let failed: u64 = failed.iter().filter_map(|count| count.as_u64()).sum();
    Ok(if damages.is_empty() && failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn in_words(asked: Asked, found: &Value) -> String {
    let bytes = bytes_of(&found["bytes"]);
    let of = |name: &str| found[name].as_u64().unwrap_or(0);
    match asked {
        Asked::Status => status_in_words(found),
        Asked::Run => format!(
            "looked at {} channels: {} publications went into {} segments, {bytes}; {} were taken \
             from the log; {} channels could not be trimmed; {} segments became {}, {}",
            of("channels"),
            of("records"),
            of("segments"),
            of("trimmed"),
            of("failed"),
            found["compaction"]["replaced"],
            found["compaction"]["segments"],
            bytes_of(&found["compaction"]["written_bytes"])
        ),
        Asked::Verify => format!(
            "{} segments, {bytes}, and {} runs of {} channels: {} damages",
            of("segments"),
            of("runs"),
            of("channels"),
            found["damages"].as_array().map_or(0, Vec::len)
        ),
    }
}

fn status_in_words(found: &Value) -> String {
    let of = |name: &str| found[name].as_u64().unwrap_or(0);
    let mut text = format!(
        "{} publications of {} runs in {} segments, {}; {} being written or left behind",
        of("records"),
        of("runs"),
        of("segments"),
        bytes_of(&found["bytes"]),
        of("prepared")
    );
    let mut least = &Value::Null;
    for class in found["classes"].as_array().into_iter().flatten() {
        let below = &class["below"];
        let sizes = match below.is_null() {
            false => format!("from {} to {}", bytes_of(least), bytes_of(below)),
            true => format!("from {}", bytes_of(least)),
        };
        if class["segments"] != 0 {
            let (segments, bytes) = (&class["segments"], bytes_of(&class["bytes"]));
            text += &format!("\n  {sizes}: {segments} segments, {bytes}");
        }
        least = below;
    }
    text + &format!(
        "\nput together, that saves {} segments and {}; {} that were replaced wait to be removed, {}",
        of("saved_segments"),
        bytes_of(&found["saved_bytes"]),
        of("replaced"),
        bytes_of(&found["replaced_bytes"])
    )
}

fn bytes_of(value: &Value) -> String {
    bytes(value.as_u64().unwrap_or(0))
}

pub(super) fn bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}
