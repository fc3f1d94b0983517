//! What the driver does about wishes and time: networks, silence, tokens.

use tokio::time::Instant;

use sterna_proto::v1::{self, command::Verb};

use super::attempt::Purpose;
use super::{Driver, unix_ms};
use crate::Error;
use crate::event::ClientState;
use crate::options::{TokenError, TokenRequest, Transport};
use crate::session::Route;
use crate::session::liveness::Action;
use crate::session::token::Arrived;
use crate::shared::{Desired, Wish};
use crate::transport::{LinkEnd, Outgoing};

impl Driver {
    /// Does everything that is due now.
    pub(super) fn step(&mut self) -> Desired {
        let now = Instant::now();
        let wish = self.shared.wish();
        if wish.desired == Desired::Closed {
            return wish.desired;
        }
        if wish != self.seen_wish {
            self.handle_wish(wish, now);
            self.seen_wish = wish;
        }
        self.step_background(wish.background, now);
        if self.online && !self.background.is_asleep() {
            self.step_network(now);
            self.step_tokens(now);
            self.step_liveness(now);
            self.step_attempt(now);
        }
        self.shared.session().handle_timeout(now.into_std());
        self.handle_notices(now);
        wish.desired
    }

    fn handle_wish(&mut self, wish: Wish, now: Instant) {
        // Also when a connect has followed at once: that asks for a new session.
        if wish.disconnects != self.seen_wish.disconnects {
            self.go_offline(None);
        }
        if wish.desired == Desired::Online && !self.online {
            self.online = true;
            self.last_error = None;
            self.backoff.reset();
            self.retry_at = Some(now);
            self.show_connecting();
        }
    }

    fn step_background(&mut self, background: bool, now: Instant) {
        if background {
            self.background.enter(now.into_std());
        } else if self.background.leave() {
            self.wake_up(now);
        }
        let idle = self.active.is_none() && self.attempt.is_none();
        if self.background.poll_sleep(now.into_std(), idle) && self.online {
            self.fall_asleep();
        }
    }

    /// Lets the connection go without a goodbye, so that the session waits on the server.
    fn fall_asleep(&mut self) {
        tracing::debug!("in the background; the connection is closed");
        self.active = None;
        self.attempt = None;
        self.handover = None;
        self.retry_at = None;
        self.unsent.clear();
        self.shared.session().handle_disconnected();
        self.show_connecting();
    }

    /// Back in the foreground: what failed before does not count, and a connection that was kept
    /// has to show that it is alive.
    fn wake_up(&mut self, now: Instant) {
        self.backoff.reset();
        if self.active.is_some() {
            self.send_ping(now);
        } else if self.online && self.attempt.is_none() {
            self.retry_at = Some(now);
            self.show_connecting();
        }
    }

    /// Stops trying. With an error: for good, until the application connects again.
    pub(super) fn go_offline(&mut self, error: Option<Error>) {
        self.leave();
        self.online = false;
        self.attempt = None;
        self.handover = None;
        self.retry_at = None;
        // Who is being asked may never answer.
        self.token_answer = None;
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
        let has_news = self.shared.take_network_news();
        let Some(change) = self.shared.take_network_change() else {
            if has_news {
                self.send_ping(now);
            }
            return;
        };
        tracing::debug!(?change, "the network changed");
        self.backoff.reset();
        self.race.on_network_change(now.into_std());
        if let Some(active) = &self.active {
            if active.link.transport == Transport::Quic {
                active.link.rebind.notify_one();
            } else {
                // TCP does not survive a change of address: the next connection is made beside it.
                self.handover = Some(super::Handover { at: now, target: self.next_target() });
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
                    let free = self.attempt.as_ref().is_none_or(|a| a.purpose == Purpose::Upgrade);
                    if free && self.background.may_attempt() {
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
        active.liveness.on_sent(now.into_std(), true);
        if self.unsent.len() < UNSENT_PINGS {
            let command = self.shared.session().ping(now.into_std(), unix_ms());
            self.unsent.push_back(Outgoing { route: Route::Control, command });
        }
    }

    // Tokens.

    pub(super) fn step_tokens(&mut self, now: Instant) {
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
                let command = self.shared.session().refresh(now.into_std(), token);
                self.unsent.push_back(Outgoing { route: Route::Control, command });
            }
            Arrived::Refused(message) => self.go_offline(Some(Error::Unauthorized(message))),
            Arrived::ForHello | Arrived::ForRefresh(_) | Arrived::Stale | Arrived::Later => {}
        }
    }

    pub(super) fn handle_expired(&mut self) {
        if !self.tokens.on_expired() {
            let message = "the access token has expired and there is no token provider".to_owned();
            self.go_offline(Some(Error::Unauthorized(message)));
        }
    }
}

/// Pings do not pile up while the path is stuck.
const UNSENT_PINGS: usize = 8;
