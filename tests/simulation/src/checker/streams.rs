//! Receivers. I4: nothing is seen before its commit. I5: what a connection receives follows, or the
//! hole is named; pages hold exactly what the position misses; a replaced history is told. I13: the
//! application gets everything once and in order.

use std::collections::HashMap;

use sterna_proto::Offset;

use super::Findings;
use super::truth::Truth;
use crate::history::{At, Event, Item, Page, What};
use crate::plan::Plan;

pub fn check(plan: &Plan, events: &[Event], truth: &Truth, findings: &mut Findings) {
    let mut streams: HashMap<At, Stream> = HashMap::new();
    let mut readers = Readers::default();
    for (event, what) in events.iter().map(|event| &event.what).enumerate() {
        match what {
            What::Page { at, page } => {
                let live = on_page(*at, page, event, findings);
                streams.entry(*at).or_default().live = live;
                let items = page.items.iter();
                items.for_each(|item| check_item(at.channel, item, event, truth, findings));
            }
            What::Pushed { at, item } => {
                let stream = streams.entry(*at).or_default();
                stream.on_pushed(*at, item, event, findings);
                check_item(at.channel, item, event, truth, findings);
            }
            What::Background { at, begins } => {
                streams.entry(*at).or_default().background = *begins;
            }
            What::Gap { at, .. } => streams.entry(*at).or_default().on_gap(),
            What::Head { at, offset } => {
                streams.entry(*at).or_default().on_head(*at, *offset, event, findings);
            }
            What::History { channel, since, items, more } => {
                check_run(*channel, *since, items, event, findings);
                for item in items {
                    check_item(*channel, item, event, truth, findings);
                }
                if *more && items.is_empty() {
                    findings.add("I5", [event], "a page of history is empty and not the last");
                }
            }
            What::Delivered { client, channel, position, text } => {
                readers.on_delivered((*client, *channel), position.offset, event, findings);
                if truth.at(*channel, *position).is_none_or(|commit| commit.item.text != *text) {
                    let message = format!("{text:?} was delivered and is not stored there");
                    findings.add("I5", [event], message);
                }
            }
            What::Rewound { client, channel, upto } => readers.rewind((*client, *channel), *upto),
            _ => {}
        }
    }
    readers.check_complete(plan, truth, events, findings);
}

/// What one connection has received of one channel.
#[derive(Debug, Default)]
struct Stream {
    /// While pushes follow: the last offset, and the event that brought it.
    live: Option<(u64, usize)>,
    /// Publications are held back, and only heads are told: what follows is a gap, or follows.
    background: bool,
}

/// Where pushes follow, if they do.
fn on_page(at: At, page: &Page, event: usize, findings: &mut Findings) -> Option<(u64, usize)> {
    let mut start = page.since.offset.0;
    if let Some(upto) = page.keep_upto {
        start = start.min(upto);
    }
    if let Some((after, upto)) = page.gap {
        if after != start {
            findings.add("I5", [event], format!("{at:?}: the page names another hole"));
        }
        start = upto;
    }
    check_run(at.channel, start, &page.items, event, findings);
    let reached = page.items.last().map_or(start, |item| item.position.offset.0);
    if page.position.offset.0 != reached {
        let message = format!("{at:?}: the page reaches {reached} and says {}", page.position);
        findings.add("I5", [event], message);
    }
    page.live.then_some((reached, event))
}

/// Consecutive offsets after `since`.
fn check_run(channel: usize, since: u64, items: &[Item], event: usize, findings: &mut Findings) {
    for (expected, item) in (since + 1..).zip(items) {
        if item.position.offset.0 != expected {
            let offset = item.position.offset.0;
            let message =
                format!("channel {channel}: a page after {since} has {offset} at {expected}");
            return findings.add("I5", [event], message);
        }
    }
}

impl Stream {
    fn on_pushed(&mut self, at: At, item: &Item, event: usize, findings: &mut Findings) {
        let offset = item.position.offset.0;
        match self.live {
            None => {
                let message = format!("{at:?}: {offset} was pushed, and pushes do not follow yet");
                findings.add("I5", [event], message);
            }
            Some((last, before)) if offset <= last => {
                findings.add("I13", [before, event], format!("{at:?}: {offset} was pushed twice"));
            }
            Some((last, before)) if offset > last + 1 => {
                let message = format!("{at:?}: {offset} was pushed after {last}, no gap was named");
                findings.add("I5", [before, event], message);
                self.live = None;
            }
            Some(_) => self.live = Some((offset, event)),
        }
    }

    /// Where exactly it begins is of no matter: the client asks from where it stands.
    fn on_gap(&mut self) {
        self.live = None;
    }

    fn on_head(&mut self, at: At, offset: u64, event: usize, findings: &mut Findings) {
        if let Some((last, before)) = self.live
            && offset > last
            && !self.background
        {
            let message = format!(
                "{at:?}: the channel ends at {offset}, {last} was the last, no gap was named"
            );
            findings.add("I5", [before, event], message);
            self.live = None;
        }
    }
}

fn check_item(channel: usize, item: &Item, event: usize, truth: &Truth, findings: &mut Findings) {
    match truth.at(channel, item.position) {
        Some(commit) if commit.event > event => {
            let message = format!("channel {channel}: {} was seen early", item.position);
            findings.add("I4", [event, commit.event], message);
        }
        Some(commit) if commit.item != *item => {
            let message = format!("channel {channel}: {:?} is stored there", commit.item);
            findings.add("I2", [commit.event, event], message);
        }
        Some(_) => {}
        None => {
            let message = format!("channel {channel}: {} was never stored", item.position);
            findings.add("I4", [event], message);
        }
    }
}

/// What applications have, as the events of their deliveries; offset 1 is at index 0.
#[derive(Debug, Default)]
struct Readers(HashMap<(u32, usize), Vec<usize>>);

impl Readers {
    fn on_delivered(
        &mut self,
        reader: (u32, usize),
        offset: Offset,
        event: usize,
        findings: &mut Findings,
    ) {
        let has = self.0.entry(reader).or_default();
        if offset.0 != has.len() as u64 + 1 {
            let (client, channel) = reader;
            let message = format!("client {client}, channel {channel}: {} was delivered", offset.0);
            findings.add("I13", [has.last().copied().unwrap_or(event), event], message);
        }
        has.push(event);
    }

    fn rewind(&mut self, reader: (u32, usize), upto: u64) {
        self.0.entry(reader).or_default().truncate(upto as usize);
    }

    /// In the end everybody has what the log has, and nothing else.
    fn check_complete(
        &self,
        plan: &Plan,
        truth: &Truth,
        events: &[Event],
        findings: &mut Findings,
    ) {
        let empty = Vec::new();
        for client in 0..plan.roles.len() as u32 {
            for (channel, log) in truth.channels.iter().enumerate() {
                let has = self.0.get(&(client, channel)).unwrap_or(&empty);
                let who = format!("client {client}, channel {channel}");
                if has.len() != log.len() {
                    let first = log.get(has.len()).map(|commit| commit.event);
                    let message = format!("{who}: has {} of {}", has.len(), log.len());
                    findings.add("I13", first.into_iter().collect::<Vec<_>>(), message);
                }
                let other = has.iter().zip(log).find(|(event, commit)| {
                    !matches!(&events[**event].what,
                        What::Delivered { position, .. } if *position == commit.item.position)
                });
                if let Some((event, commit)) = other {
                    let message = format!("{who}: kept what a new epoch has replaced");
                    findings.add("I5", [*event, commit.event], message);
                }
            }
        }
    }
}
