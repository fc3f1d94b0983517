//! Copies between nodes of a cluster. I9: while the ways hold, one copy of a publication goes into
//! a region. And when the last client has gone, none goes anywhere: whoever still sent them would
//! do so for ever.

use std::collections::HashMap;

use sterna_proto::Position;

use super::Findings;
use crate::cluster::plan::Layout;
use crate::history::{Event, What};

/// After whatever disturbs the ways they have settled: leases have ended, connections have been
/// made again, and everybody has attached there.
const SETTLED_MS: u64 = 4000;

/// Where nobody listens any more, a copy shows the sender that; another may be on its way by then.
const LAST_COPIES: usize = 2;

pub fn check(layout: &Layout, events: &[Event], findings: &mut Findings) {
    check_regions(layout, events, findings);
    check_deserted(events, findings);
}

fn check_regions(layout: &Layout, events: &[Event], findings: &mut Findings) {
    let mut calm = Calm::default();
    /// A publication and the region into which it has gone.
    type Copy<'a> = (usize, Position, &'a str);
    let mut copies: HashMap<Copy<'_>, usize> = HashMap::new();
    for (index, event) in events.iter().enumerate() {
        calm.observe(event);
        let What::Crossed { from, to, channel, first, count } = &event.what else { continue };
        let region = layout.nodes[*to].region;
        if layout.nodes[*from].region == region || !calm.is_calm(event.at_ms) {
            continue;
        }
        for nth in 0..*count as u64 {
            let position = Position::new(first.epoch.0, first.offset.0 + nth);
            if let Some(other) = copies.insert((*channel, position, region), index) {
                let message = format!("channel {channel}: {position} went twice into `{region}`");
                findings.add("I9", [other, index], message);
            }
        }
    }
}

fn check_deserted(events: &[Event], findings: &mut Findings) {
    let Some(deserted) = events.iter().position(|event| event.what == What::Deserted) else {
        return;
    };
    let mut last: HashMap<(usize, usize, usize), Vec<usize>> = HashMap::new();
    for (index, event) in events.iter().enumerate().skip(deserted) {
        let What::Crossed { from, to, channel, .. } = &event.what else { continue };
        let copies = last.entry((*from, *to, *channel)).or_default();
        copies.push(index);
        if copies.len() > LAST_COPIES {
            let message = format!("channel {channel}: node {to} hears of it for nobody");
            return findings.add("interest", copies.clone(), message);
        }
    }
}

/// Whether the ways have held for long enough.
#[derive(Debug, Default)]
struct Calm {
    disturbances: u32,
    ended_ms: u64,
}

impl Calm {
    fn observe(&mut self, event: &Event) {
        match event.what {
            What::FaultBegan(fault) if fault.disturbs_ways() => self.disturbances += 1,
            What::FaultEnded(fault) if fault.disturbs_ways() => {
                self.disturbances -= 1;
                self.ended_ms = event.at_ms;
            }
            _ => {}
        }
    }

    fn is_calm(&self, at_ms: u64) -> bool {
        self.disturbances == 0 && at_ms >= self.ended_ms + SETTLED_MS
    }
}
