//! Decides what happens to each datagram and chunk on one direction of the path: dropped, held,
//! doubled, damaged. Pure: it takes the time and a size, and draws from a seeded generator, so the
//! same seed and the same traffic give the same faults. It owns no I/O and never waits.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Which way a datagram or chunk travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From a client to the node.
    Up,
    /// From the node to a client.
    Down,
}

impl Direction {
    pub const ALL: [Self; 2] = [Self::Up, Self::Down];

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Up => 0,
            Self::Down => 1,
        }
    }
}

/// What one direction of the path does to traffic. Probabilities are from 0 to 1; the default is a
/// perfect path.
///
/// TCP is damaged as its users see it: a lost chunk and all behind it wait for
/// [`TCP_RETRANSMIT`]; `reorder`, `duplicate` and `corrupt` never reach a reader of TCP and are
/// ignored there.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Impairment {
    pub delay: Duration,
    /// Up to this much is added to `delay`, evenly spread. Does not change the order.
    pub jitter: Duration,
    pub loss: f64,
    /// How likely a datagram is to be overtaken by those that follow within [`REORDER_HOLD`].
    pub reorder: f64,
    pub duplicate: f64,
    /// One bit of a datagram is flipped.
    pub corrupt: f64,
    pub rate_bytes_per_sec: Option<u64>,
    /// Longer datagrams are dropped and nobody is told, as on a path of a small MTU behind a
    /// firewall that drops ICMP. Bytes of UDP's payload.
    pub longest_datagram_bytes: Option<usize>,
}

impl Impairment {
    /// A path that only takes time.
    pub fn delayed(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// A path that passes no datagram longer than this.
    pub fn narrow(longest_datagram_bytes: usize) -> Self {
        Self { longest_datagram_bytes: Some(longest_datagram_bytes), ..Self::default() }
    }
}

/// How long a reordered datagram is held on top of its delay.
pub const REORDER_HOLD: Duration = Duration::from_millis(20);

/// What one lost chunk costs on TCP: the usual first retransmission timeout (RFC 6298 asks for at
/// least 1 s, Linux uses 200 ms).
pub const TCP_RETRANSMIT: Duration = Duration::from_millis(200);

/// Most bytes that wait for a rate limit; what comes on top is dropped, as a router does.
pub const RATE_BACKLOG_BYTES: u64 = 256 * 1024;

/// What is to happen to one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Lost,
    TooLong,
    /// The rate limit's backlog was full.
    Overflow,
    Deliver(Delivery),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) due: Instant,
    /// A second copy goes out right behind the first.
    pub(crate) duplicate: bool,
    pub(crate) reordered: bool,
    /// Index of the bit to flip.
    pub(crate) flip_bit: Option<usize>,
}

/// The decisions of one direction.
#[derive(Debug)]
pub(crate) struct Path {
    rng: StdRng,
    impairment: Impairment,
    /// Nothing that keeps its order is due before this.
    last_due: Option<Instant>,
    /// When the rate limit lets the next byte pass.
    rate_free_at: Option<Instant>,
}

impl Path {
    pub(crate) fn new(seed: u64, impairment: Impairment) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { rng, impairment, last_due: None, rate_free_at: None }
    }

    pub(crate) fn set(&mut self, impairment: Impairment) {
        self.impairment = impairment;
        self.rate_free_at = None;
    }

    /// Decides about one datagram of `len` bytes that came at `now`. Every call draws the same
    /// number of values, so that one fault more does not change all that follow.
    pub(crate) fn decide_datagram(&mut self, now: Instant, len: usize) -> Verdict {
        let impairment = self.impairment;
        let lost = self.chance(impairment.loss);
        let reordered = self.chance(impairment.reorder);
        let duplicate = self.chance(impairment.duplicate);
        let corrupt = self.chance(impairment.corrupt);
        let bit = self.rng.random_range(0..len.max(1) * 8);
        let jitter = impairment.jitter.mul_f64(self.rng.random::<f64>());
        if lost {
            return Verdict::Lost;
        }
        if impairment.longest_datagram_bytes.is_some_and(|longest| len > longest) {
            return Verdict::TooLong;
        }
        let Some(sent) = self.pass_rate(now, len) else { return Verdict::Overflow };
        let due = sent + impairment.delay + jitter;
        let due = if reordered { due + REORDER_HOLD } else { self.keep_order(due) };
        Verdict::Deliver(Delivery { due, duplicate, reordered, flip_bit: corrupt.then_some(bit) })
    }

    /// When a chunk of a TCP connection that came at `now` goes out, and whether loss held it up.
    /// `previous`: when the chunk before it on that connection goes out.
    pub(crate) fn decide_chunk(
        &mut self,
        now: Instant,
        len: usize,
        previous: Option<Instant>,
    ) -> (Instant, bool) {
        let impairment = self.impairment;
        let lost = self.chance(impairment.loss);
        let jitter = impairment.jitter.mul_f64(self.rng.random::<f64>());
        let sent = self.pass_rate_unbounded(now, len);
        let hold = if lost { TCP_RETRANSMIT } else { Duration::ZERO };
        let due = sent + impairment.delay + jitter + hold;
        (previous.map_or(due, |previous| due.max(previous)), lost)
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.rng.random::<f64>() < probability
    }

    fn keep_order(&mut self, due: Instant) -> Instant {
        let due = self.last_due.map_or(due, |last| due.max(last));
        self.last_due = Some(due);
        due
    }

    /// When `len` bytes have passed the rate limit; `None`: too many wait already.
    fn pass_rate(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let Some(rate) = self.impairment.rate_bytes_per_sec else { return Some(now) };
        let waiting =
            self.rate_free_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        if waiting > time_for(RATE_BACKLOG_BYTES, rate) {
            return None;
        }
        Some(self.pass_rate_unbounded(now, len))
    }

    fn pass_rate_unbounded(&mut self, now: Instant, len: usize) -> Instant {
        let Some(rate) = self.impairment.rate_bytes_per_sec else { return now };
        let start = self.rate_free_at.map_or(now, |at| at.max(now));
        let end = start + time_for(len as u64, rate);
        self.rate_free_at = Some(end);
        end
    }
}

fn time_for(bytes: u64, rate_bytes_per_sec: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate_bytes_per_sec.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNS: usize = 10_000;

    fn verdicts(seed: u64, impairment: Impairment) -> Vec<Verdict> {
        let start = Instant::now();
        verdicts_from(start, seed, impairment)
    }

    fn verdicts_from(start: Instant, seed: u64, impairment: Impairment) -> Vec<Verdict> {
        let mut path = Path::new(seed, impairment);
        (0..RUNS)
            .map(|n| path.decide_datagram(start + Duration::from_millis(n as u64), 100))
            .collect()
    }

    fn share(verdicts: &[Verdict], pick: impl Fn(&Verdict) -> bool) -> f64 {
        verdicts.iter().filter(|v| pick(v)).count() as f64 / RUNS as f64
    }

    #[test]
    fn the_seed_decides_everything() {
        let impairment = Impairment {
            jitter: Duration::from_millis(9),
            loss: 0.1,
            reorder: 0.1,
            duplicate: 0.1,
            corrupt: 0.1,
            ..Impairment::default()
        };
        let start = Instant::now();
        assert_eq!(verdicts_from(start, 7, impairment), verdicts_from(start, 7, impairment));
        assert_ne!(verdicts_from(start, 7, impairment), verdicts_from(start, 8, impairment));
    }

    #[test]
    fn each_fault_comes_as_often_as_asked() {
        let close = |found: f64, asked: f64| (found - asked).abs() < 0.02;
        let lossy = verdicts(1, Impairment { loss: 0.3, ..Default::default() });
        assert!(close(share(&lossy, |v| *v == Verdict::Lost), 0.3));
        let all = Impairment { reorder: 0.2, duplicate: 0.1, corrupt: 0.4, ..Default::default() };
        let faulty = verdicts(2, all);
        let delivered = |pick: fn(&Delivery) -> bool| {
            share(&faulty, |v| matches!(v, Verdict::Deliver(d) if pick(d)))
        };
        assert!(close(delivered(|d| d.reordered), 0.2));
        assert!(close(delivered(|d| d.duplicate), 0.1));
        assert!(close(delivered(|d| d.flip_bit.is_some()), 0.4));
    }

    #[test]
    fn a_perfect_path_delivers_at_once() {
        let now = Instant::now();
        let mut path = Path::new(1, Impairment::default());
        for _ in 0..100 {
            let Verdict::Deliver(delivery) = path.decide_datagram(now, 1200) else {
                panic!("delivered")
            };
            assert_eq!(delivery.due, now);
            assert!(!delivery.duplicate && !delivery.reordered && delivery.flip_bit.is_none());
        }
    }

    #[test]
    fn jitter_keeps_order_and_reorder_breaks_it() {
        let dues = |impairment| -> Vec<Instant> {
            verdicts(3, impairment)
                .into_iter()
                .filter_map(|v| if let Verdict::Deliver(d) = v { Some(d.due) } else { None })
                .collect()
        };
        let jittery = dues(Impairment { jitter: Duration::from_millis(50), ..Default::default() });
        assert!(jittery.is_sorted());
        let reordered = dues(Impairment { reorder: 0.1, ..Default::default() });
        assert!(!reordered.is_sorted());
    }

    #[test]
    fn a_rate_spreads_datagrams_and_drops_what_waits_too_long() {
        let now = Instant::now();
        let rate = Impairment { rate_bytes_per_sec: Some(100_000), ..Default::default() };
        let mut path = Path::new(1, rate);
        let mut last = now;
        for n in 1..=100u64 {
            let Verdict::Deliver(delivery) = path.decide_datagram(now, 1000) else {
                panic!("delivered")
            };
            assert_eq!(delivery.due, now + Duration::from_millis(10 * n));
            last = delivery.due;
        }
        assert!(last > now);
        let dropped =
            (0..1000).filter(|_| path.decide_datagram(now, 1000) == Verdict::Overflow).count();
        assert!(dropped > 700, "{dropped} dropped");
    }

    #[test]
    fn a_narrow_path_drops_what_is_longer_and_nothing_else() {
        let now = Instant::now();
        let mut path = Path::new(1, Impairment::narrow(1_200));
        for len in [1, 1_200] {
            assert!(matches!(path.decide_datagram(now, len), Verdict::Deliver(_)), "{len}");
        }
        assert_eq!(path.decide_datagram(now, 1_201), Verdict::TooLong);
        assert_eq!(path.decide_chunk(now, 10_000, None), (now, false), "TCP knows what may pass");
    }

    #[test]
    fn a_lost_chunk_delays_all_behind_it() {
        let now = Instant::now();
        let mut path = Path::new(1, Impairment { loss: 1.0, ..Default::default() });
        let (first, lost) = path.decide_chunk(now, 10, None);
        assert!(lost);
        assert_eq!(first, now + TCP_RETRANSMIT);
        path.set(Impairment::default());
        let (second, lost) = path.decide_chunk(now, 10, Some(first));
        assert!(!lost);
        assert_eq!(second, first);
    }
}
