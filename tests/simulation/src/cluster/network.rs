//! What lies between nodes, and what is wrong with it. Frames of one lane arrive in their order,
//! those of different lanes in any. What passes through is encoded and decoded.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use sterna_core::link::lane::{FrameReceiver, FrameSender, LaneError};
use sterna_proto::link::v1::{Deliver, Frame, frame::Body};
use sterna_proto::{LinkDecoder, Position, codec, limits};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::history::{Book, What};
use crate::plan::Plan;
use crate::store::Names;

/// Writes that one direction of a lane holds.
const IN_FLIGHT: usize = 64;

/// From one node to another, by their places in the plan.
pub type Way = (usize, usize);

/// Something that is wrong for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hindrance {
    /// No frame passes.
    Cut(Way),
    /// No connection can be made.
    Refused(Way),
    /// Frames take so much longer.
    Slow(Way, Duration),
    /// Nothing leaves the node and nothing arrives there.
    Frozen(usize),
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Network {
    hindrances: Arc<Mutex<Vec<Hindrance>>>,
    /// Connections lost, by way; not those that hindrances end.
    losses: Arc<Mutex<Vec<Way>>>,
    /// Counts changes.
    changed: watch::Sender<u64>,
    regions: Arc<[&'static str]>,
    names: Names,
    book: Book,
}

impl Network {
    pub fn new(plan: &Plan, names: &Names, book: &Book) -> Self {
        let nodes = plan.cluster.iter().flat_map(|layout| &layout.nodes);
        Self {
            hindrances: Arc::default(),
            losses: Arc::default(),
            changed: watch::Sender::new(0),
            regions: nodes.map(|node| node.region).collect(),
            names: names.clone(),
            book: book.clone(),
        }
    }

    pub fn hinder(&self, hindrance: Hindrance) {
        lock(&self.hindrances).push(hindrance);
        self.note_change();
    }

    /// One of several that are the same.
    pub fn lift(&self, hindrance: Hindrance) {
        let mut hindrances = lock(&self.hindrances);
        if let Some(at) = hindrances.iter().position(|other| *other == hindrance) {
            hindrances.swap_remove(at);
        }
        drop(hindrances);
        self.note_change();
    }

    /// The connection of that way is lost.
    pub fn lose(&self, way: Way) {
        lock(&self.losses).push(way);
        self.note_change();
    }

    pub fn losses(&self, way: Way) -> usize {
        lock(&self.losses).iter().filter(|lost| **lost == way).count()
    }

    /// Whoever waits for a change looks again.
    pub fn note_change(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub fn is_frozen(&self, node: usize) -> bool {
        lock(&self.hindrances).contains(&Hindrance::Frozen(node))
    }

    /// Frames get through.
    pub fn passes(&self, way: Way) -> bool {
        !self.is_frozen(way.0)
            && !self.is_frozen(way.1)
            && !lock(&self.hindrances).contains(&Hindrance::Cut(way))
    }

    /// Frames get through both ways.
    pub fn holds(&self, (from, to): Way) -> bool {
        self.passes((from, to)) && self.passes((to, from))
    }

    pub fn can_connect(&self, way: Way) -> bool {
        self.holds(way) && !lock(&self.hindrances).contains(&Hindrance::Refused(way))
    }

    pub fn is_wide(&self, (from, to): Way) -> bool {
        self.regions[from] != self.regions[to]
    }

    /// One direction of a lane.
    pub fn pipe(&self, way: Way, latency: Duration) -> (PipeSender, PipeReceiver) {
        let (frames, arriving) = mpsc::channel(IN_FLIGHT);
        let (network, broken) = (self.clone(), Arc::<AtomicBool>::default());
        let sender =
            PipeSender { network: network.clone(), way, latency, frames, broken: broken.clone() };
        let decoder = LinkDecoder::new(limits::LINK_FRAME_BYTES);
        (sender, PipeReceiver { network, way, arriving, broken, next: None, decoder })
    }

    fn slowness(&self, way: Way) -> Duration {
        let of_way = |hindrance: &Hindrance| match hindrance {
            Hindrance::Slow(slow, by) if *slow == way => Some(*by),
            _ => None,
        };
        lock(&self.hindrances).iter().filter_map(of_way).sum()
    }

    async fn until_passes(&self, way: Way) {
        let mut changes = self.changes();
        while !self.passes(way) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn note_crossing(&self, (from, to): Way, deliver: &Deliver) {
        let key = <[u8; 16]>::try_from(&deliver.channel[..]).map(sterna_proto::ChannelKey);
        let channel = key.map_or(usize::MAX, |key| self.names.of_key(key));
        let (first, count) = (Position::new(deliver.epoch, deliver.first), deliver.frames.len());
        self.book.note(What::Crossed { from, to, channel, first, count });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
pub struct PipeSender {
    network: Network,
    way: Way,
    latency: Duration,
    frames: mpsc::Sender<(Instant, BytesMut)>,
    broken: Arc<AtomicBool>,
}

impl PipeSender {
    /// What is on its way never arrives; whoever waits for it learns of the loss instead.
    pub fn break_off(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub struct PipeReceiver {
    network: Network,
    way: Way,
    arriving: mpsc::Receiver<(Instant, BytesMut)>,
    broken: Arc<AtomicBool>,
    next: Option<(Instant, BytesMut)>,
    decoder: LinkDecoder,
}

impl FrameSender for PipeSender {
    async fn send(&mut self, frames: &mut Vec<Frame>) -> Result<(), LaneError> {
        let mut bytes = BytesMut::new();
        for frame in frames.drain(..) {
            if let Some(Body::Deliver(deliver)) = &frame.body {
                self.network.note_crossing(self.way, deliver);
            }
            codec::encode(&frame, &mut bytes);
        }
        let due = Instant::now() + self.latency + self.network.slowness(self.way);
        self.frames.send((due, bytes)).await.map_err(|_| lost())
    }
}

impl FrameReceiver for PipeReceiver {
    async fn receive(&mut self, frames: &mut Vec<Frame>) -> Result<(), LaneError> {
        if self.next.is_none() {
            self.next = Some(self.arriving.recv().await.ok_or_else(lost)?);
        }
        if let Some((due, _)) = &self.next {
            tokio::time::sleep_until(*due).await;
            self.network.until_passes(self.way).await;
        }
        if self.broken.load(Ordering::Relaxed) {
            return Err(lost());
        }
        let Some((_, bytes)) = self.next.take() else { return Ok(()) };
        self.decoder.extend(&bytes);
        while let Some(frame) = self.decoder.next().map_err(|e| LaneError::Lost(e.to_string()))? {
            frames.push(frame);
        }
        Ok(())
    }
}

fn lost() -> LaneError {
    LaneError::Lost("the connection is gone".into())
}
