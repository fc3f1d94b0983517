//! `sterna backup`: copies of a node's store. A running node makes one itself; everything else is done
//! with the files, here or in an object store.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use sterna_bench::progress::Progress;
use sterna_storage_rocks::RocksConfig;
use sterna_storage_rocks::backup::{
    BackupOrder, Folder, Inventory, Source as _, create_of_stopped, list, restore, verify,
};

use super::archive::bytes;
use super::jobs;
use super::operator::Operator;
use super::remote_backup::{Remote, is_url, split};
use crate::args::{
    BackupArgs, BackupCreateArgs, BackupListArgs, BackupPushArgs, BackupRestoreArgs, BackupVerb,
    BackupVerifyArgs,
};
use crate::output::{self, Format};

pub(crate) fn run(args: &BackupArgs) -> Result<ExitCode> {
    match &args.verb {
        BackupVerb::Create(args) => create(args),
        BackupVerb::Verify(args) => read_again(args),
        BackupVerb::List(args) => print_list(args),
        BackupVerb::Push(args) => push(args),
        BackupVerb::Restore(args) => put_back(args),
    }
}

fn create(args: &BackupCreateArgs) -> Result<ExitCode> {
    let made = match &args.store {
        Some(store) => {
            let to = args.to.clone().context("--store needs the folder of the backup")?;
            create_stopped(store, &to)?
        }
        None => {
            let operator = Operator::find(&args.operator)?;
            let name = args.to.as_ref().map(|to| to.to_str().context("the name is no text"));
            let order = match name.transpose()? {
                Some(name) => json!({ "name": name }),
                None => json!({}),
            };
            jobs::carry_out(&operator, "/api/v1/backup", &order)?
        }
    };
    output::line(&match Format::of(args.json) {
        Format::Json => made.to_string(),
        Format::Human => format!(
            "{}: {} in {} files, up to commit {}",
            made["path"].as_str().unwrap_or_default(),
            bytes(made["bytes"].as_u64().unwrap_or(0)),
            made["files"],
            made["commit"]
        ),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn create_stopped(store: &Path, to: &Path) -> Result<Value> {
    let node = "stopped".to_owned();
    let order = BackupOrder { to: to.to_owned(), node, keep_free: KEEP_FREE };
    let bar = Progress::new("bytes read", 0);
    let made = create_of_stopped(&RocksConfig::new(store), &order, &mut |done, of| {
        bar.reach(done, of);
        true
    });
    bar.done();
    let made = made?;
    let mut told = as_json(&made);
    told["path"] = json!(to);
    Ok(told)
}

fn read_again(args: &BackupVerifyArgs) -> Result<ExitCode> {
    let bar = Progress::new("bytes read again", 0);
    let (inventory, damages) = if is_url(&args.backup) {
        let (url, name) = split(&args.backup)?;
        let remote = Remote::open(url, &args.place)?;
        let backup = remote.backup(name);
        let inventory = backup.inventory()?;
        let mut done = 0;
        let damages = backup.verify(&inventory, &mut |bytes| {
            done += bytes;
            bar.reach(done, inventory.bytes);
        })?;
        (inventory, damages)
    } else {
        let verified = verify(Path::new(&args.backup), &mut |done, of| {
            bar.reach(done, of);
            true
        })?;
        (verified.inventory, verified.damages)
    };
    bar.done();
    match Format::of(args.json) {
        Format::Json => {
            let mut told = as_json(&inventory);
            told["damages"] = json!(damages);
            output::line(&told.to_string())?;
        }
        Format::Human => {
            damages.iter().try_for_each(|damage| output::line(damage))?;
            let told = in_words(&inventory);
            output::line(&format!("{}: {told}; {} damages", args.backup, damages.len()))?;
        }
    }
    Ok(if damages.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_list(args: &BackupListArgs) -> Result<ExitCode> {
    let mut found: Vec<(String, Result<Inventory, String>)> = Vec::new();
    if is_url(&args.of) {
        let remote = Remote::open(&args.of, &args.place)?;
        for name in remote.names()? {
            let inventory = remote.backup(&name).inventory().map_err(|error| error.to_string());
            found.push((format!("{}/{name}", args.of.trim_end_matches('/')), inventory));
        }
        found.sort_by_key(|(_, inventory)| inventory.as_ref().map_or(0, |it| it.created_ms));
    } else {
        for one in list(Path::new(&args.of))? {
            let inventory = one.inventory.map_err(|error| error.to_string());
            found.push((one.path.display().to_string(), inventory));
        }
    }
    let mut whole = true;
    for (path, inventory) in &found {
        whole &= inventory.is_ok();
        output::line(&match (Format::of(args.json), inventory) {
            (Format::Json, Ok(inventory)) => {
                let mut told = as_json(inventory);
                told["path"] = json!(path);
                told.to_string()
            }
            (Format::Json, Err(error)) => json!({ "path": path, "error": error }).to_string(),
            (Format::Human, Ok(inventory)) => format!("{path}: {}", in_words(inventory)),
            (Format::Human, Err(error)) => format!("{path}: {error}"),
        })?;
    }
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn push(args: &BackupPushArgs) -> Result<ExitCode> {
    let name = args.backup.file_name().and_then(|name| name.to_str());
    let name = name.context("the backup's folder has no name")?;
    let remote = Remote::open(&args.to, &args.place)?;
    // What lies there under a digest is what has it, for every later backup, too.
    let bar = Progress::new("bytes read again", 0);
    let verified = verify(&args.backup, &mut |done, of| {
        bar.reach(done, of);
        true
    })?;
    if let Some(damage) = verified.damages.first() {
        bail!("{damage}; nothing was sent");
    }
    let of = verified.inventory.bytes;
    bar.next("bytes sent or there already".to_owned(), of);
    let mut done = 0;
    let pushed = remote.push(&args.backup, name, &verified.inventory, &mut |bytes| {
        done += bytes;
        bar.reach(done, of);
    });
    bar.done();
    let pushed = pushed?;
    let to = format!("{}/{name}", args.to.trim_end_matches('/'));
    output::line(&match Format::of(args.json) {
        Format::Json => json!({
            "to": to,
            "files": pushed.files,
            "sent_files": pushed.sent_files,
            "sent_bytes": pushed.sent_bytes,
        })
        .to_string(),
        Format::Human => format!(
            "{to}: {} of {} files were sent, {}; the others were there",
            pushed.sent_files,
            pushed.files,
            bytes(pushed.sent_bytes)
        ),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn put_back(args: &BackupRestoreArgs) -> Result<ExitCode> {
    let bar = Progress::new("bytes put back", 0);
    let mut told = |done, of| {
        bar.reach(done, of);
        true
    };
    let restored = if is_url(&args.backup) {
        let (url, name) = split(&args.backup)?;
        let remote = Remote::open(url, &args.place)?;
        restore(&remote.backup(name), &args.to, KEEP_FREE, &mut told)
    } else {
        restore(&Folder(Path::new(&args.backup)), &args.to, KEEP_FREE, &mut told)
    };
    bar.done();
    let restored = restored?;
    output::line(&match Format::of(args.json) {
        Format::Json => {
            let mut told = as_json(&restored.inventory);
            told["path"] = json!(args.to);
            told["epoch"] = restored.epoch.0.into();
            told.to_string()
        }
        Format::Human => format!(
            "{} is as it was at commit {}; every channel goes on in epoch {}, so that clients learn \
             what is gone",
            args.to.display(),
            restored.inventory.commit,
            restored.epoch.0
        ),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn as_json(inventory: &Inventory) -> Value {
    json!({
        "node": inventory.node,
        "version": inventory.version,
        "birth": inventory.birth,
        "commit": inventory.commit,
        "created_ms": inventory.created_ms,
        "files": inventory.files.len(),
        "bytes": inventory.bytes,
    })
}

fn in_words(inventory: &Inventory) -> String {
    let at = i64::try_from(inventory.created_ms / 1000).ok().map(jiff::Timestamp::from_second);
    // A time that no calendar has is another node's nonsense, and still a number.
    let at = match at {
        Some(Ok(at)) => at.to_string(),
        _ => format!("{} ms since 1970", inventory.created_ms),
    };
    format!(
        "{} in {} files, of {} at {at}, up to commit {}",
        bytes(inventory.bytes),
        inventory.files.len(),
        inventory.node,
        inventory.commit
    )
}

/// Bytes of the disk that stay free.
const KEEP_FREE: u64 = 1 << 26;
