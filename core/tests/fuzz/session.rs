//! One session between a client that behaves and owners that answer when they like: commits, pages,
//! pushes that come late or never, a reader that is slow.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sterna_core::config::{QueueLimits, Rate, Rates};
use sterna_core::link::{LinkReply, Verb};
use sterna_core::session::{Effect, ResumeTicket, Session};
use sterna_core::{
    ConnectionInfo, CoreConfig, Encoding, Identity, Permission, SharedPush, TransportKind,
};
use sterna_fuzz::{Script, check};
use sterna_proto::v1::{self, command, reply};
use sterna_proto::{
    ChannelId, ChannelKey, ClientId, CloseReason, ErrorCode, NodeId, Offset, Position, UserId,
};
use tokio::time::Instant;

use crate::client::Client;
use crate::publication;

/// I5, I11, I12, I13: what reaches the client is contiguous and only of what it is subscribed to,
/// queues stay within their bounds, every command gets one answer, and once everybody listens
/// again the client has everything.
#[test]
fn fuzz_session() {
    check!("session", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        let mut world = World::new(&mut script);
        for _ in 0..STEPS {
            let Some(step) = script.step() else { break };
            world.step(step, &mut script);
            if world.over {
                return;
            }
        }
        world.settle();
    });
}

const STEPS: usize = 300;
pub(crate) const CHANNELS: u8 = 3;
pub(crate) const PAGE: u64 = 4;
const OUTBOX_FRAMES: usize = 8;
const OUTBOX_BYTES: usize = 600;
const CALLS: usize = 6;
const PAGES: usize = 2;

pub(crate) fn name(n: u8) -> String {
    format!("room:{n}")
}

/// A channel at its owner, and its pushes on the way to the session.
#[derive(Debug, Default)]
struct Channel {
    head: u64,
    on_the_way: VecDeque<(u64, SharedPush)>,
}

/// A call of the session: first it waits at the owner, then its answer is on the way.
struct Call {
    token: u32,
    verb: Verb,
    answer: Option<LinkReply>,
}

struct World {
    session: Session,
    client: Client,
    channels: Vec<Channel>,
    calls: Vec<Call>,
    tokens: HashSet<u32>,
    joined: HashSet<ChannelKey>,
    /// Channels that the worker has in the background, with what is noted of their ends.
    background: HashMap<ChannelKey, Option<u64>>,
    now: Instant,
    over: bool,
    /// What it resumed goes on.
    recovered: bool,
    /// How often a channel has got another owner, or an owner was asked again.
    moves: usize,
}

impl World {
    fn new(script: &mut Script<'_>) -> Self {
        let now = Instant::now();
        let connection = ConnectionInfo {
            transport: TransportKind::WebSocket,
            remote: ([127, 0, 0, 1], 9).into(),
            encoding: Encoding::Protobuf,
            datagrams: script.flag(),
        };
        let ticket = ResumeTicket::random();
        let client_id = ClientId::new("phone").unwrap();
        let config = Arc::new(config());
        let mut session =
            Session::new(ticket, identity("room:*"), client_id, connection, config, now);
        let mut client = Client::new();
        session.welcome(client.next_id(), false, 0);
        let hello: Vec<v1::Subscribe> =
            (0..script.below(CHANNELS)).map(|n| client.subscribe_in_hello(n)).collect();
        session.start_recovering(&hello);
        session.handle_hello(hello);
        let channels = (0..CHANNELS).map(|_| Channel::default()).collect();
        let (calls, tokens, joined) = (Vec::new(), HashSet::new(), HashSet::new());
        let (background, over, recovered, moves) = (HashMap::new(), false, false, 0);
        Self {
            session,
            client,
            channels,
            calls,
            tokens,
            joined,
            background,
            now,
            over,
            recovered,
            moves,
        }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        let n = step >> 5 & 3;
        let channel = n.min(CHANNELS - 1);
        match step & 31 {
            0..=5 => self.commit(channel, 1 + script.below(3)),
            6..=9 => self.deliver(channel, 1 + usize::from(script.below(4))),
            10 => self.lose(channel),
            11 => self.tell_head(channel),
            12..=14 => self.ask(channel),
            15 => self.unsubscribe(channel),
            16 => self.command(other_command(channel, script)),
            17..=19 => self.execute(script),
            20..=22 => self.answer(usize::from(script.byte())),
            23..=26 => self.take(usize::from(script.byte()) * 4),
            27 => self.evict(channel),
            28 => self.event(channel, script),
            29 => self.now += Duration::from_millis(script.byte().into()),
            30 => match script.below(16) {
                0 => self.refresh(),
                1..=8 => self.follow(channel, script),
                9 => {
                    self.moves += 1;
                    self.session.handle_moved(key(channel));
                }
                10 => self.sweep(script.flag()),
                _ => self.tell_news(channel),
            },
            31 if script.below(32) == 0 => self.close(script),
            _ => {}
        }
        if !self.over {
            self.carry_out();
        }
    }

    fn commit(&mut self, channel: u8, count: u8) {
        let key = key(channel);
        let state = &mut self.channels[usize::from(channel)];
        for _ in 0..count {
            state.head += 1;
            if self.joined.contains(&key) {
                let push = publication(&name(channel), 1, state.head, 20);
                state.on_the_way.push_back((state.head, push));
            }
        }
    }

    fn deliver(&mut self, channel: u8, most: usize) {
        let on_the_way = &mut self.channels[usize::from(channel)].on_the_way;
        let Some((first, _)) = on_the_way.front() else { return };
        let first = *first;
        let run = on_the_way.iter().zip(first..).take(most);
        let count = run.take_while(|((offset, _), expected)| offset == expected).count();
        let pushes: Vec<SharedPush> = on_the_way.drain(..count).map(|(_, push)| push).collect();
        if let Some(noted) = self.background.get_mut(&key(channel)) {
            *noted = Some(first + count as u64 - 1);
            return;
        }
        self.session.handle_delivery(key(channel), 1, Offset(first), &pushes);
    }

    /// The client follows a channel more or less closely from here on.
    fn follow(&mut self, channel: u8, script: &mut Script<'_>) {
        let classes = [v1::Activity::Active, v1::Activity::Foreground, v1::Activity::Background];
        self.set_activity(channel, classes[usize::from(script.below(3))]);
    }

    fn set_activity(&mut self, channel: u8, activity: v1::Activity) {
        let set = v1::SetActivity { channel: name(channel), activity: activity.into() };
        self.command(command::Verb::SetActivity(set));
    }

    /// What was said of the ends of channels is looked at, all of it or what the last sweep has left.
    fn sweep(&mut self, something_waits: bool) {
        match something_waits {
            true => self.session.conclude_from_old_ends(),
            false => self.session.conclude_from_ends(),
        }
        // Owners that have not answered are asked again, each channel's once.
        self.moves += usize::from(CHANNELS);
        self.session.retry_reattach();
    }

    /// The beat of those in the background: they hear where the channel ends.
    fn tell_news(&mut self, channel: u8) {
        let noted = self.background.get(&key(channel)).copied().flatten();
        let Some(noted) = noted else { return };
        let mut beacon = None;
        self.session.handle_news(key(channel), Position::new(1, noted), &mut beacon);
    }

    fn lose(&mut self, channel: u8) {
        self.channels[usize::from(channel)].on_the_way.pop_front();
    }

    fn tell_head(&mut self, channel: u8) {
        let head = Position::new(1, self.channels[usize::from(channel)].head);
        self.session.handle_head(key(channel), head);
    }

    /// The client asks for what it is missing, from where it stands.
    fn ask(&mut self, channel: u8) {
        if let Some(subscribe) = self.session.is_ready().then(|| self.client.ask(channel)).flatten()
        {
            self.give(subscribe);
        }
    }

    fn unsubscribe(&mut self, channel: u8) {
        if self.session.is_ready() {
            let command = self.client.unsubscribe(channel);
            self.give(command);
        }
    }

    fn command(&mut self, verb: command::Verb) {
        if self.session.is_ready() {
            let command = self.client.command(verb);
            self.give(command);
        }
    }

    fn give(&mut self, command: v1::Command) {
        self.session.handle_command(command, self.now, 0).unwrap();
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.session.poll_effect() {
            match effect {
                Effect::Call { token, command } => {
                    assert!(self.tokens.insert(token), "a token is used once");
                    let of_inbox = matches!(command.verb, Verb::Sync(_) | Verb::ChangeInbox(_));
                    let user = &command.caller.identity.user;
                    let key = if of_inbox { user.inbox_key() } else { command.channel.key() };
                    assert_eq!(command.key, key);
                    if let Verb::Attach { subscribe, again: false, .. } = &command.verb {
                        self.client.on_started(&subscribe.channel);
                    }
                    self.calls.push(Call { token, verb: command.verb, answer: None });
                }
                Effect::Background(command) => {
                    assert!(matches!(command.verb, Verb::SetPresence { .. }));
                }
                Effect::Join(key, activity) => {
                    self.joined.insert(key);
                    self.join(key, activity);
                }
                Effect::Leave(key) => {
                    self.joined.remove(&key);
                    self.background.remove(&key);
                }
                Effect::Recovered { .. } => {
                    assert!(!self.recovered, "a resume is over once");
                    self.recovered = true;
                }
            }
        }
        let pages = self.calls.iter().filter(|call| is_page(&call.verb)).count();
        assert!(pages <= PAGES, "{pages} pages at once");
        // New owners are told whatever else is on its way, each once.
        let moved = self.calls.iter().filter(|call| is_move(&call.verb)).count();
        assert!(moved <= self.moves, "{moved} owners are told of {} moves", self.moves);
        assert!(self.calls.len() - moved <= CALLS + PAGES, "{} calls", self.calls.len());
        let channels: HashSet<ChannelKey> = self.session.channels().collect();
        assert!(channels.is_subset(&self.joined), "subscribed and not joined");
    }

    /// As the worker does: who comes forward hears at once of what is noted and was not told.
    fn join(&mut self, key: ChannelKey, activity: v1::Activity) {
        if activity == v1::Activity::Background {
            self.background.entry(key).or_default();
        } else if let Some(Some(noted)) = self.background.remove(&key) {
            self.session.handle_head(key, Position::new(1, noted));
        }
    }

    /// An owner does what the oldest call that waits asks for.
    fn execute(&mut self, script: &mut Script<'_>) {
        let fate = script.below(8);
        let Some(at) = self.calls.iter().position(|call| call.answer.is_none()) else { return };
        let answer = match (&self.calls[at].verb, fate) {
            (_, 0) => Err(v1::Error::new(ErrorCode::Busy, "later")),
            (_, 1) => Err(v1::Error::new(ErrorCode::PermissionDenied, "no")),
            (Verb::Attach { subscribe, .. }, _) => Ok(self.page(subscribe)),
            (Verb::History(_), _) => Ok(reply::Result::History(v1::HistoryPage::default())),
            _ => Ok(reply::Result::Done(v1::Done {})),
        };
        self.calls[at].answer = Some(answer);
    }

    fn page(&self, subscribe: &v1::Subscribe) -> reply::Result {
        let channel = (0..CHANNELS).find(|n| name(*n) == subscribe.channel).unwrap();
        let head = self.channels[usize::from(channel)].head;
        let since = subscribe.since.map_or(head, |since| since.offset).min(head);
        let end = head.min(since + PAGE);
        reply::Result::Subscribed(v1::Subscribed {
            channel: subscribe.channel.clone(),
            position: Some(v1::Position { epoch: 1, offset: end }),
            head_offset: head,
            ..Default::default()
        })
    }

    fn answer(&mut self, which: usize) {
        let told: Vec<usize> =
            (0..self.calls.len()).filter(|at| self.calls[*at].answer.is_some()).collect();
        let Some(at) = told.get(which % told.len().max(1)) else { return };
        let call = self.calls.remove(*at);
        self.session.handle_reply(call.token, call.answer.unwrap());
    }

    fn take(&mut self, most: usize) {
        let mut frames = Vec::new();
        self.session.take_frames(&mut frames, most);
        let publications = frames.iter().filter(|frame| Client::is_publication(frame)).count();
        assert!(publications <= OUTBOX_FRAMES, "{publications} in an outbox");
        for frame in frames {
            self.client.hear(&frame);
        }
    }

    fn evict(&mut self, channel: u8) {
        let error = v1::Error::new(ErrorCode::PermissionDenied, "evicted");
        let at = Position::new(u32::MAX, u64::MAX);
        self.session.handle_evict(key(channel), &UserId::new("nobody").unwrap(), at, &error);
        let was = self.session.channels().any(|other| other == key(channel));
        self.session.handle_evict(key(channel), &UserId::new("bob").unwrap(), at, &error);
        if was {
            self.client.on_evicted(channel);
        }
    }

    fn event(&mut self, channel: u8, script: &mut Script<'_>) {
        let push = sterna_core::EncodedPush::new(v1::push::Event::Ephemeral(v1::Ephemeral {
            channel: name(channel),
            key: format!("{}", script.below(3)),
            payload: script.bytes(60).to_vec().into(),
            ..Default::default()
        }));
        let audience = match script.below(4) {
            0 => sterna_core::link::Audience::Presence { shift: script.number() },
            3 => sterna_core::link::Audience::PresenceUnlike { digest: script.number() },
            1 => sterna_core::link::Audience::Receipts,
            _ => sterna_core::link::Audience::EphemeralFrom(sterna_proto::SessionId(9)),
        };
        self.session.handle_event(key(channel), &audience, &push);
    }

    /// I11: a token that covers only the first channel.
    fn refresh(&mut self) {
        if self.session.is_ready() {
            let id = self.client.next_id();
            let lost: Vec<u8> = (1..CHANNELS)
                .filter(|n| self.session.channels().any(|other| other == key(*n)))
                .collect();
            self.session.refresh(id, identity("room:0")).unwrap();
            lost.into_iter().for_each(|n| self.client.on_evicted(n));
            self.session.refresh(self.client.next_id(), identity("room:*")).unwrap();
        }
    }

    fn close(&mut self, script: &mut Script<'_>) {
        self.over = true;
        if script.flag() {
            self.session.start_close(CloseReason::Revoked);
            self.commit(0, 3);
            self.deliver(0, 3);
            let mut frames = Vec::new();
            self.session.take_frames(&mut frames, usize::MAX);
            assert!(frames.is_empty(), "said something after the right was gone");
        } else {
            let (left, _) = self.session.on_detached();
            self.joined.retain(|key| !left.contains(key));
        }
    }

    /// Everybody listens again: all commands are answered and the client has everything.
    fn settle(&mut self) {
        for round in 0..ROUNDS {
            self.take(usize::MAX);
            for channel in 0..CHANNELS {
                if self.background.contains_key(&key(channel)) {
                    self.set_activity(channel, v1::Activity::Active);
                    self.carry_out();
                }
                self.deliver(channel, usize::MAX);
                self.tell_head(channel);
                self.take(usize::MAX);
                self.ask(channel);
            }
            self.carry_out();
            while !self.calls.is_empty() {
                self.execute(&mut Script::new(&[7]));
                self.answer(round);
            }
            self.carry_out();
        }
        self.take(usize::MAX);
        self.client.check_all_answered();
        for (channel, state) in (0..CHANNELS).zip(&self.channels) {
            self.client.check_complete(channel, state.head);
        }
    }
}

/// Enough for the longest history that a script can make, a page a round.
const ROUNDS: usize = STEPS + 20;

fn is_page(verb: &Verb) -> bool {
    matches!(verb, Verb::Attach { again: false, .. } | Verb::History(_))
}

/// A new owner is told of a subscription, and asked for no page.
fn is_move(verb: &Verb) -> bool {
    matches!(verb, Verb::Attach { again: true, .. })
}

fn key(n: u8) -> ChannelKey {
    ChannelId::new(&name(n)).unwrap().key()
}

fn identity(pattern: &str) -> Identity {
    Identity {
        user: UserId::new("bob").unwrap(),
        permissions: vec![Permission::all(pattern)],
        expires_at_ms: None,
        issued_at_ms: None,
        operator: false,
    }
}

fn config() -> CoreConfig {
    let often = Rate { per_second: 1_000_000, burst: 1_000_000 };
    let mut config = CoreConfig::embedded(NodeId::new("fuzz").unwrap(), v1::Durability::Memory);
    let (publish, user_publish) = (often, often);
    config.rates = Rates { publish, user_publish, command: often, ephemeral: often, sync: often };
    config.queues = QueueLimits {
        outbox_frames: OUTBOX_FRAMES,
        outbox_bytes: OUTBOX_BYTES,
        session_calls: CALLS,
        session_pages: PAGES,
        subscription_held: 3,
        ..QueueLimits::default()
    };
    config
}

/// Any other command, sensible or not.
fn other_command(channel: u8, script: &mut Script<'_>) -> command::Verb {
    let channel = if script.below(8) == 0 { "no channel".to_owned() } else { name(channel) };
    let offset = script.number();
    match script.below(11) {
        0 | 1 => command::Verb::Publish(v1::Publish {
            channel,
            client_seq: offset,
            ordered: script.flag(),
            payload: script.bytes(40).to_vec().into(),
            ..Default::default()
        }),
        2 => command::Verb::History(v1::History { channel, ..Default::default() }),
        3 => command::Verb::Ack(v1::Ack { channel, offset }),
        4 => command::Verb::MarkRead(v1::MarkRead { channel, offset }),
        5 => command::Verb::Presence(v1::PresenceQuery { channel }),
        6 => command::Verb::Ping(v1::Ping { client_time_ms: offset, ..Default::default() }),
        8 => command::Verb::Sync(v1::Sync {
            since: script.flag().then_some(v1::InboxPosition { pts: offset, looked_ms: 0 }),
            limit: 1,
            live: script.flag(),
        }),
        9 => command::Verb::ChangeInbox(v1::ChangeInbox { channel, ..Default::default() }),
        7 => command::Verb::Members(v1::MembersQuery { channel, ..Default::default() }),
        _ => command::Verb::RemoveMember(v1::RemoveMember { channel, user: "x".into() }),
    }
}
