//! How long a synced commit takes on this machine's disk, how much of that is the guard file, and
//! how many publications many writers get through:
//! `cargo run -p sterna-storage-rocks --example commits -- DIRECTORY`.

use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sterna_proto::{ChannelId, Offset, PublicationId, UserId};
use sterna_storage::{Append, NewRecord, PublicationLog as _};
use sterna_storage_rocks::{RocksConfig, RocksStore};
use tokio::task::JoinSet;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let directory = std::env::args().nth(1).ok_or("say in which directory")?;
    let directory = PathBuf::from(directory).join(format!("commits-{}", std::process::id()));
    let store = RocksStore::open(RocksConfig::new(&directory))?;
    report("commit of a lone writer", write(store.clone(), 0, COMMITS).await?);
    report("claim alone", claims(&directory)?);
    for writers in [2, 8, 64] {
        let began = Instant::now();
        let mut running = JoinSet::new();
        for writer in 1..=writers {
            running.spawn(write(store.clone(), writers * 100 + writer, COMMITS / 4));
        }
        let mut commits = Vec::new();
        while let Some(times) = running.join_next().await {
            commits.extend(times??);
        }
        let per_second = commits.len() as f64 / began.elapsed().as_secs_f64();
        report(&format!("{writers} writers, {per_second:.0} a second"), commits);
    }
    drop(store);
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

/// One publication at a time into a channel of its own.
async fn write(store: RocksStore, writer: u64, count: u64) -> Result<Vec<Duration>, Failure> {
    let channel = ChannelId::new(&format!("bench:{writer}"))?.key();
    let mut expected = None;
    let mut times = Vec::new();
    for number in 1..=count {
        let append = Append::new(channel, expected, vec![record(number)?]);
        let began = Instant::now();
        let head = store.append(vec![append]).await.remove(0)?;
        times.push(began.elapsed());
        expected = Some(head.position);
    }
    Ok(times)
}

/// What the guard file does for each commit, and nothing else.
fn claims(directory: &std::path::Path) -> Result<Vec<Duration>, Failure> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).custom_flags(libc::O_DSYNC);
    let file = options.open(directory.join("claims"))?;
    file.write_all_at(&[0; 8192], 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    for number in 1..=COMMITS {
        let began = Instant::now();
        file.write_all_at(&[number as u8; 64], (number % 2) * 4096)?;
        times.push(began.elapsed());
    }
    Ok(times)
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[times.len() * share / 100];
    println!("{what}: median {:?}, p90 {:?}, p99 {:?}", at(50), at(90), at(99));
}

fn record(number: u64) -> Result<NewRecord, Failure> {
    Ok(NewRecord {
        id: PublicationId(number),
        sender: UserId::new("bench")?,
        origin: None,
        client_msg_id: Bytes::new(),
        server_ts_ms: number,
        client_ts_ms: number,
        kind: 0,
        target_offset: Offset::ZERO,
        payload: Bytes::from_static(&[7; 200]),
    })
}

const COMMITS: u64 = 2_000;
