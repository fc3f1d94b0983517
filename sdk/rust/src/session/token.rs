//! Which access token to show, and when to ask for another. Pure: the driver asks the provider.

use std::time::{Duration, Instant};

use super::backoff::Backoff;
use crate::options::{TokenError, TokenReason};

/// Keeps the present token and decides when a new one is wanted.
#[derive(Debug)]
pub(crate) struct TokenKeeper {
    renewable: bool,
    token: Option<String>,
    /// What was left of the token at the last Welcome.
    lifetime: Option<Duration>,
    refresh_at: Option<Instant>,
    wanted: Option<TokenReason>,
    not_before: Option<Instant>,
    /// Under which generation the provider is being asked; at most once at a time.
    asking: Option<u64>,
    /// Sessions of this client; an answer for an earlier one is not used.
    generation: u64,
    backoff: Backoff,
}

/// What a token that has arrived is good for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// For the Hello of the next connection.
    ForHello,
    /// To be sent as a Refresh.
    ForRefresh(String),
    /// Its session is over.
    Stale,
    /// Asked again later.
    Later,
    /// Terminal.
    Refused(String),
}

impl TokenKeeper {
    /// A token that never changes (or none at all).
    pub(crate) fn fixed(token: String) -> Self {
        Self { token: Some(token), ..Self::renewable(false) }
    }

    pub(crate) fn provided() -> Self {
        Self::renewable(true)
    }

    fn renewable(renewable: bool) -> Self {
        Self {
            renewable,
            token: None,
            lifetime: None,
            refresh_at: None,
            wanted: None,
            not_before: None,
            asking: None,
            generation: 0,
            backoff: Backoff::new(),
        }
    }

    /// The token for a Hello; without one, a provider is going to be asked.
    pub(crate) fn token_for_hello(&mut self) -> Option<String> {
        if self.token.is_none() && self.wanted.is_none() {
            self.wanted = Some(TokenReason::Connect);
        }
        self.token.clone()
    }

    /// What to ask the provider now; the answer comes with the same generation.
    pub(crate) fn poll_ask(&mut self, now: Instant) -> Option<(TokenReason, u64)> {
        if self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_at = None;
            self.wanted.get_or_insert(TokenReason::Refresh);
        }
        let due = self.not_before.is_none_or(|at| at <= now);
        if !self.renewable || self.asking.is_some() || !due {
            return None;
        }
        let reason = self.wanted?;
        self.asking = Some(self.generation);
        Some((reason, self.generation))
    }

    pub(crate) fn handle_answer(
        &mut self,
        generation: u64,
        answer: Result<String, TokenError>,
        now: Instant,
        chance: f64,
    ) -> Arrived {
        if generation != self.generation {
            return Arrived::Stale;
        }
        self.asking = None;
        match answer {
            Ok(token) => {
                self.not_before = None;
                self.token = Some(token.clone());
                match self.wanted.take() {
                    Some(TokenReason::Refresh) => Arrived::ForRefresh(token),
                    _ => Arrived::ForHello,
                }
            }
            Err(TokenError::Unauthorized(message)) => Arrived::Refused(message),
            Err(TokenError::Unavailable(_)) => {
                self.not_before = Some(now + self.backoff.on_failure(chance));
                Arrived::Later
            }
        }
    }

    /// A session began with the present token, which lives for `lifetime` more.
    pub(crate) fn on_welcome(&mut self, now: Instant, lifetime: Option<Duration>, chance: f64) {
        // Not before the server took a token: a provider may have none but bad ones.
        self.backoff.reset();
        self.lifetime = lifetime;
        let share = 0.75 + 0.10 * chance.clamp(0.0, 1.0);
        self.refresh_at =
            lifetime.filter(|_| self.renewable).map(|lifetime| now + lifetime.mul_f64(share));
    }

    /// The server took the new token. It does not say how long that lives, so: as long as the
    /// one before.
    pub(crate) fn on_refreshed(&mut self, now: Instant, chance: f64) {
        let lifetime = self.lifetime.map(|lifetime| lifetime.max(LEAST_LIFETIME));
        self.on_welcome(now, lifetime, chance);
    }

    pub(crate) fn on_refresh_failed(&mut self, now: Instant, chance: f64) {
        self.wanted = Some(TokenReason::Refresh);
        self.not_before = Some(now + self.backoff.on_failure(chance));
    }

    /// The server says that the token has expired. False: there is no way to get another.
    pub(crate) fn on_expired(&mut self) -> bool {
        if self.renewable {
            self.token = None;
            self.wanted = Some(TokenReason::Expired);
        }
        self.renewable
    }

    /// The session is over by the application's wish: its token is forgotten.
    pub(crate) fn on_session_end(&mut self) {
        self.generation += 1;
        self.asking = None;
        self.refresh_at = None;
        self.wanted = None;
        self.not_before = None;
        if self.renewable {
            self.token = None;
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        if !self.renewable || self.asking.is_some() {
            return None;
        }
        let asking_at = self.wanted.and(self.not_before);
        [asking_at, self.refresh_at].into_iter().flatten().min()
    }
}

/// Assumed of a refreshed token at least, so that one that was nearly over at the Welcome does not
/// make the client refresh in a tight loop.
const LEAST_LIFETIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_question_at_a_time_and_stale_answers_are_dropped() {
        let now = Instant::now();
        let mut keeper = TokenKeeper::provided();
        assert_eq!(keeper.token_for_hello(), None);
        let (reason, generation) = keeper.poll_ask(now).unwrap();
        assert_eq!(reason, TokenReason::Connect);
        assert_eq!(keeper.poll_ask(now), None);
        keeper.on_session_end();
        let late = keeper.handle_answer(generation, Ok("old".into()), now, 0.5);
        assert_eq!(late, Arrived::Stale);
        assert_eq!(keeper.token_for_hello(), None);
        let (_, generation) = keeper.poll_ask(now).unwrap();
        let arrived = keeper.handle_answer(generation, Ok("new".into()), now, 0.5);
        assert_eq!(arrived, Arrived::ForHello);
        assert_eq!(keeper.token_for_hello(), Some("new".into()));
    }

    #[test]
    fn refresh_falls_into_75_to_85_percent_of_the_lifetime() {
        let now = Instant::now();
        for (chance, seconds) in [(0.0, 75), (0.5, 80), (1.0, 85)] {
            let mut keeper = TokenKeeper::provided();
            keeper.token_for_hello();
            let (_, generation) = keeper.poll_ask(now).unwrap();
            keeper.handle_answer(generation, Ok("one".into()), now, 0.5);
            keeper.on_welcome(now, Some(Duration::from_secs(100)), chance);
            let due = keeper.deadline().unwrap();
            assert_eq!((due - now).as_secs_f64().round() as u64, seconds);
            assert_eq!(keeper.poll_ask(due).unwrap().0, TokenReason::Refresh);
            let arrived = keeper.handle_answer(generation, Ok("two".into()), due, 0.5);
            assert_eq!(arrived, Arrived::ForRefresh("two".into()));
        }
    }

    #[test]
    fn a_failing_provider_is_asked_again_later_and_a_refusal_is_final() {
        let now = Instant::now();
        let mut keeper = TokenKeeper::provided();
        keeper.token_for_hello();
        let (_, generation) = keeper.poll_ask(now).unwrap();
        let failure = Err(TokenError::Unavailable("down".into()));
        assert_eq!(keeper.handle_answer(generation, failure, now, 1.0), Arrived::Later);
        assert_eq!(keeper.poll_ask(now), None);
        let later = keeper.deadline().unwrap();
        assert!(keeper.poll_ask(later).is_some());
        let refusal = Err(TokenError::Unauthorized("gone".into()));
        let arrived = keeper.handle_answer(generation, refusal, later, 1.0);
        assert_eq!(arrived, Arrived::Refused("gone".into()));
    }

    #[test]
    fn refreshes_that_fail_come_ever_later() {
        let start = Instant::now();
        let mut keeper = TokenKeeper::provided();
        keeper.on_welcome(start, Some(Duration::from_secs(100)), 0.5);
        let mut now = keeper.deadline().unwrap();
        let waits: Vec<u128> = (0..3)
            .map(|_| {
                let (_, generation) = keeper.poll_ask(now).unwrap();
                keeper.handle_answer(generation, Ok("expired".into()), now, 1.0);
                keeper.on_refresh_failed(now, 1.0);
                let before = std::mem::replace(&mut now, keeper.deadline().unwrap());
                (now - before).as_millis()
            })
            .collect();
        assert_eq!(waits, [500, 1000, 2000]);
    }

    #[test]
    fn a_fixed_token_has_no_successor() {
        let mut keeper = TokenKeeper::fixed("one".into());
        assert_eq!(keeper.token_for_hello(), Some("one".into()));
        assert!(!keeper.on_expired());
        assert_eq!(keeper.deadline(), None);
    }
}
