//! Kills in the middle of work on several roles at once. A test runs this very binary again as a
//! child, kills it, and looks whether what belongs together is there together.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use sterna_proto::{ChannelId, ChannelKey, Offset, PublicationId, UserId};
use sterna_storage::{Append, NewRecord, PageLimit, Pts, Stores};
use sterna_storage_rocks::{RocksConfig, RocksStore};

/// Not a test by itself: the child's side, which does nothing unless it is told a directory.
#[tokio::test]
async fn child() {
    let Ok(directory) = std::env::var(CHILD_DIRECTORY) else { return };
    let stores = RocksStore::open(RocksConfig::new(directory)).unwrap().stores();
    let mut head = stores.log.head(channel()).await.unwrap();
    loop {
        let expected = head.as_ref().map(|head| head.position);
        let seq = expected.map_or(0, |position| position.offset.0) + 1;
        let intents = vec![Bytes::from(seq.to_string())];
        let append = Append { intents, ..Append::new(channel(), expected, vec![record(seq)]) };
        head = Some(stores.log.append(vec![append]).await.remove(0).unwrap());
        let pts = stores.inboxes.mark_dirty(alice(), vec![channel()]).await.unwrap();
        if seq.is_multiple_of(7) {
            let slot = channel().slot();
            stores.intents.complete_intents(slot, seq - NEVER_COMPLETED).await.unwrap();
        }
        if seq.is_multiple_of(10) {
            stores.log.trim(channel(), Offset(seq - NEVER_TRIMMED)).await.unwrap();
        }
        // Said only now that all of it is acknowledged.
        println!("\nacked {seq} {}", pts.0);
    }
}

#[tokio::test]
async fn what_was_written_together_is_there_together_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    for life in 1..=4 {
        let (seq, pts) = kill_after(directory.path(), 20 + life * 7);
        let store = RocksStore::open(RocksConfig::new(directory.path())).unwrap();
        check(&store.stores(), seq, pts).await;
    }
}

async fn check(stores: &Stores, seq: u64, pts: u64) {
    let head = stores.log.head(channel()).await.unwrap().unwrap();
    let newest = head.position.offset.0;
    assert!(newest >= seq, "{seq} was acknowledged, and {newest} is the newest");
    let first = head.first.0;
    assert!(first + NEVER_TRIMMED + 10 >= newest, "the trims were acknowledged: {head:?}");
    let left = stores.log.read(channel(), Offset(first - 1), WIDE).await.unwrap();
    let left: Vec<u64> = left.iter().map(|record| record.position.offset.0).collect();
    assert_eq!(left, (first..=newest).collect::<Vec<u64>>());

    let owed = stores.intents.intents(channel().slot(), 0, WIDE).await.unwrap();
    let numbers: Vec<u64> = owed.iter().map(|intent| intent.number).collect();
    let begin = numbers[0];
    assert!(begin <= newest - NEVER_COMPLETED + 1, "what is not completed is owed");
    assert_eq!(numbers, (begin..=newest).collect::<Vec<u64>>(), "one for each publication");
    assert!(owed.iter().all(|intent| intent.payload == intent.number.to_string()));

    let given = stores.inboxes.inbox_head(alice()).await.unwrap();
    assert!(given.0 >= pts, "{pts} was acknowledged, and {given:?} is the newest");
    let entries = stores.inboxes.inbox(alice(), Pts::ZERO, 10).await.unwrap();
    assert_eq!(entries.len(), 1, "one channel, one entry");
    let state = stores.inboxes.inbox_state(alice(), channel()).await.unwrap().unwrap();
    assert_eq!((entries[0].pts, state.last_pts), (given, given));
}

/// Kills the child after so many acknowledgements and returns the last one.
fn kill_after(directory: &Path, count: usize) -> (u64, u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD_DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut acked = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // A line that the kill has cut off may be no text.
        let Ok(line) = line else { continue };
        let numbers: Vec<u64> =
            line.split(' ').skip(1).filter_map(|word| word.parse().ok()).collect();
        if let (true, [seq, pts]) = (line.starts_with("acked"), &numbers[..]) {
            acked.push((*seq, *pts));
        }
        if acked.len() == count {
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap();
    assert_eq!(acked.len(), count, "the child ended by itself");
    acked[count - 1]
}

fn record(seq: u64) -> NewRecord {
    NewRecord {
        id: PublicationId(seq),
        sender: alice(),
        origin: None,
        client_msg_id: Bytes::new(),
        server_ts_ms: seq,
        client_ts_ms: seq,
        kind: 0,
        target_offset: Offset::ZERO,
        payload: vec![seq as u8; (seq % 5) as usize * 500].into(),
    }
}

fn channel() -> ChannelKey {
    ChannelId::new("crash:roles").unwrap().key()
}

fn alice() -> UserId {
    UserId::new("alice").unwrap()
}

const CHILD_DIRECTORY: &str = "STERNA_TEST_ROLES_DIRECTORY";
const NEVER_COMPLETED: u64 = 3;
const NEVER_TRIMMED: u64 = 5;
const WIDE: PageLimit = PageLimit { records: 10_000, payload_bytes: 16 << 20 };
