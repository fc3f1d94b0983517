//! How many records a second a database takes through the transactions of `sterna-storage-sql`,
//! issued bare: the same statements on the same tables, with nothing decided and nothing decoded.
//! Each writer has a connection and a channel of its own, so none waits for the lock of another.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::try_join_all;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder, Params, Value};

use crate::commit::{Committed, Load};

/// Commits transactions side by side for at least the time of `load`, in a database that has the
/// schema of a store and nobody in it. A transaction takes the share of a writer in a batch.
pub async fn run(url: &str, load: &Load, writers: usize) -> Result<Committed> {
    let records = (load.batch / writers).max(1);
    let connect = (0..writers).map(|n| Writer::connect(url, n as u8, load.bytes));
    let mut writers = try_join_all(connect).await?;
    let began = Instant::now();
    let write = writers.iter_mut().map(|writer| writer.commit_until(began, load.duration, records));
    let mut batches = try_join_all(write).await?.concat();
    let took = began.elapsed();
    batches.sort_unstable();
    Ok(Committed { records: (batches.len() * records) as u64, took, batches })
}

#[derive(Debug)]
struct Writer {
    conn: Conn,
    /// Of no name, so nobody else has it.
    channel: [u8; 16],
    offset: u64,
    payload: Vec<u8>,
}

impl Writer {
    async fn connect(url: &str, number: u8, bytes: usize) -> Result<Self> {
        let opts = OptsBuilder::from_opts(Opts::from_url(url)?).prefer_socket(false);
        let mut conn = Conn::new(opts).await?;
        conn.query_drop("SET autocommit = 0").await?;
        conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
        let channel = [number; 16];
        let head = "INSERT INTO heads VALUES (?, 1, 0, 1, 0, '')";
        conn.exec_drop(head, (channel.to_vec(),)).await?;
        conn.query_drop("COMMIT").await?;
        Ok(Self { conn, channel, offset: 0, payload: vec![0x5a; bytes] })
    }

    async fn commit_until(
        &mut self,
        began: Instant,
        duration: Duration,
        records: usize,
    ) -> Result<Vec<Duration>> {
        let mut batches = Vec::new();
        while began.elapsed() < duration {
            let batch = Instant::now();
            self.commit(records).await?;
            batches.push(batch.elapsed());
        }
        Ok(batches)
    }

    async fn commit(&mut self, records: usize) -> Result<()> {
        let channel = self.channel;
        let key = || Value::Bytes(channel.to_vec());
        let batch: Vec<u64> = (self.offset + 1..=self.offset + records as u64).collect();
        self.run("SELECT * FROM heads WHERE channel = ? FOR UPDATE", vec![key()]).await?;
        let matches = vec!["(channel = ? AND client_id = 'a' AND client_seq = ?)"; records];
        let sql = format!("SELECT * FROM origins WHERE {} FOR UPDATE", matches.join(" OR "));
        let keys = batch.iter().flat_map(|seq| [key(), (*seq).into()]).collect();
        self.run(&sql, keys).await?;
        self.offset += records as u64;
        let head = "UPDATE heads SET `offset` = ? WHERE channel = ?";
        self.run(head, vec![self.offset.into(), key()]).await?;
        let rows = vec!["(?, ?, 1, ?, 'alice', 'a', ?, '', 0, 0, 0, 0, ?)"; records].join(", ");
        let payload = || Value::Bytes(self.payload.clone());
        let values = batch
            .iter()
            .flat_map(|seq| [key(), (*seq).into(), (*seq).into(), (*seq).into(), payload()])
            .collect();
        self.run(&format!("INSERT INTO publications VALUES {rows}"), values).await?;
        let rows = vec!["(?, 'a', ?, ?, 1, 0, 0, 0, UNIX_TIMESTAMP())"; records].join(", ");
        let values = batch.iter().flat_map(|seq| [key(), (*seq).into(), (*seq).into()]).collect();
        self.run(&format!("INSERT INTO origins VALUES {rows}"), values).await?;
        Ok(self.conn.query_drop("COMMIT").await?)
    }

    async fn run(&mut self, sql: &str, values: Vec<Value>) -> Result<()> {
        Ok(self.conn.exec_drop(sql, Params::Positional(values)).await?)
    }
}
