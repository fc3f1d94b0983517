//! A server under everything at once: clients arrive by chance, stay for as long as chance wills, say
//! that they are there, publish and receive; from a baseline in steps to a peak, and at the peak
//! through faults. In the end every acknowledged publication is looked for, where something is kept.
//! Peers meet the same arrivals, lifetimes and publications as a node, one after the other.
//!
//! Owns the servers, the visitors, and whatever disturbs them; all of it ends with [`run`].

mod account;
mod faults;
mod model;
mod slow_store;
mod stage;
mod table;
mod world;

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;

pub use account::Consistency;
use account::Verdict;
pub use model::Habits;

use crate::client::{Access, Client, Transport, quic};
use crate::progress::Progress;
use crate::report::Report;
use crate::run::peers_may_fail;
use crate::target::{Part, Running, Target};
use faults::Fault;
use model::predicted_sessions;
use slow_store::SlowStore;
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
    pub watch: Duration,
    pub seed: u64,
    /// What is committed is synced to a disk, which can be made slow.
    pub syncs: bool,
    /// In words, for the report.
    pub storage: String,
}

impl Options {
    /// Until sessions are as many as there will be.
    fn gather(&self) -> Duration {
        self.habits.lifetime.mul_f64(stage::GATHER)
    }
}

/// What one server went through.
#[derive(Debug)]
struct Outcome {
    done: Vec<Done>,
    /// Publications that were acknowledged in each stage.
    acked: Vec<u64>,
    /// `None`: nothing can be read back that they could be held against.
    verdict: Option<Verdict>,
    /// A stage that could not be, and why.
    left_out: Option<String>,
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
        if let (Part::Sterna, Some(verdict)) = (target.part, &outcome.verdict) {
            holds &= verdict.all.holds();
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
    let done = Vec::new();
    let mut course = Course { options, running, access, world, gate, done, left_out: None };
    course.run(target, progress).await?;
    let Course { running, world, gate, done, left_out, .. } = course;
    progress.next(format!("{}: everybody leaves", target.name), 0);
    gate.close().await;
    let ledger = world.ledger.take();
    let acked = (0..done.len()).map(|stage| ledger.acked_in(stage)).collect();
    if running.access.dialect.history(0, 0, 0).is_none() {
        return Ok(Outcome { done, acked, verdict: None, left_out });
    }
    let channels = ledger.channels() as u64;
    progress.next("every acknowledged publication is looked for".to_owned(), channels);
    let reader = Client::connect(&reach(&running, Transport::Wss)?, "reader").await?;
    let verdict = account::settle(&ledger, done.len(), &reader, progress).await?;
    Ok(Outcome { done, acked, verdict: Some(verdict), left_out })
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
    left_out: Option<String>,
}

impl Course<'_> {
    async fn run(&mut self, target: &Target, progress: &Progress) -> Result<()> {
        progress.next(target.name.clone(), 0);
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
        for (name, fault) in
            [("peak", Fault::None), ("half a core", Fault::Processor), ("stops", Fault::Stall)]
        {
            self.stage(name, stood, fault, progress).await?;
        }
        // Of how others store nothing is known.
        if target.part == Part::Sterna {
            self.slow_store(stood, progress).await?;
        }
        self.stage("bad net", stood, Fault::Network, progress).await?;
        self.stage("after", baseline, Fault::None, progress).await?;
        Ok(())
    }

    /// Where the disk cannot be made slow, there is no such stage.
    async fn slow_store(&mut self, arrivals: f64, progress: &Progress) -> Result<()> {
        let slow = match self.options.syncs {
            true => SlowStore::begin(self.running.server.pid()).await,
            false => Err(anyhow!("nothing that is stored is synced")),
        };
        match slow {
            Ok(mut slow) => {
                self.stage("slow store", arrivals, Fault::Store, progress).await?;
                slow.was_there()?;
            }
            Err(why) => self.left_out = Some(format!("slow store was left out: {why:#}")),
        }
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
        let takes = self.options.gather() + self.options.watch;
        progress.lasts(format!("{name}: {arrivals:.0} arrivals a second"), takes);
        self.world.ledger.borrow_mut().stage = self.done.len();
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
    let Outcome { done, acked, verdict, left_out } = outcome;
    let kept = |at: usize| verdict.as_ref().map(|verdict| verdict.stages[at]);
    let full = |text: &str| name.map_or_else(|| text.to_owned(), |name| format!("{name}: {text}"));
    report.headings.extend(name.map(str::to_owned));
    for (at, it) in done.iter().enumerate() {
        let name = full(&it.stage.name);
        report.rows.push(table::row(it, part, name, acked[at], kept(at).as_ref()));
    }
    report.plots.extend(table::plots(done, &full));
    report.notes.extend(done.iter().filter_map(table::note).map(|note| full(&note)));
    report.notes.extend(left_out.as_deref().map(full));
    report.notes.push(full(&match verdict {
        Some(verdict) => table::verdict(&verdict.all),
        None => table::no_verdict(acked.iter().sum()),
    }));
    if let Some(Verdict { all: consistency, .. }) = verdict {
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
         the node's own histograms give them; `-`: this server has no such figure, or nothing to make \
         it of",
        habits.lifetime,
        options.room,
        habits.heartbeat,
        habits.payload_bytes,
        habits.publish_every,
        options.storage,
        options.watch,
    )
}
