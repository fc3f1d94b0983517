//! What the driver does about wishes, frames, ends and time.

use std::net::IpAddr;
use std::time::Duration;

use sterna_proto::reason::{Advice, advice};
use sterna_proto::v1::{self, command::Verb, frame::Body, reply};
use sterna_proto::{CloseReason, ErrorCode};
use tokio::time::Instant;

use super::attempt::{Attempt, EARLY_FRAMES, Greeted, HELLO_TIMEOUT, Lost, Purpose};
use super::{Active, Driver, Handover, unix_ms};
use crate::Error;
use crate::builder::host_and_port;
use crate::event::ClientState;
use crate::options::{TokenError, TokenRequest, Transport};
use crate::session::liveness::{Action, Liveness};
use crate::session::race::Plan;
use crate::session::token::Arrived;
use crate::session::{Notice, Route};
use crate::shared::Desired;
use crate::transport::{self, Address, Link, LinkEnd, LinkEvent, LinkId, Outgoing, Target};

impl Driver {
    /// Does everything that is due now.
    pub(super) fn step(&mut self) -> Desired {
        let now = Instant::now();
        let (desired, version) = self.shared.desired();
        if desired == Desired::Closed {
            return desired;
        }
        if version != self.seen_version {
            self.seen_version = version;
            self.handle_desired(desired, now);
        }
        if self.online {
            self.step_network(now);
            self.step_tokens(now);
            self.step_liveness(now);
            self.step_attempt(now);
        }
        self.shared.session().handle_timeout(now.into_std());
        desired
    }

    fn handle_desired(&mut self, desired: Desired, now: Instant) {
        match desired {
            Desired::Online if !self.online => {
                self.online = true;
                self.last_error = None;
                self.backoff.reset();
                self.retry_at = Some(now);
            }
            Desired::Online => {}
            Desired::Offline | Desired::Closed => self.go_offline(None),
        }
    }

    /// Stops trying. With an error: for good, until the application connects again.
    fn go_offline(&mut self, error: Option<Error>) {
        self.leave();
        self.online = false;
        self.attempt = None;
        self.handover = None;
        self.retry_at = None;
        self.tokens.on_session_end();
        self.shared.session().forget_ticket();
        self.show(ClientState::Disconnected { error });
    }

    /// Ends the session on the server and lets the active connection go.
    pub(super) fn leave(&mut self) {
        let Some(active) = self.active.take() else { return };
        let goodbye = v1::Command { id: 0, verb: Some(Verb::Goodbye(v1::Goodbye {})) };
        let goodbye = Outgoing { route: Route::Control, command: goodbye };
        // Without room there is no goodbye; the session then ends by its resume window.
        drop(active.link.outgoing.try_send(goodbye));
        self.unsent.clear();
        self.shared.session().handle_disconnected();
    }

    // Network changes and liveness.

    fn step_network(&mut self, now: Instant) {
        let Some(change) = self.shared.take_network_change() else { return };
        tracing::debug!(?change, "the network changed");
        self.backoff.reset();
        self.race.on_network_change(now.into_std());
        if let Some(active) = &self.active {
            if active.link.transport == Transport::Quic {
                active.link.rebind.notify_one();
            }
            self.send_ping(now);
        } else if self.attempt.is_none() {
            self.retry_at = Some(now);
        }
    }

    fn step_liveness(&mut self, now: Instant) {
        while let Some(action) =
            self.active.as_mut().and_then(|active| active.liveness.poll(now.into_std()))
        {
            match action {
                Action::Ping => self.send_ping(now),
                Action::Rebind => {
                    if let Some(active) = &self.active {
                        active.link.rebind.notify_one();
                    }
                    self.send_ping(now);
                }
                Action::Race => {
                    if self.attempt.as_ref().is_none_or(|a| a.purpose == Purpose::Upgrade) {
                        let plan = self.race.plan_urgent();
                        self.start_attempt(self.target.clone(), Purpose::Replace, plan, now);
                    }
                }
                Action::Dead => self.lose_active(LinkEnd::broken("the connection is dead"), now),
            }
        }
    }

    fn send_ping(&mut self, now: Instant) {
        let Some(active) = &mut self.active else { return };
        let command = self.shared.session().ping(now.into_std(), unix_ms());
        active.liveness.on_sent(now.into_std(), true);
        if self.unsent.len() < UNSENT_PINGS {
            self.unsent.push_back(Outgoing { route: Route::Control, command });
        }
    }

    // Tokens.

    fn step_tokens(&mut self, now: Instant) {
        let Some(provider) = &self.provider else { return };
        if self.token_answer.is_some() {
            return;
        }
        let Some((reason, generation)) = self.tokens.poll_ask(now.into_std()) else { return };
        let client_id = self.shared.session().client_id().to_owned();
        let asking = provider(TokenRequest::new(reason, client_id));
        self.token_answer = Some(Box::pin(async move { (generation, asking.await) }));
    }

    pub(super) fn handle_token(&mut self, generation: u64, answer: Result<String, TokenError>) {
        let now = Instant::now();
        if let Err(error) = &answer {
            self.last_error = Some(Error::Unauthorized(error.to_string()));
        }
        let arrived = self.tokens.handle_answer(generation, answer, now.into_std(), rand::random());
        match arrived {
            Arrived::ForRefresh(token) if self.active.is_some() => {
                let command = self.shared.session().refresh(token);
                self.unsent.push_back(Outgoing { route: Route::Control, command });
            }
            Arrived::Refused(message) => self.go_offline(Some(Error::Unauthorized(message))),
            Arrived::ForHello | Arrived::ForRefresh(_) | Arrived::Stale | Arrived::Later => {}
        }
    }

    fn handle_expired(&mut self) {
        if !self.tokens.on_expired() {
            let message = "the access token has expired and there is no token provider".to_owned();
            self.go_offline(Some(Error::Unauthorized(message)));
        }
    }

    // Attempts.

    pub(super) fn probe_at(&self) -> Option<Instant> {
        let active = self.active.as_ref()?;
        let on_websocket = active.link.transport == Transport::WebSocket;
        let idle = on_websocket && self.attempt.is_none() && self.handover.is_none();
        self.race.probe_at().filter(|_| idle).map(Instant::from_std)
    }

    fn step_attempt(&mut self, now: Instant) {
        self.start_due_attempt(now);
        let Some(mut attempt) = self.attempt.take() else { return };
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
            self.start_attempt(self.target.clone(), Purpose::Connect, self.race.plan(), now);
            self.show_connecting();
        }
    }

    fn start_attempt(&mut self, target: Target, purpose: Purpose, plan: Plan, now: Instant) {
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
        let deadline = now + HELLO_TIMEOUT;
        attempt.greeting = Some(Greeted { link, greeting, deadline, early: Vec::new() });
    }

    fn on_candidate_failed(&mut self, attempt: &mut Attempt, transport: Transport, now: Instant) {
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
        self.last_error = Some(Error::Disconnected { code: end.code, reason: end.reason });
        let wait = self.backoff.on_failure(rand::random());
        if self.active.is_some() {
            // The old connection still carries the session; keep trying beside it, at home.
            self.handover = Some(Handover { at: now + wait, target: self.target.clone() });
        } else {
            self.retry_at = Some(now + wait);
            self.show_connecting();
        }
    }

    fn show_connecting(&self) {
        if self.active.is_none() {
            let attempt = self.backoff.failures() + 1;
            let last_error = self.last_error.clone();
            self.show(ClientState::Connecting { attempt, last_error });
        }
    }

    // What connections report.

    pub(super) fn handle_event(&mut self, id: LinkId, event: LinkEvent) {
        let now = Instant::now();
        match event {
            LinkEvent::Established { took } => {
                let established = self.attempt.as_mut().and_then(|a| a.on_established(id));
                if established == Some(Transport::Quic) {
                    self.race.on_quic_connected(took);
                }
                self.step_attempt(now);
            }
            LinkEvent::Frame(frame) => self.handle_frame(id, frame, now),
            LinkEvent::Rebound => self.shared.session().stats.rebinds += 1,
            LinkEvent::Ended(end) => self.handle_end(id, end, now),
        }
    }

    fn handle_frame(&mut self, id: LinkId, frame: v1::Frame, now: Instant) {
        if self.active.as_ref().is_some_and(|active| active.link.id == id) {
            self.handle_active_frame(frame, now);
            return;
        }
        let greeted = self.attempt.as_mut().and_then(|attempt| attempt.greeting.as_mut());
        let Some(greeted) = greeted.filter(|greeted| greeted.link.id == id) else { return };
        match frame.body {
            Some(Body::Reply(v1::Reply { id, result: Some(result) }))
                if id == greeted.greeting.id =>
            {
                self.handle_hello_reply(result, now);
            }
            _ if greeted.early.len() < EARLY_FRAMES => greeted.early.push(frame),
            _ => {}
        }
    }

    fn handle_active_frame(&mut self, frame: v1::Frame, now: Instant) {
        let notices: Vec<Notice> = {
            let mut session = self.shared.session();
            session.handle_frame(frame, now.into_std());
            if let Some(active) = &mut self.active {
                active.liveness.on_received(now.into_std(), session.is_owed());
            }
            std::iter::from_fn(|| session.take_notice()).collect()
        };
        for notice in notices {
            match notice {
                Notice::GoAway(go_away) => self.handle_go_away(&go_away, now),
                Notice::Refreshed => self.tokens.on_refreshed(now.into_std(), rand::random()),
                Notice::RefreshFailed(error) if error.is_retryable() => {
                    self.tokens.on_refresh_failed(now.into_std(), rand::random());
                }
                Notice::RefreshFailed(error) => self.go_offline(Some(as_unauthorized(error))),
            }
        }
    }

    fn handle_hello_reply(&mut self, result: reply::Result, now: Instant) {
        let Some(mut attempt) = self.attempt.take() else { return };
        let Some(greeted) = attempt.greeting.take() else { return };
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
            self.handover = Some(Handover { at: now + wait, target: self.target.clone() });
        } else {
            self.retry_at = Some(now + wait);
            self.show_connecting();
        }
    }

    fn handle_end(&mut self, id: LinkId, end: LinkEnd, now: Instant) {
        if self.active.as_ref().is_some_and(|active| active.link.id == id) {
            self.lose_active(end, now);
            return;
        }
        let Some(mut attempt) = self.attempt.take() else { return };
        let lost = attempt.on_ended(id, end.clone());
        if let Lost::Candidate(transport) = lost {
            self.on_candidate_failed(&mut attempt, transport, now);
        }
        self.attempt = Some(attempt);
        if lost != Lost::NotOurs {
            self.handle_candidate_code(&end);
        }
        if self.online {
            self.step_attempt(now);
        }
    }

    /// A server that closes a candidate may mean the client as a whole.
    fn handle_candidate_code(&mut self, end: &LinkEnd) {
        let Some(code) = end.code else { return };
        if CloseReason::from_code(code) == Some(CloseReason::TokenExpired) {
            self.handle_expired();
        } else if advice(code) == Advice::Terminal {
            self.go_offline(Some(terminal(code, end.reason.clone())));
        }
    }

    fn lose_active(&mut self, end: LinkEnd, now: Instant) {
        let Some(active) = self.active.take() else { return };
        self.unsent.clear();
        self.handover = None;
        self.shared.session().handle_disconnected();
        tracing::debug!(code = ?end.code, reason = %end.reason, "the connection ended");
        let reason = end.code.and_then(CloseReason::from_code);
        // Our own newer connection, whose Welcome is on its way, supersedes the old one.
        let ours = reason == Some(CloseReason::Superseded)
            && self.attempt.as_ref().is_some_and(|attempt| attempt.greeting.is_some());
        if let Some(code) = end.code
            && advice(code) == Advice::Terminal
            && !ours
        {
            self.go_offline(Some(terminal(code, end.reason)));
            return;
        }
        if reason == Some(CloseReason::TokenExpired) {
            self.handle_expired();
        }
        if !self.online {
            return;
        }
        self.last_error = Some(Error::Disconnected { code: end.code, reason: end.reason });
        let wait = self.backoff.on_lost(now - active.since, rand::random());
        self.retry_at = Some(now + wait);
        if let Some(attempt) = &mut self.attempt {
            attempt.purpose = Purpose::Connect;
        }
        self.show_connecting();
    }

    /// The node leaves: connect elsewhere at some time before the deadline, so that not all
    /// clients do at once.
    fn handle_go_away(&mut self, go_away: &v1::GoAway, now: Instant) {
        let within = Duration::from_millis(go_away.deadline_ms.into());
        let jitter = within.mul_f64(HANDOVER_SHARE * rand::random::<f64>());
        let at = now + jitter.min(LATEST_HANDOVER);
        let target = self.successor(&go_away.successor);
        tracing::debug!(successor = %go_away.successor, ?jitter, "the node drains");
        self.handover = Some(Handover { at, target });
    }

    /// The name in the certificate stays: a cluster shares it.
    fn successor(&self, successor: &str) -> Target {
        let Some((host, port)) = host_and_port(successor, 0).filter(|(_, port)| *port != 0) else {
            return self.target.clone();
        };
        let address = match host.parse::<IpAddr>() {
            Ok(ip) => Address::Socket((ip, port).into()),
            Err(_) => Address::Name { host, port },
        };
        Target { server_name: self.target.server_name.clone(), address }
    }
}

fn terminal(code: u64, reason: String) -> Error {
    match CloseReason::from_code(code) {
        Some(CloseReason::Unauthorized | CloseReason::Revoked) => Error::Unauthorized(reason),
        _ => Error::Disconnected { code: Some(code), reason },
    }
}

fn as_unauthorized(error: Error) -> Error {
    match error {
        Error::Unauthorized(_) => error,
        other => Error::Unauthorized(other.to_string()),
    }
}

/// Handovers spread over the first 80 % of a drain's deadline.
const HANDOVER_SHARE: f64 = 0.8;
const LATEST_HANDOVER: Duration = Duration::from_secs(300);
/// Pings do not pile up while the path is stuck.
const UNSENT_PINGS: usize = 8;
