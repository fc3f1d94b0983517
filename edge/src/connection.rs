//! One connection from its first frame to its end. One local task each, started by the listeners;
//! joins a transport to a session of the core and decides nothing about a frame, except that access
//! tokens are checked here. Ends with a [`CloseReason`] that the client hears, or when the client or
//! its path has gone; the session then stays resumable.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use sterna_core::{Attachment, ConnectionInfo, Newcomer};
use sterna_proto::{CloseReason, ErrorCode, v1};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use crate::aside::Aside;
use crate::auth::AuthError;
use crate::listen::Admitted;
use crate::metrics::{self, Meter};
use crate::outward::Outward;
use crate::path::{PathVerdict, PathWatch};
use crate::transport::{End, Received, Receiver, Transport};
use crate::worker::WorkerContext;

/// Serves a connection whose Hello has to come before `hello_by`. `admitted`: its right to be there,
/// where nobody else holds that.
pub(crate) async fn serve(
    context: Rc<WorkerContext>,
    mut transport: Box<Transport>,
    admitted: Option<Admitted>,
    hello_by: Instant,
) {
    let meter = context.meter(transport.kind);
    let _active = Active::begin(meter);
    // Boxed, as is the end below: an idle session does not keep room for what it did once.
    let opening = Box::pin(open_session(&context, &mut transport, hello_by, meter));
    let opened = Box::pin(context.unless_closing(opening));
    let end = match opened.await.unwrap_or(Err(CloseReason::Drained.into())) {
        Ok(attachment) => {
            let session = attachment.session_id();
            tracing::debug!(%session, transport = transport.kind.name(), "session attached");
            let mut serving = Serving::new(&context, attachment, &mut transport, admitted);
            let end = serving.run().await;
            serving.on_end(end);
            tracing::debug!(%session, reason = end.name(), "session detached");
            end
        }
        Err(end) => end,
    };
    meter.closed(end.name());
    match end {
        End::Close(reason) => Box::pin(transport.close(reason)).await,
        End::ByClient => Box::pin(transport.close(CloseReason::Normal)).await,
        End::Idle | End::Lost => {}
    }
}

async fn open_session(
    context: &WorkerContext,
    transport: &mut Transport,
    hello_by: Instant,
    meter: &Meter,
) -> Result<Attachment, End> {
    let received = timeout_at(hello_by, transport.receiver.receive(meter))
        .await
        .map_err(|_| CloseReason::HelloTimeout)??;
    let (id, hello) = hello_of(received.frame)?;
    let access_token = hello.access_token.clone();
    let identity = context.check_fresh(&access_token).await.map_err(refusal)?;
    let info = ConnectionInfo {
        transport: transport.kind,
        remote: transport.receiver.path().0,
        encoding: transport.encoding,
        datagrams: transport.has_datagrams(),
    };
    // Whoever has a ticket comes back, or has been moved: it is not moved again.
    let better = hello.resume_ticket.is_empty().then(|| {
        let (remote, header) = (info.remote.ip(), transport.affinity);
        context.node.place(&Newcomer { remote, user: &identity.user, header })
    });
    let mut attachment = context.sessions.open(id, hello, identity, info).await?;
    // A revocation that came meanwhile has not met this session.
    if let Err(error) = context.check(&access_token) {
        attachment.forget();
        return Err(refusal(error).into());
    }
    transport.receiver.on_session_open();
    if let Some(successor) = better.flatten() {
        attachment.move_to(successor);
    }
    Ok(attachment)
}

fn refusal(error: AuthError) -> CloseReason {
    match error {
        AuthError::Expired => CloseReason::TokenExpired,
        AuthError::Invalid | AuthError::Later => CloseReason::Unauthorized,
    }
}

fn hello_of(frame: v1::Frame) -> Result<(u32, v1::Hello), CloseReason> {
    match frame.body {
        Some(v1::frame::Body::Command(v1::Command {
            id,
            verb: Some(v1::command::Verb::Hello(hello)),
        })) => Ok((id, hello)),
        _ => Err(CloseReason::ProtocolError),
    }
}

/// A connection with a session.
struct Serving<'a> {
    context: &'a WorkerContext,
    receiver: &'a mut Receiver,
    outward: Outward<'a>,
    admitted: Option<Admitted>,
    meter: &'a Meter,
    path: PathWatch,
}

// Lives for one turn of the loop, on the stack: a box would cost more than it saves.
#[allow(clippy::large_enum_variant)]
enum Event {
    Received(Received),
    Tick,
}

impl<'a> Serving<'a> {
    fn new(
        context: &'a WorkerContext,
        attachment: Attachment,
        transport: &'a mut Transport,
        admitted: Option<Admitted>,
    ) -> Self {
        let Transport { kind, receiver, sender, .. } = transport;
        let meter = context.meter(*kind);
        let changes = context.config.limits.path_changes_per_minute;
        let path = PathWatch::new(receiver.path().0, changes, Instant::now());
        let outward = Outward::new(attachment, sender, meter);
        Self { context, receiver, outward, admitted, meter, path }
    }

    async fn run(&mut self) -> End {
        let context = self.context;
        let aside = Aside::new();
        let mut closing = pin!(context.tasks.shutdown_started());
        let mut timer = pin!(sleep_until(Instant::now() + self.beat(TICK)));
        let blocked_beat = self.beat(BLOCKED_TICK);
        loop {
            // What was done in the last turn may have changed what is waited for.
            aside.mark();
            let event = {
                let Self { outward, receiver, meter, .. } = self;
                let apart = receiver.has_wakers_apart();
                let mut receiving = pin!(receiver.receive(meter));
                let turn = poll_fn(|cx| {
                    if let Poll::Ready(end) = outward.poll(cx) {
                        return Poll::Ready(Err(end));
                    }
                    if outward.is_blocked()
                        && look_again(timer.as_mut(), Instant::now() + blocked_beat)
                    {
                        aside.mark();
                    }
                    let marked = aside.take(cx);
                    if outward.attachment.is_ready() {
                        let mut apart_cx = aside.context();
                        let received = match (apart, marked) {
                            (false, _) => receiving.as_mut().poll(cx),
                            (true, true) => receiving.as_mut().poll(&mut apart_cx),
                            (true, false) => Poll::Pending,
                        };
                        if let Poll::Ready(received) = received {
                            return Poll::Ready(received.map(Event::Received));
                        }
                    } else if marked {
                        // What was received waits until the session takes it.
                        aside.mark();
                    }
                    if !marked {
                        return Poll::Pending;
                    }
                    let cx = &mut aside.context();
                    if closing.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Err(CloseReason::Drained.into()));
                    }
                    timer.as_mut().poll(cx).map(|()| Ok(Event::Tick))
                });
                turn.await
            };
            if let Err(end) = event.and_then(|event| self.on_event(event, timer.as_mut())) {
                return end;
            }
        }
    }

    fn on_event(&mut self, event: Event, timer: Pin<&mut Sleep>) -> Result<(), End> {
        self.outward.check_right()?;
        match event {
            Event::Received(received) => {
                self.handle_all(received)?;
                self.watch_path(timer)
            }
            Event::Tick => self.on_tick(timer),
        }
    }

    /// The frame, and those whose bytes came with it.
    fn handle_all(&mut self, first: Received) -> Result<(), End> {
        let mut next = Some(first);
        for _ in 0..FRAMES_A_TURN {
            let Some(received) = next else { break };
            self.meter.frames_in.increment(1);
            self.handle(received)?;
            if !self.is_ready() {
                break;
            }
            next = self.receiver.take_received()?;
        }
        Ok(())
    }

    fn handle(&mut self, received: Received) -> Result<(), End> {
        let Some(v1::frame::Body::Command(command)) = received.frame.body else {
            return Err(CloseReason::ProtocolError.into());
        };
        if let Some(stream) = received.reply_on
            && command.id != 0
        {
            self.outward.sender.expect_bulk_reply(command.id, stream);
        }
        match command.verb {
            Some(v1::command::Verb::Refresh(refresh)) => self.refresh(command.id, &refresh),
            _ => self.outward.attachment.handle(command).map_err(End::Close),
        }
    }

    fn refresh(&mut self, id: u32, refresh: &v1::Refresh) -> Result<(), End> {
        match self.context.check(&refresh.access_token) {
            Ok(identity) => self.outward.attachment.refresh(id, identity).map_err(End::Close),
            Err(error) => {
                let code = match error {
                    AuthError::Expired => ErrorCode::TokenExpired,
                    AuthError::Invalid => ErrorCode::Unauthorized,
                    AuthError::Later => ErrorCode::Unavailable,
                };
                self.outward.attachment.reject(id, v1::Error::new(code, error.to_string()));
                Ok(())
            }
        }
    }

    fn on_end(&self, end: End) {
        if end == End::ByClient {
            self.outward.attachment.on_left();
        }
    }

    fn is_ready(&self) -> bool {
        self.outward.attachment.is_ready()
    }

    fn on_tick(&mut self, mut timer: Pin<&mut Sleep>) -> Result<(), End> {
        let now = Instant::now();
        let tick = if self.outward.is_blocked() { BLOCKED_TICK } else { TICK };
        timer.as_mut().reset(now + self.beat(tick));
        if self.outward.is_stalled(self.context.node.config().slow_after) {
            return Err(CloseReason::Slow.into());
        }
        let idle_timeout = self.context.config.limits.idle_timeout;
        let heard = self.receiver.last_heard();
        if heard.is_some_and(|heard| now - heard >= idle_timeout) {
            return Err(CloseReason::IdleTimeout.into());
        }
        self.watch_path(timer)
    }

    fn watch_path(&mut self, timer: Pin<&mut Sleep>) -> Result<(), End> {
        let (remote, rtt) = self.receiver.path();
        match self.path.look(remote, rtt, Instant::now()) {
            PathVerdict::Unchanged => Ok(()),
            PathVerdict::Unconfirmed(confirmed_at) => {
                look_again(timer, confirmed_at);
                Ok(())
            }
            PathVerdict::TooOften => Err(CloseReason::Overloaded.into()),
            PathVerdict::Changed(remote, silence) => {
                let session = self.outward.attachment.session_id();
                tracing::info!(?session, "the client's path has changed");
                metrics::path_changed();
                if let Some(admitted) = &mut self.admitted {
                    let now = std::time::Instant::now();
                    admitted.move_to(remote.ip(), now).map_err(|_| CloseReason::Overloaded)?;
                }
                self.outward.attachment.on_path_changed(remote, silence);
                Ok(())
            }
        }
    }

    /// How often slowness, silence and the path are looked at, and the right to the session while
    /// the outbox does not tell of it: `tick`, or more often where the limits are short.
    fn beat(&self, tick: Duration) -> Duration {
        let slow_after = self.context.node.config().slow_after;
        tick.min(slow_after / 4).min(self.context.config.limits.idle_timeout / 4)
    }
}

/// False: it was going to be looked at before.
fn look_again(timer: Pin<&mut Sleep>, at: Instant) -> bool {
    let earlier = at < timer.deadline();
    if earlier {
        timer.reset(at);
    }
    earlier
}

/// Counts a connection while it lives.
struct Active<'a>(&'a ::metrics::Gauge);

impl<'a> Active<'a> {
    fn begin(meter: &'a Meter) -> Self {
        meter.connections.increment(1);
        Self(&meter.connections)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// Frames handled before the connection looks at its other duties.
const FRAMES_A_TURN: usize = 256;

const TICK: Duration = Duration::from_secs(5);

/// A revoked session stops within 5 s (I11), of which closing may take some.
const BLOCKED_TICK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// What an idle session costs is mostly this.
    #[test]
    fn the_task_of_a_connection_stays_small() {
        let size = size_of_future(serve);
        assert!(size <= 1200, "{size} bytes");
    }

    fn size_of_future<A, B, C, D, F: Future>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }
}
