//! The way of a record into a value and back, for the instruction counts of `bench/instructions`.
//! No part of the API; the log itself goes the same way.

use bytes::Bytes;
use sterna_proto::Offset;
use sterna_storage::Record;

use crate::encoding::{decode_record, encode_record, seal, unseal};

/// The value of a record under this key.
pub fn encode(key: &[u8], record: &Record) -> Vec<u8> {
    seal(key, &encode_record(record))
}

/// The record of a value found under this key.
pub fn decode(key: &[u8], value: &[u8]) -> Option<Record> {
    let content = unseal(key, value).ok()?;
    decode_record(Offset(1), Bytes::copy_from_slice(content)).ok()
}
