//! Runs a fuzz target: a closure that takes any bytes and must not panic. Called by tests whose
//! names begin with `fuzz_`; under `cargo test` it replays the kept inputs of
//! `fuzz/corpus/<target>/` and then makes new ones out of them by chance, for a bounded time. With
//! the feature `libfuzzer` (`make fuzz`) the same closure is driven by coverage instead.
//!
//! A failure says its seed, keeps its input and names the one command that repeats it.

mod chance;
mod corpus;
#[cfg(feature = "libfuzzer")]
mod libfuzzer;
mod mutate;
mod script;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chance::Chance;
use corpus::Corpus;
use mutate::Mutator;

pub use script::Script;

/// Runs the target of this name: `check!("frame_decode", |bytes| …)`. The test around it is called
/// `fuzz_<target>`.
#[macro_export]
macro_rules! check {
    ($target:literal, $run:expr) => {
        $crate::run(env!("CARGO_PKG_NAME"), $target, $run)
    };
}

/// See [`check!`].
pub fn run(
    package: &'static str,
    target: &'static str,
    run: impl Fn(&[u8]) + Send + Sync + 'static,
) {
    let corpus = Corpus::of(target);
    assert!(!corpus.inputs.is_empty(), "{} holds no input; keep a few", corpus.folder.display());
    #[cfg(feature = "libfuzzer")]
    if let Some(arguments) = std::env::var_os("STERNA_FUZZ_LIBFUZZER") {
        libfuzzer::drive(&arguments.to_string_lossy(), run);
    }
    let campaign = Campaign { package, target, run: &run, corpus: &corpus };
    match Case::wanted() {
        Some(case) => campaign.run_case(case, &Mutator::new(&corpus.inputs)),
        None => campaign.run_all(),
    }
}

/// One input that chance has made: the number of the case within the run of this seed.
#[derive(Debug, Clone, Copy)]
struct Case {
    seed: u64,
    number: u64,
}

impl Case {
    /// `STERNA_FUZZ_CASE=SEED:NUMBER` runs one case and nothing else.
    fn wanted() -> Option<Self> {
        let text = std::env::var("STERNA_FUZZ_CASE").ok()?;
        let (seed, number) = text.split_once(':')?;
        Some(Self { seed: seed.parse().ok()?, number: number.parse().ok()? })
    }

    fn chance(self) -> Chance {
        Chance::new(self.seed ^ self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

struct Campaign<'a, F> {
    package: &'static str,
    target: &'static str,
    run: &'a F,
    corpus: &'a Corpus,
}

impl<F: Fn(&[u8])> Campaign<'_, F> {
    fn run_all(&self) {
        for (path, input) in self.corpus.paths.iter().zip(&self.corpus.inputs) {
            self.run_one(input, || format!("kept input {}", path.display()), "");
        }
        let mutator = Mutator::new(&self.corpus.inputs);
        let seed = number_of("STERNA_FUZZ_SEED").unwrap_or_else(fresh_seed);
        let millis = number_of("STERNA_FUZZ_MS").unwrap_or(RUN_MS);
        let (started, budget) = (Instant::now(), Duration::from_millis(millis));
        let mut number = 0;
        while started.elapsed() < budget && number < MOST_CASES {
            self.run_case(Case { seed, number }, &mutator);
            number += 1;
        }
        let kept = self.corpus.inputs.len();
        println!("fuzz {}: {kept} kept inputs, {number} cases of seed {seed}", self.target);
    }

    fn run_case(&self, case: Case, mutator: &Mutator<'_>) {
        let Case { seed, number } = case;
        let input = mutator.make(&mut case.chance());
        let variable = format!("STERNA_FUZZ_CASE={seed}:{number} ");
        self.run_one(&input, || format!("case {number} of seed {seed}"), &variable);
    }

    fn run_one(&self, input: &[u8], what: impl Fn() -> String, variable: &str) {
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.run)(input))) else { return };
        let Self { package, target, corpus, .. } = self;
        eprintln!("fuzz {target}: {} fails: {}", what(), input.escape_ascii());
        eprintln!("again:    {variable}cargo test -p {package} fuzz_{target}");
        if let Some(path) = corpus::save(target, input) {
            eprintln!("for good: cp {} {}", path.display(), corpus.folder.display());
        }
        resume_unwind(panic)
    }
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Another one every time: what one run does not find the next may.
fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(since.subsec_nanos()) ^ (since.as_secs() << 20) ^ u64::from(std::process::id())
}

/// How long one target makes new inputs, unless `STERNA_FUZZ_MS` says otherwise.
const RUN_MS: u64 = 1500;

/// Ends the run of a target that is very fast.
const MOST_CASES: u64 = 200_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_planted_fault_is_found_and_its_case_repeats_it() {
        let fails = |input: &[u8]| assert!(!input.windows(2).any(|pair| pair == b"ab"));
        let corpus = Corpus { inputs: vec![b"a-b".to_vec()], ..Corpus::default() };
        let mutator = Mutator::new(&corpus.inputs);
        let campaign =
            Campaign { package: "none", target: "planted_fault", run: &fails, corpus: &corpus };
        let found = (0..100_000).map(|number| Case { seed: 7, number }).find(|case| {
            catch_unwind(AssertUnwindSafe(|| fails(&mutator.make(&mut case.chance())))).is_err()
        });
        let case = found.unwrap();
        for _ in 0..3 {
            let again = catch_unwind(AssertUnwindSafe(|| campaign.run_case(case, &mutator)));
            assert!(again.is_err(), "{case:?}");
        }
    }

    #[test]
    fn every_kept_input_is_replayed() {
        let seen = AtomicU64::new(0);
        let count = |input: &[u8]| {
            if input.starts_with(b"kept") {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        };
        let inputs: Vec<Vec<u8>> = (0..5u8).map(|n| [&b"kept"[..], &[n]].concat()).collect();
        let paths = vec![Default::default(); inputs.len()];
        let corpus = Corpus { inputs, paths, ..Corpus::default() };
        Campaign { package: "none", target: "replay", run: &count, corpus: &corpus }.run_all();
        assert!(seen.load(Ordering::Relaxed) >= 5);
    }
}
