//! What comes down the link, on its way to the sessions of one worker.

use std::future::poll_fn;
use std::task::Poll;

use sterna_proto::{ChannelKey, Position};

use crate::config::Activities;
use crate::link::LinkPush;
use crate::vitals::trace::Step;
use crate::worker::Worker;
use crate::worker::incoming::Incoming;
use crate::worker::pass::Pass;

/// What is given to sessions before their connections get to write: a fraction of an outbox, of
/// its bytes and of its frames, since every push weighs something.
const BURST_BYTES: usize = 32 * 1024;

/// Pushes that are dealt with before the worker looks at its other duties.
const PUSHES_A_TURN: usize = 64;

impl Worker {
    /// Connections write once for what waits here together, but before it would fill an outbox.
    /// `burst`: what they were given since they had a turn at the latest.
    pub(super) async fn deliver_all(&self, incoming: &mut Incoming, burst: &mut usize) {
        let (mut pass, mut taken) = (Pass::default(), 0);
        while taken < PUSHES_A_TURN
            && let Some(push) = incoming.next()
        {
            let channel = push.channel();
            let reached = if matches!(push, LinkPush::Deliver { .. }) {
                pass.begin(push);
                let reached = self.deliver(channel, &mut pass, incoming, *burst).await;
                *burst += pass.weight();
                taken += pass.taken();
                reached
            } else {
                *burst += push.weight();
                taken += 1;
                self.tell(&push)
            };
            if reached == 0 {
                self.inner.link.detach(channel);
            }
            if *burst >= BURST_BYTES {
                let_write(burst).await;
            }
        }
    }

    /// Takes a [pass](Pass) over all that follow a channel; how many sessions are subscribed to it.
    ///
    /// Sessions come and go meanwhile. Who comes was let in behind what is on its way, since it joins
    /// before its owner is asked to let it in. Who comes out of the background is told then where the
    /// channel ends, which is noted before anybody is given anything (I5).
    async fn deliver(
        &self,
        channel: ChannelKey,
        pass: &mut Pass,
        incoming: &mut Incoming,
        burst: usize,
    ) -> usize {
        let node = &self.inner.node;
        let Activities { foreground_linger: linger, background_heads: period } =
            node.config().activities;
        let mut in_background = 0;
        loop {
            while pass.has_room(BURST_BYTES.saturating_sub(burst), PUSHES_A_TURN)
                && let Some(push) = incoming.next_of(channel)
            {
                pass.join(push);
            }
            {
                let mut table = self.inner.table.borrow_mut();
                for (head, count) in pass.newcomers().filter_map(end_of) {
                    in_background = table.withhold(&channel, head, count, period);
                }
                pass.look_at_followers(|followers| table.look_at_followers(&channel, followers));
                let (turn, run) = pass.turn();
                table.give(turn, linger, |session| {
                    for push in run.clone() {
                        if let LinkPush::Deliver { epoch, first, pushes, .. } = push {
                            session.handle_delivery(channel, *epoch, *first, pushes);
                        }
                    }
                });
            }
            let given = pass.followers();
            for push in pass.advance() {
                let LinkPush::Deliver { epoch, first, pushes, .. } = push else { continue };
                node.tally().on_delivered(given * pushes.len());
                let step = Step::Given { sessions: given };
                node.traces().note_delivery(channel, epoch, first, pushes.len(), step);
            }
            if pass.is_over() {
                return given + in_background;
            }
            let_woken_run().await;
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
