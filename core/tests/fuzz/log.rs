//! Two owners of one channel on one log: conflicts, lost answers, failures, retransmissions.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use sterna_core::channel::sequence::{Answer, Next, Outcome, Sequence, Verdict};
use sterna_fuzz::{Script, check};
use sterna_proto::{ChannelId, ChannelKey, ClientId, Epoch, Offset, PublicationId, UserId};
use sterna_storage::memory::MemoryStore;
use sterna_storage::{
    AppendError, NewRecord, Origin, PageLimit, PublicationLog, Record, StorageError,
    StorageErrorKind,
};

/// I1 to I3, I12: every acked publication is stored once, densely, under the acked offset, in the
/// order in which its owner took it; what waits is bounded and all of it is answered.
#[test]
fn fuzz_sequence() {
    check!("sequence", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        let mut world = World::new();
        for _ in 0..STEPS {
            let Some(step) = script.step() else { break };
            world.step(step, &mut script);
        }
        world.settle();
        world.check_log();
    });
}

const STEPS: usize = 200;
const MAX_PENDING: usize = 6;
const WINDOW: usize = 4;

struct Owner {
    sequence: Sequence<u64>,
    /// Answers that are still owed.
    owed: usize,
    catching_up: bool,
}

struct World {
    log: Arc<dyn PublicationLog>,
    key: ChannelKey,
    owners: [Owner; 2],
    /// Where each acked publication is, by its number.
    acked: HashMap<u64, u64>,
    next_id: u64,
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        let name = ChannelId::new("room:1").unwrap();
        let key = name.key();
        let owner = || Owner {
            sequence: Sequence::new(name.clone(), key, None, WINDOW, MAX_PENDING),
            owed: 0,
            catching_up: false,
        };
        Self {
            log: MemoryStore::with_birth(Epoch(1)).stores().log,
            key,
            owners: [owner(), owner()],
            acked: HashMap::new(),
            next_id: 0,
            now_ms: 1000,
        }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        let who = usize::from(step & 1);
        match (step >> 1) % 8 {
            0..=2 => self.publish(who, u64::from(script.below(20))),
            3 | 4 => self.append(who, 1 + usize::from(script.below(4)), Fate::Told),
            5 => self.append(who, 4, if script.flag() { Fate::Lost } else { Fate::NeverCame }),
            6 => self.append(who, 4, Fate::Failed),
            _ => {
                self.now_ms = self.now_ms.saturating_add_signed(i64::from(script.byte()) - 128);
                self.catch_up(who);
            }
        }
    }

    /// Publication `seq` of the one client, for the first time or again; 0 has no number.
    fn publish(&mut self, who: usize, seq: u64) {
        self.next_id += 1;
        let record = NewRecord {
            id: PublicationId(self.next_id),
            sender: UserId::new("alice").unwrap(),
            origin: (seq > 0)
                .then(|| Origin { client_id: ClientId::new("phone").unwrap(), client_seq: seq }),
            client_msg_id: Default::default(),
            server_ts_ms: 0,
            client_ts_ms: 0,
            kind: 0,
            target_offset: Offset::ZERO,
            payload: format!("payload {seq}").into(),
        };
        let owner = &mut self.owners[who];
        match owner.sequence.handle_publish(record, seq) {
            Verdict::Waiting => owner.owed += 1,
            Verdict::Answered(seq, answer) => self.hear(seq, answer),
        }
    }

    fn append(&mut self, who: usize, records: usize, fate: Fate) {
        if self.owners[who].catching_up {
            return self.catch_up(who);
        }
        let sequence = &mut self.owners[who].sequence;
        let Some(append) = sequence.poll_append(records, 64, self.now_ms) else { return };
        assert!((1..=records).contains(&append.records.len()));
        assert!(sequence.poll_append(records, 64, self.now_ms).is_none(), "one at a time");
        let result = match fate {
            Fate::NeverCame => Err(failure(StorageErrorKind::Unknown)),
            Fate::Failed => Err(failure(StorageErrorKind::Unavailable)),
            Fate::Told | Fate::Lost => {
                let done = self.log.append(vec![append]).now_or_never().unwrap().remove(0);
                if fate == Fate::Told { done } else { Err(failure(StorageErrorKind::Unknown)) }
            }
        };
        let outcome = self.owners[who].sequence.handle_result(result);
        self.take(who, outcome);
    }

    fn catch_up(&mut self, who: usize) {
        if !std::mem::take(&mut self.owners[who].catching_up) {
            return;
        }
        let head = self.log.head(self.key).now_or_never().unwrap().unwrap();
        let after = self.owners[who].sequence.position().offset;
        let records = self.read(after);
        let outcome = self.owners[who].sequence.handle_catch_up(head, records);
        self.take(who, outcome);
    }

    fn take(&mut self, who: usize, outcome: Outcome<u64>) {
        let owner = &mut self.owners[who];
        owner.owed = owner.owed.checked_sub(outcome.answers.len()).unwrap();
        owner.catching_up = outcome.next == Next::CatchUp;
        for (seq, answer) in outcome.answers {
            self.hear(seq, answer);
        }
        // I4: what is spread has been stored, under that position.
        for record in &outcome.committed {
            let stored = self.read(Offset(record.position.offset.0 - 1)).remove(0);
            assert_eq!(stored, *record);
        }
    }

    fn hear(&mut self, seq: u64, answer: Answer) {
        match answer {
            Ok(published) if seq > 0 => {
                let first = *self.acked.entry(seq).or_insert(published.offset);
                assert_eq!(first, published.offset, "one publication, two places");
            }
            Ok(_) => {}
            Err(error) => assert!(error.retryable, "{error:?}"),
        }
    }

    /// Everything that waits is answered in the end.
    fn settle(&mut self) {
        for _ in 0..100 {
            (0..2).for_each(|who| self.append(who, 4, Fate::Told));
        }
        for owner in &self.owners {
            assert_eq!(owner.owed, 0);
            assert!(owner.sequence.is_idle());
        }
    }

    fn check_log(&self) {
        let stored = self.read(Offset::ZERO);
        let mut last_ts_ms = 0;
        for (at, record) in stored.iter().enumerate() {
            assert_eq!(record.position.offset.0, at as u64 + 1, "dense");
            assert!(record.body.server_ts_ms >= last_ts_ms, "time goes back");
            last_ts_ms = record.body.server_ts_ms;
        }
        let mut found: HashMap<u64, u64> = HashMap::new();
        for record in &stored {
            let Some(origin) = &record.body.origin else { continue };
            let twin = found.insert(origin.client_seq, record.position.offset.0);
            assert_eq!(twin, None, "{origin:?} is stored twice");
        }
        for (seq, offset) in &self.acked {
            assert_eq!(found.get(seq), Some(offset), "acked and not there");
        }
    }

    fn read(&self, after: Offset) -> Vec<Record> {
        let limit = PageLimit { records: 10_000, payload_bytes: 1 << 30 };
        self.log.read(self.key, after, limit).now_or_never().unwrap().unwrap()
    }
}

/// What becomes of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Told,
    /// Stored or in conflict, but nobody hears of it.
    Lost,
    /// Never reached the store, which nobody knows.
    NeverCame,
    Failed,
}

fn failure(kind: StorageErrorKind) -> AppendError {
    StorageError::new(kind, "fuzz", "as the script says").into()
}
