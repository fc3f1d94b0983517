//! Nodes that are killed, or stand still while others take over, and are back for the next one.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::wires::Wires;
use super::{CORES, EDGES, SOME, Stage};
use crate::campaign::Outcome;

const KILLS: usize = 3;

/// Edges are killed: their clients go on at the other one, with everything that was on its way.
pub(in super::super) async fn edges(rng: &mut StdRng) -> Outcome {
    let mut stage = Stage::start(rng, Wires::Whole).await;
    let (mut injected, mut note) = (0, String::new());
    for _ in 0..KILLS {
        let edge = draw(rng, &EDGES);
        stage.workload.go_on_for(rng.random_range(1..SOME)).await;
        let before = stage.workload.reconnects();
        stage.cluster.node_mut(edge).kill().await;
        stage.workload.go_on_for(rng.random_range(1..SOME)).await;
        stage.cluster.start(edge).await;
        stage.workload.go_on_for(SOME).await;
        injected += u64::from(stage.workload.reconnects() > before);
        note.push_str(&format!("kill {edge} "));
    }
    stage.conclude(rng, injected, note).await
}

/// Cores are killed, or stopped for a while: the others take their channels over.
pub(in super::super) async fn cores(rng: &mut StdRng) -> Outcome {
    let mut stage = Stage::start(rng, Wires::Whole).await;
    let (mut note, mut hits) = (String::new(), Vec::new());
    for _ in 0..KILLS {
        let core = draw(rng, &CORES);
        stage.workload.go_on_for(rng.random_range(1..SOME)).await;
        if rng.random_bool(0.5) {
            stage.cluster.node_mut(core).kill().await;
            stage.workload.go_on_for(rng.random_range(1..SOME)).await;
            stage.cluster.start(core).await;
            note.push_str(&format!("kill {core} "));
            hits.push("kill core".to_owned());
        } else {
            let pause = Duration::from_millis(rng.random_range(500..12_000));
            stage.cluster.node(core).signal(libc::SIGSTOP);
            tokio::time::sleep(pause).await;
            stage.workload.go_on_for(rng.random_range(1..SOME)).await;
            stage.cluster.node(core).signal(libc::SIGCONT);
            note.push_str(&format!("pause {core}:{:.1} s ", pause.as_secs_f32()));
            hits.push("pause core".to_owned());
        }
        stage.workload.go_on_for(SOME).await;
    }
    let outcome = stage.conclude(rng, KILLS as u64, note).await;
    Outcome { hits, ..outcome }
}

fn draw(rng: &mut StdRng, names: &[&'static str]) -> &'static str {
    names.choose(rng).copied().unwrap_or("c1")
}
