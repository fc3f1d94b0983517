//! A server under everything at once: clients arrive by chance, stay for as long as chance wills, say
//! that they are there, publish and receive; from a baseline in steps to a peak, and at the peak
//! through faults. In the end every acknowledged publication is looked for, where something is kept.
//! Peers meet the same arrivals, lifetimes and publications as a node, one after the other.
//!
//! Owns the servers, the visitors, and whatever disturbs them; all of it ends with [`run`].

mod account;
mod faults;
mod model;
mod stage;
mod table;
mod world;

use std::rc::Rc;

use anyhow::{Context as _, Result};
use serde_json::json;

pub use account::Consistency;
pub use model::Habits;

use crate::client::{Access, Client, Transport, quic};
use crate::progress::Progress;
use crate::report::Report;
use crate::run::peers_may_fail;
use crate::target::{Part, Running, Target};
use faults::Fault;
use model::predicted_sessions;
use stage::{Done, Stage};
use world::{Gate, World};

#[derive(Debug, Clone)]
pub struct Options {
    pub habits: Habits,
    /// How visitors come to a node, in turn; to peers they come as those want it.
    pub transports: Vec<Transport>,
    /// Arrivals a second before and after the peak.
    pub baseline: f64,
    /// Arrivals a second that are tried for.
    pub peak: f64,
    /// Members of a room on average.
    pub room: u32,
    /// How long each stage is watched.
    pub watch: std::time::Duration,
    pub seed: u64,
    /// In words, for the report.
    pub storage: String,
}

/// What one server went through.
#[derive(Debug)]
struct Outcome {
    done: Vec<Done>,
    /// What was read back; an error: how many acknowledgements nothing can be held against.
    consistency: Result<Consistency, u64>,
}

/// Runs all stages on each target, one after the other. Whether nodes have kept what they have
/// acknowledged comes beside the report.
pub async fn run(
    options: &Options,
    targets: &[Target],
    progress: &Progress,
) -> Result<(Report, bool)> {
    let mut report = Report::new("load", method(options), table::COLUMNS);
    report.is_upright = true;
    let mut holds = true;
    for target in targets {
        let outcome = measure(options, target, progress).await;
        let Some(outcome) = peers_may_fail(target, outcome, &mut report.notes)? else { continue };
        if let (Part::Sterna, Ok(consistency)) = (target.part, &outcome.consistency) {
            holds &= consistency.holds();
        }
        // The stages of one are told apart by their names alone.
        let name = (targets.len() > 1).then_some(target.name.as_str());
        add(&mut report, target.part, name, &outcome);
    }
    Ok((report, holds))
}

async fn measure(options: &Options, target: &Target, progress: &Progress) -> Result<Outcome> {
    let running = target.start().await?;
    let transports = match target.part {
        Part::Sterna => options.transports.as_slice(),
        Part::Peer | Part::Raw => std::slice::from_ref(&target.transport),
    };
    let access: Vec<Access> =
        transports.iter().map(|&it| reach(&running, it)).collect::<Result<_>>()?;
    let world = World::new(options.habits);
    let gate = Gate::new(world.clone(), options.seed);
    let mut course = Course { options, running, access, world, gate, done: Vec::new() };
    course.run(&target.name, progress).await?;
    let Course { running, world, gate, done, .. } = course;
    progress.next(format!("{}: everybody leaves", target.name), 0);
    gate.close().await;
    let ledger = world.ledger.take();
    if running.access.dialect.history(0, 0, 0).is_none() {
        return Ok(Outcome { done, consistency: Err(ledger.acked()) });
    }
    progress.next("every acknowledged publication is looked for".to_owned(), 0);
    let reader = Client::connect(&reach(&running, Transport::Wss)?, "reader").await?;
    let consistency = account::settle(&ledger, &reader).await?;
    Ok(Outcome { done, consistency: Ok(consistency) })
}

/// The same node on another transport.
fn reach(running: &Running, transport: Transport) -> Result<Access> {
    let access = running.access.clone();
    let quic = match transport {
        Transport::Quic => Some(quic::Endpoints::new(&access.tls, access.dialect.alpn())?),
        Transport::Wss | Transport::Ws => None,
    };
    Ok(Access { transport, quic, ..access })
}

/// The stages, one after the other.
struct Course<'a> {
    options: &'a Options,
    running: Running,
    access: Vec<Access>,
    world: Rc<World>,
    gate: Gate,
    done: Vec<Done>,
}

impl Course<'_> {
    async fn run(&mut self, target: &str, progress: &Progress) -> Result<()> {
        progress.next(target.to_owned(), 0);
        let (baseline, peak) = (self.options.baseline, self.options.peak);
        self.stage("baseline", baseline, Fault::None, progress).await?;
        let mut stood = baseline;
        for step in model::steps(baseline, peak) {
            if !self.stage(&format!("{step:.0} / s"), step, Fault::None, progress).await? {
                stood = self.between(stood, step, progress).await?;
                break;
            }
            stood = step;
        }
        for (name, fault) in [
            ("peak", Fault::None),
            ("half a core", Fault::Processor),
            ("stops", Fault::Stall),
            ("bad net", Fault::Network),
        ] {
            self.stage(name, stood, fault, progress).await?;
        }
        self.stage("after", baseline, Fault::None, progress).await?;
        Ok(())
    }

    /// One more try, half way to what the server did not stand.
    async fn between(&mut self, stood: f64, fell: f64, progress: &Progress) -> Result<f64> {
        let middle = (stood + fell) / 2.0;
        // The queues of what was too much go first.
        self.stage("relief", self.options.baseline, Fault::None, progress).await?;
        let name = format!("{middle:.0} / s");
        let stands = self.stage(&name, middle, Fault::None, progress).await?;
        Ok(if stands { middle } else { stood })
    }

    /// Whether the server stood it.
    async fn stage(
        &mut self,
        name: &str,
        arrivals: f64,
        fault: Fault,
        progress: &Progress,
    ) -> Result<bool> {
        progress.next(format!("{name}: {arrivals:.0} arrivals a second"), 0);
        let sessions = predicted_sessions(arrivals, self.options.habits.lifetime);
        let stage = Stage {
            name: name.to_owned(),
            arrivals,
            predicted: sessions,
            fault,
            channels: (sessions / f64::from(self.options.room)).ceil().max(1.0) as u32,
        };
        let done = stage
            .run(self.options, &mut self.running, &self.access, (&self.world, &mut self.gate))
            .await
            .with_context(|| format!("during the stage `{name}`"))?;
        let stands = done.stands();
        self.done.push(done);
        Ok(stands)
    }
}

/// Adds what one server went through; `name`: what it is called beside others.
fn add(report: &mut Report, part: Part, name: Option<&str>, outcome: &Outcome) {
    let Outcome { done, consistency } = outcome;
    let full = |text: &str| name.map_or_else(|| text.to_owned(), |name| format!("{name}: {text}"));
    report.headings.extend(name.map(str::to_owned));
    report.rows.extend(done.iter().map(|it| table::row(it, part, full(&it.stage.name))));
    report.plots.extend(table::plots(done, &full));
    report.notes.extend(done.iter().filter_map(table::note).map(|note| full(&note)));
    report.notes.push(full(&match consistency {
        Ok(consistency) => table::verdict(consistency),
        Err(acked) => table::no_verdict(*acked),
    }));
    if let Ok(consistency) = consistency {
        let key = match part {
            Part::Sterna => "consistency".to_owned(),
            Part::Raw | Part::Peer => full("consistency"),
        };
        report.facts.insert(key, json!(consistency));
    }
}

fn method(options: &Options) -> String {
    let habits = &options.habits;
    format!(
        "arrivals by chance (Poisson), lifetimes exponential with a mean of {:?}; a visitor joins one \
         of the rooms of {} and reads its 20 newest publications, sends a heartbeat every {:?} and \
         publishes {} bytes every {:?} on average; {}; predicted: arrivals x mean lifetime x 1.2; \
         each stage is watched for {:?}, after sessions have gathered; times are upper ends where \
         the node's own histograms give them; `-`: this server has no such figure",
        habits.lifetime,
        options.room,
        habits.heartbeat,
        habits.payload_bytes,
        habits.publish_every,
        options.storage,
        options.watch,
    )
}
