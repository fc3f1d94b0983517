//! The cache beside a table that changes, with readings and invalidations that are late, lost,
//! doubled and out of order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sterna_proto::ChannelKey;
use sterna_storage::volatile::{Partition, Partitions, Route, RouteChange, RouteEvent};

use super::route_cache::{Fill, Look, RouteCache, RouteCacheConfig, VersionCheck};

const TTL: Duration = Duration::from_secs(60);
const CHANNELS: u8 = 6;

#[derive(Debug, Clone)]
enum Step {
    Change(u8),
    /// Of the invalidations that wait, one arrives: the oldest at 0, and it may arrive again.
    Deliver(usize, bool),
    Forget(usize),
    Lost(u16),
    /// The table forgets everything; versions leap.
    Flush,
    Look(u8),
    NotHere(u8),
    /// A reading under way reaches the table, comes back, or fails.
    Reach(usize),
    Return(usize),
    GiveUp(usize),
    Ask,
    ReachVersions,
    ReturnVersions,
    Wait(u64),
}

/// The table, what is on its way, and the cache.
struct World {
    cache: RouteCache,
    partitions: Partitions,
    now: Instant,
    versions: BTreeMap<ChannelKey, u64>,
    pv: [u64; 2],
    next_v: u64,
    /// When each version of a channel came.
    came_at: BTreeMap<(ChannelKey, u64), Instant>,
    waiting: Vec<RouteChange>,
    readings: Vec<(Fill, Option<Route>)>,
    check: Option<(VersionCheck, Vec<Partition>, Option<Vec<u64>>)>,
}

impl World {
    fn new() -> Self {
        let partitions = Partitions::new(2);
        let config = RouteCacheConfig { entries: 4, ttl: TTL };
        Self {
            cache: RouteCache::new(config, partitions),
            partitions,
            now: Instant::now(),
            versions: BTreeMap::new(),
            pv: [0; 2],
            next_v: 1,
            came_at: BTreeMap::new(),
            waiting: Vec::new(),
            readings: Vec::new(),
            check: None,
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Change(channel) => self.change(key(channel)),
            Step::Deliver(at, again) => self.deliver(at, again),
            Step::Forget(at) => drop(pick(&mut self.waiting, at)),
            Step::Lost(partition) => self.cache.on_event(RouteEvent::Lost(Partition(partition))),
            Step::Flush => {
                self.pv = self.pv.map(|pv| pv + 1000);
                let known: Vec<_> = self.versions.keys().copied().collect();
                known.into_iter().for_each(|channel| self.set_version(channel));
            }
            Step::Look(channel) => drop(self.look(channel)),
            Step::NotHere(channel) => self.not_here(key(channel)),
            Step::Reach(at) => {
                let count = self.readings.len().max(1);
                if let Some((fill, read)) = self.readings.get_mut(at % count) {
                    let v = self.versions.get(&fill.channel()).copied().unwrap_or(0);
                    read.get_or_insert(Route { v, nodes: Vec::new() });
                }
            }
            Step::Return(at) => self.bring_back(at),
            Step::GiveUp(at) => {
                if let Some((fill, _)) = pick(&mut self.readings, at) {
                    self.cache.give_up(&fill);
                }
            }
            Step::Ask => {
                let (check, asked) = self.cache.check_versions();
                self.check = Some((check, asked, None));
            }
            Step::ReachVersions => {
                if let Some((_, asked, answer)) = &mut self.check {
                    let pv = |partition: &Partition| self.pv[usize::from(partition.0)];
                    answer.get_or_insert(asked.iter().map(pv).collect());
                }
            }
            Step::ReturnVersions => {
                if let Some((check, _, Some(answer))) = self.check.take() {
                    self.cache.on_versions(check, &answer);
                }
            }
            Step::Wait(ms) => self.now += Duration::from_millis(ms),
        }
        assert!(self.cache.len() <= 4, "{} entries are more than there may be", self.cache.len());
    }

    fn change(&mut self, channel: ChannelKey) {
        self.set_version(channel);
        let partition = self.partitions.of_channel(channel);
        let pv = &mut self.pv[usize::from(partition.0)];
        *pv += 1;
        let v = self.versions[&channel];
        self.waiting.push(RouteChange { channel, partition, v, pv: *pv });
    }

    fn set_version(&mut self, channel: ChannelKey) {
        self.versions.insert(channel, self.next_v);
        self.came_at.insert((channel, self.next_v), self.now);
        self.next_v += 1;
    }

    fn deliver(&mut self, at: usize, again: bool) {
        if let Some(change) = pick(&mut self.waiting, at) {
            self.cache.on_event(RouteEvent::Changed(change));
            if again {
                self.waiting.push(change);
            }
        }
    }

    /// A route from the cache was true within the time to live.
    fn look(&mut self, channel: u8) -> Option<u64> {
        let channel = key(channel);
        match self.cache.look(channel, self.now) {
            Look::Read(fill) => {
                self.readings.push((fill, None));
                None
            }
            Look::Cached(route) => {
                if let Some(since) = self.stale_since(channel, route.v) {
                    let stale = self.now - since;
                    assert!(stale < TTL, "version {} is stale for {stale:?}", route.v);
                }
                Some(route.v)
            }
        }
    }

    fn not_here(&mut self, channel: ChannelKey) {
        let Look::Cached(sent_by) = self.cache.look(channel, self.now) else { return };
        match self.cache.on_not_here(channel, sent_by.v, self.now) {
            Look::Read(fill) => self.readings.push((fill, None)),
            Look::Cached(_) => panic!("nobody has read it meanwhile"),
        }
        assert!(matches!(self.cache.look(channel, self.now), Look::Read(_)), "it was dropped");
    }

    fn bring_back(&mut self, at: usize) {
        let count = self.readings.len().max(1);
        if self.readings.get(at % count).is_some_and(|(_, read)| read.is_some())
            && let Some((fill, Some(route))) = pick(&mut self.readings, at)
        {
            self.cache.fill(fill, Arc::new(route));
        }
    }

    /// When the first change came that this version does not know.
    fn stale_since(&self, channel: ChannelKey, v: u64) -> Option<Instant> {
        let later = self.came_at.range((channel, v + 1)..=(channel, u64::MAX));
        later.map(|(_, came_at)| *came_at).min()
    }

    fn assert_fresh(&mut self) {
        for channel in 0..CHANNELS {
            if let Some(v) = self.look(channel) {
                let now = self.versions.get(&key(channel)).copied().unwrap_or(0);
                assert_eq!(v, now, "channel {channel} is stale");
            }
        }
    }

    /// Asks for versions and hears the answer, without anything in between.
    fn compare_versions(&mut self) {
        [Step::Ask, Step::ReachVersions, Step::ReturnVersions].iter().for_each(|s| self.take(s));
    }

    fn deliver_all(&mut self) {
        while !self.waiting.is_empty() {
            self.deliver(0, false);
        }
    }
}

proptest! {
    #[test]
    fn no_route_is_stale_for_longer_than_its_time_to_live(steps in steps(any_step())) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
    }

    #[test]
    fn with_every_invalidation_lost_comparing_versions_finds_what_is_stale(
        steps in steps(any_step())
    ) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
            world.waiting.clear();
        }
        world.compare_versions();
        world.assert_fresh();
        // Neither does what was read before the last change come back later.
        (0..world.readings.len()).for_each(|_| world.bring_back(0));
        world.readings.clear();
        world.compare_versions();
        world.assert_fresh();
    }

    #[test]
    fn with_every_invalidation_heard_at_once_nothing_is_ever_stale(
        steps in steps(reading_step())
    ) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
            world.deliver_all();
            world.assert_fresh();
        }
    }

    #[test]
    fn a_lost_subscription_drops_what_was_read_before(steps in steps(any_step())) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        for partition in [0, 1] {
            world.take(&Step::Lost(partition));
        }
        world.waiting.clear();
        world.assert_fresh();
        (0..world.readings.len()).for_each(|_| world.bring_back(0));
        world.assert_fresh();
    }
}

#[test]
fn a_quiet_cache_answers_until_its_time_is_over() {
    let mut world = World::new();
    world.change(key(0));
    world.deliver_all();
    for _ in 0..20 {
        assert_eq!(world.look(0), None, "it is read first");
        [Step::Reach(0), Step::Return(0)].iter().for_each(|step| world.take(step));
        world.compare_versions();
        let mut kept = Duration::ZERO;
        while world.look(0).is_some() {
            world.take(&Step::Wait(500));
            kept += Duration::from_millis(500);
        }
        assert!(kept > TTL / 2 - Duration::from_secs(1) && kept <= TTL, "kept for {kept:?}");
        world.readings.clear();
        world.take(&Step::Wait(31_000));
    }
}

#[test]
fn a_gap_drops_its_partition_alone() {
    let mut world = World::new();
    (0..CHANNELS).for_each(|channel| world.change(key(channel)));
    world.deliver_all();
    let (gone, stays) = (2, 3);
    for channel in [gone, stays] {
        assert_eq!(world.look(channel), None);
        [Step::Reach(0), Step::Return(0)].iter().for_each(|step| world.take(step));
    }
    // A change of another channel in the partition is lost, and the one after it heard.
    world.take(&Step::Change(0));
    world.waiting.clear();
    world.take(&Step::Change(4));
    assert!(world.look(gone).is_some());
    world.deliver_all();
    assert_eq!(world.look(gone), None);
    assert!(world.look(stays).is_some());
}

#[test]
fn an_older_reading_that_comes_late_does_not_replace_a_newer_one() {
    let mut world = World::new();
    assert_eq!((world.look(0), world.look(0)), (None, None));
    world.take(&Step::Reach(0));
    world.take(&Step::Change(0));
    world.waiting.clear();
    [Step::Reach(1), Step::Return(1), Step::Return(0)].iter().for_each(|step| world.take(step));
    assert_eq!(world.look(0), Some(1));
}

#[test]
fn the_least_used_routes_make_room() {
    let mut world = World::new();
    for channel in 0..CHANNELS {
        if world.look(channel).is_none() {
            [Step::Reach(0), Step::Return(0)].iter().for_each(|step| world.take(step));
        }
        assert!(channel == 0 || world.look(0).is_some(), "it is used all the time");
    }
    assert!(world.cache.len() <= 4);
}

/// Channels with even numbers are in one partition, the others in the other.
fn key(channel: u8) -> ChannelKey {
    let mut key = [0; 16];
    (key[0], key[15]) = (channel, channel);
    ChannelKey(key)
}

fn pick<T>(all: &mut Vec<T>, at: usize) -> Option<T> {
    (!all.is_empty()).then(|| all.remove(at % all.len()))
}

fn steps(step: impl Strategy<Value = Step>) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step, 1..120)
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => reading_step(),
        3 => (0..4_usize, any::<bool>()).prop_map(|(at, again)| Step::Deliver(at, again)),
        1 => (0..4_usize).prop_map(Step::Forget),
        1 => (0..2_u16).prop_map(Step::Lost),
        1 => Just(Step::Flush),
        2 => Just(Step::Ask),
        2 => Just(Step::ReachVersions),
        2 => Just(Step::ReturnVersions),
    ]
}

/// What happens without any fault.
fn reading_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..CHANNELS).prop_map(Step::Change),
        5 => (0..CHANNELS).prop_map(Step::Look),
        1 => (0..CHANNELS).prop_map(Step::NotHere),
        4 => (0..4_usize).prop_map(Step::Reach),
        4 => (0..4_usize).prop_map(Step::Return),
        1 => (0..4_usize).prop_map(Step::GiveUp),
        2 => (1..40_000_u64).prop_map(Step::Wait),
    ]
}
