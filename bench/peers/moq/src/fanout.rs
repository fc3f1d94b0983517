//! Publications to tracks with many subscribers, each a session of its own. Whoever publishes has a
//! broadcast, with a track for each of his channels.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use moq_tokio::moq_net::{Timestamp, broadcast, group, track};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::clients::{Relay, Session, kept};
use crate::tally::Tally;

#[derive(Clone, Copy)]
pub(crate) struct Options {
    channels: u64,
    /// Of each channel.
    subscribers: u64,
    bytes: usize,
    shape: Shape,
    pace: Pace,
}

/// What a publication is.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// A group, which is a stream of its own: they come in any order.
    Groups,
    /// A frame of a long group, which is a stream: they come in theirs.
    Frames,
}

#[derive(Clone, Copy)]
enum Pace {
    /// So many are on their way at any time.
    Flight(u64),
    /// A second, over all channels.
    Rate(f64),
}

impl Options {
    pub(crate) fn read(shape: &str, words: &[String]) -> Result<Self> {
        let [channels, subscribers, bytes, pace, number] = words else {
            bail!("channels, subscribers, bytes, flight or rate, and its number")
        };
        Ok(Self {
            channels: channels.parse()?,
            subscribers: subscribers.parse()?,
            bytes: bytes.parse()?,
            shape: match shape {
                "groups" => Shape::Groups,
                "frames" => Shape::Frames,
                other => bail!("no shape of publications: {other}"),
            },
            pace: match pace.as_str() {
                "flight" => Pace::Flight(number.parse()?),
                "rate" => Pace::Rate(number.parse()?),
                other => bail!("no pace: {other}"),
            },
        })
    }
}

/// One channel, as its publisher sees it.
struct Channel {
    track: track::Producer,
    /// The group that grows, and how many frames it has.
    group: Option<(group::Producer, u64)>,
}

/// Publishers and subscribers; they end with this.
pub(crate) struct Crowd {
    options: Options,
    tally: Rc<Tally>,
    channels: Vec<Channel>,
    sessions: Vec<Session>,
    _broadcasts: Vec<broadcast::Producer>,
    reading: JoinSet<Result<()>>,
    published: u64,
    /// Deliveries that were waited for in vain.
    lost: u64,
}

impl Crowd {
    pub(crate) async fn gather(relay: &Relay, options: Options) -> Result<Self> {
        let mut crowd = Self {
            options,
            tally: Rc::new(Tally::new()?),
            channels: Vec::new(),
            sessions: Vec::new(),
            _broadcasts: Vec::new(),
            reading: JoinSet::new(),
            published: 0,
            lost: 0,
        };
        crowd.publishers(relay).await?;
        let mut joining = JoinSet::new();
        let mut next = 0;
        let all = options.channels * options.subscribers;
        // Several at a time, as everybody else's clients come.
        while next < all || !joining.is_empty() {
            while next < all && joining.len() < CONNECTING {
                let channel = next % options.channels;
                let relay = relay.clone();
                joining.spawn_local(async move {
                    let session = Session::listening(&relay).await?;
                    let broadcast = broadcast_of(channel, options.channels);
                    let track = session.subscribe(&broadcast, &channel.to_string()).await?;
                    anyhow::Ok((session, track))
                });
                next += 1;
            }
            let joined = joining.join_next().await.context("somebody joins")?;
            let (session, track) = joined??;
            crowd.sessions.push(session);
            crowd.reading.spawn_local(read(track, crowd.tally.clone()));
        }
        Ok(crowd)
    }

    async fn publishers(&mut self, relay: &Relay) -> Result<()> {
        let channels = self.options.channels;
        let mut tracks: Vec<Option<track::Producer>> = (0..channels).map(|_| None).collect();
        for publisher in 0..channels.min(PUBLISHERS) {
            let origin = moq_tokio::origin::spawn();
            let broadcast = origin
                .create_broadcast(broadcast_of(publisher, channels))
                .context("the broadcast is refused")?;
            for channel in (publisher..channels).step_by(PUBLISHERS as usize) {
                let track = broadcast.create_track(channel.to_string(), kept())?;
                tracks[channel as usize] = Some(track);
            }
            broadcast.announce(Default::default())?;
            self.sessions.push(relay.publishing(&origin).await?);
            self._broadcasts.push(broadcast);
        }
        let tracks = tracks.into_iter().flatten();
        self.channels = tracks.map(|track| Channel { track, group: None }).collect();
        Ok(())
    }

    pub(crate) fn version(&self) -> String {
        self.sessions.first().map_or_else(String::new, Session::version)
    }

    pub(crate) fn subscribers(&self) -> usize {
        self.reading.len()
    }

    /// Publishes for a while, and waits for the last delivery. What does not come is counted.
    pub(crate) async fn drive(&mut self, milliseconds: u64) -> Result<Value> {
        self.tally.take_times();
        let began = Instant::now();
        let until = began + Duration::from_millis(milliseconds);
        let before = (self.published, self.tally.delivered(), self.lost);
        let mut ticks = ticks(self.options.pace)?;
        while Instant::now() < until {
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            self.publish()?;
            if let Pace::Flight(most) = self.options.pace {
                self.arrived_but(most).await;
            }
            // Otherwise nothing would move while publications are late.
            tokio::task::yield_now().await;
        }
        self.arrived_but(0).await;
        self.check()?;
        Ok(json!({
            "published": self.published - before.0,
            "delivered": self.tally.delivered() - before.1,
            "lost": self.lost - before.2,
            "seconds": began.elapsed().as_secs_f64(),
            "delivery_us": self.tally.take_times(),
        }))
    }

    /// Waits until all but `most` of the publications are with all their subscribers, or given up.
    async fn arrived_but(&mut self, most: u64) {
        let fan = self.options.subscribers;
        let due = self.published.saturating_sub(most) * fan;
        if !self.tally.reaches(due.saturating_sub(self.lost)).await {
            self.lost = due - self.tally.delivered();
        }
    }

    fn publish(&mut self) -> Result<()> {
        let payload = self.tally.payload(self.options.bytes);
        let at = (self.published % self.options.channels) as usize;
        let channel = &mut self.channels[at];
        match self.options.shape {
            Shape::Groups => channel.track.write_frame(Timestamp::now(), payload)?,
            Shape::Frames => channel.extend(payload)?,
        }
        self.published += 1;
        Ok(())
    }

    /// Nobody has gone.
    fn check(&mut self) -> Result<()> {
        while let Some(ended) = self.reading.try_join_next() {
            ended?.context("a subscription has ended")?;
            bail!("a track has ended");
        }
        let gone = self.sessions.iter().filter(|session| !session.is_there()).count();
        ensure!(gone == 0, "{gone} sessions were ended");
        Ok(())
    }
}

impl Channel {
    fn extend(&mut self, payload: Vec<u8>) -> Result<()> {
        if self.group.as_ref().is_none_or(|(_, frames)| *frames == GROUP_FRAMES) {
            if let Some((group, _)) = self.group.take() {
                group.finish()?;
            }
            self.group = Some((self.track.append_group()?, 0));
        }
        let (group, frames) = self.group.as_mut().context("there is a group now")?;
        group.write_frame(Timestamp::now(), payload)?;
        *frames += 1;
        Ok(())
    }
}

/// Whose broadcast a channel is a track of.
fn broadcast_of(channel: u64, channels: u64) -> String {
    format!("bench/{}", channel % channels.min(PUBLISHERS))
}

/// Counts what comes until the track ends. A group that was given up on the way is what does not come.
async fn read(mut track: track::Subscriber, tally: Rc<Tally>) -> Result<()> {
    while let Some(mut group) = track.recv_group().await? {
        while let Ok(Some(frame)) = group.read_frame().await {
            tally.on_delivery(&frame.payload);
        }
    }
    Ok(())
}

fn ticks(pace: Pace) -> Result<Option<tokio::time::Interval>> {
    let Pace::Rate(rate) = pace else { return Ok(None) };
    ensure!(rate > 0.0, "a rate is above 0");
    let mut ticks = interval(Duration::from_secs_f64(1.0 / rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    Ok(Some(ticks))
}

/// As many as publish to other servers.
const PUBLISHERS: u64 = 16;

/// Handshakes at a time, as with other servers.
const CONNECTING: usize = 32;

/// Far fewer than a relay keeps of a group, so that nobody who is behind misses its beginning.
const GROUP_FRAMES: u64 = 1024;
