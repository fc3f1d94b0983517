//! Which transport is tried when. Pure: the driver starts what the plan says and
//! reports how it went.

use std::time::{Duration, Instant};

use crate::options::Transport;

/// Head starts of one attempt; a transport that is absent is not tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan(pub(crate) Vec<(Transport, Duration)>);

/// What is remembered of the network between attempts.
#[derive(Debug)]
pub(crate) struct Race {
    quic: bool,
    websocket: bool,
    last_quic_connect: Option<Duration>,
    quic_failures: u32,
    /// While on WebSocket: when to look whether QUIC works by now.
    probe_at: Option<Instant>,
}

impl Race {
    pub(crate) fn new(transports: &[Transport]) -> Self {
        Self {
            quic: transports.contains(&Transport::Quic),
            websocket: transports.contains(&Transport::WebSocket),
            last_quic_connect: None,
            quic_failures: 0,
            probe_at: None,
        }
    }

    /// Both transports, QUIC ahead unless it failed the last time.
    pub(crate) fn plan(&self) -> Plan {
        let mut plan = Vec::with_capacity(2);
        if self.quic {
            plan.push((Transport::Quic, Duration::ZERO));
        }
        if self.websocket {
            plan.push((Transport::WebSocket, self.websocket_delay()));
        }
        Plan(plan)
    }

    /// Everything at once: the present connection seems dead.
    pub(crate) fn plan_urgent(&self) -> Plan {
        let Plan(plan) = self.plan();
        Plan(plan.into_iter().map(|(transport, _)| (transport, Duration::ZERO)).collect())
    }

    /// QUIC alone, to leave WebSocket when it works.
    pub(crate) fn plan_probe(&self) -> Plan {
        Plan(vec![(Transport::Quic, Duration::ZERO)])
    }

    pub(crate) fn on_quic_connected(&mut self, took: Duration) {
        self.last_quic_connect = Some(took);
        self.quic_failures = 0;
        self.probe_at = None;
    }

    pub(crate) fn on_quic_failed(&mut self, now: Instant) {
        self.quic_failures = self.quic_failures.saturating_add(1);
        let doublings = (self.quic_failures - 1).min(MOST_DOUBLINGS);
        self.probe_at = Some(now + PARK.saturating_mul(1 << doublings).min(PARK_CAP));
    }

    /// Another network: what was learnt of the old one does not count.
    pub(crate) fn on_network_change(&mut self, now: Instant) {
        self.quic_failures = 0;
        self.last_quic_connect = None;
        self.probe_at = self.quic.then_some(now);
    }

    /// When a session on WebSocket should look for QUIC.
    pub(crate) fn probe_at(&self) -> Option<Instant> {
        self.probe_at.filter(|_| self.quic)
    }

    fn websocket_delay(&self) -> Duration {
        if !self.quic || self.quic_failures > 0 {
            return Duration::ZERO;
        }
        self.last_quic_connect
            .map_or(HEAD_START, |took| took.mul_f64(1.5).clamp(HEAD_START_LEAST, HEAD_START_MOST))
    }
}

const HEAD_START: Duration = Duration::from_millis(500);
const HEAD_START_LEAST: Duration = Duration::from_millis(250);
const HEAD_START_MOST: Duration = Duration::from_millis(1000);
const PARK: Duration = Duration::from_secs(300);
const PARK_CAP: Duration = Duration::from_secs(24 * 3600);
const MOST_DOUBLINGS: u32 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Transport; 2] = [Transport::Quic, Transport::WebSocket];

    fn websocket_delay_ms(race: &Race) -> u128 {
        race.plan().0[1].1.as_millis()
    }

    #[test]
    fn the_head_start_follows_the_last_connect_and_goes_after_a_failure() {
        let mut race = Race::new(&BOTH);
        assert_eq!(websocket_delay_ms(&race), 500);
        race.on_quic_connected(Duration::from_millis(20));
        assert_eq!(websocket_delay_ms(&race), 250);
        race.on_quic_connected(Duration::from_millis(400));
        assert_eq!(websocket_delay_ms(&race), 600);
        race.on_quic_connected(Duration::from_secs(5));
        assert_eq!(websocket_delay_ms(&race), 1000);
        let now = Instant::now();
        race.on_quic_failed(now);
        assert_eq!(websocket_delay_ms(&race), 0);
        race.on_network_change(now);
        assert_eq!(websocket_delay_ms(&race), 500);
    }

    #[test]
    fn a_parked_quic_is_probed_ever_less_often() {
        let mut race = Race::new(&BOTH);
        let now = Instant::now();
        let waits: Vec<u64> = (0..12)
            .map(|_| {
                race.on_quic_failed(now);
                (race.probe_at().unwrap() - now).as_secs()
            })
            .collect();
        assert_eq!(waits[..3], [300, 600, 1200]);
        assert_eq!(waits[11], 24 * 3600);
        race.on_network_change(now);
        assert_eq!(race.probe_at(), Some(now));
    }

    #[test]
    fn one_transport_alone_starts_at_once() {
        let race = Race::new(&[Transport::WebSocket]);
        assert_eq!(race.plan(), Plan(vec![(Transport::WebSocket, Duration::ZERO)]));
        assert_eq!(race.probe_at(), None);
    }
}
