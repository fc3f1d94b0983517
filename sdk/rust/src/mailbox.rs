//! Between the session and one subscription's reader: a bounded queue of events. Publications
//! are only put in while there is room (the session stops taking them otherwise and recovers them
//! later), what has no position is dropped and counted, states replace each other.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use sterna_proto::Position;

use crate::event::{Event, SubscriptionState};
use crate::options::RECEIVE_QUEUE_EVENTS;

#[derive(Debug)]
pub(crate) struct Mailbox {
    queue: Mutex<Queue>,
    reader: AtomicWaker,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    missed: u64,
    /// Where the reader stands: what it has taken, not what has arrived.
    position: Option<Position>,
    ended: bool,
    /// Somebody stopped for want of room and wants to hear of some.
    stalled: bool,
}

/// What taking an event means for the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Event,
    /// There is room again for a session that had stopped.
    RoomAgain,
}

impl Mailbox {
    pub(crate) fn new(position: Option<Position>) -> Self {
        let queue = Queue { position, ..Queue::default() };
        Self { queue: Mutex::new(queue), reader: AtomicWaker::new() }
    }

    /// How many publications may be put in. Asking while there are few leaves word that the
    /// session waits for room.
    pub(crate) fn room(&self) -> usize {
        let mut queue = self.queue();
        let room = RECEIVE_QUEUE_EVENTS.saturating_sub(queue.events.len());
        queue.stalled = room < ROOM_TO_GO_ON;
        room
    }

    pub(crate) fn put(&self, events: impl IntoIterator<Item = Event>) {
        {
            let mut queue = self.queue();
            events.into_iter().for_each(|event| queue.put(event));
        }
        self.reader.wake();
    }

    /// Nothing follows what is in the queue.
    pub(crate) fn end(&self) {
        self.queue().ended = true;
        self.reader.wake();
    }

    pub(crate) fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<(Event, Taken)>> {
        self.reader.register(cx.waker());
        let mut queue = self.queue();
        let Some(event) = queue.take() else {
            return if queue.ended { Poll::Ready(None) } else { Poll::Pending };
        };
        let room = RECEIVE_QUEUE_EVENTS.saturating_sub(queue.events.len());
        if queue.stalled && room >= ROOM_TO_GO_ON {
            queue.stalled = false;
            return Poll::Ready(Some((event, Taken::RoomAgain)));
        }
        Poll::Ready(Some((event, Taken::Event)))
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.queue().position
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn put(&mut self, event: Event) {
        let full = self.events.len() >= RECEIVE_QUEUE_EVENTS;
        match event {
            Event::Presence(_) | Event::PresenceGap | Event::Receipt(_) | Event::Ephemeral(_)
                if full =>
            {
                self.missed += 1;
            }
            Event::State(_) if matches!(self.events.back(), Some(Event::State(_))) => {
                self.events.pop_back();
                self.events.push_back(event);
            }
            Event::Head { .. } if matches!(self.events.back(), Some(Event::Head { .. })) => {
                self.events.pop_back();
                self.events.push_back(event);
            }
            Event::State(SubscriptionState::Subscribing) | Event::Recovered { .. } if full => {}
            event => self.events.push_back(event),
        }
    }

    fn take(&mut self) -> Option<Event> {
        if self.missed > 0 {
            let missed = std::mem::take(&mut self.missed);
            return Some(Event::Lagged { missed });
        }
        let event = self.events.pop_front()?;
        match &event {
            Event::Publication(publication) => self.position = Some(publication.position),
            Event::State(SubscriptionState::Subscribed { position, .. }) => {
                self.position = Some(*position);
            }
            Event::Gap { epoch, upto, .. } => {
                self.position = Some(Position { epoch: *epoch, offset: *upto });
            }
            Event::EpochChanged { new, keep_upto, .. } => {
                let offset = self.position.map_or(*keep_upto, |own| own.offset.min(*keep_upto));
                self.position = Some(Position { epoch: *new, offset });
            }
            _ => {}
        }
        Some(event)
    }
}

/// A session that stopped goes on when half of the queue is free: fewer would make many small
/// pages of recovery.
pub(crate) const ROOM_TO_GO_ON: usize = RECEIVE_QUEUE_EVENTS / 2;

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::task::noop_waker;
    use sterna_proto::v1;

    fn publication(offset: u64) -> Event {
        let publication = v1::Publication { epoch: 1, offset, ..v1::Publication::default() };
        Event::Publication(publication.into())
    }

    fn take(mailbox: &Mailbox) -> Option<(Event, Taken)> {
        match mailbox.poll_take(&Context::from_waker(&noop_waker())) {
            Poll::Ready(taken) => taken,
            Poll::Pending => None,
        }
    }

    #[test]
    fn room_is_reported_once_half_of_the_queue_is_free() {
        let mailbox = Mailbox::new(None);
        mailbox.put((1..=RECEIVE_QUEUE_EVENTS as u64).map(publication));
        assert_eq!(mailbox.room(), 0);
        let again: Vec<usize> = (0..RECEIVE_QUEUE_EVENTS)
            .filter(|_| matches!(take(&mailbox), Some((_, Taken::RoomAgain))))
            .collect();
        assert_eq!(again, [ROOM_TO_GO_ON - 1]);
        assert_eq!(mailbox.position(), Some(Position::new(1, RECEIVE_QUEUE_EVENTS as u64)));
    }

    #[test]
    fn what_has_no_position_is_dropped_and_counted_when_full() {
        let mailbox = Mailbox::new(None);
        mailbox.put((1..=RECEIVE_QUEUE_EVENTS as u64).map(publication));
        mailbox.put((0..3).map(|_| Event::Ephemeral(v1::Ephemeral::default())));
        assert_eq!(take(&mailbox).unwrap().0, Event::Lagged { missed: 3 });
        assert_eq!(take(&mailbox).unwrap().0, publication(1));
    }
}
