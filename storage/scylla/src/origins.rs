//! Origins: those of the newest bucket lie in it, with their records; those of the buckets before were
//! copied to a table of their own before the bucket was followed by another.

use std::collections::{BTreeMap, HashMap};

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use scylla::value::CqlValue;
use sterna_proto::{ChannelKey, ClientId, Position, PublicationId};
use sterna_storage::{BoxFuture, Duplicate, Origin, Record, StorageError};

use crate::columns::{Columns, Values, big, int, key, set, text};
use crate::engine::{AT_ONCE, Engine};
use crate::statements::ORIGIN;
use crate::tip::Tip;

/// What lies under some origins.
pub(crate) type Stored = HashMap<Origin, Duplicate, ahash::RandomState>;

/// What [`crate::statements::Rows::put_origin`] takes, behind the keys of the bucket.
pub(crate) fn encode(place: &Values, record: &Record) -> Option<Values> {
    let origin = record.body.origin.as_ref()?;
    let mut values = place.clone();
    values.extend([
        text(origin.client_id.as_str()),
        big(origin.client_seq),
        big(record.position.offset.0),
        big(record.position.epoch.0),
        big(record.body.id.0),
        big(record.body.server_ts_ms),
        big(record.body.fingerprint()),
    ]);
    Some(values)
}

fn decode(mut row: Columns) -> Result<(Origin, Duplicate), StorageError> {
    let origin = Origin { client_id: row.name(ClientId::new)?, client_seq: row.bits()? };
    let offset = row.offset()?;
    let duplicate = Duplicate {
        index: 0,
        position: Position { epoch: row.epoch()?, offset },
        id: PublicationId(row.bits()?),
        server_ts_ms: row.bits()?,
        fingerprint: row.bits()?,
    };
    Ok((origin, duplicate))
}

impl Engine {
    /// What is stored under the origins, as of a tip that was settled. It is all there is for as long
    /// as that tip is the newest, which whoever appends proves with the append.
    pub(crate) async fn stored(
        &self,
        channel: ChannelKey,
        tip: &Tip,
        origins: Vec<&Origin>,
    ) -> Result<Stored, StorageError> {
        let here = origins.chunks(ORIGINS_PER_READ).map(|some| {
            let list = some.iter().map(|origin| clustering(origin)).collect();
            let values = vec![key(channel), int(tip.bucket), set(CqlValue::List(list))];
            self.cql.rows("log", (&self.rows.origins_here, values)).boxed()
        });
        let mut looks: Vec<BoxFuture<'_, _>> = here.collect();
        if tip.bucket > 0 {
            let mut clients: BTreeMap<&str, Vec<CqlValue>> = BTreeMap::new();
            for origin in &origins {
                let numbers = clients.entry(origin.client_id.as_str()).or_default();
                numbers.push(CqlValue::BigInt(origin.client_seq.cast_signed()));
            }
            for (client, numbers) in clients {
                looks.extend(numbers.chunks(ORIGINS_PER_READ).map(|some| {
                    let list = set(CqlValue::List(some.to_vec()));
                    let values = vec![key(channel), text(client), list];
                    self.cql.rows("origins", (&self.rows.origins_before, values)).boxed()
                }));
            }
        }
        let looks = stream::iter(looks).buffer_unordered(AT_ONCE);
        let found: Vec<Vec<Columns>> = looks.try_collect().await?;
        found.into_iter().flatten().map(decode).collect()
    }

    /// Copies the origins of a sealed bucket to where those of earlier buckets are looked for. The
    /// same whoever does it, and however often.
    pub(crate) async fn copy_origins(
        &self,
        channel: ChannelKey,
        bucket: i32,
    ) -> Result<(), StorageError> {
        let values = vec![key(channel), int(bucket)];
        let mut clients: BTreeMap<String, Vec<Values>> = BTreeMap::new();
        for row in self.cql.rows("log", (&self.rows.all_origins, values)).await? {
            let (origin, found) = decode(row)?;
            let client = origin.client_id.as_str().to_owned();
            let values = vec![
                key(channel),
                text(&client),
                big(origin.client_seq),
                big(found.position.offset.0),
                big(found.position.epoch.0),
                big(found.id.0),
                big(found.server_ts_ms),
                big(found.fingerprint),
            ];
            clients.entry(client).or_default().push(values);
        }
        let copies = clients.values().flat_map(|rows| rows.chunks(ORIGINS_PER_WRITE)).map(|some| {
            let some = some.iter().map(|values| (&self.rows.copy_origin, values.clone()));
            self.cql.write_all(some.collect()).boxed()
        });
        let copies: Vec<BoxFuture<'_, _>> = copies.collect();
        stream::iter(copies).buffer_unordered(AT_ONCE).try_collect().await
    }
}

fn clustering(origin: &Origin) -> CqlValue {
    CqlValue::Tuple(vec![
        Some(CqlValue::TinyInt(ORIGIN)),
        Some(CqlValue::Text(origin.client_id.as_str().to_owned())),
        Some(CqlValue::BigInt(origin.client_seq.cast_signed())),
    ])
}

/// Below what servers take in one list, or in one batch, without a word.
const ORIGINS_PER_READ: usize = 100;
const ORIGINS_PER_WRITE: usize = 50;
