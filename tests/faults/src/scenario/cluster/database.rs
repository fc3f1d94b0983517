//! A database that is killed or stands still, that commits slowly, whose connections are cut around a
//! COMMIT, and strangers in it who hold locks or take them in the other order.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use sterna_test_engines::MariaDb;
use sterna_test_engines::commits::Fault;

use super::wires::Wires;
use super::{SOME, Stage};
use crate::campaign::Outcome;

const TROUBLES: usize = 4;

#[derive(Debug, Clone, Copy)]
enum Trouble {
    Killed,
    Paused,
    Slow,
    CutAfter,
    CutBefore,
    Deadlock,
    Locked,
}

impl Trouble {
    const ALL: &[Self] = &[
        Self::Killed,
        Self::Paused,
        Self::Slow,
        Self::CutAfter,
        Self::CutBefore,
        Self::Deadlock,
        Self::Locked,
    ];
}

pub(in super::super) async fn trouble(rng: &mut StdRng) -> Outcome {
    let stage = Stage::start(rng, Wires::commits()).await;
    let (mut injected, mut note, mut hits) = (0, String::new(), Vec::new());
    for trouble in Trouble::ALL.choose_multiple(rng, TROUBLES) {
        stage.workload.go_on_for(rng.random_range(1..SOME)).await;
        let count = make(*trouble, &stage, rng).await;
        stage.workload.go_on_for(SOME).await;
        injected += count;
        note.push_str(&format!("{trouble:?}:{count} "));
        if count > 0 {
            hits.push(format!("database {trouble:?}"));
        }
    }
    let outcome = stage.conclude(rng, injected, note).await;
    Outcome { hits, ..outcome }
}

/// Makes it, and says how often it has happened.
async fn make(trouble: Trouble, stage: &Stage, rng: &mut StdRng) -> u64 {
    let database = &stage.database;
    let millis = Duration::from_millis(rng.random_range(300..7_000));
    match trouble {
        Trouble::Killed => {
            tokio::task::block_in_place(|| database.restart());
            1
        }
        Trouble::Paused => {
            database.pause();
            tokio::time::sleep(millis).await;
            database.go_on();
            1
        }
        Trouble::Slow => commits(stage, &vec![Fault::Slow(millis); rng.random_range(1..6)]).await,
        Trouble::CutAfter => commits(stage, &vec![Fault::CutAfter; rng.random_range(1..12)]).await,
        Trouble::CutBefore => {
            commits(stage, &vec![Fault::CutBefore; rng.random_range(1..12)]).await
        }
        Trouble::Deadlock => deadlock(stage),
        Trouble::Locked => {
            let seconds = millis.as_secs_f32();
            stranger(stage, &format!("BEGIN; SELECT 1 FROM heads FOR UPDATE; DO SLEEP({seconds})"));
            1
        }
    }
}

/// Waits until the relay has done all of it.
async fn commits(stage: &Stage, faults: &[Fault]) -> u64 {
    let relay = stage.wires.commit_relay();
    let before = relay.met();
    relay.script(faults);
    while relay.met() < before + faults.len() {
        stage.workload.go_on_for(1).await;
    }
    faults.len() as u64
}

/// Takes the places that publications are about to take, waits until nodes wait for one of them
/// behind the lock of its head, and asks for the heads: the circle is closed. So many rows are
/// changed before that the server, which ends whoever has changed less, ends a node's transaction.
fn deadlock(stage: &Stage) -> u64 {
    let before = deadlocks(&stage.database);
    let row = "0, 'nobody', NULL, NULL, '', 0, 0, 0, 0, ''";
    let weight = format!(
        "INSERT INTO publications SELECT REPEAT('x', 16), seq, 1, {row} FROM seq_1_to_1000"
    );
    for ahead in (1..=PLACES_AHEAD).cycle().take(DEADLOCK_TRIES) {
        let places = format!(
            "INSERT INTO publications SELECT channel, `offset` + {ahead}, epoch, {row} FROM heads"
        );
        let heads = "DO SLEEP(0.3); SELECT COUNT(*) FROM heads FOR UPDATE; ROLLBACK";
        stranger(
            stage,
            &format!(
                "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; BEGIN; {weight}; \
                 {places}; {heads}"
            ),
        );
        if deadlocks(&stage.database) > before {
            break;
        }
    }
    deadlocks(&stage.database) - before
}

/// Somebody else in the nodes' database. What they ask for may be refused: a place may have been
/// taken meanwhile.
fn stranger(stage: &Stage, sql: &str) {
    let sql = format!("USE {}; {sql}", stage.database.newest());
    let _ = tokio::task::block_in_place(|| stage.database.try_execute(&sql));
}

fn deadlocks(database: &MariaDb) -> u64 {
    let sql = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS \
               WHERE VARIABLE_NAME = 'Innodb_deadlocks'";
    tokio::task::block_in_place(|| database.execute(sql)).trim().parse().unwrap()
}

const DEADLOCK_TRIES: usize = 20;

/// As far as nodes come in the meantime, at least.
const PLACES_AHEAD: usize = 4;
