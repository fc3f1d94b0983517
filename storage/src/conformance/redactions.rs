//! Promises of emptied payloads: what is redacted stays in its place, and is known as before.

use bytes::Bytes;
use sterna_proto::Offset;

use super::{Open, WIDE, append, key, origin, read_all, record, records};
use crate::{Append, AppendError, NewRecord, Record, StorageErrorKind};

pub async fn a_redacted_record_keeps_its_place_and_everything_but_its_payload(open: Open<'_>) {
    let log = open().log;
    let large = NewRecord { payload: Bytes::from(vec![b'x'; 5000]), ..record("a", 6) };
    append(&*log, key("room"), records("a", 1, 5)).await;
    let head = append(&*log, key("room"), vec![large]).await;
    append(&*log, key("other"), records("a", 1, 5)).await;
    let before = read_all(&*log, key("room"), WIDE).await;
    let offsets = [2, 6, 4].map(Offset).to_vec();
    assert_eq!(log.redact(key("room"), offsets.clone()).await.unwrap(), 3);
    let expected: Vec<Record> = before
        .into_iter()
        .map(|mut record| {
            if offsets.contains(&record.position.offset) {
                record.body.payload = Bytes::new();
            }
            record
        })
        .collect();
    assert_eq!(read_all(&*log, key("room"), WIDE).await, expected);
    assert_eq!(log.head(key("room")).await.unwrap(), Some(head));
    assert_eq!(log.redact(key("room"), offsets).await.unwrap(), 3, "again is as good");
    assert_eq!(read_all(&*log, key("room"), WIDE).await, expected);
    let other = read_all(&*log, key("other"), WIDE).await;
    assert!(other.iter().all(|record| !record.body.payload.is_empty()));
}

pub async fn i3_a_redacted_record_is_recognised_when_it_comes_again(open: Open<'_>) {
    let log = open().log;
    let head = append(&*log, key("room"), records("a", 1, 3)).await;
    let before = log.find(key("room"), origin("a", 2)).await.unwrap();
    log.redact(key("room"), vec![Offset(2)]).await.unwrap();
    assert_eq!(log.find(key("room"), origin("a", 2)).await.unwrap(), before);
    let again = Append::new(key("room"), Some(head.position), vec![record("a", 2)]);
    match log.append(vec![again]).await.remove(0) {
        Err(AppendError::Duplicates(found)) => {
            assert_eq!(found[0].position.offset, Offset(2));
            assert_eq!(found[0].fingerprint, record("a", 2).fingerprint());
        }
        other => panic!("stored before it was redacted: {other:?}"),
    }
}

pub async fn what_is_not_there_is_not_redacted(open: Open<'_>) {
    let log = open().log;
    assert_eq!(log.redact(key("empty"), vec![Offset(1)]).await.unwrap(), 0);
    append(&*log, key("room"), records("a", 1, 6)).await;
    log.trim(key("room"), Offset(4)).await.unwrap();
    let wish = [0, 3, 4, 7, u64::MAX].map(Offset).to_vec();
    assert_eq!(log.redact(key("room"), wish).await.unwrap(), 1);
    assert_eq!(log.redact(key("room"), Vec::new()).await.unwrap(), 0);
    let left = log.read(key("room"), Offset(3), WIDE).await.unwrap();
    assert_eq!(left.len(), 3);
    assert!(log.read(key("room"), Offset(2), WIDE).await.is_err(), "nothing came back");
    let head = append(&*log, key("room"), records("a", 7, 1)).await;
    assert_eq!(head.position.offset, Offset(7), "a place beyond the head is not taken");
}

pub async fn a_redaction_outlives_a_reopening(open: Open<'_>) {
    let stores = open();
    append(&*stores.log, key("room"), records("a", 1, 3)).await;
    stores.log.redact(key("room"), vec![Offset(2)]).await.unwrap();
    let before = read_all(&*stores.log, key("room"), WIDE).await;
    assert!(before[1].body.payload.is_empty());
    stores.log.close().await.unwrap();
    let refused = stores.log.redact(key("room"), vec![Offset(1)]).await.unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::Unavailable);
    drop(stores);
    assert_eq!(read_all(&*open().log, key("room"), WIDE).await, before);
}
