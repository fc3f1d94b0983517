//! Rows of records, and the pages that readers get.

use sterna_proto::{ChannelKey, ClientId, Offset, Position, PublicationId};
use sterna_storage::{NewRecord, Origin, PageLimit, PageRoom, ReadError, Record, StorageError};

use crate::columns::{Columns, UNSET, Values, big, bytes, int, integer, key, limit, text, words};
use crate::cql::Uncertain;
use crate::engine::Engine;
use crate::failure::corrupt;
use crate::tip::{Look, Tip};

/// What [`crate::statements::Rows::put_record`] takes, behind the keys of the bucket.
pub(crate) fn encode(place: &Values, record: &Record, tag: Option<u64>) -> Values {
    // A log has neither: whoever stands before it knows what is redacted, and seals for segments only.
    let Record { position, body, redacted: _, key: _ } = record;
    let (client_id, client_seq) = match &body.origin {
        Some(origin) => (text(origin.client_id.as_str()), big(origin.client_seq)),
        None => (UNSET, UNSET),
    };
    let mut values = place.clone();
    values.extend([
        big(position.offset.0),
        big(position.epoch.0),
        big(body.id.0),
        text(body.sender.as_str()),
        client_id,
        client_seq,
        bytes(body.client_msg_id.to_vec()),
        big(body.server_ts_ms),
        big(body.client_ts_ms),
        int(body.kind),
        big(body.target_offset.0),
        bytes(body.payload.to_vec()),
        tag.map_or(UNSET, big),
    ]);
    values
}

fn decode(mut row: Columns) -> Result<Record, StorageError> {
    let offset = row.offset()?;
    let position = Position { epoch: row.epoch()?, offset };
    let (id, sender) = (PublicationId(row.bits()?), row.user()?);
    let (client_id, client_seq) = (row.optional(words)?, row.optional(integer)?);
    let origin = match (client_id, client_seq) {
        (Some(client_id), Some(client_seq)) => {
            let client_id = ClientId::new(&client_id);
            let client_id = client_id.map_err(|error| row.damaged(&error.to_string()))?;
            Some(Origin { client_id, client_seq: client_seq.cast_unsigned() })
        }
        _ => None,
    };
    let body = NewRecord {
        id,
        sender,
        origin,
        client_msg_id: row.bytes()?,
        server_ts_ms: row.bits()?,
        client_ts_ms: row.bits()?,
        kind: row.int()?,
        target_offset: row.offset()?,
        payload: row.bytes()?,
    };
    Ok(Record::new(position, body))
}

/// A page, or where it breaks off.
enum Pass {
    Page(Vec<Record>),
    /// The first record that is asked for is missing below this head.
    Missing(Tip),
}

impl Engine {
    /// The page after an offset. What is missing in it was trimmed meanwhile, or is on its way to
    /// the nodes that were asked, which a look that settles it ends; or else it is lost.
    pub(crate) async fn page(
        &self,
        channel: ChannelKey,
        after: Offset,
        wish: PageLimit,
    ) -> Result<Vec<Record>, ReadError> {
        let mut look = Look::Seen;
        let mut known_first = None;
        loop {
            match self.pass(channel, after, wish, look).await? {
                Pass::Page(page) => return Ok(page),
                Pass::Missing(tip) if known_first == Some(tip.head.first) => {
                    let message = format!("the record behind offset {} is missing", after.0);
                    return Err(corrupt(message).into());
                }
                // Ends, since a trim point only rises, and not beyond the head.
                Pass::Missing(tip) => {
                    known_first = (look == Look::Settled).then_some(tip.head.first);
                    look = Look::Settled;
                }
            }
        }
    }

    async fn pass(
        &self,
        channel: ChannelKey,
        after: Offset,
        wish: PageLimit,
        look: Look,
    ) -> Result<Pass, ReadError> {
        let Some(tip) = self.tip(channel, look).await? else { return Ok(Pass::Page(Vec::new())) };
        let first = tip.head.first;
        if after.next() < first {
            return Err(ReadError::Trimmed { first });
        }
        let mut filling = Filling { after, room: wish.start(), page: Vec::new() };
        if after >= tip.head.position.offset {
            return Ok(Pass::Page(filling.page));
        }
        let mut bucket = self.bucket_of(channel, &tip, after.next()).await?;
        let mut rows = FIRST_ROWS;
        while filling.last() < tip.head.position.offset && bucket <= tip.bucket {
            let most = rows.min(wish.records.max(1));
            let values = vec![key(channel), int(bucket), big(filling.last().0), limit(most)];
            let found = self.cql.rows("log", (&self.rows.page, values)).await?;
            if found.len() < most {
                bucket += 1;
            }
            if !filling.fill(found)? {
                break;
            }
            rows = MORE_ROWS;
        }
        if filling.page.is_empty() {
            return Ok(Pass::Missing(tip));
        }
        Ok(Pass::Page(filling.page))
    }
}

impl Engine {
    /// Empties payloads, one conditional write after the other: those of one bucket would only get
    /// into each other's way. What was cut off is finished by asking for it again.
    pub(crate) async fn redact(
        &self,
        channel: ChannelKey,
        mut offsets: Vec<Offset>,
    ) -> Result<u64, StorageError> {
        self.check_open()?;
        let Some(Tip { head, .. }) = self.tip(channel, Look::Settled).await? else { return Ok(0) };
        offsets.retain(|offset| (head.first..=head.position.offset).contains(offset));
        offsets.sort_unstable();
        offsets.dedup();
        let mut redacted = 0;
        for offset in offsets {
            redacted += u64::from(self.empty(channel, offset).await?);
        }
        Ok(redacted)
    }

    /// Whether it was there.
    async fn empty(&self, channel: ChannelKey, offset: Offset) -> Result<bool, StorageError> {
        // Looked at again for each, since a trim may take buckets away meanwhile.
        let Some(tip) = self.tip(channel, Look::Settled).await? else { return Ok(false) };
        if offset < tip.head.first {
            return Ok(false);
        }
        let bucket = self.bucket_of(channel, &tip, offset).await?;
        let values = vec![key(channel), int(bucket), big(offset.0)];
        let emptied = self.cql.decide(vec![(&self.rows.redact, values)]).await;
        emptied.map_err(Uncertain::harmless)
    }
}

/// A page that fills.
struct Filling {
    after: Offset,
    room: PageRoom,
    page: Vec<Record>,
}

impl Filling {
    fn last(&self) -> Offset {
        self.page.last().map_or(self.after, |record| record.position.offset)
    }

    /// Takes what follows without a hole; whether the page goes on.
    fn fill(&mut self, found: Vec<Columns>) -> Result<bool, StorageError> {
        for row in found {
            let record = decode(row)?;
            if record.position.offset != self.last().next()
                || !self.room.take(record.body.payload.len())
            {
                return Ok(false);
            }
            self.page.push(record);
        }
        Ok(!self.room.is_full())
    }
}

/// Few, since one large payload may fill the page; then more, since none did.
const FIRST_ROWS: usize = 64;
const MORE_ROWS: usize = 512;
