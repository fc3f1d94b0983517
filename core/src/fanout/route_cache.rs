//! Routes that were read lately, so that a publication asks the route table only now and then.
//! Pure: [`routes`](super::routes) reads, listens and keeps the time.
//!
//! Invalidations are a courtesy: any of them may be late, twice, out of order or missing. Five nets
//! hold what falls through:
//!
//! 1. An entry ends by itself, within `ttl` from the moment at which its *reading began*. What was
//!    read is at least as new as that, so nobody sees a route for longer than `ttl` after it changed.
//! 2. A lost subscription drops its partitions, and what is being read of them.
//! 3. A version of a partition (`pv`) that does not follow drops the partition; versions are asked
//!    for now and then, because the last change before a quiet time leaves no gap.
//! 4. A reading that was overtaken by a change is used and not kept.
//! 5. Who is sent to and answers that it is not there has the entry dropped and read once more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna_proto::ChannelKey;
use sterna_storage::volatile::{Partition, Partitions, Route, RouteChange, RouteEvent};

/// What bounds the cache.
#[derive(Debug, Clone, Copy)]
pub struct RouteCacheConfig {
    /// Routes that are kept at most; about 200 bytes each.
    pub entries: usize,
    /// No route is used for longer after it was read; some end after half of it, so that those
    /// that were read together do not end together.
    pub ttl: Duration,
}

/// For a node alone. Cores of a cluster have 65,536 entries.
impl Default for RouteCacheConfig {
    fn default() -> Self {
        Self { entries: 4096, ttl: Duration::from_secs(60) }
    }
}

/// What a look has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    Cached(Arc<Route>),
    /// Read it and hand it to [`RouteCache::fill`].
    Read(Fill),
}

/// A reading that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    channel: ChannelKey,
    number: u64,
    began_at: Instant,
}

/// A question for the versions of partitions; the answer goes to [`RouteCache::on_versions`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VersionCheck {
    asked: Vec<(Partition, Option<u64>)>,
}

/// The cache.
#[derive(Debug)]
pub struct RouteCache {
    config: RouteCacheConfig,
    partitions: Partitions,
    /// Entries that were used since the last turn, and the others; a turn forgets the latter.
    young: HashMap<ChannelKey, Entry, ahash::RandomState>,
    old: HashMap<ChannelKey, Entry, ahash::RandomState>,
    readings: HashMap<ChannelKey, Reading, ahash::RandomState>,
    heard: Vec<Heard>,
    numbers: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    route: Arc<Route>,
    ends_at: Instant,
    /// The partition's era in which it was read; dropping a partition begins another.
    era: u64,
}

/// What has happened to a channel since somebody began to read it.
#[derive(Debug)]
struct Reading {
    number: u64,
    latest_at: Instant,
    under_way: usize,
    /// Highest version that was heard of meanwhile.
    changed_v: u64,
    /// Era of the partition when it began.
    era: u64,
}

#[derive(Debug, Default, Clone)]
struct Heard {
    pv: Option<u64>,
    era: u64,
    /// Something was kept in this era.
    is_used: bool,
}

impl Fill {
    /// Which route to read.
    pub fn channel(&self) -> ChannelKey {
        self.channel
    }
}

impl RouteCache {
    pub fn new(config: RouteCacheConfig, partitions: Partitions) -> Self {
        let heard = vec![Heard::default(); usize::from(partitions.count())];
        let (young, old, readings) = Default::default();
        Self { config, partitions, young, old, readings, heard, numbers: 0 }
    }

    /// The route of a channel, or what to do to get it.
    pub fn look(&mut self, channel: ChannelKey, now: Instant) -> Look {
        match self.cached(channel, now) {
            Some(route) => Look::Cached(route),
            None => Look::Read(self.begin(channel, now)),
        }
    }

    /// Keeps what was read, unless something has happened since the reading began.
    pub fn fill(&mut self, fill: Fill, route: Arc<Route>) {
        let Fill { channel, number, began_at } = fill;
        let Some(reading) = self.readings.get_mut(&channel) else { return };
        if reading.number != number {
            return;
        }
        let (era, changed_v) = (reading.era, reading.changed_v);
        self.end_reading(channel);
        let heard = self.heard_mut(self.partitions.of_channel(channel));
        if era != heard.era || route.v < changed_v {
            return;
        }
        heard.is_used = true;
        let known_v = self.entry(channel).map_or(0, |entry| entry.route.v);
        if route.v < known_v {
            return;
        }
        let ends_at = began_at + self.jittered_ttl();
        self.insert(channel, Entry { route, ends_at, era });
    }

    /// A reading has failed.
    pub fn give_up(&mut self, fill: &Fill) {
        if self.readings.get(&fill.channel).is_some_and(|reading| reading.number == fill.number) {
            self.end_reading(fill.channel);
        }
    }

    pub fn on_event(&mut self, event: RouteEvent) {
        match event {
            RouteEvent::Changed(change) => self.on_change(change),
            RouteEvent::Lost(partition) => self.drop_partition(partition, None),
        }
    }

    /// Somebody was sent to by the route with version `v` and is not there. The sender sends once
    /// more by what this leads to, and leaves it at that: the log has the publication.
    pub fn on_not_here(&mut self, channel: ChannelKey, v: u64, now: Instant) -> Look {
        match self.cached(channel, now) {
            // Read by somebody else meanwhile.
            Some(route) if route.v > v => Look::Cached(route),
            _ => {
                self.remove(channel);
                Look::Read(self.begin(channel, now))
            }
        }
    }

    /// Which partitions to ask the versions of: those of which something is kept.
    pub fn check_versions(&self) -> (VersionCheck, Vec<Partition>) {
        let used = self.partitions.all().zip(&self.heard).filter(|(_, heard)| heard.is_used);
        let asked: Vec<_> = used.map(|(partition, heard)| (partition, heard.pv)).collect();
        let partitions = asked.iter().map(|(partition, _)| *partition).collect();
        (VersionCheck { asked }, partitions)
    }

    /// The answer, in the order of the question.
    pub fn on_versions(&mut self, check: VersionCheck, versions: &[u64]) {
        for ((partition, heard_before), pv) in check.asked.into_iter().zip(versions) {
            // Changes that were heard since the question may be above the answer.
            let now = self.heard_mut(partition).pv;
            let was_heard = heard_before.is_some_and(|before| before <= *pv)
                && now.is_some_and(|now| *pv <= now);
            if !was_heard {
                self.drop_partition(partition, Some(*pv));
            }
        }
    }

    /// Routes that are kept, those that have ended and were not asked for since among them.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn on_change(&mut self, change: RouteChange) {
        let RouteChange { channel, partition, v, pv } = change;
        let heard = self.heard_mut(partition);
        match heard.pv {
            Some(before) if before == pv => {}
            Some(before) if before.checked_add(1) != Some(pv) => {
                self.drop_partition(partition, Some(pv));
            }
            _ => heard.pv = Some(pv),
        }
        if let Some(reading) = self.readings.get_mut(&channel) {
            reading.changed_v = reading.changed_v.max(v);
        }
        if self.entry(channel).is_some_and(|entry| entry.route.v < v) {
            self.remove(channel);
        }
    }

    fn drop_partition(&mut self, partition: Partition, pv: Option<u64>) {
        let heard = self.heard_mut(partition);
        *heard = Heard { pv, era: heard.era + 1, is_used: false };
    }

    fn cached(&mut self, channel: ChannelKey, now: Instant) -> Option<Arc<Route>> {
        let era = self.heard_mut(self.partitions.of_channel(channel)).era;
        let entry = self.entry(channel)?;
        if entry.era != era || entry.ends_at <= now {
            self.remove(channel);
            return None;
        }
        let route = entry.route.clone();
        if let Some(entry) = self.old.remove(&channel) {
            self.insert(channel, entry);
        }
        Some(route)
    }

    fn entry(&self, channel: ChannelKey) -> Option<&Entry> {
        self.young.get(&channel).or_else(|| self.old.get(&channel))
    }

    /// Half of the room is for the young, so that both together never have more than all of it.
    fn insert(&mut self, channel: ChannelKey, entry: Entry) {
        self.remove(channel);
        if self.young.len() >= (self.config.entries / 2).max(1) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(channel, entry);
    }

    fn remove(&mut self, channel: ChannelKey) {
        self.young.remove(&channel);
        self.old.remove(&channel);
    }

    fn begin(&mut self, channel: ChannelKey, now: Instant) -> Fill {
        self.numbers += 1;
        self.forget_readings(now);
        let era = self.heard_mut(self.partitions.of_channel(channel)).era;
        let fresh =
            Reading { number: self.numbers, latest_at: now, under_way: 0, changed_v: 0, era };
        // A reading that began in another era is not kept; neither must it spoil this one.
        let reading = self.readings.entry(channel).or_insert(fresh);
        if reading.era != era {
            *reading =
                Reading { number: self.numbers, under_way: 0, changed_v: 0, era, ..*reading };
        }
        reading.latest_at = now;
        reading.under_way += 1;
        Fill { channel, number: reading.number, began_at: now }
    }

    fn end_reading(&mut self, channel: ChannelKey) {
        let Some(reading) = self.readings.get_mut(&channel) else { return };
        reading.under_way -= 1;
        if reading.under_way == 0 {
            self.readings.remove(&channel);
        }
    }

    /// Readings whose reader went away. When there are still too many, all are forgotten: their
    /// routes are used and not kept.
    fn forget_readings(&mut self, now: Instant) {
        if self.readings.len() < READINGS {
            return;
        }
        self.readings.retain(|_, reading| reading.latest_at + READING_PATIENCE > now);
        if self.readings.len() >= READINGS {
            self.readings.clear();
        }
    }

    /// Between half of the time to live and all of it.
    fn jittered_ttl(&self) -> Duration {
        // A multiplier of Knuth's spreads consecutive numbers evenly.
        let spread = self.numbers.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let share = spread as f64 / f64::from(u32::MAX);
        self.config.ttl.mul_f64(1.0 - share / 2.0)
    }

    fn heard_mut(&mut self, partition: Partition) -> &mut Heard {
        // A partition that is not one of ours comes from a node with other settings; it shares the
        // last one's place, which costs hits and nothing else.
        let at = usize::from(partition.0).min(self.heard.len() - 1);
        &mut self.heard[at]
    }
}

/// Channels that are being read at one time.
const READINGS: usize = 4096;

/// A reading that takes longer is not waited for.
const READING_PATIENCE: Duration = Duration::from_secs(30);
