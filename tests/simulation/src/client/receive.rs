//! What a client makes of the frames that reach it.

use std::time::Duration;

use sterna_proto::v1::{self, frame::Body, push::Event, reply::Result as Reply};
use sterna_proto::{Offset, Position};
use tokio::time::Instant;

use super::{Client, State};
use crate::history::{At, Item, Page, What};
use crate::store::user_number;

/// Pause before a subscription that was refused is asked for again.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(300);

impl Client {
    pub(super) fn handle(&self, frame: v1::Frame) {
        let mut state = self.state.borrow_mut();
        match frame.body {
            Some(Body::Reply(v1::Reply { id, result: Some(result) })) => {
                self.handle_reply(&mut state, id, result);
            }
            Some(Body::Push(v1::Push { event: Some(event) })) => {
                self.handle_push(&mut state, event)
            }
            _ => self.book.note(What::Wrong("a frame without content".into())),
        }
    }

    fn handle_reply(&self, state: &mut State, id: u32, result: Reply) {
        match result {
            Reply::Welcome(welcome) => {
                state.ticket = welcome.resume_ticket.to_vec();
                if !welcome.resumed {
                    state.places.iter_mut().for_each(|place| place.watch.on_gap());
                }
            }
            Reply::Presence(list) => self.on_listed(state, id, &list),
            Reply::Published(published) => self.on_published(state, id, &published),
            Reply::Subscribed(page) => self.on_page(state, id, page),
            Reply::History(page) => self.on_history(state, id, &page),
            Reply::Done(_) => self.on_said(state, id),
            Reply::Error(error) => self.on_error(state, id, &error),
            _ => {}
        }
    }

    fn handle_push(&self, state: &mut State, event: Event) {
        match event {
            Event::Publication(publication) => {
                let at = self.at(state, self.names.index(&publication.channel));
                let item = Item::from(&publication);
                self.book.note(What::Pushed { at, item });
                self.on_pushed(state, at.channel, item);
            }
            Event::Subscribed(page) => self.on_page(state, 0, page),
            Event::Gap(gap) => {
                let at = self.at(state, self.names.index(&gap.channel));
                let (after, upto) = (gap.after_offset, gap.upto_offset);
                self.book.note(What::Gap { at, after, upto });
                if !state.places[at.channel].closeness.is_background() {
                    self.ask(state, at.channel, Duration::ZERO);
                }
            }
            Event::Head(head) => {
                let at = self.at(state, self.names.index(&head.channel));
                self.book.note(What::Head { at, offset: head.offset });
                let place = &state.places[at.channel];
                if head.offset > place.position.offset.0 && !place.closeness.is_background() {
                    self.ask(state, at.channel, Duration::ZERO);
                }
            }
            Event::Receipt(receipt) => self.book.note(What::Receipt {
                client: self.number,
                channel: self.names.index(&receipt.channel),
                user: user_number(&receipt.user),
                delivered: receipt.delivered_offset,
                read: receipt.read_offset,
            }),
            Event::GoAway(_) => self.leaving.set(true),
            Event::Unsubscribed(ended) => {
                let channel = self.names.index(&ended.channel);
                state.places[channel].live = false;
                state.places[channel].watch.on_left();
                self.ask(state, channel, ASK_AGAIN);
            }
            Event::Presence(change) => {
                let place = &mut state.places[self.names.index(&change.channel)];
                change.member.iter().for_each(|member| place.watch.on_change(member));
            }
            Event::PresenceGap(gap) => {
                let at = self.at(state, self.names.index(&gap.channel));
                self.book.note(What::PresenceGap { at });
                state.places[at.channel].watch.on_gap();
            }
            Event::Ephemeral(_) | Event::PathChanged(_) | Event::InboxTouched(_) => {}
        }
    }

    fn on_published(&self, state: &mut State, id: u32, published: &v1::Published) {
        let Some(entry) = state.outbox.on_settled(id) else { return };
        let position = Position::new(published.epoch, published.offset);
        let (channel, text, duplicate) = (entry.channel, entry.text, published.duplicate);
        self.book.note(What::Acked { channel, text, position, duplicate });
    }

    fn on_error(&self, state: &mut State, id: u32, error: &v1::Error) {
        if let Some(channel) = state.places.iter().position(|place| place.is_asked(id)) {
            return self.on_refused(state, channel, id);
        }
        if self.on_list_refused(state, id) || self.on_unsaid(state, id, error) {
            return;
        }
        let now = Instant::now();
        let (code, retryable) = (error.code, error.retryable);
        let pause = Duration::from_millis(u64::from(error.retry_after_ms.max(20)));
        let settled;
        let entry = if retryable {
            state.outbox.on_refused(id, pause, now)
        } else {
            settled = state.outbox.on_settled(id);
            settled.as_ref()
        };
        if let Some(entry) = entry {
            let (channel, text, attempt) = (entry.channel, entry.text, entry.attempt);
            self.book.note(What::Refused { channel, text, attempt, code, retryable });
        }
    }

    fn on_refused(&self, state: &mut State, channel: usize, id: u32) {
        state.places[channel].take_asked(id);
        state.places[channel].watch.on_left();
        self.ask(state, channel, ASK_AGAIN);
    }

    /// Asks for what is missing, unless that is under way.
    pub(super) fn ask(&self, state: &mut State, channel: usize, pause: Duration) {
        let place = &mut state.places[channel];
        place.live = false;
        if place.asked.is_empty() {
            place.ask_at.get_or_insert(Instant::now() + pause);
        }
    }

    fn on_page(&self, state: &mut State, id: u32, page: v1::Subscribed) {
        let channel = self.names.index(&page.channel);
        if page.error.is_some() {
            return self.on_refused(state, channel, id);
        }
        let at = self.at(state, channel);
        let Some(asked) = state.places[channel].take_asked(id) else {
            return self.book.note(What::Wrong(format!("{at:?}: a page that nobody asked for")));
        };
        if !asked.in_background {
            self.on_known(state, channel);
        }
        state.places[channel].watch.on_attached();
        let items: Vec<Item> = page.publications.iter().map(Item::from).collect();
        let position: Position = page.position.unwrap_or_default().into();
        let seen = Page {
            since: asked.since,
            position,
            items: items.clone(),
            live: page.live,
            head: page.head_offset,
            gap: page.gap.as_ref().map(|gap| (gap.after_offset, gap.upto_offset)),
            keep_upto: page.epoch_change.map(|change| change.keep_upto),
        };
        if let Some(upto) = seen.keep_upto {
            let client = self.number;
            self.book.note(What::Rewound { client, channel, upto });
            let place = &mut state.places[channel].position;
            place.offset = Offset(upto).min(place.offset);
        }
        let (live, named) = (seen.live, seen.gap);
        self.book.note(What::Page { at, page: seen });
        if let Some((_, upto)) = named {
            state.places[channel].position.offset = Offset(upto);
        }
        items.into_iter().for_each(|item| self.take(state, channel, item));
        if position.offset == state.places[channel].position.offset {
            state.places[channel].position = position;
        }
        state.places[channel].live = live;
        if !live {
            self.ask(state, channel, Duration::ZERO);
        }
    }

    fn on_pushed(&self, state: &mut State, channel: usize, item: Item) {
        if item.position.offset > state.places[channel].position.offset.next() {
            return self.ask(state, channel, Duration::ZERO);
        }
        self.take(state, channel, item);
    }

    /// Gives the application what follows; what it has is a duplicate, and what lies further on is
    /// asked for.
    fn take(&self, state: &mut State, channel: usize, item: Item) {
        let place = &mut state.places[channel];
        if item.position.offset != place.position.offset.next() {
            return;
        }
        place.position = item.position;
        let (client, position, text) = (self.number, item.position, item.text);
        self.book.note(What::Delivered { client, channel, position, text });
    }

    fn on_history(&self, state: &mut State, id: u32, page: &v1::HistoryPage) {
        let Some(at) = state.histories.iter().position(|asked| asked.0 == id) else { return };
        let (_, channel, since) = state.histories.swap_remove(at);
        // Of a history that was replaced, the next page of the subscription tells.
        if page.epoch_change.is_none() {
            let items = page.publications.iter().map(Item::from).collect();
            self.book.note(What::History { channel, since, items, more: page.more });
        }
    }

    fn at(&self, state: &State, channel: usize) -> At {
        At { client: self.number, connection: state.connection, channel }
    }
}
