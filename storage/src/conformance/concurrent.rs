//! Several writers of one channel, as several cores are: compare-and-append is all that orders
//! them.

use std::sync::Arc;

use sterna_proto::{ChannelKey, Offset};
use tokio::task::JoinSet;

use super::{Open, WIDE, append, key, origin, read_all, record};
use crate::{Append, AppendError, Duplicate, NewRecord, PublicationLog};

pub async fn racing_writers_leave_a_dense_log(open: Open<'_>) {
    let log = open().log;
    let mut writers = JoinSet::new();
    for writer in 0..6 {
        let log = log.clone();
        writers.spawn(async move {
            let client = format!("client{writer}");
            for seq in 1..=20 {
                let stored = persist(&log, key("room"), vec![record(&client, seq)]).await;
                assert!(matches!(stored, Stored::Now(_)), "{client} sent {seq} once: {stored:?}");
            }
        });
    }
    writers.join_all().await;
    let stored = read_all(&*log, key("room"), WIDE).await;
    assert_eq!(stored.len(), 120);
    super::assert_dense(&stored);
    for writer in 0..6 {
        let client = format!("client{writer}");
        let of_client = stored.iter().filter_map(|record| record.body.origin.as_ref());
        let sent: Vec<u64> = of_client
            .filter(|origin| origin.client_id.as_str() == client)
            .map(|origin| origin.client_seq)
            .collect();
        assert_eq!(sent, (1..=20).collect::<Vec<u64>>(), "in its own order, each once");
    }
}

pub async fn a_racing_retransmission_is_stored_once(open: Open<'_>) {
    let log = open().log;
    for round in 1..=10 {
        let mut senders = JoinSet::new();
        for _ in 0..5 {
            let log = log.clone();
            senders.spawn(async move {
                match persist(&log, key("room"), vec![record("a", round)]).await {
                    Stored::Now(offset) => (true, offset),
                    Stored::Before(found) => (false, found[0].position.offset),
                }
            });
        }
        let answers = senders.join_all().await;
        assert_eq!(answers.iter().filter(|(now, _)| *now).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|(_, offset)| *offset == Offset(round)), "{answers:?}");
    }
    assert!(log.find(key("room"), origin("a", 10)).await.unwrap().is_some());
    assert_eq!(read_all(&*log, key("room"), WIDE).await.len(), 10);
}

pub async fn readers_beside_writers_see_no_hole(open: Open<'_>) {
    let log = open().log;
    let mut tasks = JoinSet::new();
    for _ in 0..2 {
        let log = log.clone();
        tasks.spawn(async move {
            let mut seen = Offset::ZERO;
            while seen < Offset(60) {
                for record in log.read(key("room"), seen, WIDE).await.unwrap() {
                    assert_eq!(record.position.offset, seen.next());
                    seen = record.position.offset;
                }
                // What the head names can be read (I4 the other way round).
                if let Some(head) = log.head(key("room")).await.unwrap() {
                    let newest = Offset(head.position.offset.0 - 1);
                    assert!(!log.read(key("room"), newest, WIDE).await.unwrap().is_empty());
                }
                tokio::task::yield_now().await;
            }
        });
    }
    for round in 0..20 {
        append(&*log, key("room"), super::records("a", round * 3 + 1, 3)).await;
    }
    tasks.join_all().await;
}

#[derive(Debug)]
enum Stored {
    Now(Offset),
    Before(Vec<Duplicate>),
}

/// What a core does: take the head, append, and on a conflict take the head it is told.
async fn persist(
    log: &Arc<dyn PublicationLog>,
    channel: ChannelKey,
    records: Vec<NewRecord>,
) -> Stored {
    let mut head = log.head(channel).await.unwrap();
    loop {
        let expected = head.as_ref().map(|head| head.position);
        let wish = Append::new(channel, expected, records.clone());
        match log.append(vec![wish]).await.remove(0) {
            Ok(head) => return Stored::Now(head.position.offset),
            Err(AppendError::Duplicates(found)) => return Stored::Before(found),
            Err(AppendError::Conflict { head: told }) => head = told,
            Err(AppendError::Storage(error)) => panic!("{error}"),
        }
    }
}
