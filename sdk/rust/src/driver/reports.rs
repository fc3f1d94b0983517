//! What connections report to the driver: that they are there, frames, their end.

use std::net::IpAddr;
use std::time::Duration;

use sterna_proto::reason::{Advice, advice};
use sterna_proto::v1::{self, frame::Body};
use sterna_proto::{CloseReason, ErrorCode};
use tokio::time::Instant;

use super::attempt::{Lost, Purpose};
use super::{Driver, Handover};
use crate::Error;
use crate::builder::host_and_port;
use crate::options::Transport;
use crate::session::Notice;
use crate::transport::{Address, LinkEnd, LinkEvent, LinkId, Target};

impl Driver {
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
            _ => greeted.keep_early(frame),
        }
    }

    pub(super) fn handle_active_frame(&mut self, frame: v1::Frame, now: Instant) {
        {
            let mut session = self.shared.session();
            session.handle_frame(frame, now.into_std());
            if let Some(active) = &mut self.active {
                active.liveness.on_received(now.into_std(), session.is_owed());
            }
        }
        self.handle_notices(now);
    }

    /// Does what the session could not do by itself.
    pub(super) fn handle_notices(&mut self, now: Instant) {
        let notices: Vec<Notice> = {
            let mut session = self.shared.session();
            std::iter::from_fn(|| session.take_notice()).collect()
        };
        for notice in notices {
            match notice {
                Notice::GoAway(go_away) => self.handle_go_away(&go_away, now),
                Notice::Refreshed => self.tokens.on_refreshed(now.into_std(), rand::random()),
                // An expired token is the provider's to replace; it is asked again.
                Notice::RefreshFailed(error)
                    if error.is_retryable() || error.code() == Some(ErrorCode::TokenExpired) =>
                {
                    self.tokens.on_refresh_failed(now.into_std(), rand::random());
                }
                Notice::RefreshFailed(error) => self.go_offline(Some(as_unauthorized(error))),
            }
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
            self.handle_candidate_code(id, &end, now);
        }
        if self.online {
            self.step_attempt(now);
        }
    }

    /// A server that closes a candidate may mean the client as a whole.
    fn handle_candidate_code(&mut self, id: LinkId, end: &LinkEnd, now: Instant) {
        let Some(code) = end.code else { return };
        if CloseReason::from_code(code) == Some(CloseReason::TokenExpired) {
            self.handle_expired();
        } else if self.is_terminal(id, code, now) {
            self.go_offline(Some(terminal(code, end.reason.clone())));
        }
    }

    /// Whether the code means: do not come back. Superseded by ourselves is no such case.
    fn is_terminal(&self, id: LinkId, code: u64, now: Instant) -> bool {
        let superseded = CloseReason::from_code(code) == Some(CloseReason::Superseded);
        let by_us = superseded && self.hellos.may_supersede(id, now);
        advice(code) == Advice::Terminal && !by_us
    }

    pub(super) fn lose_active(&mut self, end: LinkEnd, now: Instant) {
        let Some(active) = self.active.take() else { return };
        self.unsent.clear();
        self.handover = None;
        self.shared.session().handle_disconnected();
        tracing::debug!(code = ?end.code, reason = %end.reason, "the connection ended");
        if let Some(code) = end.code
            && self.is_terminal(active.link.id, code, now)
        {
            self.go_offline(Some(terminal(code, end.reason)));
            return;
        }
        if end.code.and_then(CloseReason::from_code) == Some(CloseReason::TokenExpired) {
            self.handle_expired();
        }
        if !self.online {
            return;
        }
        self.last_error = Some(end.into());
        let wait = self.backoff.on_lost(now - active.since, rand::random());
        self.retry_at = Some(now + wait);
        match &mut self.attempt {
            // A mere probe must not stand in the way of an attempt with all transports.
            Some(attempt) if attempt.purpose == Purpose::Upgrade && attempt.greeting.is_none() => {
                self.attempt = None;
            }
            Some(attempt) => attempt.purpose = Purpose::Connect,
            None => {}
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
        self.successor = (!go_away.successor.is_empty()).then(|| target.clone());
        self.handover = Some(Handover { at, target });
    }

    /// Where to connect next: to the successor of a drained node and home in turn, since either
    /// may not be there yet or any more.
    pub(super) fn next_target(&self) -> Target {
        match &self.successor {
            Some(successor) if self.backoff.failures().is_multiple_of(2) => successor.clone(),
            _ => self.target.clone(),
        }
    }

    /// The name in the certificate stays: a cluster shares it.
    fn successor(&self, successor: &str) -> Target {
        let Some((host, port)) = host_and_port(successor, 0).filter(|(_, port)| *port != 0) else {
            return self.target.clone();
        };
        let address = match host.parse::<IpAddr>() {
            Ok(ip) => Address::Sockets(vec![(ip, port).into()]),
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
