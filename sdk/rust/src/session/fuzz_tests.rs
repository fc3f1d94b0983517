//! Fuzz target of the session: a server that says anything, a user who does anything, and a clock
//! that only goes forward.

use std::task::{Context, Poll};

use sterna_fuzz::{Script, check};
use sterna_proto::v1::{frame::Body, push, reply};
use sterna_proto::{ErrorCode, Position, codec};

use super::*;
use crate::event::SubscriptionState;
use crate::options::{Activity, RECEIVE_QUEUE_EVENTS, Transport};

/// I12, I13: whatever the server says, each publication reaches the reader once and in order, what
/// is missing is named, and everything that waits is bounded.
#[test]
fn fuzz_sdk_session() {
    check!("sdk_session", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        let mut world = World::new();
        for _ in 0..STEPS {
            let Some(step) = script.step() else { break };
            world.step(step, &mut script);
            world.check_bounds();
        }
        world.session.fail_everything(&Error::Closed);
        (0..CHANNELS).for_each(|n| world.read(n));
        assert!(world.session.poll_command(world.now).is_empty());
    });
}

const STEPS: usize = 300;
const CHANNELS: u8 = 3;
const OUTBOX: usize = 5;
const TIMEOUT: Duration = Duration::from_secs(10);

struct World {
    session: Session,
    now: Instant,
    /// Ids that the session has used, the newest last.
    ids: Vec<u32>,
    readers: Vec<Reader>,
}

#[derive(Default)]
struct Reader {
    mailbox: Option<Arc<Mailbox>>,
    /// Where the reader was told that it stands; `None`: nowhere yet.
    position: Option<Position>,
}

impl World {
    fn new() -> Self {
        let limits = OutboxLimits { publications: OUTBOX, ..OutboxLimits::default() };
        let session = Session::new("phone".into(), String::new(), limits, 1, false, TIMEOUT);
        let readers = (0..CHANNELS).map(|_| Reader::default()).collect();
        Self { session, now: Instant::now(), ids: Vec::new(), readers }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        let n = script.below(CHANNELS);
        match step % 16 {
            0 => self.connect(script),
            1 => self.subscribe(n, script),
            2 => self.leave(n),
            3 => self.publish(n, script),
            4 => self.poll(),
            5..=8 => self.hear_reply(n, script),
            9..=11 => {
                let event = event(n, script);
                self.session.handle_frame(v1::Frame::push(event), self.now);
            }
            12 => self.hear_anything(script),
            13 => {
                self.now += Duration::from_millis(u64::from(script.byte()) * 100);
                self.session.handle_timeout(self.now);
            }
            14 => self.read(n),
            _ => self.disturb(n, script),
        }
    }

    fn connect(&mut self, script: &mut Script<'_>) {
        let (greeting, _) = self.session.hello("token".into());
        self.ids.push(greeting.id);
        let limits = v1::Limits { payload_bytes: script.byte().into(), ..v1::Limits::default() };
        let welcome = v1::Welcome { limits: Some(limits), ..v1::Welcome::default() };
        self.session.handle_welcome(greeting, welcome, Transport::WebSocket, self.now);
    }

    fn subscribe(&mut self, n: u8, script: &mut Script<'_>) {
        let from = match script.below(3) {
            0 => Subscribe::latest(),
            1 => Subscribe::earliest(),
            _ => Subscribe::after(position(script)),
        };
        if let Ok(mailbox) = self.session.subscribe(&channel(n), from) {
            let position = mailbox.position();
            self.readers[usize::from(n)] = Reader { mailbox: Some(mailbox), position };
        }
    }

    fn leave(&mut self, n: u8) {
        if let Some(mailbox) = &self.readers[usize::from(n)].mailbox {
            self.session.unsubscribe(&channel(n), &mailbox.clone());
        }
    }

    fn publish(&mut self, n: u8, script: &mut Script<'_>) {
        let payload = script.bytes(40).to_vec().into();
        let publish =
            v1::Publish { channel: channel(n).to_string(), payload, ..Default::default() };
        let (tag, _) = watch::channel(SendState::Queued);
        self.session.publish(channel(n), publish, tag);
    }

    fn poll(&mut self) {
        let mut questions = 0;
        for (_, command) in self.session.poll_command(self.now) {
            questions += usize::from(matches!(command.verb, Some(Verb::Subscribe(_))));
            if command.id > 0 {
                assert!(!self.ids.contains(&command.id), "an id is used once");
                self.ids.push(command.id);
            }
        }
        assert!(questions <= polling::IN_FLIGHT_SUBSCRIBES);
        assert!(self.session.in_flight.activities() <= activity::IN_FLIGHT_ACTIVITIES);
    }

    fn hear_reply(&mut self, n: u8, script: &mut Script<'_>) {
        let back = usize::from(script.below(12));
        let id = self.ids.iter().rev().nth(back).copied().unwrap_or(back as u32);
        let result = match script.below(8) {
            0..=3 => reply::Result::Subscribed(subscribed(n, script)),
            4 => reply::Result::Published(v1::Published {
                offset: script.number(),
                ..v1::Published::default()
            }),
            5 => reply::Result::Done(v1::Done {}),
            6 => reply::Result::Error(error(script)),
            _ => reply::Result::Pong(v1::Pong::default()),
        };
        self.session.handle_frame(v1::Frame::reply(id, result), self.now);
    }

    /// Any bytes that are a frame.
    fn hear_anything(&mut self, script: &mut Script<'_>) {
        if let Ok(frame) = codec::decode_datagram(Bytes::copy_from_slice(script.bytes(120))) {
            // What the session knows of a command's id is as good as any.
            let frame = match (frame.body, self.ids.last()) {
                (Some(Body::Reply(reply)), Some(id)) if script.flag() => {
                    v1::Frame { body: Some(Body::Reply(v1::Reply { id: *id, ..reply })) }
                }
                (body, _) => v1::Frame { body },
            };
            self.session.handle_frame(frame, self.now);
        }
    }

    fn disturb(&mut self, n: u8, script: &mut Script<'_>) {
        match script.below(7) {
            5 | 6 => self.follow(n, script),
            0 => self.session.handle_disconnected(),
            1 => self.session.handle_pushes_lost(),
            2 => {
                let command = self.session.ping(self.now, 0);
                self.ids.push(command.id);
            }
            3 => {
                let ephemeral =
                    v1::Ephemeral { channel: channel(n).to_string(), ..Default::default() };
                drop(self.session.send_ephemeral(ephemeral));
            }
            _ => {
                let query = v1::PresenceQuery { channel: channel(n).to_string() };
                drop(self.session.call(Verb::Presence(query), self.now));
            }
        }
    }

    /// The application looks at a channel, or at something else.
    fn follow(&mut self, n: u8, script: &mut Script<'_>) {
        let classes = [Activity::Active, Activity::Foreground, Activity::Background];
        let activity = classes[usize::from(script.below(3))];
        if let Some(mailbox) = &self.readers[usize::from(n)].mailbox {
            self.session.set_activity(&channel(n), mailbox, activity);
        }
    }

    fn read(&mut self, n: u8) {
        let reader = &mut self.readers[usize::from(n)];
        let Some(mailbox) = reader.mailbox.clone() else { return };
        let context = Context::from_waker(std::task::Waker::noop());
        while let Poll::Ready(Some((event, _))) = mailbox.poll_take(&context) {
            reader.take(event);
        }
    }

    fn check_bounds(&mut self) {
        assert!(self.session.outbox.len() <= OUTBOX);
        assert!(self.session.ephemerals.len() <= WAITING_EPHEMERALS);
        assert!(self.session.leaving.len() <= usize::from(CHANNELS));
        self.session.notices.clear();
        for entry in self.session.subscriptions.values() {
            assert!(entry.mailbox.room() <= RECEIVE_QUEUE_EVENTS);
        }
        // Time is never asked for in the past for ever: what is due is done by asking.
        let _ = self.session.deadline(true);
        let _ = self.session.statistics();
    }
}

impl Reader {
    fn take(&mut self, event: Event) {
        match event {
            Event::Publication(publication) => {
                let at = publication.position;
                if let Some(before) = self.position {
                    assert_eq!(at.offset, before.offset.next(), "a hole or a double: {before}");
                }
                self.position = Some(at);
            }
            Event::Gap { epoch, after, upto } => {
                assert!(after < upto, "a gap of nothing");
                if let Some(before) = self.position {
                    assert_eq!(after, before.offset, "a gap begins where the reader stands");
                }
                self.position = Some(Position { epoch, offset: upto });
            }
            Event::EpochChanged { new, keep_upto, .. } => {
                if let Some(own) = &mut self.position {
                    *own = Position { epoch: new, offset: own.offset.min(keep_upto) };
                }
            }
            Event::State(SubscriptionState::Subscribed { position, .. }) => {
                if let Some(before) = self.position {
                    assert_eq!(position.offset, before.offset, "it stands where it was told");
                }
                self.position = Some(position);
            }
            _ => {}
        }
    }
}

fn channel(n: u8) -> ChannelId {
    ChannelId::new(&format!("room:{n}")).unwrap()
}

fn position(script: &mut Script<'_>) -> Position {
    Position::new(script.below(4).into(), script.number())
}

fn publication(n: u8, epoch: u32, offset: u64) -> v1::Publication {
    v1::Publication { channel: channel(n).to_string(), epoch, offset, ..Default::default() }
}

fn error(script: &mut Script<'_>) -> v1::Error {
    let codes = [ErrorCode::Busy, ErrorCode::PermissionDenied, ErrorCode::NotSubscribed];
    let code = codes[usize::from(script.below(3))];
    v1::Error::new(code, "no").with_retry_after_ms(script.number() as u32)
}

fn subscribed(n: u8, script: &mut Script<'_>) -> v1::Subscribed {
    let (at, first) = (position(script), script.number());
    let count = script.below(6);
    let change = script.below(6) == 0;
    v1::Subscribed {
        channel: channel(n).to_string(),
        position: Some(at.into()),
        publications: (0..count)
            .map(|more| publication(n, at.epoch.0, first.saturating_add(more.into())))
            .collect(),
        live: script.flag(),
        head_offset: script.number(),
        gap: (script.below(4) == 0).then(|| gap(n, script)),
        epoch_change: change.then(|| v1::EpochChange {
            old_epoch: script.below(4).into(),
            new_epoch: at.epoch.0,
            keep_upto: script.number(),
        }),
        error: (script.below(16) == 15).then(|| error(script)),
    }
}

fn gap(n: u8, script: &mut Script<'_>) -> v1::Gap {
    v1::Gap {
        channel: channel(n).to_string(),
        epoch: script.below(4).into(),
        after_offset: script.number(),
        upto_offset: script.number(),
    }
}

fn event(n: u8, script: &mut Script<'_>) -> push::Event {
    let channel = channel(n).to_string();
    match script.below(8) {
        0..=3 => {
            let epoch = script.below(4).into();
            push::Event::Publication(publication(n, epoch, script.number()))
        }
        4 => push::Event::Gap(gap(n, script)),
        5 => {
            let at = position(script);
            push::Event::Head(v1::Head { channel, epoch: at.epoch.0, offset: at.offset.0 })
        }
        6 => push::Event::Subscribed(subscribed(n, script)),
        _ => push::Event::Unsubscribed(v1::Unsubscribed { channel, error: Some(error(script)) }),
    }
}
