//! Rounds of scenarios, one after the other, for the [`Table`] at the end. A round that panics or
//! finds a promise broken is a violation, and is told with its seed and the command that repeats
//! it; a round in which no fault hit proves nothing and is counted apart.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::scenario;
use crate::table::Table;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Scenario {
    KillStep,
    PauseStep,
    DelayStep,
    RefuseStep,
    PowerLoss,
    BitFlip,
    DiskError,
    DiskFull,
    SlowDisk,
    Clock,
    Relay,
    Mtu,
    SlowConsumer,
    Storm,
    HandshakeFlood,
    Certificate,
    ConfigReload,
    Flood,
    Descriptors,
    Tiers,
    /// Of a cluster, as all that follow.
    EdgeKill,
    CoreKill,
    Partition,
    BlockedLink,
    Database,
    /// Power is lost on a disk that only says that it has synced: no fault of the node, and a
    /// check of the checker, which has to find what is lost.
    #[value(skip)]
    LyingDisk,
}

impl Scenario {
    pub fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Campaign {
    pub scenarios: Vec<Scenario>,
    pub seed: u64,
    pub rounds: u64,
    /// No round begins after this.
    pub limit: Duration,
}

/// What became of one round.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Faults that really hit.
    pub injected: u64,
    /// Acknowledged publications that were looked for.
    pub acked: u64,
    /// Promises that were broken.
    pub violations: Vec<String>,
    /// Why this machine cannot run it.
    pub skipped: Option<String>,
    /// Anything worth a look.
    pub note: String,
    /// How long users had to wait.
    pub waits: String,
    /// What attacks took.
    pub figures: Vec<Figure>,
    /// What was hit, of the things that one scenario draws from.
    pub hits: Vec<String>,
    /// What was tried of them, and did not come to pass.
    pub missed: Vec<String>,
}

/// What an attack took of the node's memory, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    pub what: &'static str,
    pub before: u64,
    pub peak: u64,
    pub bound: u64,
    /// How long a newcomer on each transport took, both together.
    pub waited: Duration,
}

impl Outcome {
    pub(crate) fn skipped(reason: impl Into<String>) -> Self {
        Self { skipped: Some(reason.into()), ..Self::default() }
    }
}

/// A seed that nobody has used.
pub fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_millis() as u64 % 1_000_000_000
}

/// Runs it all, round by round over all scenarios, so that little time still sees each of them. The
/// seed decides who comes first, so that nobody is always the one for whom no time is left.
pub fn run(campaign: &Campaign) -> Table {
    let began = Instant::now();
    let mut table = Table::of(&campaign.scenarios);
    println!("seed {}", campaign.seed);
    for round in 0..campaign.rounds {
        let seed = campaign.seed.wrapping_add(round);
        for at in order(table.rows.len(), seed) {
            let (scenario, skipped) = (table.rows[at].scenario, &table.rows[at].skipped);
            if skipped.is_some() {
                continue;
            }
            if began.elapsed() > campaign.limit {
                table.leave_out(scenario);
                continue;
            }
            let started = Instant::now();
            let Some(outcome) = run_round(scenario, seed) else {
                return Table { interrupted: true, ..table };
            };
            tell(scenario, seed, &outcome, started.elapsed());
            table.add(at, outcome);
        }
    }
    table
}

fn order(scenarios: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scenarios).collect();
    order.shuffle(&mut StdRng::seed_from_u64(seed));
    order
}

/// One round on a runtime of its own: nothing of it is left for the next. `None`: interrupted.
pub fn run_round(scenario: Scenario, seed: u64) -> Option<Outcome> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let outcome = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        tasks.spawn(scenario::play(scenario, seed));
        let ended = tokio::select! {
            ended = tasks.join_next() => ended,
            () = interrupted() => None,
        };
        // Whoever is interrupted takes nodes and mounts away with it.
        tasks.shutdown().await;
        match ended? {
            Ok(outcome) => Some(outcome),
            Err(error) => Some(broken(error.to_string())),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    outcome
}

async fn interrupted() {
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let mut interrupt = signal(SignalKind::interrupt()).unwrap();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn broken(why: String) -> Outcome {
    Outcome { violations: vec![why], ..Outcome::default() }
}

fn tell(scenario: Scenario, seed: u64, outcome: &Outcome, took: Duration) {
    let name = scenario.name();
    let Outcome { injected, acked, violations, skipped, note, waits, .. } = outcome;
    if let Some(reason) = skipped {
        println!("skipped: {name} ({reason})");
        return;
    }
    let took = took.as_secs_f32();
    println!("{name} seed {seed}: {injected} faults, {acked} acked, {took:.1} s {waits} {note}");
    for violation in violations.iter().take(10) {
        println!("  VIOLATION {violation}");
    }
    if !violations.is_empty() {
        println!("  repeat: make test-faults SCENARIO={name} SEED={seed} ROUNDS=1");
    }
}
