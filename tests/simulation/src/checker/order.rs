//! Publishers. I1: what was acked is stored, where the ack says. I3: every ack of a publication
//! says the same. I13: a client's order is kept, and what is sent after an ack comes after it.

use std::collections::HashMap;

use super::Findings;
use super::truth::Truth;
use crate::history::{Event, Text, What};
use crate::plan::Plan;

pub fn check(plan: &Plan, events: &[Event], truth: &Truth, findings: &mut Findings) {
    check_acks(events, truth, findings);
    check_refusals(plan, events, truth, findings);
    check_order_of_clients(plan, truth, findings);
    check_real_time(plan, events, truth, findings);
}

fn check_acks(events: &[Event], truth: &Truth, findings: &mut Findings) {
    let mut acks: HashMap<(usize, Text), usize> = HashMap::new();
    for (event, what) in events.iter().map(|event| &event.what).enumerate() {
        let What::Acked { channel, text, position, .. } = what else { continue };
        match truth.at(*channel, *position) {
            Some(commit) if commit.item.text == *text && commit.event < event => {}
            Some(commit) if commit.item.text == *text => {
                let message = format!("{text:?} was acked before it was stored");
                findings.add("I4", [event, commit.event], message);
            }
            Some(commit) => {
                let message = format!("{text:?} was acked where {:?} is", commit.item.text);
                findings.add("I1", [event, commit.event], message);
            }
            None => findings.add("I1", [event], format!("{text:?} was acked and is not stored")),
        }
        if let Some(other) = acks.insert((*channel, *text), event)
            && let What::Acked { position: before, .. } = &events[other].what
            && before != position
        {
            findings.add("I3", [other, event], format!("{text:?} was acked at two positions"));
        }
    }
}

/// What was sent once and refused for good must not be there.
fn check_refusals(plan: &Plan, events: &[Event], truth: &Truth, findings: &mut Findings) {
    let stored: Vec<_> = (0..plan.channels).map(|channel| truth.stored(channel)).collect();
    for (event, what) in events.iter().map(|event| &event.what).enumerate() {
        let What::Refused { channel, text, attempt: 1, retryable: false, .. } = what else {
            continue;
        };
        if stored[*channel].contains_key(text) {
            findings.add("I1", [event], format!("{text:?} was refused and is stored"));
        }
    }
}

fn check_order_of_clients(plan: &Plan, truth: &Truth, findings: &mut Findings) {
    for (channel, log) in truth.channels.iter().enumerate() {
        let mut last: HashMap<u32, (u64, usize)> = HashMap::new();
        for commit in log {
            let Text { client, seq } = commit.item.text;
            let role = plan.roles.get(client as usize);
            if !role.is_some_and(|role| role.ordered || role.window == 1) {
                continue;
            }
            if let Some((before, event)) = last.insert(client, (seq, commit.event))
                && before > seq
            {
                let message =
                    format!("channel {channel}: {before} of client {client} overtook {seq}");
                findings.add("I13", [event, commit.event], message);
            }
        }
    }
}

/// I2: one order that all see, also those who have seen an ack before they sent.
fn check_real_time(plan: &Plan, events: &[Event], truth: &Truth, findings: &mut Findings) {
    let stored: Vec<_> = (0..plan.channels).map(|channel| truth.stored(channel)).collect();
    let mut restored: Vec<Vec<(usize, u64)>> = vec![Vec::new(); plan.channels];
    for (event, what) in events.iter().map(|event| &event.what).enumerate() {
        if let What::Restored { channel, upto, .. } = what {
            restored[*channel].push((event, *upto));
        }
    }
    // The highest offset that was acked so far, and the event of that ack.
    let mut acked: Vec<(u64, usize)> = vec![(0, 0); plan.channels];
    for (event, what) in events.iter().map(|event| &event.what).enumerate() {
        match what {
            What::Acked { channel, position, .. } => {
                acked[*channel] = acked[*channel].max((position.offset.0, event));
            }
            What::Restored { channel, upto, .. } => {
                acked[*channel] = acked[*channel].min((*upto, event));
            }
            What::Sent { channel, text, attempt: 1 } => {
                let (floor, ack) = acked[*channel];
                let Some(commit) = stored[*channel].get(text) else { continue };
                // What a backup took away in between is no floor.
                let between = restored[*channel].iter();
                let between = between.filter(|(at, _)| *at > event && *at < commit.event);
                let floor = between.fold(floor, |floor, (_, upto)| floor.min(*upto));
                if commit.item.position.offset.0 <= floor {
                    let message = format!("{text:?} came before what was acked before it was sent");
                    findings.add("I2", [ack, event, commit.event], message);
                }
            }
            _ => {}
        }
    }
}
