//! Notices a path that has died: pings when silent, and steps from rebinding to a second
//! connection to giving up. Pure.

use std::time::{Duration, Instant};

use crate::options::Transport;

/// What to do about silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Ping,
    /// QUIC: move to a fresh socket.
    Rebind,
    /// Make another connection beside this one.
    Race,
    /// Give this connection up.
    Dead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Calm,
    /// A rebind or a probe is under way since then.
    Alarmed(Instant),
    Racing(Instant),
}

#[derive(Debug)]
pub(crate) struct Liveness {
    transport: Transport,
    heartbeat: Duration,
    last_sent: Instant,
    last_received: Instant,
    /// Since when an answer is owed; restarted by everything that is received.
    owed_since: Option<Instant>,
    stage: Stage,
}

impl Liveness {
    pub(crate) fn new(transport: Transport, heartbeat: Duration, now: Instant) -> Self {
        Self {
            transport,
            heartbeat: heartbeat.max(LEAST_HEARTBEAT),
            last_sent: now,
            last_received: now,
            owed_since: None,
            stage: Stage::Calm,
        }
    }

    /// Something was sent; `owed`: the server has to answer.
    pub(crate) fn on_sent(&mut self, now: Instant, owed: bool) {
        self.last_sent = now;
        if owed && self.owed_since.is_none() {
            self.owed_since = Some(now);
        }
    }

    /// Something arrived; `owed`: more answers are outstanding.
    pub(crate) fn on_received(&mut self, now: Instant, owed: bool) {
        self.last_received = now;
        self.owed_since = owed.then_some(now);
        self.stage = Stage::Calm;
    }

    /// The next action that is due, if any; to be called until `None`. A Ping counts as done when
    /// `on_sent` is called for it.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Action> {
        let Some(owed_since) = self.owed_since else {
            return (now >= self.last_sent + self.heartbeat).then_some(Action::Ping);
        };
        if now >= owed_since + DEAD_AFTER {
            return Some(Action::Dead);
        }
        match self.stage {
            Stage::Calm if now >= owed_since + self.alarm_after() => {
                self.stage = Stage::Alarmed(now);
                Some(match self.transport {
                    Transport::Quic => Action::Rebind,
                    Transport::WebSocket => Action::Ping,
                })
            }
            Stage::Alarmed(since) if now >= since + self.race_after() => {
                self.stage = Stage::Racing(now);
                Some(Action::Race)
            }
            Stage::Racing(since) if now >= since + RACE_AGAIN => {
                self.stage = Stage::Racing(now);
                Some(Action::Race)
            }
            _ => None,
        }
    }

    /// When to call `poll` next.
    pub(crate) fn deadline(&self) -> Instant {
        let Some(owed_since) = self.owed_since else { return self.last_sent + self.heartbeat };
        let step = match self.stage {
            Stage::Calm => owed_since + self.alarm_after(),
            Stage::Alarmed(since) => since + self.race_after(),
            Stage::Racing(since) => since + RACE_AGAIN,
        };
        step.min(owed_since + DEAD_AFTER)
    }

    fn alarm_after(&self) -> Duration {
        match self.transport {
            Transport::Quic => QUIC_SILENCE,
            Transport::WebSocket => WEBSOCKET_SILENCE,
        }
    }

    fn race_after(&self) -> Duration {
        match self.transport {
            Transport::Quic => QUIC_AFTER_REBIND,
            Transport::WebSocket => WEBSOCKET_SILENCE,
        }
    }
}

/// On 3 s of silence with data outstanding rebind, then race.
const QUIC_SILENCE: Duration = Duration::from_secs(3);
const QUIC_AFTER_REBIND: Duration = Duration::from_secs(2);
/// The command timeout; then a probe gets as long again.
const WEBSOCKET_SILENCE: Duration = Duration::from_secs(5);
const RACE_AGAIN: Duration = Duration::from_secs(8);
const DEAD_AFTER: Duration = Duration::from_secs(30);
/// A server cannot make its clients ping in a tight loop.
const LEAST_HEARTBEAT: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn run(transport: Transport, seconds: u64) -> Vec<(u64, Action)> {
        let start = Instant::now();
        let mut liveness = Liveness::new(transport, Duration::from_secs(25), start);
        liveness.on_sent(start, true);
        let mut actions = Vec::new();
        for at in 0..=seconds {
            while let Some(action) = liveness.poll(start + Duration::from_secs(at)) {
                actions.push((at, action));
                if action == Action::Dead {
                    return actions;
                }
            }
        }
        actions
    }

    #[test]
    fn quic_rebinds_then_races_then_gives_up() {
        let actions = run(Transport::Quic, 40);
        assert_eq!(actions[..2], [(3, Action::Rebind), (5, Action::Race)]);
        assert_eq!(actions.last(), Some(&(30, Action::Dead)));
    }

    #[test]
    fn websocket_probes_then_races_then_gives_up() {
        let actions = run(Transport::WebSocket, 40);
        assert_eq!(actions[..2], [(5, Action::Ping), (10, Action::Race)]);
        assert_eq!(actions.last(), Some(&(30, Action::Dead)));
    }

    #[test]
    fn an_idle_connection_only_pings_and_any_byte_calms() {
        let start = Instant::now();
        let mut liveness = Liveness::new(Transport::Quic, Duration::from_secs(25), start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(liveness.poll(at(24)), None);
        assert_eq!(liveness.deadline(), at(25));
        assert_eq!(liveness.poll(at(25)), Some(Action::Ping));
        liveness.on_sent(at(25), true);
        assert_eq!(liveness.poll(at(28)), Some(Action::Rebind));
        liveness.on_received(at(29), false);
        assert_eq!(liveness.poll(at(40)), None);
    }
}
