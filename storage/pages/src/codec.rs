//! A page as it is kept: a checksum over everything behind it, which page it is, and its records.
//! Pure. What was kept may have been damaged, or be of another release or another log: it is a page
//! only if all of it says so.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::Message;
use sterna_proto::{ClientId, InvalidId, Offset, Position, PublicationId, UserId};
use sterna_storage::page::{PAGE_BYTES, PAGE_RECORDS, PageName};
use sterna_storage::{NewRecord, Origin, Record};

/// Of this layout.
const MAGIC: &[u8; 8] = b"SternaP1";

const CHECKSUM_BYTES: usize = 4;

/// Magic, channel, epoch, number.
const HEADER_BYTES: usize = 8 + 16 + 4 + 8;

/// A record without its position, which follows from its place.
#[derive(Clone, PartialEq, Message)]
struct KeptRecord {
    #[prost(fixed64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    sender: String,
    #[prost(string, tag = "3")]
    client_id: String,
    #[prost(uint64, tag = "4")]
    client_seq: u64,
    #[prost(bytes = "bytes", tag = "5")]
    client_msg_id: Bytes,
    #[prost(uint64, tag = "6")]
    server_ts_ms: u64,
    #[prost(uint64, tag = "7")]
    client_ts_ms: u64,
    #[prost(int32, tag = "8")]
    kind: i32,
    #[prost(uint64, tag = "9")]
    target_offset: u64,
    #[prost(bytes = "bytes", tag = "10")]
    payload: Bytes,
}

/// Why something that was kept is not the page that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadPage {
    Damaged,
    /// Whole, and something else.
    Another,
}

/// `None`: these are not all records of the page, or too large for one.
pub(crate) fn encode(name: &PageName, records: &[Record]) -> Option<Bytes> {
    let fits = records.len() as u64 == PAGE_RECORDS && are_dense(name, records);
    let payloads: usize = records.iter().map(|record| record.body.payload.len()).sum();
    if !fits || payloads > PAGE_BYTES {
        return None;
    }
    let mut page = BytesMut::with_capacity(payloads + 256 * records.len());
    page.put_u32(0);
    put_header(&mut page, name);
    for record in records {
        KeptRecord::of(record).encode_length_delimited(&mut page).ok()?;
    }
    let checksum = crc32c::crc32c(&page[CHECKSUM_BYTES..]);
    page[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_be_bytes());
    (page.len() <= PAGE_BYTES).then(|| page.freeze())
}

fn are_dense(name: &PageName, records: &[Record]) -> bool {
    let offsets = name.first().0..;
    let positions = records.iter().map(|record| record.position);
    positions
        .zip(offsets)
        .all(|(at, offset)| at == Position { epoch: name.epoch, offset: Offset(offset) })
}

pub(crate) fn decode(name: &PageName, mut page: Bytes) -> Result<Vec<Record>, BadPage> {
    if page.len() < CHECKSUM_BYTES + HEADER_BYTES || page.len() > PAGE_BYTES {
        return Err(BadPage::Damaged);
    }
    let checksum = page.get_u32();
    if checksum != crc32c::crc32c(&page) {
        return Err(BadPage::Damaged);
    }
    let mut header = BytesMut::with_capacity(HEADER_BYTES);
    put_header(&mut header, name);
    if page.split_to(HEADER_BYTES) != header {
        return Err(BadPage::Another);
    }
    let mut records = Vec::with_capacity(PAGE_RECORDS as usize);
    for offset in name.first().0..=name.last().0 {
        let kept = KeptRecord::decode_length_delimited(&mut page).map_err(|_| BadPage::Another)?;
        let position = Position { epoch: name.epoch, offset: Offset(offset) };
        records.push(kept.into_record(position).map_err(|_| BadPage::Another)?);
    }
    if page.has_remaining() { Err(BadPage::Another) } else { Ok(records) }
}

pub(crate) fn put_header(page: &mut BytesMut, name: &PageName) {
    page.put_slice(MAGIC);
    page.put_slice(&name.channel.0);
    page.put_u32(name.epoch.0);
    page.put_u64(name.number);
}

impl KeptRecord {
    fn of(record: &Record) -> Self {
        let body = &record.body;
        let origin = body.origin.as_ref();
        Self {
            id: body.id.0,
            sender: body.sender.as_str().to_owned(),
            client_id: origin.map(|it| it.client_id.as_str().to_owned()).unwrap_or_default(),
            client_seq: origin.map_or(0, |it| it.client_seq),
            client_msg_id: body.client_msg_id.clone(),
            server_ts_ms: body.server_ts_ms,
            client_ts_ms: body.client_ts_ms,
            kind: body.kind,
            target_offset: body.target_offset.0,
            payload: body.payload.clone(),
        }
    }

    fn into_record(self, position: Position) -> Result<Record, InvalidId> {
        let origin = match self.client_id.is_empty() {
            true => None,
            false => {
                let client_id = ClientId::new(&self.client_id)?;
                Some(Origin { client_id, client_seq: self.client_seq })
            }
        };
        let body = NewRecord {
            id: PublicationId(self.id),
            sender: UserId::new(&self.sender)?,
            origin,
            // Copied: a slice would keep the whole page alive (I12).
            client_msg_id: Bytes::copy_from_slice(&self.client_msg_id),
            server_ts_ms: self.server_ts_ms,
            client_ts_ms: self.client_ts_ms,
            kind: self.kind,
            target_offset: Offset(self.target_offset),
            payload: Bytes::copy_from_slice(&self.payload),
        };
        Ok(Record::new(position, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sterna_proto::{ChannelId, Epoch};

    fn name() -> PageName {
        let channel = ChannelId::new("room:1").unwrap().key();
        PageName { channel, epoch: Epoch(7), number: 3 }
    }

    fn records(payload: usize) -> Vec<Record> {
        let body = |offset: u64| NewRecord {
            id: PublicationId(offset),
            sender: UserId::new("alice").unwrap(),
            origin: offset.is_multiple_of(2).then(|| Origin {
                client_id: ClientId::new("alice-phone").unwrap(),
                client_seq: offset,
            }),
            client_msg_id: vec![1; 16].into(),
            server_ts_ms: 5,
            client_ts_ms: 6,
            kind: 1,
            target_offset: Offset(2),
            payload: vec![offset as u8; payload].into(),
        };
        let offsets = name().first().0..=name().last().0;
        let at = |offset| Position { epoch: Epoch(7), offset: Offset(offset) };
        offsets.map(|offset| Record::new(at(offset), body(offset))).collect()
    }

    #[test]
    fn a_page_comes_back_as_it_was() {
        let page = encode(&name(), &records(100)).unwrap();
        assert_eq!(decode(&name(), page).unwrap(), records(100));
    }

    #[test]
    fn i2_only_a_whole_page_is_one() {
        assert!(encode(&name(), &records(1)[1..]).is_none(), "one is missing");
        let mut swapped = records(1);
        swapped.swap(3, 4);
        assert!(encode(&name(), &swapped).is_none());
        let mut mixed = records(1);
        mixed[63].position.epoch = Epoch(8);
        assert!(encode(&name(), &mixed).is_none(), "of two epochs");
        assert!(encode(&name(), &records(PAGE_BYTES / 64)).is_none(), "too large");
    }

    #[test]
    fn another_page_is_not_taken_for_this_one() {
        let page = encode(&name(), &records(1)).unwrap();
        let channel = ChannelId::new("room:2").unwrap().key();
        for other in [
            PageName { number: 4, ..name() },
            PageName { epoch: Epoch(8), ..name() },
            PageName { channel, ..name() },
        ] {
            assert_eq!(decode(&other, page.clone()), Err(BadPage::Another));
        }
    }

    #[test]
    fn a_flipped_bit_or_a_cut_is_noticed() {
        let page = encode(&name(), &records(3)).unwrap();
        for bit in 0..page.len() * 8 {
            let mut spoilt = page.to_vec();
            spoilt[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&name(), spoilt.into()), Err(BadPage::Damaged), "bit {bit}");
        }
        for len in 0..page.len() {
            assert_eq!(decode(&name(), page.slice(..len)), Err(BadPage::Damaged));
        }
    }

    proptest! {
        /// Also with a checksum that is right.
        #[test]
        fn anything_is_refused_or_a_page(body in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut page = BytesMut::new();
            page.put_u32(0);
            put_header(&mut page, &name());
            page.put_slice(&body);
            let checksum = crc32c::crc32c(&page[CHECKSUM_BYTES..]);
            page[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_be_bytes());
            if let Ok(records) = decode(&name(), page.freeze()) {
                prop_assert!(are_dense(&name(), &records));
            }
        }
    }
}
