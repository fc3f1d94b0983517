//! The log as its commits have made it, backups that were put back included. I2: dense, one order,
//! server times never go back. I3: nothing is stored twice. I10: ids never repeat.

use std::collections::HashMap;

use sterna_proto::Position;

use super::Findings;
use crate::history::{Event, Item, Text, What};

/// A commit and the event that tells of it.
#[derive(Debug, Clone, Copy)]
pub struct Commit {
    pub item: Item,
    pub event: usize,
}

#[derive(Debug)]
pub struct Truth {
    /// By channel and offset; offset 1 is at index 0.
    pub channels: Vec<Vec<Commit>>,
    /// Every commit there has been, also those that a backup took back.
    every: HashMap<(usize, Position), Commit>,
}

impl Truth {
    pub fn of(channels: usize, events: &[Event], findings: &mut Findings) -> Self {
        let mut truth = Self { channels: vec![Vec::new(); channels], every: HashMap::new() };
        let mut ids: HashMap<u64, usize> = HashMap::new();
        for (event, what) in events.iter().map(|event| &event.what).enumerate() {
            let (channel, item) = match what {
                What::Committed { channel, item } => (*channel, *item),
                What::Restored { channel, upto, marker } => {
                    truth.channels[*channel].truncate(*upto as usize);
                    let Some(marker) = marker else { continue };
                    (*channel, *marker)
                }
                What::Final { channel, items } => {
                    truth.compare(*channel, items, event, findings);
                    continue;
                }
                _ => continue,
            };
            if let Some(other) = ids.insert(item.id, event) {
                findings.add("I10", [other, event], format!("id {} was given twice", item.id));
            }
            truth.append(channel, Commit { item, event }, findings);
        }
        truth.check_stored_once(findings);
        truth
    }

    /// What was committed at a position, now or before a backup was put back.
    pub fn at(&self, channel: usize, position: Position) -> Option<&Commit> {
        self.every.get(&(channel, position))
    }

    /// What is stored in the end.
    pub fn stored(&self, channel: usize) -> HashMap<Text, Commit> {
        self.channels[channel].iter().map(|commit| (commit.item.text, *commit)).collect()
    }

    fn append(&mut self, channel: usize, commit: Commit, findings: &mut Findings) {
        let log = &mut self.channels[channel];
        let position = commit.item.position;
        let follows = log.len() as u64 + 1;
        if position.offset.0 != follows {
            let message = format!(
                "channel {channel}: offset {} was stored, {follows} follows",
                position.offset.0
            );
            let before = log.get(position.offset.0.saturating_sub(1) as usize).or(log.last());
            findings.add("I2", [before.map_or(commit.event, |b| b.event), commit.event], message);
        }
        if let Some(last) = log.last()
            && (last.item.server_ts_ms > commit.item.server_ts_ms
                || last.item.position.epoch > position.epoch)
        {
            let message = format!("channel {channel}: server time or epoch went back");
            findings.add("I2", [last.event, commit.event], message);
        }
        log.push(commit);
        self.every.insert((channel, position), commit);
    }

    fn compare(&self, channel: usize, items: &[Item], event: usize, findings: &mut Findings) {
        let log = &self.channels[channel];
        if log.len() != items.len() {
            let message = format!(
                "channel {channel}: {} records in the log, {} commits",
                items.len(),
                log.len()
            );
            findings.add("I1", [event], message);
        }
        let mut pairs = log.iter().zip(items);
        if let Some((commit, item)) = pairs.find(|(commit, item)| commit.item != **item) {
            let message = format!("channel {channel}: the log holds {item:?} instead");
            findings.add("I1", [commit.event], message);
        }
    }

    fn check_stored_once(&self, findings: &mut Findings) {
        for (channel, log) in self.channels.iter().enumerate() {
            let mut seen: HashMap<Text, usize> = HashMap::new();
            for commit in log {
                if let Some(other) = seen.insert(commit.item.text, commit.event) {
                    let message =
                        format!("channel {channel}: {:?} was stored twice", commit.item.text);
                    findings.add("I3", [other, commit.event], message);
                }
            }
        }
    }
}
