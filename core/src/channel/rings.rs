//! The rings of one part of a node together: by how long their oldest publication is there, and what
//! they keep alive. Pure. What has been there for too long goes; and when all are too heavy, the
//! coldest give up their oldest first.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sterna_proto::ChannelKey;

use crate::channel::ring::{Ring, Weights};

/// See the module. One entry for each ring with something in it; a ring that is gone is skipped in its
/// turn, and while there are more of these than rings all are put in order (I12).
#[derive(Debug)]
pub(crate) struct Rings {
    by_age: BTreeSet<(Instant, ChannelKey)>,
    weights: Weights,
    max_age: Duration,
    max_weight: usize,
    /// Publications given up since that was asked.
    pub gone: Gone,
    /// Value of the metric label `ring`.
    kind: &'static str,
    told: usize,
}

/// Publications that rings have given up, by reason.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone {
    pub old: u64,
    pub heavy: u64,
}

/// Where rings are found.
pub(crate) trait RingsOf {
    fn ring(&mut self, channel: &ChannelKey) -> Option<&mut Ring>;

    /// Nothing is in it any more.
    fn on_emptied(&mut self, _channel: &ChannelKey) {}
}

impl Rings {
    pub fn new(kind: &'static str, max_age: Duration, max_weight: usize) -> Self {
        let (by_age, weights, gone) = Default::default();
        Self { by_age, weights, max_age, max_weight, gone, kind, told: 0 }
    }

    /// A new ring of this part.
    pub fn ring(&self, max_entries: usize, max_bytes: usize) -> Ring {
        Ring::among(self.weights.clone(), max_entries, max_bytes)
    }

    /// Something was pushed into the ring.
    pub fn on_pushed(&mut self, channel: ChannelKey, ring: &mut Ring) {
        // Where it stands already it stands too far in front, which is put right in its turn.
        if ring.listed.is_none() {
            self.list(channel, ring);
        }
    }

    /// Gives up what is too heavy.
    pub fn lighten(&mut self, rings: &mut impl RingsOf) {
        while self.weights.total() > self.max_weight {
            let Some((at, channel)) = self.by_age.pop_first() else { return };
            let Some(ring) = rings.ring(&channel).filter(|ring| ring.listed == Some(at)) else {
                continue;
            };
            // Others may be colder by now.
            if ring.oldest_at() == Some(at) && ring.drop_oldest() {
                self.gone.heavy += 1;
            }
            if !self.list(channel, ring) {
                rings.on_emptied(&channel);
            }
        }
    }

    /// Gives up what has been there for too long.
    pub fn expire(&mut self, rings: &mut impl RingsOf, now: Instant) {
        if self.by_age.len() > 2 * self.weights.rings() {
            self.by_age.retain(|(at, channel)| {
                rings.ring(channel).is_some_and(|ring| ring.listed == Some(*at))
            });
        }
        let Some(upto) = now.checked_sub(self.max_age) else { return };
        while let Some((at, channel)) = self.by_age.first().copied().filter(|(at, _)| *at <= upto) {
            self.by_age.remove(&(at, channel));
            let Some(ring) = rings.ring(&channel).filter(|ring| ring.listed == Some(at)) else {
                continue;
            };
            self.gone.old += ring.expire(upto) as u64;
            if !self.list(channel, ring) {
                rings.on_emptied(&channel);
            }
        }
    }

    /// False: there is nothing in it.
    fn list(&mut self, channel: ChannelKey, ring: &mut Ring) -> bool {
        ring.listed = ring.oldest_at();
        self.by_age.extend(ring.listed.map(|at| (at, channel)));
        ring.listed.is_some()
    }

    /// Says what rings keep alive and what they have given up.
    pub fn tell(&mut self) {
        let total = self.weights.total();
        let by = total as f64 - std::mem::replace(&mut self.told, total) as f64;
        if by != 0.0 {
            metrics::gauge!("sterna_core_ring_bytes", "ring" => self.kind).increment(by);
        }
        let Gone { old, heavy } = std::mem::take(&mut self.gone);
        for (reason, count) in [("age", old), ("bytes", heavy)].into_iter().filter(|it| it.1 > 0) {
            let (kind, name) = (self.kind, "sterna_core_ring_evicted_total");
            metrics::counter!(name, "ring" => kind, "reason" => reason).increment(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::EncodedPush;
    use std::collections::HashMap;
    use sterna_proto::{ChannelId, Offset, v1};

    impl RingsOf for HashMap<ChannelKey, Ring> {
        fn ring(&mut self, channel: &ChannelKey) -> Option<&mut Ring> {
            self.get_mut(channel)
        }
    }

    struct Place {
        rings: Rings,
        channels: HashMap<ChannelKey, Ring>,
        start: Instant,
    }

    impl Place {
        fn new(max_age: Duration, max_weight: usize) -> Self {
            let rings = Rings::new("test", max_age, max_weight);
            Self { rings, channels: HashMap::new(), start: Instant::now() }
        }

        /// A publication of 1,000 bytes, at a second.
        fn push(&mut self, name: &str, offset: u64, second: u64) {
            let push = EncodedPush::new(v1::push::Event::Publication(v1::Publication {
                offset,
                payload: vec![0; 1000].into(),
                ..Default::default()
            }));
            let ring =
                self.channels.entry(key(name)).or_insert_with(|| self.rings.ring(100, 1 << 20));
            ring.push(Offset(offset), push, self.start + Duration::from_secs(second));
            self.rings.on_pushed(key(name), ring);
        }

        fn kept(&self, name: &str) -> Option<u64> {
            Some(self.channels[&key(name)].extent()?.0.0)
        }
    }

    fn key(name: &str) -> ChannelKey {
        ChannelId::new(name).unwrap().key()
    }

    #[test]
    fn i12_all_rings_together_are_bounded_and_the_coldest_give_way() {
        // Room for some 20 publications.
        let mut place = Place::new(Duration::from_secs(300), 20 * 2512);
        for n in 0..10 {
            place.push("cold", 1 + n, n);
            place.push("warm", 1 + n, 10 + n);
        }
        place.rings.lighten(&mut place.channels);
        assert_eq!((place.kept("cold"), place.kept("warm")), (Some(1), Some(1)), "there is room");
        for n in 0..8 {
            place.push("hot", 1 + n, 20 + n);
            place.rings.lighten(&mut place.channels);
            assert!(place.rings.weights.total() <= 20 * 2512);
        }
        assert_eq!(
            (place.kept("cold"), place.kept("warm"), place.kept("hot")),
            (Some(9), Some(1), Some(1))
        );
        for n in 8..20 {
            place.push("hot", 1 + n, 20 + n);
            place.rings.lighten(&mut place.channels);
        }
        assert_eq!(
            (place.kept("cold"), place.kept("warm"), place.kept("hot")),
            (None, None, Some(1))
        );
        assert_eq!(place.rings.gone, Gone { old: 0, heavy: 20 });
        // A single one that is too heavy for all gives its own away.
        place.push("hot", 21, 41);
        place.rings.lighten(&mut place.channels);
        assert_eq!(place.kept("hot"), Some(2));
    }

    #[test]
    fn what_has_been_there_for_too_long_goes_and_a_channel_that_is_gone_is_skipped() {
        let mut place = Place::new(Duration::from_secs(10), usize::MAX);
        for n in 0..10 {
            place.push("a", 1 + n, n);
            place.push("b", 1 + n, 2 * n);
        }
        place.push("gone", 1, 0);
        place.channels.remove(&key("gone"));
        let at = |second| place.start + Duration::from_secs(second);
        let (before, then, last) = (at(9), at(14), at(60));
        place.rings.expire(&mut place.channels, before);
        assert_eq!((place.kept("a"), place.kept("b")), (Some(1), Some(1)));
        place.rings.expire(&mut place.channels, then);
        assert_eq!((place.kept("a"), place.kept("b")), (Some(6), Some(4)));
        place.rings.expire(&mut place.channels, last);
        assert_eq!((place.kept("a"), place.kept("b")), (None, None));
        assert_eq!(place.rings.gone.old, 20);
        assert!(place.rings.by_age.is_empty(), "nothing is left to look at");
        place.push("a", 11, 61);
        assert_eq!(place.rings.by_age.len(), 1);
    }

    #[test]
    fn i12_rings_that_come_and_go_leave_nothing_behind() {
        let mut place = Place::new(Duration::from_secs(300), usize::MAX);
        place.push("stays", 1, 0);
        for n in 0..1000 {
            place.push("goes", 1 + n, n % 100);
            place.channels.remove(&key("goes"));
            let now = place.start + Duration::from_secs(n % 100);
            place.rings.expire(&mut place.channels, now);
            assert!(place.rings.by_age.len() <= 3);
        }
        assert_eq!(place.kept("stays"), Some(1));
    }
}
