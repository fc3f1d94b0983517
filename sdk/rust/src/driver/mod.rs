//! The one task of a client that knows about time and connections. It keeps at most one active
//! connection, makes others beside it (races, handovers, upgrades: see `attempt`), feeds what
//! arrives to the session and sends what the session says. Started by the builder, ended by the
//! wish to close; everything it starts lives in its join set and is gone before it returns.

mod attempt;
mod connecting;
mod hellos;
mod reports;
mod saving;
mod steps;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::{BoxFuture, OptionFuture};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Error;
use crate::builder::TokenProvider;
use crate::event::ClientState;
use crate::options::{TokenError, Transport};
use crate::outbox_store::OutboxStore;
use crate::session::background::Background;
use crate::session::backoff::Backoff;
use crate::session::liveness::Liveness;
use crate::session::race::Race;
use crate::session::token::TokenKeeper;
use crate::shared::{Desired, Shared, Wish};
use crate::transport::tls::Tls;
use crate::transport::{Link, LinkEvent, LinkId, Outgoing, Target};
use attempt::Attempt;
use hellos::OpenHellos;
use saving::Saving;

type TokenAnswer = (u64, Result<String, TokenError>);

pub(crate) struct Driver {
    shared: Arc<Shared>,
    target: Target,
    tls: Tls,
    provider: Option<TokenProvider>,
    tokens: TokenKeeper,
    token_answer: Option<BoxFuture<'static, TokenAnswer>>,
    race: Race,
    backoff: Backoff,
    links: JoinSet<()>,
    next_link: u64,
    events: mpsc::Receiver<(LinkId, LinkEvent)>,
    events_sender: mpsc::Sender<(LinkId, LinkEvent)>,
    active: Option<Active>,
    attempt: Option<Attempt>,
    retry_at: Option<Instant>,
    /// Where the last drained node sent us.
    successor: Option<Target>,
    /// A drain asked us to move, then.
    handover: Option<Handover>,
    /// Commands that the session has given and the connection has no room for yet.
    unsent: std::collections::VecDeque<Outgoing>,
    seen_wish: Wish,
    hellos: OpenHellos,
    online: bool,
    background: Background,
    saving: Saving,
    last_error: Option<Error>,
}

/// What the builder has made ready.
pub(crate) struct Setup {
    pub(crate) target: Target,
    pub(crate) tls: Tls,
    pub(crate) transports: Vec<Transport>,
    pub(crate) tokens: TokenKeeper,
    pub(crate) provider: Option<TokenProvider>,
    pub(crate) background_grace: Duration,
    pub(crate) store: Option<Box<dyn OutboxStore>>,
}

/// The connection that carries the session.
struct Active {
    link: Link,
    liveness: Liveness,
    since: Instant,
}

#[derive(Debug, Clone)]
struct Handover {
    at: Instant,
    target: Target,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, setup: Setup) -> Self {
        let Setup { target, tls, transports, tokens, provider, background_grace, store } = setup;
        let (events_sender, events) = mpsc::channel(LINK_EVENTS);
        Self {
            shared,
            target,
            tls,
            provider,
            tokens,
            token_answer: None,
            race: Race::new(&transports),
            backoff: Backoff::new(),
            links: JoinSet::new(),
            next_link: 0,
            events,
            events_sender,
            active: None,
            attempt: None,
            retry_at: None,
            successor: None,
            handover: None,
            unsent: std::collections::VecDeque::new(),
            seen_wish: Wish::NONE,
            hellos: OpenHellos::default(),
            online: false,
            background: Background::new(background_grace),
            saving: Saving::new(store),
            last_error: None,
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            if self.step() == Desired::Closed {
                break;
            }
            self.flush();
            self.step_saving();
            self.wait().await;
        }
        self.end().await;
    }

    /// Waits for whatever comes first and takes it in.
    async fn wait(&mut self) {
        let deadline = self.deadline();
        let sleep = OptionFuture::from(deadline.map(tokio::time::sleep_until));
        let blocked = match &self.active {
            Some(active) if !self.unsent.is_empty() => Some(active.link.outgoing.clone()),
            _ => None,
        };
        let room = OptionFuture::from(blocked.as_ref().map(mpsc::Sender::reserve));
        let answer = OptionFuture::from(self.token_answer.as_mut());
        tokio::select! {
            Some((id, event)) = self.events.recv() => {
                self.handle_event(id, event);
                self.handle_more_events();
            }
            () = self.shared.wake.notified() => {}
            Some(()) = sleep => {}
            Some(_) = room => {}
            Some((generation, answer)) = answer => {
                self.token_answer = None;
                self.handle_token(generation, answer);
            }
            outcome = Self::written(&mut self.saving) => self.handle_written(outcome),
            Some(ended) = self.links.join_next() => {
                if let Err(error) = ended
                    && !error.is_cancelled()
                {
                    tracing::error!(%error, "a connection's task ended badly");
                }
            }
        }
    }

    /// Takes in what waits already, bounded so that wishes and timers get their turn.
    fn handle_more_events(&mut self) {
        for _ in 0..EVENTS_PER_TURN {
            let Ok((id, event)) = self.events.try_recv() else { return };
            self.handle_event(id, event);
        }
    }

    /// Moves commands from the session to the active connection, as far as there is room.
    fn flush(&mut self) {
        let now = Instant::now();
        let Some(active) = &mut self.active else { return };
        loop {
            while let Some(outgoing) = self.unsent.pop_front() {
                let owed = outgoing.command.id != 0;
                match active.link.outgoing.try_send(outgoing) {
                    Ok(()) => active.liveness.on_sent(now.into_std(), owed),
                    Err(mpsc::error::TrySendError::Full(outgoing)) => {
                        self.unsent.push_front(outgoing);
                        return;
                    }
                    // Its end is on the way as an event.
                    Err(mpsc::error::TrySendError::Closed(_)) => return,
                }
            }
            let commands = self.shared.session().poll_command(now.into_std());
            if commands.is_empty() {
                return;
            }
            self.unsent
                .extend(commands.into_iter().map(|(route, command)| Outgoing { route, command }));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let session = self.shared.session().deadline(self.unsent.is_empty()).map(Instant::from_std);
        let liveness =
            self.active.as_ref().map(|active| Instant::from_std(active.liveness.deadline()));
        let background = self.background.deadline().map(Instant::from_std);
        let tokens = self.tokens.deadline().map(Instant::from_std);
        let tokens = tokens.filter(|_| !self.background.is_asleep());
        let attempt = self.attempt.as_ref().and_then(Attempt::deadline);
        let start = self.start_at();
        [session, liveness, background, tokens, attempt, start].into_iter().flatten().min()
    }

    /// When an attempt is to be started.
    fn start_at(&self) -> Option<Instant> {
        if self.attempt.is_some() || !self.background.may_attempt() {
            return None;
        }
        let handover = self.handover.as_ref().map(|handover| handover.at);
        [self.probe_at(), handover, self.retry_at].into_iter().flatten().min()
    }

    /// Says goodbye, tells everybody who waits, and waits for the connections' tasks.
    async fn end(mut self) {
        self.leave();
        self.shared.session().fail_everything(&Error::Closed);
        self.save_the_rest().await;
        self.attempt = None;
        // Connections may be waiting to report to us.
        self.events.close();
        while self.events.try_recv().is_ok() {}
        let ended = tokio::time::timeout(LINKS_END, async {
            while self.links.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            self.links.shutdown().await;
        }
        self.shared.show(ClientState::Closed);
    }

    fn show(&self, state: ClientState) {
        self.shared.show(state);
    }
}

/// The wall clock, for what other machines are told.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Events of all connections of a client that wait for the driver; then they stop reading.
const LINK_EVENTS: usize = 256;
const EVENTS_PER_TURN: usize = 256;
/// How long closing connections may take before they are cut off.
const LINKS_END: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
