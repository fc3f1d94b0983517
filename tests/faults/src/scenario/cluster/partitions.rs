//! Cuts between two of a cluster, one way or both, for seconds: an edge and a core, two cores, a core
//! and the database. The nodes still run and serve whoever reaches them. Meanwhile a member of a
//! channel is removed, which has to hold wherever he is connected (I11).

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::guarded::Guarded;
use super::wires::{Cut, DATABASE, Wires};
use super::{CORES, EDGES, SOME, Stage};
use crate::campaign::Outcome;

const CUTS: usize = 2;

/// Between hosts of a network in namespaces.
pub(in super::super) async fn hosts(rng: &mut StdRng) -> Outcome {
    match Wires::hosts() {
        Ok(wires) => partition(rng, wires).await,
        Err(reason) => Outcome::skipped(format!("no network namespaces here: {reason}")),
    }
}

/// At relays before nodes and database, on any machine.
pub(in super::super) async fn relays(rng: &mut StdRng) -> Outcome {
    partition(rng, Wires::relays()).await
}

async fn partition(rng: &mut StdRng, wires: Wires) -> Outcome {
    let stage = Stage::start(rng, wires).await;
    let (mut note, mut hits, mut violations) = (String::new(), Vec::new(), Vec::new());
    for at in 0..CUTS {
        let (from, to) = draw_pair(rng);
        let cut = *[Cut::Both, Cut::There, Cut::Back].choose(rng).unwrap_or(&Cut::Both);
        let lasts = Duration::from_millis(rng.random_range(500..9_000));
        let guarded = Guarded::start(&stage.place(), at).await;
        stage.wires.cut(&stage.cluster, from, to, cut);
        // Who is cut off from the owner can remove nobody before the end of it.
        let expelled = async {
            tokio::time::sleep(lasts / 3).await;
            guarded.expel().await;
        };
        let mended = async {
            tokio::time::sleep(lasts).await;
            stage.wires.mend(&stage.cluster);
        };
        tokio::join!(expelled, mended);
        let after = guarded.heard_too_long().await;
        violations.extend(after.map(|what| format!("I11 {from} {to} {cut:?} {lasts:?}: {what}")));
        stage.workload.go_on_for(SOME).await;
        note.push_str(&format!("{from}-{to}:{cut:?}:{:.1} s ", lasts.as_secs_f32()));
        hits.push(format!("{} {} {cut:?}", kind(from), kind(to)));
    }
    let mut outcome = stage.conclude(rng, CUTS as u64, note).await;
    outcome.violations.extend(violations);
    outcome.hits = hits;
    outcome
}

fn draw_pair(rng: &mut StdRng) -> (&'static str, &'static str) {
    let core = rng.random_range(0..CORES.len());
    match rng.random_range(0..3) {
        0 => (EDGES[rng.random_range(0..EDGES.len())], CORES[core]),
        1 => (CORES[core], CORES[(core + rng.random_range(1..CORES.len())) % CORES.len()]),
        _ => (CORES[core], DATABASE),
    }
}

/// What a node is: the names count them.
fn kind(name: &str) -> &str {
    match name {
        DATABASE => DATABASE,
        name if name.starts_with('e') => "edge",
        _ => "core",
    }
}
