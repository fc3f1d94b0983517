//! Real kills and real damage. A test runs this very binary again as a child, which appends and
//! says what was acknowledged; the parent kills it in the middle, looks at what it left, damages
//! it, and opens it.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use bytes::Bytes;
use sterna_proto::{ChannelId, ChannelKey, ClientId, Offset, PublicationId, UserId};
use sterna_storage::{
    Append, AppendError, Head, NewRecord, Origin, PageLimit, PublicationLog, StorageError,
    StorageErrorKind,
};
use sterna_storage_rocks::{Durability, RocksConfig, RocksStore};
use tokio::task::JoinSet;

/// Not a test by itself: the child's side, which does nothing unless it is told a directory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(directory) = std::env::var(CHILD_DIRECTORY) else { return };
    let durability = match std::env::var(CHILD_DURABILITY).as_deref() {
        Ok("os") => Durability::Os,
        _ => Durability::Fsync,
    };
    let config = RocksConfig { durability, ..RocksConfig::new(directory) };
    let log = RocksStore::open(config).unwrap().stores().log;
    println!("\nopen");
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let log = log.clone();
        writers.spawn(async move {
            let mut head = log.head(channel(writer)).await.unwrap();
            loop {
                let seq = head.as_ref().map_or(0, |head| head.position.offset.0) + 1;
                match append(&*log, channel(writer), head, record(seq)).await {
                    Ok(now) => head = Some(now),
                    Err(error) => {
                        println!("\nfailed {writer} {:?} {error}", kind(&error));
                        let later = log.head(channel(writer)).await.unwrap_err();
                        println!("\nlater {writer} {:?}", later.kind);
                        return;
                    }
                }
                // Said only now that it is acknowledged.
                println!("\nacked {writer} {seq}");
            }
        });
    }
    writers.join_all().await;
}

#[tokio::test]
async fn a_killed_store_opens_with_everything_that_was_acknowledged() {
    for durability in ["fsync", "os"] {
        let directory = tempfile::tempdir().unwrap();
        // Several lives, each beginning with what the last one left.
        for life in 1..=3u64 {
            let acked = kill_after(directory.path(), durability, 40 * life);
            let log = RocksStore::open(RocksConfig::new(directory.path())).unwrap().stores().log;
            assert_holds(&*log, &acked).await;
        }
    }
}

#[tokio::test]
async fn a_truncated_write_ahead_log_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let acked = kill_after(directory.path(), "fsync", 100);
    let wal = newest_wal(directory.path());
    let whole = fs::read(&wal).unwrap();
    // Not at the very end: the kill may have come between a write and its claim, and what nobody
    // was told of may go.
    for cut in [0, 1, end_of_data(&whole) / 2, end_of_data(&whole) * 3 / 4] {
        fs::write(&wal, &whole[..cut]).unwrap();
        assert_refused(directory.path(), "could be recovered");
        assert_eq!(fs::read(&wal).unwrap(), &whole[..cut], "a refusal changes nothing");
    }
    // The evidence was kept, so putting the file back heals the store.
    fs::write(&wal, &whole).unwrap();
    let log = RocksStore::open(RocksConfig::new(directory.path())).unwrap().stores().log;
    assert_holds(&*log, &acked).await;
}

#[tokio::test]
async fn a_flipped_bit_in_the_write_ahead_log_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let acked = kill_after(directory.path(), "fsync", 100);
    let wal = newest_wal(directory.path());
    let whole = fs::read(&wal).unwrap();
    for at in [10, end_of_data(&whole) / 3, end_of_data(&whole) / 2, end_of_data(&whole) * 3 / 4] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&wal, &damaged).unwrap();
        assert_refused(directory.path(), "could be recovered");
    }
    fs::write(&wal, &whole).unwrap();
    let log = RocksStore::open(RocksConfig::new(directory.path())).unwrap().stores().log;
    assert_holds(&*log, &acked).await;
}

#[tokio::test]
async fn damage_to_a_closed_store_is_refused_too() {
    let directory = tempfile::tempdir().unwrap();
    let store = RocksStore::open(RocksConfig::new(directory.path())).unwrap();
    let log = store.stores().log;
    let mut head = None;
    for seq in 1..=20 {
        head = Some(append(&*log, channel(0), head, record(seq)).await.unwrap());
    }
    store.close().await.unwrap();
    drop((log, store));
    let wal = newest_wal(directory.path());
    let whole = fs::read(&wal).unwrap();
    let end = end_of_data(&whole);
    for at in (0..end).step_by(101).chain([end - 1]) {
        fs::write(&wal, &whole[..at]).unwrap();
        assert_refused(directory.path(), "could be recovered");
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&wal, &damaged).unwrap();
        assert_refused(directory.path(), "could be recovered");
    }
    fs::remove_file(&wal).unwrap();
    assert_refused(directory.path(), "could be recovered");
}

#[tokio::test]
async fn an_accepted_loss_opens_a_new_epoch_in_every_channel() {
    let directory = tempfile::tempdir().unwrap();
    let store = RocksStore::open(RocksConfig::new(directory.path())).unwrap();
    let stores = store.stores();
    assert!(stores.id_bound.raise_id_bound(0, 0, 5_000).await.unwrap());
    let mut heads = [None, None];
    for seq in 1..=20 {
        for (writer, head) in heads.iter_mut().enumerate() {
            let before = head.take();
            let now = append(&*stores.log, channel(writer), before, record(seq)).await.unwrap();
            *head = Some(now);
        }
    }
    // A channel whose every record lies in the part that is lost.
    let lost = append(&*stores.log, channel(2), None, record(1)).await.unwrap();
    store.close().await.unwrap();
    drop((stores, store));
    let wal = newest_wal(directory.path());
    let whole = fs::read(&wal).unwrap();
    fs::write(&wal, &whole[..end_of_data(&whole) / 2]).unwrap();

    let accepting = RocksConfig { accept_truncated: true, ..RocksConfig::new(directory.path()) };
    let stores = RocksStore::open(accepting.clone()).unwrap().stores();
    let mut repaired = Vec::new();
    for (writer, before) in heads.iter().flatten().enumerate() {
        let head = stores.log.head(channel(writer)).await.unwrap().unwrap();
        assert!(head.position.epoch > before.position.epoch);
        assert!(head.position.offset < before.position.offset, "half of the log is lost");
        assert_eq!(head.epochs.len(), 2);
        assert_eq!(head.epochs[1].first, head.position.offset, "the marker is the newest record");
        let stored = stores.log.read(channel(writer), Offset::ZERO, WIDE).await.unwrap();
        assert_eq!(stored.len() as u64, head.position.offset.0);
        assert_eq!(stored.last().unwrap().body.kind, 5);
        repaired.push(head);
    }
    assert_eq!(stores.log.head(channel(2)).await.unwrap(), None);
    let reborn = append(&*stores.log, channel(2), None, record(1)).await.unwrap();
    assert!(reborn.position.epoch > lost.position.epoch, "clients notice (I5)");
    let marker = stores.log.read(channel(0), Offset(repaired[0].position.offset.0 - 1), WIDE);
    let marker_ms = marker.await.unwrap()[0].body.id.0 >> 22;
    assert!(stores.id_bound.id_bound(0).await.unwrap() > marker_ms, "ids go on above (I10)");
    assert!(stores.id_bound.id_bound(700).await.unwrap() > marker_ms);
    stores.log.close().await.unwrap();
    drop(stores);

    // Whole again, with and without the option, and no epoch is opened twice.
    for config in [RocksConfig::new(directory.path()), accepting] {
        let log = RocksStore::open(config).unwrap().stores().log;
        assert_eq!(log.head(channel(0)).await.unwrap().as_ref(), Some(&repaired[0]));
    }
}

#[tokio::test]
async fn a_store_without_its_guard_or_its_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let acked = kill_after(directory.path(), "fsync", 20);
    let guard = directory.path().join("sterna.guard");
    let claim = fs::read(&guard).unwrap();
    fs::remove_file(&guard).unwrap();
    assert_refused(directory.path(), "guard file");
    fs::write(&guard, vec![0xab; claim.len()]).unwrap();
    assert_refused(directory.path(), "guard file");
    fs::write(&guard, &claim).unwrap();
    let current = directory.path().join("CURRENT");
    fs::rename(&current, directory.path().join("aside")).unwrap();
    assert_refused(directory.path(), "could be recovered");
    fs::rename(directory.path().join("aside"), &current).unwrap();
    let log = RocksStore::open(RocksConfig::new(directory.path())).unwrap().stores().log;
    assert_holds(&*log, &acked).await;
}

#[tokio::test]
async fn the_first_failed_write_ends_the_engine() {
    let directory = tempfile::tempdir().unwrap();
    // The kernel refuses to let any file grow beyond the limit, which is what a full disk does.
    let script = "trap '' XFSZ; ulimit -f 256; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(std::env::current_exe().unwrap());
    let (mut child, lines) = start(command, directory.path(), "fsync");
    let mut acked = Acked::default();
    let (mut failed, mut later) = (Vec::new(), Vec::new());
    for line in lines.lines() {
        let line = line.unwrap();
        acked.on_line(&line);
        if line.starts_with("failed") {
            failed.push(line);
        } else if line.starts_with("later") {
            later.push(line);
        }
    }
    assert!(child.wait().unwrap().success(), "the child ends by itself");
    assert_eq!(failed.len(), WRITERS, "{failed:?}");
    assert!(failed.iter().all(|line| line.contains(" Fatal ")), "{failed:?}");
    assert_eq!(later.len(), WRITERS, "{later:?}");
    assert!(later.iter().all(|line| line.ends_with(" Fatal")), "reads too: {later:?}");
    let log = RocksStore::open(RocksConfig::new(directory.path())).unwrap().stores().log;
    assert_holds(&*log, &acked).await;
}

#[tokio::test]
async fn a_second_opener_is_told_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let config = RocksConfig::new(directory.path());
    let store = RocksStore::open(config.clone()).unwrap();
    let told = |error: StorageError| {
        assert_eq!(error.kind, StorageErrorKind::Unavailable);
        assert!(error.message.contains(&directory.path().display().to_string()), "{error}");
        assert!(error.message.contains("a directory of its own"), "{error}");
    };
    told(RocksStore::open(config.clone()).unwrap_err());
    drop(store);
    // From another process.
    let (mut child, mut lines) = start(this_binary(), directory.path(), "fsync");
    wait_for_line(&mut lines, "open");
    told(RocksStore::open(config.clone()).unwrap_err());
    child.kill().unwrap();
    child.wait().unwrap();
    RocksStore::open(config).unwrap();
}

/// The highest acknowledged offset of every writer.
#[derive(Default)]
struct Acked([u64; WRITERS]);

impl Acked {
    fn on_line(&mut self, line: &str) {
        let mut words = line.split(' ');
        if words.next() != Some("acked") {
            return;
        }
        // The kill may have cut the last line.
        let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
        if let [writer, seq] = numbers[..] {
            let highest = &mut self.0[writer as usize];
            *highest = seq.max(*highest);
        }
    }
}

/// Runs the child until it has acknowledged so many, kills it in the middle of its work and returns
/// what it acknowledged.
fn kill_after(directory: &Path, durability: &str, count: u64) -> Acked {
    let (mut child, lines) = start(this_binary(), directory, durability);
    let mut acked = Acked::default();
    let mut seen = 0;
    for line in lines.lines() {
        // A line that the kill has cut off may be no text.
        let Ok(line) = line else { continue };
        acked.on_line(&line);
        seen += u64::from(line.starts_with("acked"));
        if seen == count {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(seen >= count, "the child ended by itself");
    acked
}

fn this_binary() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

fn start(
    mut command: Command,
    directory: &Path,
    durability: &str,
) -> (Child, BufReader<ChildStdout>) {
    let mut child = command
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD_DIRECTORY, directory)
        .env(CHILD_DURABILITY, durability)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

fn wait_for_line(lines: &mut BufReader<ChildStdout>, expected: &str) {
    for line in lines.lines() {
        if line.unwrap() == expected {
            return;
        }
    }
    panic!("the child has ended without saying {expected}");
}

async fn assert_holds(log: &dyn PublicationLog, acked: &Acked) {
    for (writer, highest) in acked.0.iter().enumerate() {
        let mut found = Vec::new();
        loop {
            let page = log.read(channel(writer), Offset(found.len() as u64), WIDE).await.unwrap();
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert!(found.len() as u64 >= *highest, "{highest} acknowledged, {} found", found.len());
        for (index, stored) in found.into_iter().enumerate() {
            let seq = index as u64 + 1;
            assert_eq!((stored.position.offset, stored.body), (Offset(seq), record(seq)));
            let origin = record(seq).origin.unwrap();
            let known = log.find(channel(writer), origin).await.unwrap().unwrap();
            assert_eq!(known.position, stored.position, "dedup came with it");
        }
    }
}

fn assert_refused(directory: &Path, because: &str) {
    let error = RocksStore::open(RocksConfig::new(directory)).unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Corrupt, "{error}");
    assert!(error.message.contains(because), "{error}");
    assert!(error.message.contains("accept_truncated"), "says what to do: {error}");
}

fn newest_wal(directory: &Path) -> PathBuf {
    let logs = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    logs.filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .filter(|path| fs::metadata(path).unwrap().len() > 0)
        .max()
        .unwrap()
}

/// Behind the last byte that is not zero: what lies there was preallocated.
fn end_of_data(wal: &[u8]) -> usize {
    wal.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

async fn append(
    log: &dyn PublicationLog,
    channel: ChannelKey,
    head: Option<Head>,
    record: NewRecord,
) -> Result<Head, AppendError> {
    let expected = head.map(|head| head.position);
    log.append(vec![Append::new(channel, expected, vec![record])]).await.remove(0)
}

fn kind(error: &AppendError) -> StorageErrorKind {
    match error {
        AppendError::Storage(error) => error.kind,
        other => panic!("nobody else writes here: {other:?}"),
    }
}

fn channel(writer: usize) -> ChannelKey {
    ChannelId::new(&format!("crash:{writer}")).unwrap().key()
}

fn record(seq: u64) -> NewRecord {
    NewRecord {
        id: PublicationId(seq),
        sender: UserId::new("alice").unwrap(),
        origin: Some(Origin { client_id: ClientId::new("phone").unwrap(), client_seq: seq }),
        client_msg_id: Bytes::new(),
        server_ts_ms: seq,
        client_ts_ms: seq,
        kind: 0,
        target_offset: Offset::ZERO,
        // Some go to blob files.
        payload: vec![seq as u8; (seq % 5) as usize * 500].into(),
    }
}

const CHILD_DIRECTORY: &str = "STERNA_TEST_CHILD_DIRECTORY";
const CHILD_DURABILITY: &str = "STERNA_TEST_CHILD_DURABILITY";
const WRITERS: usize = 3;
const WIDE: PageLimit = PageLimit { records: 1_000, payload_bytes: 1 << 20 };
