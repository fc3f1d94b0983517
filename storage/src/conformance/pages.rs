//! Promises of the publication log's read side.

use bytes::Bytes;
use sterna_proto::Offset;

use super::{Open, WIDE, append, key, read_all, record, records};
use crate::{NewRecord, PageLimit};

pub async fn records_come_back_as_they_were_stored(open: Open<'_>) {
    let log = open().log;
    let mut bodies = vec![
        record("a", 1),
        NewRecord { origin: None, client_msg_id: Bytes::new(), ..record("a", 2) },
        NewRecord { kind: 3, target_offset: Offset(1), client_ts_ms: 0, ..record("a", 3) },
        NewRecord { payload: Bytes::new(), ..record("a", 4) },
        NewRecord { payload: incompressible(64 * 1024), ..record("a", 5) },
        NewRecord { payload: vec![7; 64 * 1024].into(), ..record("a", 6) },
    ];
    bodies[0].id = sterna_proto::PublicationId(u64::MAX);
    append(&*log, key("room"), bodies.clone()).await;
    let stored = read_all(&*log, key("room"), WIDE).await;
    super::assert_dense(&stored);
    let stored: Vec<NewRecord> = stored.into_iter().map(|record| record.body).collect();
    assert_eq!(stored, bodies);
}

pub async fn a_read_sees_every_append_before_it(open: Open<'_>) {
    let log = open().log;
    for seq in 1..=20 {
        append(&*log, key("room"), vec![record("a", seq)]).await;
        let page = log.read(key("room"), Offset(seq - 1), WIDE).await.unwrap();
        assert_eq!(page.len(), 1);
        assert_eq!(page[0].body, record("a", seq));
        assert_eq!(log.read(key("room"), Offset(seq), WIDE).await.unwrap(), []);
    }
    assert_eq!(log.read(key("room"), Offset(1000), WIDE).await.unwrap(), []);
    assert_eq!(log.read(key("room"), Offset(u64::MAX), WIDE).await.unwrap(), []);
}

pub async fn a_page_ends_at_its_limits(open: Open<'_>) {
    let log = open().log;
    let bodies = (1..=10).map(|seq| NewRecord { payload: vec![0; 10].into(), ..record("a", seq) });
    append(&*log, key("room"), bodies.collect()).await;
    let page = async |records: usize, payload_bytes: usize| {
        let limit = PageLimit { records, payload_bytes };
        log.read(key("room"), Offset(2), limit).await.unwrap().len()
    };
    assert_eq!(page(3, 1000).await, 3);
    assert_eq!(page(100, 1000).await, 8);
    assert_eq!(page(100, 39).await, 3, "ends before the record that would pass");
    assert_eq!(page(100, 40).await, 4);
}

pub async fn the_first_record_fits_any_page(open: Open<'_>) {
    let log = open().log;
    append(&*log, key("room"), records("a", 1, 3)).await;
    for limit in [
        PageLimit { records: 0, payload_bytes: 1000 },
        PageLimit { records: 10, payload_bytes: 0 },
        PageLimit { records: 0, payload_bytes: 0 },
    ] {
        let page = log.read(key("room"), Offset(1), limit).await.unwrap();
        assert_eq!(page.len(), 1, "{limit:?}");
        assert_eq!(page[0].position.offset, Offset(2));
    }
}

pub async fn pages_from_any_offset_join_without_seam(open: Open<'_>) {
    let log = open().log;
    // Neighbours in key order on both sides.
    for channel in ["left", "room", "right"] {
        append(&*log, key(channel), records("a", 1, 30)).await;
        append(&*log, key(channel), records("a", 31, 20)).await;
    }
    let whole = log.read(key("room"), Offset::ZERO, WIDE).await.unwrap();
    assert_eq!(whole.len(), 50);
    super::assert_dense(&whole);
    for records in [1, 7, 49, 50, 51] {
        let limit = PageLimit { records, payload_bytes: 1 << 20 };
        assert_eq!(read_all(&*log, key("room"), limit).await, whole);
    }
    for after in 0..=50 {
        let page = log.read(key("room"), Offset(after), WIDE).await.unwrap();
        assert_eq!(page, whole[after as usize..]);
    }
}

/// Bytes that no compression makes smaller.
fn incompressible(len: usize) -> Bytes {
    let mut random = super::model::Random::new(11);
    (0..len).map(|_| random.below(256) as u8).collect::<Vec<u8>>().into()
}
