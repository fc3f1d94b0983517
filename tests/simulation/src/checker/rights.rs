//! I8: cursors only move forward, in the store and as others hear of them. I11: who has lost a
//! right sees nothing more, and nobody continues another's session.

use std::collections::HashMap;

use super::Findings;
use crate::history::{Event, What};
use crate::plan::Plan;

/// A session that ends by revocation is gone everywhere after this long.
const REVOCATION_MS: u64 = 1000;

pub fn check(plan: &Plan, events: &[Event], findings: &mut Findings) {
    check_cursors(plan, events, findings);
    check_sessions(events, findings);
    for (event, what) in events.iter().map(|event| &event.what).enumerate() {
        match what {
            What::Leaked { client, channel, offset } => {
                let message =
                    format!("{offset} of channel {channel} left for client {client}, no member");
                findings.add("I11", [event], message);
            }
            What::TicketStolen { resumed: true } => {
                findings.add("I11", [event], "another user's ticket was honoured");
            }
            _ => {}
        }
    }
}

/// In a cluster a receipt of an owner that is not asked any more may come late; what it says was
/// stored nevertheless.
fn check_cursors(plan: &Plan, events: &[Event], findings: &mut Findings) {
    /// Who looks: the store itself, or a client.
    type Place = (Option<u32>, usize, u32);
    let mut last: HashMap<Place, (u64, u64, usize)> = HashMap::new();
    for (event, what) in events.iter().map(|event| &event.what).enumerate() {
        let (place, delivered, read) = match what {
            What::CursorStored { channel, user, delivered, read } => {
                ((None, *channel, *user), *delivered, *read)
            }
            What::Receipt { channel, user, delivered, read, .. } if plan.cluster.is_some() => {
                let stored = last.get(&(None, *channel, *user));
                if stored.is_none_or(|(d, r, _)| delivered > d || read > r) {
                    findings.add("I8", [event], "a receipt tells more than is stored");
                }
                continue;
            }
            What::Receipt { client, channel, user, delivered, read } => {
                ((Some(*client), *channel, *user), *delivered, *read)
            }
            _ => continue,
        };
        if let Some((d, r, before)) = last.insert(place, (delivered, read, event))
            && (delivered < d || read < r)
        {
            findings.add("I8", [before, event], "a cursor moved back");
        }
    }
}

fn check_sessions(events: &[Event], findings: &mut Findings) {
    let mut revoked: HashMap<u32, (u64, usize)> = HashMap::new();
    // Of a session: when a client was first told of it.
    let mut opened: HashMap<u32, usize> = HashMap::new();
    for (index, event) in events.iter().enumerate() {
        match &event.what {
            What::Revoked { user } => {
                revoked.insert(*user, (event.at_ms, index));
            }
            What::Opened { user, session, resumed, .. } => {
                let first = *opened.entry(*session).or_insert(index);
                if let Some((at_ms, revocation)) = revoked.get(user)
                    && *resumed
                    && first < *revocation
                    && event.at_ms > at_ms + REVOCATION_MS
                {
                    let message = "a session was continued after it was revoked";
                    findings.add("I11", [first, *revocation, index], message);
                }
            }
            _ => {}
        }
    }
}
