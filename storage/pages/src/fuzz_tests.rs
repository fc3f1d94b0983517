//! Fuzz target of kept pages: no bytes make the decoder panic, and what is taken for a page is one that
//! could have been kept.

use bytes::{BufMut as _, Bytes, BytesMut};
use sterna_fuzz::{Script, check};
use sterna_proto::{ChannelId, Epoch};
use sterna_storage::page::{PAGE_RECORDS, PageName};

use crate::codec::{decode, encode, put_header};

#[test]
fn fuzz_page() {
    check!("page", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        match script.below(3) {
            0 => drop(decode(&name(), Bytes::copy_from_slice(script.rest()))),
            1 => read(script.rest()),
            // One record among others that are whole, so that little has to be right.
            _ => {
                let place = u64::from(script.byte()) % PAGE_RECORDS;
                let content = script.rest();
                let mut records = Vec::new();
                for at in 0..PAGE_RECORDS {
                    let record = if at == place { content } else { PLAIN };
                    records.extend(length(record.len()));
                    records.extend_from_slice(record);
                }
                read(&records);
            }
        }
    });
}

/// These records, with a checksum and a header that are right.
fn read(records: &[u8]) {
    let mut page = BytesMut::new();
    put_header(&mut page, &name());
    page.put_slice(records);
    let checksum = crc32c::crc32c(&page).to_be_bytes();
    let page = Bytes::from([&checksum[..], &page].concat());
    let Ok(records) = decode(&name(), page) else { return };
    let again = encode(&name(), &records).unwrap();
    assert_eq!(decode(&name(), again), Ok(records));
}

fn name() -> PageName {
    PageName { channel: ChannelId::new("room:1").unwrap().key(), epoch: Epoch(7), number: 3 }
}

/// A varint.
fn length(bytes: usize) -> Vec<u8> {
    let mut varint = Vec::new();
    prost::encoding::encode_varint(bytes as u64, &mut varint);
    varint
}

/// A record of alice's without anything else.
const PLAIN: &[u8] = b"\x12\x05alice";
