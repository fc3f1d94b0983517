//! A client as the SDK is one: it counts its publications, sends unacked ones again, keeps one
//! position per channel, removes duplicates by position and asks for what is missing. It drives a
//! [`Worker`] directly and writes down all that it sends and receives; it judges nothing.

mod activity;
mod presence;
mod receive;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use sterna_core::{
    Attachment, ConnectionInfo, Encoding, Identity, Permission, TransportKind, Worker,
};
use sterna_proto::v1::{self, Activity, command::Verb};
use sterna_proto::{CloseReason, Offset, Position};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::history::{Book, Text, What};
use crate::outbox::ClientOutbox;
use crate::plan::Role;
use crate::store::{Names, user};
use crate::wire::{Arrived, Wire};
use activity::Closeness;
use presence::Watch;

pub use presence::Believed;

#[derive(Debug)]
pub struct Client {
    pub number: u32,
    pub role: Role,
    names: Names,
    book: Book,
    chance: RefCell<Chance>,
    state: RefCell<State>,
    wire: RefCell<Option<Rc<Wire>>>,
    /// Does not read before.
    slow_until: Cell<Option<Instant>>,
    /// Something is to be sent.
    wake: Notify,
    /// Told by the node to move.
    leaving: Cell<bool>,
    /// It says goodbye and does not come back.
    gone: Cell<bool>,
    /// The node that it has spoken to last.
    pub node: Cell<u32>,
    /// How often it has gone to another node by itself.
    pub moves: Cell<u32>,
}

#[derive(Debug)]
struct State {
    ticket: Vec<u8>,
    connection: u32,
    next_id: u32,
    next_seq: u64,
    outbox: ClientOutbox,
    places: Vec<Place>,
    /// Pages of history under way: command, channel, and the offset that was named.
    histories: Vec<(u32, usize, u64)>,
}

impl State {
    fn take_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }
}

/// Where the client stands in a channel.
#[derive(Debug, Clone)]
struct Place {
    position: Position,
    /// Pushes follow.
    live: bool,
    asked: Vec<Asked>,
    ask_at: Option<Instant>,
    watch: Watch,
    closeness: Closeness,
}

/// A subscription under way.
#[derive(Debug, Clone)]
struct Asked {
    id: u32,
    since: Position,
    in_background: bool,
}

impl Place {
    fn new() -> Self {
        let (position, asked, closeness) = Default::default();
        Self { position, live: false, asked, ask_at: None, watch: Watch::new(), closeness }
    }

    fn is_asked(&self, id: u32) -> bool {
        self.asked.iter().any(|asked| asked.id == id)
    }

    fn asking(&self, id: u32) -> Asked {
        let in_background = self.closeness.is_background();
        Asked { id, since: self.position, in_background }
    }

    /// The subscription, once.
    fn take_asked(&mut self, id: u32) -> Option<Asked> {
        let at = self.asked.iter().position(|asked| asked.id == id)?;
        Some(self.asked.remove(at))
    }
}

impl Client {
    pub fn new(number: u32, role: Role, names: Names, book: Book, chance: Chance) -> Rc<Self> {
        let channels = names.all().len();
        let state = State {
            ticket: Vec::new(),
            connection: 0,
            next_id: 1,
            next_seq: 1,
            outbox: ClientOutbox::new(channels, role.ordered, role.window),
            places: vec![Place::new(); channels],
            histories: Vec::new(),
        };
        Rc::new(Self {
            number,
            role,
            names,
            book,
            chance: RefCell::new(chance),
            state: RefCell::new(state),
            wire: RefCell::default(),
            slow_until: Cell::new(None),
            wake: Notify::new(),
            leaving: Cell::new(false),
            gone: Cell::new(false),
            node: Cell::new(0),
            moves: Cell::new(0),
        })
    }

    pub fn identity(&self) -> Identity {
        Identity {
            user: user(self.role.user),
            permissions: vec![Permission::all("*")],
            expires_at_ms: None,
            issued_at_ms: None,
            operator: false,
        }
    }

    pub fn ticket(&self) -> Vec<u8> {
        self.state.borrow().ticket.clone()
    }

    /// Puts a publication into the outbox.
    pub fn publish(&self, channel: usize) {
        let mut state = self.state.borrow_mut();
        let text = Text { client: self.number, seq: state.next_seq };
        state.next_seq += 1;
        state.outbox.push(channel, text);
        self.wake.notify_one();
    }

    pub fn pending(&self) -> usize {
        self.state.borrow().outbox.len()
    }

    /// Everything is acked, and the client is live at these offsets.
    pub fn is_settled(&self, heads: &[u64]) -> bool {
        let state = self.state.borrow();
        let at = state.places.iter().zip(heads);
        let mut caught_up = at.map(|(place, head)| place.live && place.position.offset.0 == *head);
        state.outbox.is_empty() && caught_up.all(|up| up)
    }

    /// Publications without an answer.
    pub fn unacked(&self) -> usize {
        self.state.borrow().outbox.len()
    }

    /// Says goodbye and does not come back.
    pub fn leave(&self) {
        self.gone.set(true);
        if let Some(wire) = &*self.wire.borrow() {
            let goodbye = Verb::Goodbye(v1::Goodbye {});
            wire.send(v1::Command { id: u32::MAX, verb: Some(goodbye) });
        }
    }

    pub fn has_gone(&self) -> bool {
        self.gone.get()
    }

    /// Loses its connection.
    pub fn cut(&self, notice: Duration, arrives: bool) {
        if let Some(wire) = &*self.wire.borrow() {
            wire.cut(notice, arrives);
        }
    }

    /// Nothing arrives on its connection while it is frozen.
    pub fn freeze(&self, frozen: bool) {
        if let Some(wire) = &*self.wire.borrow() {
            wire.freeze(frozen);
        }
    }

    pub fn stop_reading(&self, until: Instant) {
        self.slow_until.set(Some(until));
        self.wake.notify_one();
    }

    pub fn describe(&self) -> String {
        let state = self.state.borrow();
        format!("client {}: {} unacked, {:?}", self.number, state.outbox.len(), state.places)
    }

    /// One attempt to connect; what the node closed it with otherwise.
    pub async fn connect(&self, worker: &Worker) -> Result<(Attachment, Rc<Wire>), CloseReason> {
        let latency = self.chance.borrow_mut().millis(1, 30);
        tokio::time::sleep(latency).await;
        let hello = self.hello();
        let attachment = worker.open(1, hello, self.identity(), connection()).await?;
        let wire = Wire::new(latency);
        self.wire.replace(Some(wire.clone()));
        Ok((attachment, wire))
    }

    /// Speaks over a connection until it is lost.
    pub async fn converse(&self, wire: &Wire) {
        self.leaving.set(false);
        while !self.leaving.get() {
            self.send_what_is_due(wire);
            let now = Instant::now();
            let slow = self.slow_until.get().filter(|until| *until > now);
            let wake_at = slow.or(self.wake_at()).unwrap_or(now + Duration::from_secs(3600));
            tokio::select! {
                arrived = wire.receive(), if slow.is_none() => match arrived {
                    None => break,
                    Some(Arrived::Frame(frame)) => self.handle(*frame),
                    Some(Arrived::Closed(reason)) => {
                        let (client, code) = (self.number, reason.code());
                        self.book.note(What::Closed { client, code });
                        break;
                    }
                },
                () = self.wake.notified() => {}
                () = tokio::time::sleep_until(wake_at) => {}
            }
            if wire.is_cut() {
                break;
            }
        }
        wire.cut(Duration::ZERO, false);
        let mut state = self.state.borrow_mut();
        state.outbox.on_disconnected();
        state.histories.clear();
        for place in &mut state.places {
            (place.live, place.ask_at) = (false, None);
            place.asked.clear();
            place.watch.on_disconnected();
            place.closeness.on_disconnected();
        }
    }

    fn hello(&self) -> v1::Hello {
        let mut state = self.state.borrow_mut();
        state.connection += 1;
        state.next_id = 1;
        // Asked while there was no connection, under numbers that come again.
        state.histories.clear();
        if self.chance.borrow_mut().one_in(WITHOUT_TICKET) {
            state.ticket.clear();
        }
        for place in &mut state.places {
            place.asked = vec![place.asking(0)];
        }
        self.note_backgrounds(&mut state);
        v1::Hello {
            client_id: format!("device-{}", self.number),
            resume_ticket: state.ticket.clone().into(),
            subscriptions: (0..state.places.len()).map(|c| self.wish(&state, c)).collect(),
            ..Default::default()
        }
    }

    fn wish(&self, state: &State, channel: usize) -> v1::Subscribe {
        v1::Subscribe {
            channel: self.names.name(channel).to_string(),
            since: Some(state.places[channel].position.into()),
            receipts: true,
            presence: true,
            page_publications: self.role.page,
            activity: state.places[channel].closeness.wanted.into(),
            ..Default::default()
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let state = self.state.borrow();
        let asks = state.places.iter().filter_map(|place| place.ask_at);
        let lists = state.places.iter().filter_map(|place| place.watch.wake_at());
        let says = state.places.iter().filter_map(|place| place.closeness.say_at());
        asks.chain(lists).chain(says).chain(state.outbox.wake_at(Instant::now())).min()
    }

    fn send_what_is_due(&self, wire: &Wire) {
        let now = Instant::now();
        let mut state = self.state.borrow_mut();
        for channel in 0..state.places.len() {
            if state.places[channel].ask_at.is_some_and(|at| at <= now) {
                let id = state.take_id();
                let place = &mut state.places[channel];
                (place.ask_at, place.live) = (None, false);
                place.asked.push(place.asking(id));
                let verb = Verb::Subscribe(self.wish(&state, channel));
                wire.send(v1::Command { id, verb: Some(verb) });
            }
        }
        self.ask_for_lists(&mut state, wire, now);
        self.say_activities(&mut state, wire, now);
        loop {
            let id = state.take_id();
            let Some(entry) = state.outbox.next(id, now) else { break };
            let (channel, text, attempt) = (entry.channel, entry.text, entry.attempt);
            let settled_below = entry.settled_below;
            self.book.note(What::Sent { channel, text, attempt });
            let publish = v1::Publish {
                channel: self.names.name(channel).to_string(),
                payload: text.to_bytes(),
                client_seq: text.seq,
                ordered: self.role.ordered,
                settled_below,
                ..Default::default()
            };
            wire.send(v1::Command { id, verb: Some(Verb::Publish(publish)) });
        }
    }

    /// Asks for something beside publications and what is missing.
    pub fn chat(&self) {
        let mut chance = self.chance.borrow_mut();
        let mut state = self.state.borrow_mut();
        let channel = chance.index(state.places.len());
        let name = self.names.name(channel).to_string();
        let upto = state.places[channel].position.offset.0;
        let id = state.take_id();
        let verb = match chance.below(6) {
            0 => Verb::Ack(v1::Ack { channel: name, offset: chance.below(upto + 1) }),
            1 => Verb::MarkRead(v1::MarkRead { channel: name, offset: chance.below(upto + 1) }),
            2 => {
                let (offset, limit) = (chance.below(upto + 1), 1 + chance.below(20) as u32);
                let epoch = state.places[channel].position.epoch;
                let since = Some(Position { epoch, offset: Offset(offset) }.into());
                state.histories.push((id, channel, offset));
                Verb::History(v1::History { channel: name, since, limit, ..Default::default() })
            }
            3 | 4 => {
                let classes = [Activity::Active, Activity::Foreground, Activity::Background];
                return self.follow(&mut state, channel, chance.pick(&classes));
            }
            _ => {
                // Subscribes anew, from further back than it needs to.
                state.places[channel].ask_at = Some(Instant::now());
                return self.wake.notify_one();
            }
        };
        if let Some(wire) = &*self.wire.borrow() {
            wire.send(v1::Command { id, verb: Some(verb) });
        }
    }
}

/// One connection of so many is that of another process on the device, which knows of no session:
/// what the one before had ends by itself.
const WITHOUT_TICKET: u64 = 6;

fn connection() -> ConnectionInfo {
    ConnectionInfo {
        transport: TransportKind::Quic,
        remote: std::net::SocketAddr::from(([127, 0, 0, 1], 1000)),
        encoding: Encoding::Protobuf,
        datagrams: false,
    }
}
