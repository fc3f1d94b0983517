//! A node under everything at once: clients arrive by chance, stay for as long as chance wills, say
//! that they are there, publish and receive; from a baseline in steps to a peak, and at the peak
//! through faults. In the end every acknowledged publication is looked for.
//!
//! Owns the node, the visitors, and whatever disturbs them; all of it ends with [`run`].

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
use crate::target::{Running, Target};
use faults::Fault;
use model::predicted_sessions;
use stage::{Done, Stage};
use world::{Gate, World};

#[derive(Debug, Clone)]
pub struct Options {
    pub habits: Habits,
    /// How visitors come, in turn.
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

/// Runs all stages on one node, which is reached on every transport.
pub async fn run(
    options: &Options,
    node: &Target,
    progress: &Progress,
) -> Result<(Report, Consistency)> {
    let running = node.start().await?;
    let access: Vec<Access> = options
        .transports
        .iter()
        .map(|&transport| reach(&running, transport))
        .collect::<Result<_>>()?;
    let world = World::new(options.habits);
    let gate = Gate::new(world.clone(), options.seed);
    let mut course = Course { options, running, access, world, gate, done: Vec::new() };
    course.run(progress).await?;
    let Course { running, world, gate, done, .. } = course;
    progress.next("everybody leaves".to_owned(), 0);
    gate.close().await;
    progress.next("every acknowledged publication is looked for".to_owned(), 0);
    let reader = Client::connect(&reach(&running, Transport::Wss)?, "reader").await?;
    let ledger = world.ledger.take();
    let consistency = account::settle(&ledger, &reader).await?;
    Ok((report(options, &done, &consistency), consistency))
}

/// The same node on another transport.
fn reach(running: &Running, transport: Transport) -> Result<Access> {
    let access = running.access.clone();
    let quic = match transport {
        Transport::Quic => Some(quic::endpoint(&access.tls, access.dialect.alpn())?),
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
    async fn run(&mut self, progress: &Progress) -> Result<()> {
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

    /// One more try, half way to what the node did not stand.
    async fn between(&mut self, stood: f64, fell: f64, progress: &Progress) -> Result<f64> {
        let middle = (stood + fell) / 2.0;
        // The queues of what was too much go first.
        self.stage("relief", self.options.baseline, Fault::None, progress).await?;
        let name = format!("{middle:.0} / s");
        let stands = self.stage(&name, middle, Fault::None, progress).await?;
        Ok(if stands { middle } else { stood })
    }

    /// Whether the node stood it.
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

fn report(options: &Options, done: &[Done], consistency: &Consistency) -> Report {
    let mut report = Report::new("load", method(options), table::COLUMNS);
    report.is_upright = true;
    report.rows = done.iter().map(table::row).collect();
    report.plots = table::plots(done);
    report.notes = done.iter().filter_map(table::note).collect();
    report.notes.push(table::verdict(consistency));
    report.facts.insert("consistency".to_owned(), json!(consistency));
    report
}

fn method(options: &Options) -> String {
    let habits = &options.habits;
    format!(
        "arrivals by chance (Poisson), lifetimes exponential with a mean of {:?}; a visitor joins one \
         of the rooms of {} and reads its 20 newest publications, sends a heartbeat every {:?} and \
         publishes {} bytes every {:?} on average; {}; predicted: arrivals x mean lifetime x 1.2; \
         each stage is watched for {:?}, after sessions have gathered; times are upper ends where \
         the node's own histograms give them",
        habits.lifetime,
        options.room,
        habits.heartbeat,
        habits.payload_bytes,
        habits.publish_every,
        options.storage,
        options.watch,
    )
}
