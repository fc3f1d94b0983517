//! A client that behaves: it keeps one position a channel, asks when it is behind, and notices
//! whatever a session may never do.

use std::collections::HashMap;

use sterna_core::Outgoing;
use sterna_core::session::OutgoingBody;
use sterna_proto::v1::{self, command, frame::Body, push::Event, reply};

use crate::session::{CHANNELS, name};

/// What the client thinks of one channel.
#[derive(Debug, Default, Clone, Copy)]
struct Place {
    position: u64,
    /// It has asked for this channel and not been refused since.
    subscribed: bool,
    /// Publications follow without asking.
    live: bool,
    /// The command that was asked last; 0 is the Hello.
    asked: Option<u32>,
    /// An owner has been asked.
    started: bool,
}

#[derive(Debug)]
pub(crate) struct Client {
    ids: u32,
    places: [Place; CHANNELS as usize],
    /// Commands without an answer, and the channel of a subscription.
    open: HashMap<u32, Option<u8>>,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self { ids: 0, places: Default::default(), open: HashMap::new() }
    }

    pub(crate) fn next_id(&mut self) -> u32 {
        self.ids += 1;
        self.open.insert(self.ids, None);
        self.ids
    }

    pub(crate) fn subscribe_in_hello(&mut self, channel: u8) -> v1::Subscribe {
        let place = &mut self.places[usize::from(channel)];
        (place.subscribed, place.asked) = (true, Some(0));
        subscribe(channel, 0)
    }

    /// The next question for a channel that is not live; `None` while an answer is owed.
    pub(crate) fn ask(&mut self, channel: u8) -> Option<v1::Command> {
        let id = self.ids + 1;
        let place = &mut self.places[usize::from(channel)];
        if place.live || place.asked.is_some() {
            return None;
        }
        (place.subscribed, place.asked, place.started) = (true, Some(id), false);
        let verb = command::Verb::Subscribe(subscribe(channel, place.position));
        self.ids = id;
        self.open.insert(id, Some(channel));
        Some(v1::Command { id, verb: Some(verb) })
    }

    pub(crate) fn unsubscribe(&mut self, channel: u8) -> v1::Command {
        let place = &mut self.places[usize::from(channel)];
        *place = Place { position: place.position, ..Place::default() };
        self.command(command::Verb::Unsubscribe(v1::Unsubscribe { channel: name(channel) }))
    }

    pub(crate) fn command(&mut self, verb: command::Verb) -> v1::Command {
        v1::Command { id: self.next_id(), verb: Some(verb) }
    }

    /// What it has asked for a channel is on its way to the owner.
    pub(crate) fn on_started(&mut self, channel: &str) {
        self.place(channel).started = true;
    }

    /// I11: from now on nothing of the channel may come, unless an owner looks at the right to it
    /// again, which it does where a question has waited for its turn.
    pub(crate) fn on_evicted(&mut self, channel: u8) {
        let place = &mut self.places[usize::from(channel)];
        let is_asked_anew = place.asked.is_some_and(|id| id > 0) && !place.started;
        (place.subscribed, place.live) = (is_asked_anew, false);
        // The answer to the Hello no longer names the channel.
        place.asked = place.asked.filter(|id| *id > 0);
    }

    pub(crate) fn is_publication(outgoing: &Outgoing) -> bool {
        matches!(event(outgoing), Some(Event::Publication(_)))
    }

    pub(crate) fn hear(&mut self, outgoing: &Outgoing) {
        if let Some(event) = event(outgoing) {
            return self.hear_push(event);
        }
        let OutgoingBody::Own(frame) = &outgoing.body else { panic!("only pushes are shared") };
        let Some(Body::Reply(reply)) = &frame.body else { panic!("{frame:?}") };
        let channel = self.open.remove(&reply.id);
        let channel = channel.unwrap_or_else(|| panic!("nobody asked {}", reply.id));
        if let (Some(channel), Some(result)) = (channel, &reply.result) {
            self.hear_answer(channel, reply.id, result);
        }
    }

    fn hear_answer(&mut self, channel: u8, id: u32, result: &reply::Result) {
        let place = &mut self.places[usize::from(channel)];
        if place.asked != Some(id) {
            // Said before an Unsubscribe or an eviction: nothing of it counts but that nothing follows.
            if let reply::Result::Subscribed(page) = result {
                place.live &= page.live;
            }
            return;
        }
        place.asked = None;
        match result {
            reply::Result::Subscribed(page) => place.take_page(page),
            reply::Result::Error(error) if !error.retryable => place.subscribed = false,
            reply::Result::Error(_) => {}
            other => panic!("{other:?}"),
        }
    }

    fn hear_push(&mut self, event: &Event) {
        match event {
            Event::Publication(publication) => {
                let place = self.place(&publication.channel);
                assert!(place.subscribed && place.live, "{publication:?} for {place:?}");
                assert_eq!(publication.offset, place.position + 1, "a hole or a double");
                place.position += 1;
            }
            Event::Gap(gap) => {
                let place = self.place(&gap.channel);
                assert!(gap.upto_offset >= gap.after_offset);
                if place.live {
                    assert_eq!(gap.after_offset, place.position, "the gap begins where it stands");
                }
                place.live = false;
            }
            Event::Subscribed(page) => {
                // Of the Hello; without a channel it was unsubscribed meanwhile.
                if page.channel.is_empty() {
                    return;
                }
                let place = self.place(&page.channel);
                if place.asked == Some(0) {
                    place.asked = None;
                    match &page.error {
                        None => place.take_page(page),
                        Some(error) if !error.retryable => place.subscribed = false,
                        Some(_) => {}
                    }
                }
            }
            Event::Unsubscribed(ended) => {
                // Told of evictions already, it may have asked again since.
                let place = self.place(&ended.channel);
                place.live = false;
                place.subscribed &= place.asked.is_some();
            }
            Event::Head(_) | Event::Ephemeral(_) => {}
            other => panic!("{other:?}"),
        }
    }

    fn place(&mut self, channel: &str) -> &mut Place {
        let n = (0..CHANNELS).find(|n| name(*n) == channel);
        let n = n.unwrap_or_else(|| panic!("{channel} was never asked for"));
        &mut self.places[usize::from(n)]
    }

    /// Every command has had its one answer.
    pub(crate) fn check_all_answered(&self) {
        assert_eq!(self.open, HashMap::new());
    }

    /// I5: nothing is missing.
    pub(crate) fn check_complete(&self, channel: u8, head: u64) {
        let place = &self.places[usize::from(channel)];
        assert!(place.live, "{channel} is not live: {place:?}");
        assert_eq!(place.position, head, "{channel}: {place:?}");
    }
}

impl Place {
    fn take_page(&mut self, page: &v1::Subscribed) {
        let position = page.position.unwrap().offset;
        assert!(position >= self.position, "a page does not go back");
        self.position = position;
        self.live = page.live && self.subscribed;
    }
}

fn subscribe(channel: u8, offset: u64) -> v1::Subscribe {
    let since = Some(v1::Position { epoch: u32::from(offset > 0), offset });
    v1::Subscribe { channel: name(channel), since, presence: true, ..Default::default() }
}

fn event(outgoing: &Outgoing) -> Option<&Event> {
    let frame = match &outgoing.body {
        OutgoingBody::Own(frame) => frame,
        OutgoingBody::Shared(push) => push.frame(),
    };
    match &frame.body {
        Some(Body::Push(push)) => push.event.as_ref(),
        _ => None,
    }
}
