//! What the engine costs beside its transactions: publications per second through the engine and
//! through the same statements issued bare on one connection, in turn, on one MariaDB of its own.
//!
//! ```text
//! cargo run --release -p sterna-storage-sql --example commits [seconds for each figure]
//! ```

use std::time::{Duration, Instant};

use bytes::Bytes;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder, Params, Value};
use sterna_proto::{ChannelId, ChannelKey, ClientId, Offset, PublicationId, UserId};
use sterna_storage::{Append, Head, NewRecord, Origin, PublicationLog as _};
use sterna_storage_sql::{SqlConfig, SqlStore};
use sterna_test_engines::MariaDb;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let seconds: f64 = std::env::args().nth(1).map_or(Ok(10.0), |text| text.parse())?;
    let server = MariaDb::start();
    let url = server.fresh_url();
    let mut engine = Engine {
        store: SqlStore::connect(SqlConfig::new(&url)).await?,
        channel: ChannelId::new("engine")?.key(),
        head: None,
        seq: 0,
    };
    let mut bare = Bare::connect(&url).await?;
    println!("records  engine/s  bare/s  ratio");
    for records in [1, 8, 64] {
        let (mut ours, mut theirs) = (Tally::default(), Tally::default());
        // In turns of a tenth, so that both meet the same moods of the disk.
        for _ in 0..10 {
            let turn = Duration::from_secs_f64(seconds / 10.0);
            let start = Instant::now();
            while start.elapsed() < turn {
                engine.commit(records).await?;
                ours.publications += records;
            }
            ours.time += start.elapsed();
            let start = Instant::now();
            while start.elapsed() < turn {
                bare.commit(records).await?;
                theirs.publications += records;
            }
            theirs.time += start.elapsed();
        }
        let (ours, theirs) = (ours.rate(), theirs.rate());
        println!("{records:7}  {ours:8.0}  {theirs:6.0}  {:5.2}", ours / theirs);
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Tally {
    publications: u64,
    time: Duration,
}

impl Tally {
    fn rate(&self) -> f64 {
        self.publications as f64 / self.time.as_secs_f64()
    }
}

#[derive(Debug)]
struct Engine {
    store: SqlStore,
    channel: ChannelKey,
    head: Option<Head>,
    seq: u64,
}

impl Engine {
    async fn commit(&mut self, records: u64) -> Result<(), Failure> {
        let expected = self.head.as_ref().map(|head| head.position);
        let batch = (0..records).map(|_| {
            self.seq += 1;
            record(self.seq)
        });
        let batch: Result<Vec<NewRecord>, Failure> = batch.collect();
        let append = Append::new(self.channel, expected, batch?);
        self.head = Some(self.store.append(vec![append]).await.remove(0)?);
        Ok(())
    }
}

/// The same statements on the same tables, with nothing decided and nothing decoded.
#[derive(Debug)]
struct Bare {
    conn: Conn,
    offset: u64,
}

impl Bare {
    async fn connect(url: &str) -> Result<Self, Failure> {
        let opts = OptsBuilder::from_opts(Opts::from_url(url)?)
            .prefer_socket(false)
            // MariaDB's name of the isolation.
            .init(vec!["SET autocommit = 0, tx_isolation = 'READ-COMMITTED'"]);
        let mut conn = Conn::new(opts).await?;
        let head = "INSERT INTO heads VALUES (?, 1, 0, 1, 0, '')";
        conn.exec_drop(head, (CHANNEL.to_vec(),)).await?;
        conn.query_drop("COMMIT").await?;
        Ok(Self { conn, offset: 0 })
    }

    async fn commit(&mut self, records: u64) -> Result<(), Failure> {
        let key = || Value::Bytes(CHANNEL.to_vec());
        let batch: Vec<u64> = (self.offset + 1..=self.offset + records).collect();
        let count = batch.len();
        self.run("SELECT * FROM heads WHERE channel = ? FOR UPDATE", vec![key()]).await?;
        let matches = vec!["(channel = ? AND client_id = 'a' AND client_seq = ?)"; count];
        let sql = format!("SELECT * FROM origins WHERE {} FOR UPDATE", matches.join(" OR "));
        let keys = batch.iter().flat_map(|seq| [key(), (*seq).into()]).collect();
        self.run(&sql, keys).await?;
        self.offset += records;
        let head = "UPDATE heads SET `offset` = ? WHERE channel = ?";
        self.run(head, vec![self.offset.into(), key()]).await?;
        let rows = vec!["(?, ?, 1, ?, 'alice', 'a', ?, '', 0, 0, 0, 0, ?)"; count].join(", ");
        let payload = || Value::Bytes(PAYLOAD.to_vec());
        let values = batch
            .iter()
            .flat_map(|seq| [key(), (*seq).into(), (*seq).into(), (*seq).into(), payload()]);
        self.run(&format!("INSERT INTO publications VALUES {rows}"), values.collect()).await?;
        let rows = vec!["(?, 'a', ?, ?, 1, 0, 0, 0, UNIX_TIMESTAMP())"; count].join(", ");
        let values = batch.iter().flat_map(|seq| [key(), (*seq).into(), (*seq).into()]).collect();
        self.run(&format!("INSERT INTO origins VALUES {rows}"), values).await?;
        self.conn.query_drop("COMMIT").await?;
        Ok(())
    }

    async fn run(&mut self, sql: &str, values: Vec<Value>) -> Result<(), Failure> {
        Ok(self.conn.exec_drop(sql, Params::Positional(values)).await?)
    }
}

fn record(client_seq: u64) -> Result<NewRecord, Failure> {
    Ok(NewRecord {
        id: PublicationId(client_seq),
        sender: UserId::new("alice")?,
        origin: Some(Origin { client_id: ClientId::new("a")?, client_seq }),
        client_msg_id: Bytes::new(),
        server_ts_ms: 0,
        client_ts_ms: 0,
        kind: 0,
        target_offset: Offset::ZERO,
        payload: Bytes::from_static(PAYLOAD),
    })
}

/// Of no name, so nobody else has it.
const CHANNEL: [u8; 16] = [0; 16];

const PAYLOAD: &[u8] = &[b'x'; 1024];
