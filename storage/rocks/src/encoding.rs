//! Values as they lie on the disk: one byte of version, a CRC32C over key and content, then the
//! content. The key is under the checksum so that a value cannot turn up in another's place.

use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use sterna_proto::v1::{ChannelAccess, ChannelKind, Role};
use sterna_proto::{ChannelId, ClientId, Epoch, Offset, Position, PublicationId, UserId};
use sterna_storage::{
    ChannelRecord, Duplicate, EpochStart, Head, MemberCursor, Membership, NewRecord, Origin, Record,
};

/// Why bytes are not what was written. The caller knows where they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damaged(pub(crate) String);

/// The value to be stored under `key`.
pub(crate) fn seal(key: &[u8], content: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER_BYTES + content.len());
    seal_into(&mut value, key, |value| value.extend_from_slice(content));
    value
}

/// The same in the room of an earlier value, with the content put there by `put`.
pub(crate) fn seal_into(value: &mut Vec<u8>, key: &[u8], put: impl FnOnce(&mut Vec<u8>)) {
    value.clear();
    value.extend_from_slice(&[0; HEADER_BYTES]);
    put(value);
    let checksum = checksum(key, &value[HEADER_BYTES..]);
    value[0] = VERSION;
    value[1..HEADER_BYTES].copy_from_slice(&checksum.to_be_bytes());
}

/// The content of a value found under `key`.
pub(crate) fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Damaged> {
    if value.len() < HEADER_BYTES {
        return Err(Damaged(format!("a value of {} bytes has no header", value.len())));
    }
    let (header, content) = value.split_at(HEADER_BYTES);
    if header[0] != VERSION {
        return Err(Damaged(format!("unknown encoding {}", header[0])));
    }
    if header[1..] != checksum(key, content).to_be_bytes() {
        return Err(Damaged("the checksum does not match".to_owned()));
    }
    Ok(content)
}

/// The same as sealing an encoded record, without the copy in between.
pub(crate) fn seal_record(key: &[u8], record: &Record, value: &mut Vec<u8>) {
    value.reserve(HEADER_BYTES + record.body.payload.len() + AROUND_PAYLOAD_BYTES);
    seal_into(value, key, |value| put_record(record, value));
}

pub(crate) fn encode_record(record: &Record) -> Vec<u8> {
    let mut content = Vec::with_capacity(record.body.payload.len() + AROUND_PAYLOAD_BYTES);
    put_record(record, &mut content);
    content
}

/// A [`StoredRecord`] as prost would encode it, by reference: names are shared in memory, and prost's
/// derived messages want strings of their own.
fn put_record(record: &Record, out: &mut Vec<u8>) {
    let Record { position, body, .. } = record;
    put_number(1, u64::from(position.epoch.0), out);
    if body.id.0 != 0 {
        encode_key(2, WireType::SixtyFourBit, out);
        out.extend_from_slice(&body.id.0.to_le_bytes());
    }
    put_bytes(3, body.sender.as_str().as_bytes(), out);
    if let Some(origin) = &body.origin {
        put_bytes(4, origin.client_id.as_str().as_bytes(), out);
        put_number(5, origin.client_seq, out);
    }
    put_bytes(6, &body.client_msg_id, out);
    put_number(7, body.server_ts_ms, out);
    put_number(8, body.client_ts_ms, out);
    // As prost has it: ten bytes for a negative one.
    put_number(9, i64::from(body.kind).cast_unsigned(), out);
    put_number(10, body.target_offset.0, out);
    put_bytes(11, &body.payload, out);
}

fn put_number(tag: u32, number: u64, out: &mut Vec<u8>) {
    if number != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(number, out);
    }
}

fn put_bytes(tag: u32, bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        encode_key(tag, WireType::LengthDelimited, out);
        encode_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

pub(crate) fn decode_record(offset: Offset, content: Bytes) -> Result<Record, Damaged> {
    let stored: StoredRecord = decode(content)?;
    let origin = if stored.client_id.is_empty() {
        None
    } else {
        let client_id = ClientId::new(&stored.client_id).map_err(not_an_id)?;
        Some(Origin { client_id, client_seq: stored.client_seq })
    };
    let body = NewRecord {
        id: PublicationId(stored.id),
        sender: UserId::new(&stored.sender).map_err(not_an_id)?,
        origin,
        client_msg_id: stored.client_msg_id,
        server_ts_ms: stored.server_ts_ms,
        client_ts_ms: stored.client_ts_ms,
        kind: stored.kind,
        target_offset: Offset(stored.target_offset),
        payload: stored.payload,
    };
    Ok(Record::new(Position { epoch: Epoch(stored.epoch), offset }, body))
}

pub(crate) fn encode_head(head: &Head) -> Vec<u8> {
    let epochs = head
        .epochs
        .iter()
        .map(|start| StoredEpochStart { epoch: start.epoch.0, first: start.first.0 })
        .collect();
    StoredHead {
        epoch: head.position.epoch.0,
        offset: head.position.offset.0,
        last_ts_ms: head.last_ts_ms,
        epochs,
        first: head.first.0,
    }
    .encode_to_vec()
}

pub(crate) fn decode_head(content: &[u8]) -> Result<Head, Damaged> {
    let stored: StoredHead = decode(content)?;
    if stored.epochs.is_empty() {
        return Err(Damaged("a head without epochs".to_owned()));
    }
    let start =
        |one: &StoredEpochStart| EpochStart { epoch: Epoch(one.epoch), first: Offset(one.first) };
    Ok(Head {
        position: Position::new(stored.epoch, stored.offset),
        // Not there in stores that know of no trimming.
        first: Offset(stored.first.max(1)),
        last_ts_ms: stored.last_ts_ms,
        epochs: stored.epochs.iter().map(start).collect(),
    })
}

/// A fixed layout, since compaction reads every one of them.
pub(crate) fn encode_dedup(found: &Duplicate, received_at_ms: u64) -> Vec<u8> {
    let mut content = Vec::with_capacity(DEDUP_BYTES);
    content.extend_from_slice(&received_at_ms.to_be_bytes());
    content.extend_from_slice(&found.position.epoch.0.to_be_bytes());
    content.extend_from_slice(&found.position.offset.0.to_be_bytes());
    content.extend_from_slice(&found.id.0.to_be_bytes());
    content.extend_from_slice(&found.server_ts_ms.to_be_bytes());
    content.extend_from_slice(&found.fingerprint.to_be_bytes());
    content
}

pub(crate) fn decode_dedup(mut content: &[u8]) -> Result<Duplicate, Damaged> {
    check_len(content, DEDUP_BYTES)?;
    let _received_at_ms = content.get_u64();
    Ok(Duplicate {
        index: 0,
        position: Position::new(content.get_u32(), content.get_u64()),
        id: PublicationId(content.get_u64()),
        server_ts_ms: content.get_u64(),
        fingerprint: content.get_u64(),
    })
}

pub(crate) fn dedup_received_at_ms(key: &[u8], value: &[u8]) -> Result<u64, Damaged> {
    let mut content = unseal(key, value)?;
    check_len(content, DEDUP_BYTES)?;
    Ok(content.get_u64())
}

pub(crate) fn encode_channel(record: &ChannelRecord) -> Vec<u8> {
    StoredChannel {
        name: record.name.as_str().to_owned(),
        kind: record.kind as i32,
        access: record.access as i32,
        created_by: record.created_by.as_str().to_owned(),
        created_at_ms: record.created_at_ms,
    }
    .encode_to_vec()
}

pub(crate) fn decode_channel(content: &[u8]) -> Result<ChannelRecord, Damaged> {
    let stored: StoredChannel = decode(content)?;
    Ok(ChannelRecord {
        name: ChannelId::new(&stored.name).map_err(not_an_id)?,
        kind: ChannelKind::try_from(stored.kind).map_err(not_a_number)?,
        access: ChannelAccess::try_from(stored.access).map_err(not_a_number)?,
        created_by: UserId::new(&stored.created_by).map_err(not_an_id)?,
        created_at_ms: stored.created_at_ms,
    })
}

pub(crate) fn encode_member(member: &Membership) -> Vec<u8> {
    StoredMember { role: member.role as i32, since_ms: member.since_ms }.encode_to_vec()
}

pub(crate) fn decode_member(user: UserId, content: &[u8]) -> Result<Membership, Damaged> {
    let stored: StoredMember = decode(content)?;
    let role = Role::try_from(stored.role).map_err(not_a_number)?;
    Ok(Membership { user, role, since_ms: stored.since_ms })
}

pub(crate) fn encode_cursor(cursor: &MemberCursor) -> Vec<u8> {
    StoredCursor { delivered: cursor.delivered.0, read: cursor.read.0 }.encode_to_vec()
}

pub(crate) fn decode_cursor(user: UserId, content: &[u8]) -> Result<MemberCursor, Damaged> {
    let stored: StoredCursor = decode(content)?;
    Ok(MemberCursor { user, delivered: Offset(stored.delivered), read: Offset(stored.read) })
}

pub(crate) fn decode_number(mut content: &[u8]) -> Result<u64, Damaged> {
    check_len(content, 8)?;
    Ok(content.get_u64())
}

/// The user at the end of a member's or a cursor's key.
pub(crate) fn decode_user(text: &[u8]) -> Result<UserId, Damaged> {
    let text = std::str::from_utf8(text).map_err(|error| Damaged(error.to_string()))?;
    UserId::new(text).map_err(not_an_id)
}

fn checksum(key: &[u8], content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&[VERSION]), key), content)
}

pub(crate) fn decode<T: Message + Default>(content: impl Buf) -> Result<T, Damaged> {
    T::decode(content).map_err(|error| Damaged(error.to_string()))
}

pub(crate) fn check_len(content: &[u8], expected: usize) -> Result<(), Damaged> {
    if content.len() == expected {
        return Ok(());
    }
    Err(Damaged(format!("{} bytes instead of {expected}", content.len())))
}

fn not_an_id(error: sterna_proto::InvalidId) -> Damaged {
    Damaged(error.to_string())
}

fn not_a_number(error: prost::UnknownEnumValue) -> Damaged {
    Damaged(error.to_string())
}

#[derive(Clone, PartialEq, Message)]
struct StoredRecord {
    #[prost(uint32, tag = "1")]
    epoch: u32,
    #[prost(fixed64, tag = "2")]
    id: u64,
    #[prost(string, tag = "3")]
    sender: String,
    #[prost(string, tag = "4")]
    client_id: String,
    #[prost(uint64, tag = "5")]
    client_seq: u64,
    #[prost(bytes = "bytes", tag = "6")]
    client_msg_id: Bytes,
    #[prost(uint64, tag = "7")]
    server_ts_ms: u64,
    #[prost(uint64, tag = "8")]
    client_ts_ms: u64,
    #[prost(int32, tag = "9")]
    kind: i32,
    #[prost(uint64, tag = "10")]
    target_offset: u64,
    #[prost(bytes = "bytes", tag = "11")]
    payload: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct StoredHead {
    #[prost(uint32, tag = "1")]
    epoch: u32,
    #[prost(uint64, tag = "2")]
    offset: u64,
    #[prost(uint64, tag = "3")]
    last_ts_ms: u64,
    #[prost(message, repeated, tag = "4")]
    epochs: Vec<StoredEpochStart>,
    #[prost(uint64, tag = "5")]
    first: u64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredEpochStart {
    #[prost(uint32, tag = "1")]
    epoch: u32,
    #[prost(uint64, tag = "2")]
    first: u64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredChannel {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "2")]
    kind: i32,
    #[prost(int32, tag = "3")]
    access: i32,
    #[prost(string, tag = "4")]
    created_by: String,
    #[prost(uint64, tag = "5")]
    created_at_ms: u64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredMember {
    #[prost(int32, tag = "1")]
    role: i32,
    #[prost(uint64, tag = "2")]
    since_ms: u64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredCursor {
    #[prost(uint64, tag = "1")]
    delivered: u64,
    #[prost(uint64, tag = "2")]
    read: u64,
}

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 5;
const DEDUP_BYTES: usize = 44;

/// About what a record has beside its payload.
const AROUND_PAYLOAD_BYTES: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        let value = seal(b"key", b"some content");
        assert_eq!(unseal(b"key", &value), Ok(&b"some content"[..]));
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(b"key", &damaged).is_err(), "bit {bit}");
        }
        for len in 0..value.len() {
            assert!(unseal(b"key", &value[..len]).is_err(), "cut to {len}");
        }
        assert!(unseal(b"kez", &value).is_err(), "in another's place");
    }

    #[test]
    fn a_record_sealed_in_place_is_the_sealed_record_and_leaves_nothing_of_the_one_before() {
        let mut value = vec![7; 5000];
        for payload in [vec![], vec![1; 3000], b"hello".to_vec()] {
            let body = NewRecord {
                id: PublicationId(9),
                sender: UserId::new("alice").unwrap(),
                origin: Some(Origin { client_id: ClientId::new("phone").unwrap(), client_seq: 3 }),
                client_msg_id: Bytes::from_static(&[4; 16]),
                server_ts_ms: 5,
                client_ts_ms: 6,
                kind: 1,
                target_offset: Offset(2),
                payload: payload.into(),
            };
            let record = Record::new(Position::new(1, 8), body);
            seal_record(b"key", &record, &mut value);
            assert_eq!(value, seal(b"key", &encode_record(&record)));
            let content = Bytes::copy_from_slice(unseal(b"key", &value).unwrap());
            assert_eq!(decode_record(Offset(8), content), Ok(record));
        }
    }

    #[test]
    fn a_record_is_encoded_as_the_message_that_it_is_decoded_by() {
        let origin = Origin { client_id: ClientId::new("phone").unwrap(), client_seq: 1 << 40 };
        let full = NewRecord {
            id: PublicationId(u64::MAX - 7),
            sender: UserId::new("alice").unwrap(),
            origin: Some(origin),
            client_msg_id: Bytes::from_static(&[4; 16]),
            server_ts_ms: 1_900_000_000_000,
            client_ts_ms: 6,
            kind: 3,
            target_offset: Offset(200),
            payload: vec![9; 300].into(),
        };
        let bare = NewRecord {
            id: PublicationId(0),
            origin: None,
            client_msg_id: Bytes::new(),
            server_ts_ms: 0,
            client_ts_ms: 0,
            kind: -1,
            target_offset: Offset(0),
            payload: Bytes::new(),
            ..full.clone()
        };
        for (epoch, body) in [(70_000, full), (0, bare)] {
            let record = Record::new(Position::new(epoch, 8), body);
            let content = encode_record(&record);
            let message: StoredRecord = decode(&content[..]).unwrap();
            assert_eq!(message.encode_to_vec(), content);
            assert_eq!(decode_record(Offset(8), content.into()), Ok(record));
        }
    }

    #[test]
    fn content_that_is_no_record_is_damaged() {
        assert!(decode_record(Offset(1), Bytes::new()).is_err(), "a record has a sender");
        assert!(decode_head(&[]).is_err());
        assert!(decode_dedup(&[0; DEDUP_BYTES - 1]).is_err());
        assert!(decode_member(UserId::new("a").unwrap(), &[0x08, 0x63]).is_err(), "role 99");
    }
}
