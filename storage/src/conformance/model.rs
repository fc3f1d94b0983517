//! Random histories against a model that is a few vectors and obviously right.

use std::collections::BTreeMap;

use sterna_proto::{ChannelKey, Epoch, Offset, Position};

use super::trims::read_what_is_left;
use super::{Open, append, key, marker, record};
use crate::{
    Append, AppendError, EpochStart, Head, NewRecord, PageLimit, PublicationLog, ReadError, Record,
};

pub async fn any_history_agrees_with_the_model(open: Open<'_>) {
    let log = open().log;
    let birth = append(&*log, key("birth"), vec![record("a", 1)]).await.position.epoch;
    for seed in [1, 7, 42, 1234, 99_991] {
        let mut run = Run {
            seed,
            random: Random::new(seed),
            birth,
            model: BTreeMap::new(),
            trimmed: BTreeMap::new(),
        };
        for _ in 0..60 {
            run.step(&*log).await;
        }
        run.compare_all(&*log).await;
    }
}

struct Run {
    seed: u64,
    random: Random,
    birth: Epoch,
    model: BTreeMap<ChannelKey, Vec<Record>>,
    /// Where the channels begin that have been trimmed.
    trimmed: BTreeMap<ChannelKey, Offset>,
}

impl Run {
    async fn step(&mut self, log: &dyn PublicationLog) {
        match self.random.below(10) {
            0 => self.raise(log).await,
            1 | 2 => self.read_page(log).await,
            3 => self.trim(log).await,
            _ => self.append(log).await,
        }
    }

    async fn append(&mut self, log: &dyn PublicationLog) {
        let first = self.random.below(CHANNELS);
        let count = 1 + self.random.below(CHANNELS);
        let appends: Vec<Append> =
            (first..first + count).map(|n| self.random_append(n % CHANNELS)).collect();
        let verdicts = log.append(appends.clone()).await;
        assert_eq!(verdicts.len(), appends.len());
        for (append, verdict) in appends.into_iter().zip(verdicts) {
            let expected = self.apply(append);
            assert_eq!(told(verdict), expected, "seed {}", self.seed);
        }
    }

    fn random_append(&mut self, n: u64) -> Append {
        let channel = self.channel(n);
        let mut expected = self.head(channel).map(|head| head.position);
        if self.random.below(6) == 0 {
            expected = match expected {
                Some(position) => Some(Position { offset: position.offset.next(), ..position }),
                None => Some(Position::new(self.birth.0, 1)),
            };
        }
        let count = 1 + self.random.below(5);
        let records = (0..count).map(|_| self.random_record()).collect();
        Append::new(channel, expected, records)
    }

    fn random_record(&mut self) -> NewRecord {
        // Few enough numbers that some meet again.
        let client = ["a", "b", "c"][self.random.below(3) as usize];
        let mut record = record(client, 1 + self.random.below(60));
        record.payload = vec![b'x'; self.random.below(2000) as usize].into();
        if self.random.below(5) == 0 {
            record.origin = None;
        }
        record
    }

    async fn raise(&mut self, log: &dyn PublicationLog) {
        let n = self.random.below(CHANNELS);
        let channel = self.channel(n);
        let Some(head) = self.head(channel) else { return };
        let raised = log.raise_epoch(channel, head.position, marker()).await.unwrap();
        let epoch = Epoch(head.position.epoch.0 + 1);
        let position = Position { epoch, offset: head.position.offset.next() };
        self.model.entry(channel).or_default().push(Record::new(position, marker()));
        assert_eq!(Some(raised), self.head(channel), "seed {}", self.seed);
    }

    async fn read_page(&mut self, log: &dyn PublicationLog) {
        let n = self.random.below(CHANNELS);
        let channel = self.channel(n);
        let after = Offset(self.random.below(40));
        let limit = PageLimit {
            records: self.random.below(12) as usize,
            payload_bytes: self.random.below(6000) as usize,
        };
        let first = self.first(channel);
        match log.read(channel, after, limit).await {
            Err(ReadError::Trimmed { first: told }) => {
                assert!(after.next() < first, "seed {}", self.seed);
                assert_eq!(told, first, "seed {}", self.seed);
            }
            page => {
                assert!(after.next() >= first, "seed {}", self.seed);
                assert_eq!(page.unwrap(), self.page(channel, after, limit), "seed {}", self.seed);
            }
        }
    }

    async fn trim(&mut self, log: &dyn PublicationLog) {
        let n = self.random.below(CHANNELS);
        let channel = self.channel(n);
        let wish = Offset(self.random.below(30));
        if let Some(end) = self.head(channel).map(|head| head.position.offset.next()) {
            let first = self.first(channel).max(wish.min(end));
            self.trimmed.insert(channel, first);
        }
        let head = log.trim(channel, wish).await.unwrap();
        assert_eq!(head, self.head(channel), "seed {}", self.seed);
    }

    fn first(&self, channel: ChannelKey) -> Offset {
        self.trimmed.get(&channel).copied().unwrap_or(Offset(1))
    }

    async fn compare_all(&self, log: &dyn PublicationLog) {
        for (channel, stored) in &self.model {
            assert_eq!(log.head(*channel).await.unwrap(), self.head(*channel));
            let left = &stored[self.first(*channel).0 as usize - 1..];
            assert_eq!(read_what_is_left(log, *channel).await, left);
            for record in stored {
                let Some(origin) = record.body.origin.clone() else { continue };
                let found = log.find(*channel, origin).await.unwrap().unwrap();
                assert_eq!(found.position, record.position, "seed {}", self.seed);
                assert_eq!(found.fingerprint, record.body.fingerprint());
            }
        }
    }

    /// Channels of one seed are not those of another.
    fn channel(&self, n: u64) -> ChannelKey {
        key(&format!("model:{}:{n}", self.seed))
    }

    fn head(&self, channel: ChannelKey) -> Option<Head> {
        let stored = self.model.get(&channel)?;
        let mut epochs: Vec<EpochStart> = Vec::new();
        for Record { position, .. } in stored {
            if epochs.last().is_none_or(|newest| newest.epoch != position.epoch) {
                epochs.push(EpochStart { epoch: position.epoch, first: position.offset });
            }
        }
        let last_ts_ms = stored.iter().map(|record| record.body.server_ts_ms).max()?;
        let position = stored.last()?.position;
        Some(Head { position, first: self.first(channel), last_ts_ms, epochs })
    }

    fn page(&self, channel: ChannelKey, after: Offset, limit: PageLimit) -> Vec<Record> {
        let stored = self.model.get(&channel).map_or(&[][..], Vec::as_slice);
        let mut page = Vec::new();
        let mut bytes = 0;
        for record in stored.iter().filter(|record| record.position.offset > after) {
            bytes += record.body.payload.len();
            let passes = page.len() >= limit.records || bytes > limit.payload_bytes;
            if passes && !page.is_empty() {
                break;
            }
            page.push(record.clone());
            if passes {
                break;
            }
        }
        page
    }

    fn apply(&mut self, append: Append) -> Verdict {
        let head = self.head(append.channel);
        if append.expected != head.as_ref().map(|head| head.position) {
            return Verdict::Conflict(head);
        }
        let stored = self.model.entry(append.channel).or_default();
        let duplicates: Vec<usize> = (0..append.records.len())
            .filter(|index| {
                let origin = &append.records[*index].origin;
                let earlier = append.records[..*index].iter();
                origin.is_some()
                    && (stored.iter().any(|record| record.body.origin == *origin)
                        || earlier.clone().any(|record| record.origin == *origin))
            })
            .collect();
        if !duplicates.is_empty() {
            return Verdict::Duplicates(duplicates);
        }
        let epoch = head.map_or(self.birth, |head| head.position.epoch);
        for body in append.records {
            let offset = Offset(stored.len() as u64 + 1);
            stored.push(Record::new(Position { epoch, offset }, body));
        }
        Verdict::Head(self.head(append.channel))
    }
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Head(Option<Head>),
    Conflict(Option<Head>),
    Duplicates(Vec<usize>),
}

fn told(verdict: Result<Head, AppendError>) -> Verdict {
    match verdict {
        Ok(head) => Verdict::Head(Some(head)),
        Err(AppendError::Conflict { head }) => Verdict::Conflict(head),
        Err(AppendError::Duplicates(found)) => {
            Verdict::Duplicates(found.iter().map(|duplicate| duplicate.index).collect())
        }
        Err(AppendError::Storage(error)) => panic!("{error}"),
    }
}

/// SplitMix64: a fixed seed gives the same history everywhere.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

const CHANNELS: u64 = 4;
