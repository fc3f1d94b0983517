//! Promises of the publication log's append side.

use bytes::Bytes;
use sterna_proto::{Epoch, Offset, Position};

use super::{Open, WIDE, append, at, key, marker, origin, read_all, record, records};
use crate::{Append, AppendError, Duplicate, EpochStart, NewRecord, StorageErrorKind};

pub async fn a_channel_without_records_has_no_head(open: Open<'_>) {
    let log = open().log;
    assert_eq!(log.head(key("empty")).await.unwrap(), None);
    assert_eq!(log.read(key("empty"), Offset::ZERO, WIDE).await.unwrap(), []);
    assert_eq!(log.find(key("empty"), origin("a", 1)).await.unwrap(), None);
}

pub async fn heads_of_many_channels_come_in_the_order_asked_for(open: Open<'_>) {
    let log = open().log;
    let channels: Vec<_> = (0..300).map(|n| key(&format!("room:{n}"))).collect();
    let one = append(&*log, channels[7], records("a", 1, 3)).await;
    let two = append(&*log, channels[299], records("a", 1, 1)).await;
    let heads = log.heads(channels).await.unwrap();
    assert_eq!(heads.len(), 300);
    assert_eq!((&heads[7], &heads[299]), (&Some(one), &Some(two)));
    assert_eq!(heads.iter().flatten().count(), 2);
    assert_eq!(log.heads(Vec::new()).await.unwrap(), []);
}

pub async fn offsets_are_dense_from_one(open: Open<'_>) {
    let log = open().log;
    let first = append(&*log, key("room"), records("a", 1, 3)).await;
    assert_eq!(first.position.offset, Offset(3));
    let second = append(&*log, key("room"), records("a", 4, 2)).await;
    assert_eq!(second.position.offset, Offset(5));
    assert_eq!(log.head(key("room")).await.unwrap(), Some(second.clone()));
    let stored = read_all(&*log, key("room"), WIDE).await;
    super::assert_dense(&stored);
    assert!(stored.iter().all(|record| record.position.epoch == second.position.epoch));
}

pub async fn a_new_channel_begins_in_the_epoch_of_the_store(open: Open<'_>) {
    let log = open().log;
    let one = append(&*log, key("one"), records("a", 1, 2)).await;
    let two = append(&*log, key("two"), records("a", 1, 1)).await;
    assert_ne!(one.position.epoch, Epoch(0), "epoch 0 means anywhere");
    assert_eq!(one.position.epoch, two.position.epoch);
    assert_eq!(one.epochs, [EpochStart { epoch: one.position.epoch, first: Offset(1) }]);
}

pub async fn an_append_behind_another_head_is_a_conflict(open: Open<'_>) {
    let log = open().log;
    let channel = key("room");
    let attempt = async |expected: Option<Position>| {
        let records = vec![record("b", 1)];
        log.append(vec![Append::new(channel, expected, records)]).await.remove(0)
    };
    match attempt(Some(Position::new(1, 1))).await {
        Err(AppendError::Conflict { head: None }) => {}
        other => panic!("no record is there yet: {other:?}"),
    }
    let head = append(&*log, channel, records("a", 1, 3)).await;
    let epoch = head.position.epoch;
    let stale = [None, Some(at(epoch, 2)), Some(at(epoch, 4)), Some(at(Epoch(epoch.0 + 1), 3))];
    for expected in stale {
        match attempt(expected).await {
            Err(AppendError::Conflict { head: Some(told) }) => assert_eq!(told, head),
            other => panic!("{expected:?} is not the head: {other:?}"),
        }
    }
    assert_eq!(log.head(channel).await.unwrap(), Some(head));
    assert_eq!(log.find(channel, origin("b", 1)).await.unwrap(), None);
}

pub async fn channels_of_one_commit_have_verdicts_of_their_own(open: Open<'_>) {
    let log = open().log;
    let old = append(&*log, key("old"), records("a", 1, 2)).await;
    let expected = Some(old.position);
    let put = |channel, expected, records| Append::new(channel, expected, records);
    let verdicts = log
        .append(vec![
            put(key("new"), None, records("a", 1, 4)),
            put(key("moved"), expected, records("a", 1, 1)),
            put(key("old"), expected, vec![record("a", 3)]),
            put(key("other"), None, records("a", 1, 1)),
        ])
        .await;
    assert_eq!(verdicts.len(), 4);
    assert_eq!(verdicts[0].as_ref().unwrap().position.offset, Offset(4));
    assert!(matches!(verdicts[1], Err(AppendError::Conflict { head: None })));
    assert_eq!(verdicts[2].as_ref().unwrap().position.offset, Offset(3));
    assert_eq!(verdicts[3].as_ref().unwrap().position.offset, Offset(1));
    assert_eq!(read_all(&*log, key("moved"), WIDE).await, []);
    assert_eq!(read_all(&*log, key("new"), WIDE).await.len(), 4);
}

pub async fn an_append_without_records_is_refused(open: Open<'_>) {
    let log = open().log;
    let empty = Append::new(key("room"), None, Vec::new());
    match log.append(vec![empty]).await.remove(0) {
        Err(AppendError::Storage(error)) => assert_eq!(error.kind, StorageErrorKind::Unavailable),
        other => panic!("there is no head to answer with: {other:?}"),
    }
    assert_eq!(log.head(key("room")).await.unwrap(), None);
}

pub async fn a_duplicate_stores_nothing_of_its_append(open: Open<'_>) {
    let log = open().log;
    let channel = key("room");
    let head = append(&*log, channel, records("a", 1, 3)).await;
    let expected = Some(head.position);
    let mixed = vec![record("a", 9), record("a", 2), record("a", 10), record("a", 3)];
    let again = Append::new(channel, expected, mixed);
    match log.append(vec![again]).await.remove(0) {
        Err(AppendError::Duplicates(found)) => {
            assert_eq!(found, [stored(1, &head, 2), stored(3, &head, 3)]);
        }
        other => panic!("two of four were stored before: {other:?}"),
    }
    assert_eq!(log.head(channel).await.unwrap(), Some(head));
    assert_eq!(log.find(channel, origin("a", 9)).await.unwrap(), None);
    let head = append(&*log, channel, vec![record("a", 9), record("a", 10)]).await;
    assert_eq!(head.position.offset, Offset(5), "without them it goes through");
}

pub async fn a_duplicate_inside_one_append_is_found(open: Open<'_>) {
    let log = open().log;
    let channel = key("room");
    let twins = vec![record("a", 1), record("a", 2), record("a", 1)];
    match log.append(vec![Append::new(channel, None, twins)]).await.remove(0) {
        Err(AppendError::Duplicates(found)) => {
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].index, 2);
            assert_eq!(found[0].position.offset, Offset::ZERO, "nothing is stored yet");
            assert_eq!(found[0].id, record("a", 1).id);
        }
        other => panic!("the third is the first again: {other:?}"),
    }
    assert_eq!(log.head(channel).await.unwrap(), None);
}

pub async fn an_origin_belongs_to_one_channel(open: Open<'_>) {
    let log = open().log;
    append(&*log, key("one"), records("a", 1, 1)).await;
    append(&*log, key("two"), records("a", 1, 1)).await;
    assert_eq!(log.find(key("three"), origin("a", 1)).await.unwrap(), None);
    // Client ids and numbers do not run into each other.
    append(&*log, key("one"), vec![record("a1", 1), record("a", 11), record("b", 1)]).await;
}

pub async fn records_without_origin_are_never_duplicates(open: Open<'_>) {
    let log = open().log;
    let nameless = NewRecord { origin: None, ..record("a", 1) };
    append(&*log, key("room"), vec![nameless.clone(), nameless.clone()]).await;
    let head = append(&*log, key("room"), vec![nameless]).await;
    assert_eq!(head.position.offset, Offset(3));
}

pub async fn find_tells_what_is_stored_under_an_origin(open: Open<'_>) {
    let log = open().log;
    let head = append(&*log, key("room"), records("a", 1, 3)).await;
    for seq in 1..=3 {
        let found = log.find(key("room"), origin("a", seq)).await.unwrap();
        assert_eq!(found, Some(stored(0, &head, seq)));
    }
    assert_eq!(log.find(key("room"), origin("a", 4)).await.unwrap(), None);
    assert_eq!(log.find(key("room"), origin("b", 1)).await.unwrap(), None);
}

pub async fn another_fingerprint_under_an_origin_is_told(open: Open<'_>) {
    let log = open().log;
    let channel = key("room");
    let head = append(&*log, channel, records("a", 1, 1)).await;
    let forged = NewRecord { payload: Bytes::from_static(b"other"), ..record("a", 1) };
    let expected = Some(head.position);
    let forged_print = forged.fingerprint();
    let verdict = log.append(vec![Append::new(channel, expected, vec![forged])]).await;
    match &verdict[0] {
        Err(AppendError::Duplicates(found)) => {
            assert_eq!(found[0].fingerprint, record("a", 1).fingerprint());
            assert_ne!(found[0].fingerprint, forged_print, "the caller sees the conflict (I3)");
        }
        other => panic!("the key is taken: {other:?}"),
    }
}

pub async fn server_time_of_the_head_never_decreases(open: Open<'_>) {
    let log = open().log;
    let late = NewRecord { server_ts_ms: 9_000, ..record("a", 1) };
    assert_eq!(append(&*log, key("room"), vec![late]).await.last_ts_ms, 9_000);
    let early = NewRecord { server_ts_ms: 8_000, ..record("a", 2) };
    assert_eq!(append(&*log, key("room"), vec![early]).await.last_ts_ms, 9_000);
}

pub async fn an_epoch_opens_with_a_marker(open: Open<'_>) {
    let log = open().log;
    let channel = key("room");
    let before = append(&*log, channel, records("a", 1, 2)).await;
    let raised = log.raise_epoch(channel, before.position, marker()).await.unwrap();
    let (old, new) = (before.position.epoch, Epoch(before.position.epoch.0 + 1));
    assert_eq!(raised.position, at(new, 3), "the marker takes an offset");
    let starts =
        [EpochStart { epoch: old, first: Offset(1) }, EpochStart { epoch: new, first: Offset(3) }];
    assert_eq!(raised.epochs, starts);
    assert_eq!(log.head(channel).await.unwrap(), Some(raised.clone()));
    let after = append(&*log, channel, records("a", 3, 1)).await;
    assert_eq!((after.position, after.epochs), (at(new, 4), starts.into()));
    let stored = read_all(&*log, channel, WIDE).await;
    super::assert_dense(&stored);
    let epochs: Vec<Epoch> = stored.iter().map(|record| record.position.epoch).collect();
    assert_eq!(epochs, [old, old, new, new]);
    assert_eq!(stored[2].body, marker());
}

pub async fn an_epoch_opens_only_behind_the_expected_head(open: Open<'_>) {
    let log = open().log;
    let channel = key("room");
    let nowhere = log.raise_epoch(channel, Position::new(1, 1), marker()).await;
    assert!(matches!(nowhere, Err(AppendError::Conflict { head: None })), "{nowhere:?}");
    let head = append(&*log, channel, records("a", 1, 2)).await;
    let stale = log.raise_epoch(channel, at(head.position.epoch, 1), marker()).await;
    match stale {
        Err(AppendError::Conflict { head: Some(told) }) => assert_eq!(told, head),
        other => panic!("offset 1 is not the head: {other:?}"),
    }
    log.raise_epoch(channel, head.position, marker()).await.unwrap();
    let twice = log.raise_epoch(channel, head.position, marker()).await;
    assert!(matches!(twice, Err(AppendError::Conflict { .. })), "{twice:?}");
    let old = Append::new(channel, Some(head.position), vec![record("a", 3)]);
    let fenced = log.append(vec![old]).await.remove(0);
    assert!(matches!(fenced, Err(AppendError::Conflict { .. })), "{fenced:?}");
}

pub async fn a_closed_log_takes_no_appends(open: Open<'_>) {
    let log = open().log;
    let head = append(&*log, key("room"), records("a", 1, 2)).await;
    log.close().await.unwrap();
    log.close().await.unwrap();
    let expected = Some(head.position);
    let late = Append::new(key("room"), expected, vec![record("a", 3)]);
    let verdict = log.append(vec![late]).await.remove(0);
    match verdict {
        Err(AppendError::Storage(error)) => assert_eq!(error.kind, StorageErrorKind::Unavailable),
        other => panic!("the log is closed: {other:?}"),
    }
    let raised = log.raise_epoch(key("room"), head.position, marker()).await;
    assert!(matches!(raised, Err(AppendError::Storage(_))), "{raised:?}");
}

/// What the engine tells about record `seq` of client `a`, stored at the offset of that number.
fn stored(index: usize, head: &crate::Head, seq: u64) -> Duplicate {
    let body = record("a", seq);
    Duplicate {
        index,
        position: at(head.position.epoch, seq),
        id: body.id,
        server_ts_ms: body.server_ts_ms,
        fingerprint: body.fingerprint(),
    }
}
