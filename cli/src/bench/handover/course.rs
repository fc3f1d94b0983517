//! All switches of a run, one kind after the other, and what each subscriber felt of them. Owns the
//! subscribers and their publishers, which end with [`Course::run`].

use std::time::Duration;

use anyhow::Result;
use futures_util::future::try_join_all;
use sterna_bench::machine::Machine;
use sterna_bench::progress::Progress;
use sterna_bench::target::Part;
use sterna_client::Position;

use super::report::{Gaps, Kind, Report, Row, Timeline};
use crate::args::HandoverArgs;
use crate::bench::publisher::Publisher;
use crate::bench::subscriber::{DARKNESS, Subscriber};
use crate::bench::told::{self, Counts};
use crate::bench::uplinks::Uplinks;

pub(super) struct Course<'a> {
    pub(super) talks: Vec<Talk>,
    pub(super) uplinks: Option<Uplinks>,
    pub(super) pause: Duration,
    pub(super) progress: &'a Progress,
}

/// A publisher, and those who hear it.
pub(super) struct Talk {
    pub(super) part: Part,
    pub(super) publisher: Publisher,
    pub(super) subscribers: Vec<Subscriber>,
    /// Behind it begins what counts.
    pub(super) made: Position,
}

/// All switches of one kind.
struct Leg {
    kind: Kind,
    /// Of each switch, from its beginning until everything was quiet again.
    windows: Vec<(u64, u64)>,
    /// Of each talk.
    shares: Vec<Share>,
}

/// What one talk had of a leg.
struct Share {
    after: Position,
    upto: Position,
    /// Of each subscriber.
    changes: Vec<Change>,
}

/// What a subscriber's client has counted during a leg.
struct Change {
    asked: u64,
    counts: Counts,
}

impl Course<'_> {
    pub(super) async fn run(mut self, args: &HandoverArgs) -> Result<Report> {
        let mut legs: Vec<Leg> = Vec::new();
        let mut heads: Vec<Position> = self.talks.iter().map(|talk| talk.made).collect();
        // The first window needs something before it.
        self.settle().await?;
        for kind in kinds(args) {
            let leg = self.leg(*kind, args.switches, &heads).await?;
            heads = leg.shares.iter().map(|share| share.upto).collect();
            legs.push(leg);
        }
        let (mut rows, mut raw_rows, mut publications) = (Vec::new(), Vec::new(), 0);
        let mut timelines = Vec::new();
        for (at, mut talk) in self.talks.into_iter().enumerate() {
            let acked = talk.end(legs.last_mut().and_then(|leg| leg.shares.get_mut(at))).await?;
            for (who, subscriber) in talk.subscribers.iter().enumerate() {
                timelines.extend(legs.iter().map(|leg| leg.timeline(talk.part, subscriber)));
                let found = legs.iter().map(|leg| leg.row(at, who, subscriber, &acked));
                match talk.part {
                    Part::Raw => raw_rows.extend(found),
                    Part::Sterna | Part::Peer => rows.extend(found),
                }
            }
            publications += if talk.part == Part::Raw { 0 } else { acked.len() };
            for subscriber in talk.subscribers {
                subscriber.close().await;
            }
        }
        Ok(Report {
            round_trip_ms: args.delay_ms * 2,
            publications_per_second: args.rate,
            switches_of_each_kind: args.switches,
            publications,
            rows,
            raw_rows,
            timelines,
            machine: Machine::describe(),
        })
    }

    async fn leg(&mut self, kind: Kind, switches: u32, after: &[Position]) -> Result<Leg> {
        self.progress.next(format!("switches: {}", kind.name()), switches.into());
        let before: Vec<_> = self.talks.iter().map(Talk::so_far).collect();
        let mut windows = Vec::new();
        let mut upto = after.to_vec();
        for _ in 0..switches {
            let began = told::now_us();
            self.switch(kind).await?;
            upto = self.settle().await?;
            windows.push((began, told::now_us()));
            self.progress.step();
        }
        let shares = self.talks.iter().zip(before).zip(after.iter().zip(upto));
        let shares = shares.map(|((talk, before), (&after, upto))| {
            let changes = talk.so_far().into_iter().zip(&before);
            let changes = changes.map(|(now, before)| now.since(before)).collect();
            Share { after, upto, changes }
        });
        Ok(Leg { kind, windows, shares: shares.collect() })
    }

    async fn switch(&mut self, kind: Kind) -> Result<()> {
        match (&mut self.uplinks, kind) {
            (None, _) | (_, Kind::None) => {}
            (Some(uplinks), Kind::Hard) => uplinks.switch_after(DARKNESS).await?,
            (Some(uplinks), Kind::Rebind | Kind::Address) => uplinks.switch().await?,
        }
        let subscribers = self.talks.iter_mut().flat_map(|talk| &mut talk.subscribers);
        try_join_all(subscribers.map(|subscriber| subscriber.switch(kind))).await?;
        Ok(())
    }

    /// Lets time pass, then waits until everybody has what was acknowledged by then.
    async fn settle(&mut self) -> Result<Vec<Position>> {
        tokio::time::sleep(self.pause).await;
        let heads: Vec<Position> = self.talks.iter().map(|talk| talk.publisher.head()).collect();
        for (talk, head) in self.talks.iter_mut().zip(&heads) {
            for subscriber in &mut talk.subscribers {
                subscriber.reach(*head).await?;
            }
        }
        Ok(heads)
    }
}

/// Behind an uplink of its own, a client's port changes with its address only.
fn kinds(args: &HandoverArgs) -> &'static [Kind] {
    match args.netns {
        true => &[Kind::None, Kind::Address, Kind::Hard],
        false => &Kind::ALL,
    }
}

impl Talk {
    fn so_far(&self) -> Vec<Change> {
        self.subscribers.iter().map(Change::so_far).collect()
    }

    /// Ends the publisher; everything that was acknowledged. What came after the last window belongs to
    /// the last leg.
    async fn end(&mut self, last: Option<&mut Share>) -> Result<Vec<Position>> {
        let acked = self.publisher.stop().await?;
        let head = acked.iter().max().copied().unwrap_or_default();
        for subscriber in &mut self.subscribers {
            subscriber.reach(head).await?;
        }
        if let Some(last) = last {
            last.upto = head;
        }
        Ok(acked)
    }
}

impl Change {
    fn so_far(subscriber: &Subscriber) -> Self {
        let journal = subscriber.journal();
        Self { asked: journal.asked(), counts: journal.counts().clone() }
    }

    fn since(self, before: &Self) -> Self {
        let counts = Counts {
            reconnects: self.counts.reconnects - before.counts.reconnects,
            resumed: self.counts.resumed - before.counts.resumed,
            ..self.counts
        };
        Self { asked: self.asked - before.asked, counts }
    }
}

impl Leg {
    /// Of the `who`th subscriber of the `talk`th talk.
    fn row(&self, talk: usize, who: usize, subscriber: &Subscriber, acked: &[Position]) -> Row {
        let journal = subscriber.journal();
        let share = &self.shares[talk];
        let change = &share.changes[who];
        let verdict = journal.judge(acked, share.after, share.upto);
        let gaps = self.windows.iter().map(|(from, to)| journal.longest_silence(*from, *to));
        Row {
            transport: subscriber.transport().name(),
            switch: self.kind,
            gap_ms: Gaps::of(gaps.collect()),
            lost: verdict.lost,
            duplicated: verdict.duplicated,
            resubscribed: change.asked,
            reconnects: change.counts.reconnects,
            resumed: change.counts.resumed,
            transport_after: change.counts.transport.clone(),
        }
    }

    fn timeline(&self, part: Part, subscriber: &Subscriber) -> Timeline {
        let from = self.windows.first().map_or(0, |window| window.0);
        let to = self.windows.last().map_or(0, |window| window.1);
        let journal = subscriber.journal();
        Timeline {
            part,
            transport: subscriber.transport().name(),
            switch: self.kind,
            switches_us: self.windows.iter().map(|window| window.0 - from).collect(),
            silences: journal.silences(from, to).map(|(at, gap)| (at - from, gap)).collect(),
        }
    }
}
