//! How the driver gets a connection: attempts, candidates, Hellos and their answers.

use std::time::Duration;

use sterna_proto::ErrorCode;
use sterna_proto::v1::{self, reply};
use tokio::time::Instant;

use super::attempt::{Attempt, Greeted, Purpose};
use super::{Active, Driver, Handover, unix_ms};
use crate::Error;
use crate::event::ClientState;
use crate::options::Transport;
use crate::session::Route;
use crate::session::liveness::Liveness;
use crate::session::race::Plan;
use crate::transport::{self, Link, LinkEnd, LinkId, Outgoing, Target};

impl Driver {
    pub(super) fn probe_at(&self) -> Option<Instant> {
        let active = self.active.as_ref()?;
        let on_websocket = active.link.transport == Transport::WebSocket;
        let idle = on_websocket && self.attempt.is_none() && self.handover.is_none();
        self.race.probe_at().filter(|_| idle).map(Instant::from_std)
    }

    pub(super) fn step_attempt(&mut self, now: Instant) {
        self.start_due_attempt(now);
        let Some(mut attempt) = self.attempt.take() else { return };
        attempt.hurry_if_overdue(now);
        for transport in attempt.take_due(now) {
            let link = self.start_link(transport, attempt.target.clone());
            attempt.connecting.push(link);
        }
        if let Some(greeted) = attempt.take_unanswered(now) {
            attempt.last_end = Some(LinkEnd::broken("the Hello was not answered"));
            self.on_candidate_failed(&mut attempt, greeted.link.transport, now);
        }
        self.greet_next(&mut attempt, now);
        if attempt.is_exhausted(now) {
            self.on_attempt_failed(attempt, now);
        } else {
            self.attempt = Some(attempt);
        }
    }

    fn start_due_attempt(&mut self, now: Instant) {
        if !self.background.may_attempt() {
            return;
        }
        if let Some(handover) = self.handover.clone()
            && handover.at <= now
            && self.attempt.as_ref().is_none_or(|attempt| attempt.purpose == Purpose::Upgrade)
        {
            self.handover = None;
            self.start_attempt(handover.target, Purpose::Replace, self.race.plan(), now);
        } else if self.attempt.is_some() {
        } else if self.probe_at().is_some_and(|at| at <= now) {
            let plan = self.race.plan_probe();
            self.start_attempt(self.target.clone(), Purpose::Upgrade, plan, now);
        } else if self.active.is_none() && self.retry_at.is_some_and(|at| at <= now) {
            self.start_attempt(self.next_target(), Purpose::Connect, self.race.plan(), now);
            self.show_connecting();
        }
    }

    pub(super) fn start_attempt(
        &mut self,
        target: Target,
        purpose: Purpose,
        plan: Plan,
        now: Instant,
    ) {
        tracing::debug!(?purpose, "attempting a connection");
        self.retry_at = None;
        self.attempt = Some(Attempt::new(target, purpose, plan, now));
    }

    fn start_link(&mut self, transport: Transport, target: Target) -> Link {
        self.next_link += 1;
        let id = LinkId(self.next_link);
        let (link, ends) = transport::link(id, transport, self.events_sender.clone());
        self.links.spawn(transport::run(transport, target, self.tls.clone(), ends));
        link
    }

    /// Says Hello on the best candidate that is ready, once there is a token.
    fn greet_next(&mut self, attempt: &mut Attempt, now: Instant) {
        if attempt.ready.is_empty() || attempt.greeting.is_some() {
            return;
        }
        let Some(token) = self.tokens.token_for_hello() else {
            self.step_tokens(now);
            return;
        };
        let Some(link) = attempt.take_ready() else { return };
        let (greeting, command) = self.shared.session().hello(token);
        if link.outgoing.try_send(Outgoing { route: Route::Control, command }).is_err() {
            // It has just ended; the event says why.
            attempt.connecting.push(link);
            return;
        }
        self.hellos.on_said(link.id, now);
        attempt.greeting = Some(Greeted::new(link, greeting, now));
    }

    pub(super) fn on_candidate_failed(
        &mut self,
        attempt: &mut Attempt,
        transport: Transport,
        now: Instant,
    ) {
        if transport == Transport::Quic {
            self.race.on_quic_failed(now.into_std());
        }
        attempt.hurry(now);
    }

    fn on_attempt_failed(&mut self, attempt: Attempt, now: Instant) {
        let quic_pending = attempt.connecting.iter().any(|l| l.transport == Transport::Quic);
        if quic_pending {
            self.race.on_quic_failed(now.into_std());
        }
        let end = attempt.last_end.unwrap_or_else(|| LinkEnd::broken("no answer in time"));
        if attempt.purpose == Purpose::Upgrade {
            return;
        }
        self.last_error = Some(end.into());
        let wait = self.backoff.on_failure(rand::random());
        if self.active.is_some() {
            // The old connection still carries the session; keep trying beside it.
            self.handover = Some(Handover { at: now + wait, target: self.next_target() });
        } else {
            self.retry_at = Some(now + wait);
            self.show_connecting();
        }
    }

    pub(super) fn show_connecting(&self) {
        if self.background.is_asleep() {
            self.show(ClientState::Background);
        } else if self.active.is_none() {
            let attempt = self.backoff.failures() + 1;
            let last_error = self.last_error.clone();
            self.show(ClientState::Connecting { attempt, last_error });
        }
    }

    pub(super) fn handle_hello_reply(&mut self, result: reply::Result, now: Instant) {
        let Some(mut attempt) = self.attempt.take() else { return };
        let Some(greeted) = attempt.greeting.take() else { return };
        self.hellos.on_answered(greeted.link.id);
        match result {
            reply::Result::Welcome(welcome) => self.handle_welcome(attempt, greeted, welcome, now),
            reply::Result::Error(error) => {
                self.attempt = Some(attempt);
                self.handle_hello_refused(error, now);
            }
            _ => {
                let error = Error::Protocol("a Hello was not answered as one".into());
                self.go_offline(Some(error));
            }
        }
    }

    fn handle_welcome(
        &mut self,
        attempt: Attempt,
        greeted: Greeted,
        welcome: v1::Welcome,
        now: Instant,
    ) {
        let transport = greeted.link.transport;
        let heartbeat = Duration::from_millis(welcome.heartbeat_ms.into());
        let lifetime = (welcome.token_expires_at_ms > 0)
            .then(|| Duration::from_millis(welcome.token_expires_at_ms.saturating_sub(unix_ms())));
        self.tokens.on_welcome(now.into_std(), lifetime, rand::random());
        let liveness = Liveness::new(transport, heartbeat, now.into_std());
        let old = self.active.replace(Active { link: greeted.link, liveness, since: now });
        self.unsent.clear();
        self.retry_at = None;
        self.handover = None;
        self.last_error = None;
        let connected = {
            let mut session = self.shared.session();
            session.stats.handovers += u64::from(old.is_some());
            session.handle_welcome(greeted.greeting, welcome, transport, now.into_std())
        };
        // Made before broken: only now the old connection goes.
        drop(old);
        self.show(ClientState::Connected(connected));
        if transport == Transport::WebSocket {
            self.attempt = attempt.into_upgrade();
        }
        for frame in greeted.early {
            self.handle_active_frame(frame, now);
        }
        if greeted.lost_early {
            self.shared.session().handle_pushes_lost();
        }
        self.step_attempt(now);
    }

    fn handle_hello_refused(&mut self, error: v1::Error, now: Instant) {
        let code = ErrorCode::from_number(error.code);
        if code == Some(ErrorCode::TokenExpired) {
            self.handle_expired();
            self.retry_attempt(error.into(), None, now);
            return;
        }
        let retry_after = Duration::from_millis(error.retry_after_ms.into());
        let retryable = code.map_or(error.retryable, ErrorCode::is_retryable);
        if retryable {
            self.retry_attempt(error.into(), Some(retry_after), now);
        } else {
            self.go_offline(Some(error.into()));
        }
    }

    /// Gives the present attempt up and plans the next, not before what the server wished.
    fn retry_attempt(&mut self, error: Error, at_least: Option<Duration>, now: Instant) {
        self.attempt = None;
        if !self.online {
            return;
        }
        self.last_error = Some(error);
        let wait = self.backoff.on_failure(rand::random()).max(at_least.unwrap_or_default());
        if self.active.is_some() {
            self.handover = Some(Handover { at: now + wait, target: self.next_target() });
        } else {
            self.retry_at = Some(now + wait);
            self.show_connecting();
        }
    }
}
