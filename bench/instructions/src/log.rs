//! What a channel's owner and its log pay for a publication.

use std::hint::black_box;

use bytes::Bytes;
use sterna_core::EncodedPush;
use sterna_core::channel::ring::Ring;
use sterna_core::channel::sequence::Sequence;
use sterna_proto::{ChannelId, ClientId, Epoch, Offset, Position, PublicationId, UserId};
use sterna_storage::{EpochStart, Head, NewRecord, Origin, Record};
use sterna_storage_rocks::counted;

use crate::measured;
use crate::wire::publication;

/// Publications of one commit.
const BATCH: u64 = 64;

pub(crate) fn sequence_batch(repeats: u32) {
    let name = channel();
    let key = name.key();
    let mut sequence: Sequence<u64> = Sequence::new(name, key, Some(head(0)), 1024, 1024);
    let mut seq = 0;
    measured(repeats, &mut || {
        for _ in 0..BATCH {
            seq += 1;
            drop(black_box(sequence.handle_publish(new_record(seq), seq)));
        }
        drop(black_box(sequence.poll_append(256, 1 << 20, 1_900_000_000_000)));
        let outcome = sequence.handle_result(Ok(head(seq)));
        assert!(outcome.committed.len() == BATCH as usize);
    });
}

pub(crate) fn recovery_page(repeats: u32) {
    let mut ring = Ring::new(1024, 1 << 20);
    let now = std::time::Instant::now();
    let mut push = |offset| ring.push(Offset(offset), EncodedPush::new(publication(offset)), now);
    (1..=1024).for_each(&mut push);
    measured(repeats, &mut || {
        let page = ring.page(black_box(Offset(512)), 256, 1 << 20);
        assert!(page.is_some_and(|page| page.len() == 256));
    });
}

pub(crate) fn record_encode(repeats: u32) {
    let record = record();
    measured(repeats, &mut || drop(black_box(counted::encode(KEY, black_box(&record)))));
}

pub(crate) fn record_decode(repeats: u32) {
    let value = counted::encode(KEY, &record());
    measured(repeats, &mut || {
        assert!(counted::decode(KEY, black_box(&value)).is_some());
    });
}

const KEY: &[u8] = b"sixteen bytes and an offset";

fn channel() -> ChannelId {
    ChannelId::new("room:42").unwrap_or_else(|_| unreachable!("a good name"))
}

fn record() -> Record {
    Record::new(Position::new(7, 1_000_000), new_record(1_000_000))
}

fn new_record(seq: u64) -> NewRecord {
    let sender = UserId::new("alice@example").unwrap_or_else(|_| unreachable!("a good name"));
    let client_id = ClientId::new("phone").unwrap_or_else(|_| unreachable!("a good name"));
    NewRecord {
        id: PublicationId(seq),
        sender,
        origin: Some(Origin { client_id, client_seq: seq }),
        client_msg_id: Bytes::from_static(&[9; 16]),
        server_ts_ms: 1_900_000_000_000,
        client_ts_ms: 1_900_000_000_000,
        kind: 0,
        target_offset: Offset::ZERO,
        payload: Bytes::from_static(&[b'x'; 200]),
    }
}

fn head(offset: u64) -> Head {
    Head {
        position: Position::new(7, offset),
        first: Offset(1),
        last_ts_ms: 1_900_000_000_000,
        epochs: vec![EpochStart { epoch: Epoch(7), first: Offset(1) }],
    }
}
