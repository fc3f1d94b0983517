//! Rounds of scenarios, one after the other, and the table at the end. A round that panics or
//! finds a promise broken is a violation, and is told with its seed and the command that repeats
//! it; a round in which no fault hit proves nothing and is counted apart.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::scenario;

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

/// All rounds of one scenario.
#[derive(Debug, Clone)]
pub struct Row {
    pub scenario: Scenario,
    /// In which a fault hit.
    pub rounds: u64,
    /// In which none did.
    pub idle_rounds: u64,
    pub injected: u64,
    pub acked: u64,
    pub violations: u64,
    pub skipped: Option<String>,
}

/// The end of a campaign.
#[derive(Debug, Clone)]
pub struct Table {
    pub rows: Vec<Row>,
    /// The highest of each attack.
    pub figures: BTreeMap<&'static str, Figure>,
    /// How often each thing was hit.
    pub hits: BTreeMap<String, u64>,
    /// Rounds for which there was no time.
    pub left_out: u64,
    pub interrupted: bool,
}

impl Table {
    /// No promise was broken, as far as it went; one that was interrupted says nothing.
    pub fn is_clean(&self) -> bool {
        !self.interrupted && self.rows.iter().all(|row| row.violations == 0)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["scenario", "rounds", "no fault", "faults", "acked", "violations"];
        let [name, rounds, idle, faults, acked, violations] = heads;
        writeln!(f, "{name:<16}{rounds:>8}{idle:>10}{faults:>9}{acked:>9}{violations:>12}")?;
        for row in &self.rows {
            let name = row.scenario.name();
            if let Some(reason) = &row.skipped {
                writeln!(f, "{name:<16}  skipped: {reason}")?;
                continue;
            }
            let Row { rounds, idle_rounds, injected, acked, violations, .. } = row;
            writeln!(
                f,
                "{name:<16}{rounds:>8}{idle_rounds:>10}{injected:>9}{acked:>9}{violations:>12}"
            )?;
        }
        let hits: Vec<String> =
            self.hits.iter().map(|(hit, count)| format!("{hit} {count}")).collect();
        if !hits.is_empty() {
            writeln!(f, "hit: {}", hits.join(", "))?;
        }
        self.show_figures(f)?;
        if self.interrupted {
            writeln!(f, "interrupted")?;
        }
        match self.left_out {
            0 => Ok(()),
            left_out => writeln!(f, "{left_out} rounds were left out: the time was over"),
        }
    }
}

impl Table {
    fn show_figures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.figures.is_empty() {
            return Ok(());
        }
        let heads = ["MiB before", "peak", "bound", "newcomers"];
        let [before, peak, bound, newcomers] = heads;
        let attack = "attack";
        writeln!(f, "\n{attack:<56}{before:>11}{peak:>7}{bound:>7}{newcomers:>11}")?;
        let mib = |bytes: u64| bytes / (1024 * 1024);
        for Figure { what, before, peak, bound, waited } in self.figures.values() {
            let [before, peak, bound] = [before, peak, bound].map(|bytes| mib(*bytes));
            let waited = format!("{:.1} s", waited.as_secs_f32());
            writeln!(f, "{what:<56}{before:>11}{peak:>7}{bound:>7}{waited:>11}")?;
        }
        Ok(())
    }

    fn add_figure(&mut self, figure: Figure) {
        let highest = self.figures.entry(figure.what).or_insert(figure);
        if figure.peak.saturating_sub(figure.before) > highest.peak.saturating_sub(highest.before) {
            *highest = figure;
        }
    }
}

/// A seed that nobody has used.
pub fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_millis() as u64 % 1_000_000_000
}

/// Runs it all, round by round over all scenarios, so that little time still sees each of them.
pub fn run(campaign: &Campaign) -> Table {
    let began = Instant::now();
    let rows = campaign.scenarios.iter().map(|it| empty_row(*it)).collect();
    let mut table = Table {
        rows,
        figures: BTreeMap::new(),
        hits: BTreeMap::new(),
        left_out: 0,
        interrupted: false,
    };
    println!("seed {}", campaign.seed);
    for round in 0..campaign.rounds {
        let seed = campaign.seed.wrapping_add(round);
        for at in 0..table.rows.len() {
            if table.rows[at].skipped.is_some() {
                continue;
            }
            if began.elapsed() > campaign.limit {
                table.left_out += 1;
                continue;
            }
            let (started, scenario) = (Instant::now(), table.rows[at].scenario);
            let Some(outcome) = run_round(scenario, seed) else {
                return Table { interrupted: true, ..table };
            };
            tell(scenario, seed, &outcome, started.elapsed());
            outcome.figures.iter().for_each(|figure| table.add_figure(*figure));
            for hit in &outcome.hits {
                *table.hits.entry(hit.clone()).or_default() += 1;
            }
            table.rows[at].add(outcome);
        }
    }
    table
}

fn empty_row(scenario: Scenario) -> Row {
    let (rounds, idle_rounds, injected, acked, violations) = (0, 0, 0, 0, 0);
    Row { scenario, rounds, idle_rounds, injected, acked, violations, skipped: None }
}

impl Row {
    fn add(&mut self, outcome: Outcome) {
        self.violations += outcome.violations.len() as u64;
        if outcome.skipped.is_some() {
            self.skipped = outcome.skipped;
        } else if outcome.injected == 0 {
            self.idle_rounds += 1;
        } else {
            self.rounds += 1;
            self.injected += outcome.injected;
            self.acked += outcome.acked;
        }
    }
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
