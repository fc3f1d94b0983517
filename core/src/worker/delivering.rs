//! What comes down the link, on its way to the sessions of one worker.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use sterna_proto::Position;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::Activities;
use crate::link::LinkPush;
use crate::vitals::trace::Step;
use crate::worker::pass::{BURST_BYTES, Pass, Passes};
use crate::worker::{Inputs, Worker, WorkerControl};

/// Pushes that are taken before the worker looks at its other duties, and for how long they are.
const PUSHES_A_TURN: usize = 64;
const TURN: Duration = Duration::from_millis(100);

/// Turns of passes until those are looked at, too, that other threads have woken, and sockets.
const TURNS_AT_ONCE: u32 = 4;

/// Of what others ask of the worker, between two turns.
const CONTROLS_A_TURN: usize = 16;

impl Worker {
    /// Connections write once for what waits here together, but before it would fill an outbox. What
    /// many sessions follow goes round among them in [passes](Pass), between whose turns the rest is
    /// given at once, and what others ask of the worker is done (I11): whether anything was asked.
    /// `burst`: what was given since connections had a turn at the latest.
    pub(super) async fn deliver_all(&self, inputs: &mut Inputs, burst: &mut usize) -> bool {
        let (mut passes, mut taken, began) = (Passes::default(), 0, Instant::now());
        let (mut turns, mut asked) = (0_u32, false);
        loop {
            while taken < PUSHES_A_TURN
                && began.elapsed() < TURN
                && let Some(push) = inputs.pushes.next()
            {
                taken += 1;
                *burst += push.weight();
                self.take(push, &mut passes);
                if *burst >= BURST_BYTES {
                    let_write(burst).await;
                }
            }
            let Some(mut pass) = passes.next() else { return asked };
            self.give_turn(&mut pass);
            inputs.pushes.again(passes.put_back(pass));
            if passes.is_empty() {
                continue;
            }
            turns += 1;
            if turns.is_multiple_of(TURNS_AT_ONCE) {
                tokio::task::yield_now().await;
            } else {
                let_woken_run().await;
            }
            asked |= self.obey(&mut inputs.control);
        }
    }

    /// Does what was asked of this worker meanwhile; whether it was anything.
    fn obey(&self, control: &mut mpsc::Receiver<WorkerControl>) -> bool {
        let mut asked = false;
        for _ in 0..CONTROLS_A_TURN {
            let Ok(control) = control.try_recv() else { break };
            self.handle_control(control);
            asked = true;
        }
        asked
    }

    /// Gives a push to those whom it concerns, or, where those are many, lets it go round.
    fn take(&self, push: LinkPush, passes: &mut Passes) {
        let channel = push.channel();
        if let Some(pass) = passes.of(channel) {
            return pass.follow(push);
        }
        let reached = if matches!(push, LinkPush::Deliver { .. }) {
            let mut pass = Pass::begin(push);
            let reached = self.note(&mut pass);
            if pass.is_long() {
                passes.add(pass);
            } else {
                self.give_turn(&mut pass);
            }
            reached
        } else {
            self.tell(&push)
        };
        if reached == 0 {
            self.inner.link.detach(channel);
        }
    }

    /// Looks at who follows a channel if something has joined its pass; how many are subscribed.
    ///
    /// Sessions come and go between turns. Who comes was let in behind what is on its way, since it
    /// joins before its owner is asked to let it in. Who comes out of the background is told then where
    /// the channel ends, which is noted before anybody is given anything (I5).
    fn note(&self, pass: &mut Pass) -> usize {
        let period = self.inner.node.config().activities.background_heads;
        let (channel, mut in_background) = (pass.channel, 0);
        let mut table = self.inner.table.borrow_mut();
        for (head, count) in pass.newcomers().filter_map(end_of) {
            in_background = table.withhold(&channel, head, count, period);
        }
        pass.look_at_followers(|followers| table.look_at_followers(&channel, followers));
        pass.followers() + in_background
    }

    /// One turn of a pass.
    fn give_turn(&self, pass: &mut Pass) {
        self.note(pass);
        let (node, channel) = (&self.inner.node, pass.channel);
        let linger = node.config().activities.foreground_linger;
        let (turn, run) = pass.turn();
        let publications = run.iter().map(|on_its_way| publications_of(&on_its_way.push)).sum();
        self.inner.table.borrow_mut().give(turn, linger, |session| {
            session.expect_deliveries(publications);
            for on_its_way in run {
                if let LinkPush::Deliver { epoch, first, pushes, .. } = &on_its_way.push {
                    session.handle_delivery(channel, *epoch, *first, pushes);
                }
            }
        });
        let given = pass.followers();
        for push in pass.advance() {
            let LinkPush::Deliver { epoch, first, pushes, .. } = push else { continue };
            node.tally().on_delivered(given * pushes.len());
            let step = Step::Given { sessions: given };
            node.traces().note_delivery(channel, epoch, first, pushes.len(), step);
        }
    }

    /// Says to all whom it concerns what is no publication; how many sessions those are.
    fn tell(&self, push: &LinkPush) -> usize {
        let mut table = self.inner.table.borrow_mut();
        let Activities { foreground_linger: linger, background_heads: period } =
            self.inner.node.config().activities;
        match push {
            // Has a pass of its own.
            LinkPush::Deliver { channel, .. } => table.listening(channel),
            // Nobody looks in the background: what has no position is dropped by its meaning.
            LinkPush::Event { channel, audience, push } => {
                table.for_following(channel, linger, |session| {
                    session.handle_event(*channel, audience, push);
                });
                table.listening(channel)
            }
            LinkPush::Head { channel, head } => {
                let given = table.for_following(channel, linger, |session| {
                    session.handle_head(*channel, *head);
                });
                given + table.withhold(channel, *head, 0, period)
            }
            LinkPush::Evict { channel, user, at, error } => {
                table.for_subscribed(channel, |session| {
                    session.handle_evict(*channel, user, *at, error);
                })
            }
            LinkPush::Moved { channel } => {
                table.for_subscribed(channel, |session| session.handle_moved(*channel))
            }
        }
    }
}

/// Where a channel ends after these publications, and how many they are.
fn end_of(push: &LinkPush) -> Option<(Position, usize)> {
    let LinkPush::Deliver { epoch, first, pushes, .. } = push else { return None };
    let last = first.0 + (pushes.len() as u64).saturating_sub(1);
    Some((Position::new(*epoch, last), pushes.len()))
}

fn publications_of(push: &LinkPush) -> usize {
    end_of(push).map_or(0, |(_, publications)| publications)
}

/// Gives connections a turn, and whoever has something to read.
pub(super) async fn let_write(burst: &mut usize) {
    tokio::task::yield_now().await;
    *burst = 0;
}

/// Gives a turn to those that were woken before this, without asking the system what there is to read.
async fn let_woken_run() {
    let mut had_turn = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut had_turn, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
