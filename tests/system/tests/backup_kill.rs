//! Whoever makes a backup, or puts one back, is killed in the middle of it: what is half made is never
//! taken for whole, the next attempt does well, and nothing is left of the one before.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::Rng as _;
use rand::distr::Alphanumeric;
use serde_json::Value;
use sterna_client::{ChannelId, Event, Subscribe, Transport};
use sterna_system_tests::node::{Node, PATIENCE, binary};
use sterna_system_tests::sdk;
use sterna_system_tests::served::{run, said};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

const CHANNEL: &str = "room:backup";

/// Enough for a backup to take a while, in texts that do not pack.
const TEXTS: usize = 200;
const TEXT_BYTES: usize = 48 * 1024;

/// A kill may come when all is done. So often is another one tried.
const ATTEMPTS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_while_it_makes_a_backup_leaves_none() {
    let mut node = Node::start().await;
    fill(&node).await;
    let backups = node.data_dir().join("backups");
    for stage in ["sterna.making", "store/CURRENT", "store/sterna.backup"] {
        let half_made = killed_making(&mut node, &backups, stage).await;
        assert!(!half_made.join("backup.json").exists());
        // Nobody takes it for a backup, by whatever name it is called.
        let list = run(verb(&["list", text(&backups), "--json"])).await;
        assert!(list.status.success() && list.stdout.is_empty(), "{}", said(&list));
        let to = node.data_dir().join("elsewhere");
        for verb in [
            verb(&["verify", text(&half_made)]),
            verb(&["restore", text(&half_made), "--to", text(&to)]),
        ] {
            let refused = run(verb).await;
            assert!(!refused.status.success(), "{}", said(&refused));
            assert!(said(&refused).contains("not finished"), "{}", said(&refused));
        }
        assert!(!to.exists());
        // The next one is of another name, so it is not the same place that is used again.
        node.restart().await;
        let made = answer(node.local_verb(&["backup", "create", "tuesday", "--json"])).await;
        assert_eq!(made["path"], text(&backups.join("tuesday")));
        assert_eq!(names(&backups), ["tuesday"], "killed at {stage}");
        let verified = answer(verb(&["verify", text(&backups.join("tuesday")), "--json"])).await;
        assert_eq!(verified["damages"], Value::from([0; 0]));
        fs::remove_dir_all(backups.join("tuesday")).unwrap();
    }
    assert_eq!(read(&node).await, TEXTS);
    assert!(node.terminate().await.success(), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_half_put_back_is_none() {
    let mut node = Node::start().await;
    fill(&node).await;
    answer(node.local_verb(&["backup", "create", "monday", "--json"])).await;
    node.kill().await;
    let (data, backup) = (node.data_dir(), node.data_dir().join("backups/monday"));
    let (store, half_made) = (data.join("store"), data.join(".store.unfinished"));
    fs::remove_dir_all(&store).unwrap();
    for stage in ["sterna.making", "CURRENT", "LOCK"] {
        killed_restoring(&backup, &store, &half_made.join(stage)).await;
        assert!(half_made.exists() && !store.exists(), "killed at {stage}");
        // An empty store would be worse than none: it would hide what is missing.
        let refused = node.try_restart().await;
        assert!(refused.is_err(), "{}", node.log());
        assert!(node.log().contains("put the backup back once more"), "{}", node.log());
        assert!(!store.exists());
        let restored = answer(restore(&backup, &store)).await;
        assert!(!half_made.exists() && store.exists(), "{restored}");
        node.restart().await;
        assert_eq!(read(&node).await, TEXTS);
        node.kill().await;
        fs::remove_dir_all(&store).unwrap();
    }
    // Whoever thinks better of it removes what is left, and begins with nothing.
    killed_restoring(&backup, &store, &half_made.join("CURRENT")).await;
    fs::remove_dir_all(&half_made).unwrap();
    node.restart().await;
    assert!(store.exists());
    assert!(node.terminate().await.success(), "{}", node.log());
}

/// A folder that a node has begun for a backup when it was killed.
async fn killed_making(node: &mut Node, backups: &Path, stage: &str) -> PathBuf {
    let half_made = backups.join(".monday.unfinished");
    for _ in 0..ATTEMPTS {
        let command = node.local_verb(&["backup", "create", "monday", "--json"]);
        let mut asking = spawn(command);
        reached(&half_made.join(stage), &mut asking).await;
        node.kill().await;
        let _ = timeout(PATIENCE, asking.wait()).await.expect("whoever asked hears of it");
        if half_made.exists() {
            return half_made;
        }
        // It was done. Whole is whole.
        let whole = backups.join("monday");
        answer(verb(&["verify", text(&whole), "--json"])).await;
        fs::remove_dir_all(whole).unwrap();
        node.restart().await;
    }
    panic!("no backup of {ATTEMPTS} was met in its middle");
}

async fn killed_restoring(backup: &Path, store: &Path, stage: &Path) {
    for _ in 0..ATTEMPTS {
        let mut restoring = spawn(restore(backup, store));
        reached(stage, &mut restoring).await;
        restoring.kill().await.unwrap();
        if !store.exists() {
            return;
        }
        fs::remove_dir_all(store).unwrap();
    }
    panic!("nobody of {ATTEMPTS} who put a backup back was met in the middle of it");
}

/// Waits until somebody has made this file, or has ended.
async fn reached(stage: &Path, who: &mut Child) {
    let late = Instant::now() + PATIENCE;
    while !stage.exists() && who.try_wait().unwrap().is_none() {
        assert!(Instant::now() < late, "{} never comes", stage.display());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn spawn(mut command: Command) -> Child {
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command.spawn().unwrap()
}

fn restore(backup: &Path, store: &Path) -> Command {
    verb(&["restore", text(backup), "--to", text(store), "--json"])
}

async fn fill(node: &Node) {
    let channel = ChannelId::new(CHANNEL).unwrap();
    let ana = sdk::connect(node, "ana", Transport::Quic).await;
    for _ in 0..TEXTS {
        let chance = rand::rng().sample_iter(Alphanumeric).take(TEXT_BYTES);
        sdk::publish(&ana, &channel, &chance.map(char::from).collect::<String>()).await;
    }
    ana.close().await;
}

/// How many of the texts the channel has.
async fn read(node: &Node) -> usize {
    let channel = ChannelId::new(CHANNEL).unwrap();
    let ben = sdk::connect(node, "ben", Transport::Quic).await;
    let mut reader = ben.subscribe(&channel, Subscribe::earliest()).unwrap();
    let mut count = 0;
    while count < TEXTS {
        match timeout(PATIENCE, reader.next()).await.expect("an event").unwrap() {
            Event::Publication(it) => {
                assert_eq!(it.payload.len(), TEXT_BYTES);
                count += 1;
            }
            Event::State(_) | Event::Recovered { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    ben.close().await;
    count
}

fn verb(verb: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("backup").args(verb).stdin(std::process::Stdio::null()).kill_on_drop(true);
    command
}

/// The one object that a verb prints which does well.
async fn answer(command: Command) -> Value {
    let output = run(command).await;
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
