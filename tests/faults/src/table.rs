//! What a campaign has come to: rows of scenarios, what was hit and what was not, and why it does
//! not count if it does not. Filled by [`campaign`](crate::campaign); owns no more than figures.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::campaign::{Figure, Outcome, Scenario};

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
    /// What was tried at least once without a hit.
    pub missed: BTreeSet<String>,
    /// Rounds for which there was no time.
    pub left_out: BTreeMap<String, u64>,
    pub interrupted: bool,
}

impl Table {
    pub(crate) fn of(scenarios: &[Scenario]) -> Self {
        Self {
            rows: scenarios.iter().map(|it| Row::empty(*it)).collect(),
            figures: BTreeMap::new(),
            hits: BTreeMap::new(),
            missed: BTreeSet::new(),
            left_out: BTreeMap::new(),
            interrupted: false,
        }
    }

    pub(crate) fn add(&mut self, at: usize, outcome: Outcome) {
        outcome.figures.iter().for_each(|figure| self.add_figure(*figure));
        for hit in &outcome.hits {
            *self.hits.entry(hit.clone()).or_default() += 1;
        }
        self.missed.extend(outcome.missed.iter().cloned());
        self.rows[at].add(outcome);
    }

    pub(crate) fn leave_out(&mut self, scenario: Scenario) {
        *self.left_out.entry(scenario.name()).or_default() += 1;
    }

    /// No promise was broken, and everything that began has met what it was to stand.
    pub fn is_clean(&self) -> bool {
        self.complaints().is_empty()
    }

    /// Why the campaign does not count. What this machine has no tool for is skipped and no
    /// complaint, as long as anything was left to do.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.interrupted {
            complaints.push("it was interrupted, and says nothing".to_owned());
        }
        for row in &self.rows {
            let Row { rounds, idle_rounds, violations, .. } = row;
            let name = row.scenario.name();
            if *violations > 0 {
                complaints.push(format!("{name} has found {violations} promises broken"));
            } else if *rounds == 0 && *idle_rounds > 0 {
                complaints.push(format!("{name} has begun, and no fault has hit"));
            }
        }
        let never: Vec<&str> = self.never_hit().collect();
        if !never.is_empty() {
            complaints.push(format!("tried and never hit: {}", never.join(", ")));
        }
        if self.rows.iter().all(|row| row.rounds == 0) {
            complaints.push("nothing was broken: it proves nothing".to_owned());
        }
        complaints
    }

    fn never_hit(&self) -> impl Iterator<Item = &str> {
        let missed = self.missed.iter().filter(|it| !self.hits.contains_key(*it));
        missed.map(String::as_str)
    }

    fn add_figure(&mut self, figure: Figure) {
        let highest = self.figures.entry(figure.what).or_insert(figure);
        if figure.peak.saturating_sub(figure.before) > highest.peak.saturating_sub(highest.before) {
            *highest = figure;
        }
    }

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
        show_counts(f, "hit: ", &self.hits)?;
        self.show_figures(f)?;
        show_counts(f, "rounds left out, the time was over: ", &self.left_out)?;
        for complaint in self.complaints() {
            writeln!(f, "FAILED {complaint}")?;
        }
        Ok(())
    }
}

fn show_counts(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    counts: &BTreeMap<String, u64>,
) -> fmt::Result {
    if counts.is_empty() {
        return Ok(());
    }
    let counts: Vec<String> =
        counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    writeln!(f, "{what}{}", counts.join(", "))
}

impl Row {
    fn empty(scenario: Scenario) -> Self {
        let (rounds, idle_rounds, injected, acked, violations) = (0, 0, 0, 0, 0);
        Self { scenario, rounds, idle_rounds, injected, acked, violations, skipped: None }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn table(outcomes: &[Outcome]) -> Table {
        let scenarios = Scenario::all();
        let mut table = Table::of(&scenarios[..outcomes.len()]);
        for (at, outcome) in outcomes.iter().enumerate() {
            table.add(at, outcome.clone());
        }
        table
    }

    fn hit() -> Outcome {
        Outcome { injected: 1, acked: 1, ..Outcome::default() }
    }

    fn complaint(table: &Table) -> String {
        let shown = table.to_string();
        let complaints = table.complaints();
        assert_eq!(table.is_clean(), complaints.is_empty());
        assert!(complaints.iter().all(|it| shown.contains(it)), "{shown}");
        complaints.join("; ")
    }

    #[test]
    fn faults_that_hit_and_break_nothing_are_clean_also_beside_what_is_skipped() {
        assert_eq!(complaint(&table(&[hit()])), "");
        let mut beside = table(&[hit(), Outcome::skipped("there is no disk")]);
        beside.leave_out(Scenario::Flood);
        assert_eq!(complaint(&beside), "");
        let shown = beside.to_string();
        assert!(shown.contains("there is no disk") && shown.contains("flood 1"), "{shown}");
    }

    #[test]
    fn broken_promises_and_an_interruption_are_complained_of() {
        let broken = Outcome { violations: vec!["Lost".to_owned()], ..hit() };
        assert!(complaint(&table(&[hit(), broken])).contains("promises broken"));
        let interrupted = Table { interrupted: true, ..table(&[hit()]) };
        assert!(complaint(&interrupted).contains("interrupted"));
    }

    #[test]
    fn a_scenario_that_never_hits_is_complained_of_and_one_idle_round_of_two_is_not() {
        let mut once = table(&[hit(), Outcome::default()]);
        assert!(complaint(&once).contains("no fault has hit"));
        once.add(1, hit());
        assert_eq!(complaint(&once), "");
    }

    #[test]
    fn a_step_that_is_tried_has_to_be_hit_once() {
        let missed = Outcome { missed: vec!["kill write".to_owned()], ..hit() };
        let mut once = table(&[missed]);
        assert!(complaint(&once).contains("never hit: kill write"));
        once.add(0, Outcome { hits: vec!["kill write".to_owned()], ..hit() });
        assert_eq!(complaint(&once), "");
    }

    #[test]
    fn a_campaign_in_which_nothing_ran_proves_nothing() {
        assert!(complaint(&table(&[Outcome::skipped("no strace")])).contains("proves nothing"));
        let mut over = table(&[]);
        over.leave_out(Scenario::Flood);
        assert!(complaint(&over).contains("proves nothing"));
    }
}
