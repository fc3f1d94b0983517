//! A sequence against the memory log, with conflicts, lost answers and retransmissions.

use super::*;
use std::sync::Arc;

use proptest::prelude::*;
use sterna_proto::{ClientId, Offset, PublicationId, UserId};
use sterna_storage::memory::MemoryStore;
use sterna_storage::{Origin, PageLimit, PublicationLog, StorageError, StorageErrorKind};

fn record(id: u64, client_seq: u64, payload: &str) -> NewRecord {
    NewRecord {
        id: PublicationId(id),
        sender: UserId::new("alice").unwrap(),
        origin: (client_seq > 0)
            .then(|| Origin { client_id: ClientId::new("phone").unwrap(), client_seq }),
        client_msg_id: Default::default(),
        server_ts_ms: 0,
        client_ts_ms: 0,
        kind: 0,
        target_offset: Offset::ZERO,
        payload: payload.to_owned().into(),
    }
}

fn sequence(max_pending: usize) -> Sequence<u32> {
    let name = ChannelId::new("room:1").unwrap();
    let key = name.key();
    Sequence::new(name, key, None, 8, max_pending)
}

fn log() -> Arc<dyn PublicationLog> {
    MemoryStore::new().stores().log
}

async fn commit(
    sequence: &mut Sequence<u32>,
    log: &Arc<dyn PublicationLog>,
    now_ms: u64,
) -> Option<Outcome<u32>> {
    let append = sequence.poll_append(64, 1 << 20, now_ms)?;
    let result = log.append(vec![append]).await.remove(0);
    Some(sequence.handle_result(result))
}

async fn catch_up(sequence: &mut Sequence<u32>, log: &Arc<dyn PublicationLog>) -> Outcome<u32> {
    let head = log.head(sequence.key).await.unwrap();
    let limit = PageLimit { records: 1000, payload_bytes: 1 << 20 };
    let after = sequence.position().offset;
    let records = log.read(sequence.key, after, limit).await.unwrap();
    sequence.handle_catch_up(head, records)
}

fn unknown() -> AppendError {
    StorageError::new(StorageErrorKind::Unknown, "test", "answer lost").into()
}

#[tokio::test]
async fn i2_offsets_are_dense_and_server_time_never_goes_back() {
    let (mut sequence, log) = (sequence(100), log());
    let mut offsets = Vec::new();
    let mut last_ts_ms = 0;
    for (round, now_ms) in [1000, 900, 1100, 200].into_iter().enumerate() {
        for n in 0..3 {
            sequence.handle_publish(record(round as u64 * 10 + n, 0, "x"), 0);
        }
        for record in commit(&mut sequence, &log, now_ms).await.unwrap().committed {
            offsets.push(record.position.offset.0);
            assert!(record.body.server_ts_ms >= last_ts_ms);
            last_ts_ms = record.body.server_ts_ms;
        }
    }
    assert_eq!(offsets, (1..=12).collect::<Vec<_>>());
}

#[tokio::test]
async fn i3_a_retransmission_gets_the_first_answer_wherever_the_first_is() {
    let (mut sequence, log) = (sequence(100), log());
    assert!(matches!(sequence.handle_publish(record(1, 7, "hi"), 1), Verdict::Waiting));
    assert!(matches!(sequence.handle_publish(record(2, 7, "hi"), 2), Verdict::Waiting));
    let outcome = commit(&mut sequence, &log, 1).await.unwrap();
    let answers: Vec<(u32, bool, u64)> = outcome
        .answers
        .into_iter()
        .map(|(ticket, answer)| answer.map(|a| (ticket, a.duplicate, a.offset)).unwrap())
        .collect();
    assert_eq!(answers, [(1, false, 1), (2, true, 1)]);

    let Verdict::Answered(3, Ok(again)) = sequence.handle_publish(record(3, 7, "hi"), 3) else {
        panic!("remembered")
    };
    assert_eq!((again.offset, again.duplicate), (1, true));
    let Verdict::Answered(4, Err(error)) = sequence.handle_publish(record(4, 7, "other"), 4) else {
        panic!("conflict")
    };
    assert_eq!(error.code, ErrorCode::Conflict.number());

    // A window of 8 has forgotten it: the store has not.
    for seq in 100..120 {
        sequence.handle_publish(record(seq, seq, "x"), 0);
    }
    commit(&mut sequence, &log, 1).await.unwrap();
    sequence.handle_publish(record(5, 7, "hi"), 5);
    sequence.handle_publish(record(6, 8, "new"), 6);
    sequence.handle_publish(record(7, 100, "not x"), 7);
    let outcome = commit(&mut sequence, &log, 1).await.unwrap();
    assert_eq!(outcome.answers.len(), 2, "{outcome:?}");
    assert!(matches!(&outcome.answers[0], (5, Ok(a)) if a.duplicate && a.offset == 1));
    assert!(matches!(&outcome.answers[1], (7, Err(e)) if e.code == ErrorCode::Conflict.number()));
    let outcome = commit(&mut sequence, &log, 1).await.unwrap();
    assert!(matches!(&outcome.answers[0], (6, Ok(a)) if !a.duplicate && a.offset == 22));
}

#[tokio::test]
async fn i2_a_stale_head_conflicts_and_catches_up() {
    let log = log();
    let (mut ours, mut theirs) = (sequence(100), sequence(100));
    theirs.handle_publish(record(50, 0, "theirs"), 0);
    commit(&mut theirs, &log, 1).await.unwrap();
    ours.handle_publish(record(1, 1, "ours"), 1);
    assert_eq!(commit(&mut ours, &log, 1).await.unwrap().next, Next::CatchUp);
    let outcome = catch_up(&mut ours, &log).await;
    assert_eq!(outcome.committed.len(), 1, "theirs is spread by us too");
    let outcome = commit(&mut ours, &log, 1).await.unwrap();
    assert!(matches!(&outcome.answers[0], (1, Ok(a)) if a.offset == 2 && !a.duplicate));
}

/// A node that stood still for long goes on under another number, whose ids may be lower: they name
/// publications, and do not order them.
#[tokio::test]
async fn i13_what_goes_back_to_the_queue_keeps_its_order_though_ids_went_back() {
    let log = log();
    let (mut ours, mut theirs) = (sequence(100), sequence(100));
    theirs.handle_publish(record(50, 0, "theirs"), 0);
    commit(&mut theirs, &log, 1).await.unwrap();
    let ids = [1_000, 1_001, 7, 8, 1_002];
    for (id, seq) in ids.into_iter().zip(1..) {
        ours.handle_publish(record(id, seq, "ours"), seq as u32);
    }
    assert_eq!(commit(&mut ours, &log, 1).await.unwrap().next, Next::CatchUp);
    catch_up(&mut ours, &log).await;
    // Behind those that go back.
    ours.handle_publish(record(9, 6, "ours"), 6);
    let committed = commit(&mut ours, &log, 1).await.unwrap().committed;
    let order: Vec<u64> =
        committed.iter().map(|it| it.body.origin.as_ref().unwrap().client_seq).collect();
    assert_eq!(order, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn an_unknown_outcome_is_looked_up_and_never_appended_twice() {
    for stored in [true, false] {
        let (mut sequence, log) = (sequence(100), log());
        sequence.handle_publish(record(1, 0, "a"), 1);
        sequence.handle_publish(record(2, 0, "b"), 2);
        let append = sequence.poll_append(64, 1 << 20, 1).unwrap();
        if stored {
            log.append(vec![append]).await.remove(0).unwrap();
        }
        assert_eq!(sequence.handle_result(Err(unknown())).next, Next::CatchUp);
        let outcome = catch_up(&mut sequence, &log).await;
        assert_eq!(outcome.answers.len(), if stored { 2 } else { 0 });
        if !stored {
            let outcome = commit(&mut sequence, &log, 1).await.unwrap();
            assert_eq!(outcome.answers.len(), 2);
        }
        assert_eq!(log.head(sequence.key).await.unwrap().unwrap().position.offset, Offset(2));
    }
}

#[tokio::test]
async fn i12_waiting_publications_are_bounded_and_the_rest_hears_busy() {
    let mut sequence = sequence(2);
    sequence.handle_publish(record(1, 0, "a"), 1);
    sequence.handle_publish(record(2, 0, "b"), 2);
    let Verdict::Answered(3, Err(error)) = sequence.handle_publish(record(3, 0, "c"), 3) else {
        panic!("bounded")
    };
    assert_eq!((error.code, error.retryable), (ErrorCode::Busy.number(), true));
    assert_eq!(sequence.fail_all(&busy()).len(), 2);
    assert!(sequence.is_idle());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two owners of one channel, each with lost answers, retransmissions and conflicts: whatever
    /// happens, every acked publication is stored once, densely, under the acked offset.
    #[test]
    fn i1_i2_i3_any_schedule_of_two_owners(steps in proptest::collection::vec((0u8..2, 0u8..6, 1u64..30), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let log = log();
            let mut owners = [sequence(100), sequence(100)];
            let mut acked: HashMap<u64, u64> = HashMap::new();
            let mut id = 0;
            for (who, what, seq) in steps {
                let sequence = &mut owners[usize::from(who)];
                let mut answers = Vec::new();
                match what {
                    0..3 => {
                        id += 1;
                        let record = record(id, seq, &format!("payload {seq}"));
                        if let Verdict::Answered(ticket, answer) =
                            sequence.handle_publish(record, seq as u32)
                        {
                            answers.push((ticket, answer));
                        }
                    }
                    3 => {
                        // The append takes effect or not, but its answer is lost.
                        if let Some(append) = sequence.poll_append(4, 1 << 20, 1) {
                            if seq % 2 == 0 {
                                let _ = log.append(vec![append]).await;
                            }
                            sequence.handle_result(Err(unknown()));
                            answers = catch_up(sequence, &log).await.answers;
                        }
                    }
                    _ => {
                        if let Some(outcome) = commit(sequence, &log, 1).await {
                            answers = outcome.answers;
                            if outcome.next == Next::CatchUp {
                                answers.extend(catch_up(sequence, &log).await.answers);
                            }
                        }
                    }
                }
                for (ticket, answer) in answers {
                    let offset = answer.unwrap().offset;
                    let first = *acked.entry(ticket.into()).or_insert(offset);
                    assert_eq!(first, offset, "one publication, two places");
                }
            }
            let key = owners[0].key;
            let limit = PageLimit { records: 10_000, payload_bytes: 1 << 30 };
            let stored = log.read(key, Offset::ZERO, limit).await.unwrap();
            for (at, record) in stored.iter().enumerate() {
                assert_eq!(record.position.offset.0, at as u64 + 1);
            }
            for (seq, offset) in acked {
                let record = &stored[offset as usize - 1];
                assert_eq!(record.body.origin.as_ref().unwrap().client_seq, seq);
                let twins = stored.iter().filter(|r| r.body.origin == record.body.origin).count();
                assert_eq!(twins, 1);
            }
        });
    }
}
