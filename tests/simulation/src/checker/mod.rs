//! Judges the history of one schedule by the invariants of ARCHITECTURE.md. Pure, knows nothing of
//! the core, and takes no longer than sorting would.
//!
//! | module | invariants |
//! |---|---|
//! | [`truth`] | the log as its commits made it: I2, I3, I10 |
//! | [`order`] | acks and refusals: I1, I3, I13 (order of a client) |
//! | [`streams`] | what clients received: I4, I5, I13 |
//! | [`rights`] | I8 (cursors), I11 (who may see and resume) |
//! | [`spread`] | I9, and copies for nobody |

pub mod order;
pub mod rights;
pub mod spread;
pub mod streams;
pub mod truth;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::history::{Event, What};
use crate::plan::Plan;
use truth::Truth;

/// An invariant that does not hold, with the events that show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub message: String,
    /// Indices into the history, in order.
    pub witness: Vec<usize>,
}

/// Collects violations.
#[derive(Debug, Default)]
pub struct Findings(Vec<Violation>);

impl Findings {
    pub fn add(
        &mut self,
        invariant: &'static str,
        witness: impl Into<Vec<usize>>,
        message: impl Into<String>,
    ) {
        let mut witness = witness.into();
        witness.sort_unstable();
        witness.dedup();
        self.0.push(Violation { invariant, message: message.into(), witness });
    }
}

/// What is wrong with a history; nothing, if all is well. Earliest first.
pub fn check(plan: &Plan, events: &[Event]) -> Vec<Violation> {
    let mut findings = Findings::default();
    if let Some(layout) = &plan.cluster {
        spread::check(layout, events, &mut findings);
    }
    let all = events;
    // What is published when the last client has gone is for nobody to hear.
    let heard = events.iter().position(|event| event.what == What::Deserted);
    let events = &events[..heard.unwrap_or(events.len())];
    let truth = Truth::of(plan.channels, events, &mut findings);
    order::check(plan, events, &truth, &mut findings);
    streams::check(plan, events, &truth, &mut findings);
    rights::check(plan, events, &mut findings);
    for (index, event) in all.iter().enumerate() {
        if let What::Wrong(what) = &event.what {
            findings.add("run", [index], what.clone());
        }
    }
    let mut found = findings.0;
    found.sort_by_key(|violation| violation.witness.last().copied());
    found
}

/// A violation with its events written out.
#[derive(Debug)]
pub struct Witness<'a> {
    pub violation: &'a Violation,
    pub events: &'a [Event],
}

impl fmt::Display for Witness<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { invariant, message, witness } = self.violation;
        writeln!(f, "{invariant}: {message}")?;
        for index in witness {
            if let Some(event) = self.events.get(*index) {
                writeln!(f, "  #{index} at {} ms: {:?}", event.at_ms, event.what)?;
            }
        }
        Ok(())
    }
}
