//! Faults of a cluster: three cores on one database, two edges, and users at both. What breaks is one
//! of the nodes ([`kills`]), what lies between two of them ([`partitions`], [`wires`]), or the
//! database ([`database`]). Afterwards everybody has heard everything, who was removed meanwhile
//! hears nothing any more ([`guarded`]), and a region gets one copy ([`copies`]).

mod copies;
pub(super) mod database;
mod guarded;
pub(super) mod kills;
pub(super) mod partitions;
mod wires;

use rand::Rng as _;
use rand::rngs::StdRng;
use sterna_system_tests::cluster::Cluster;
use sterna_test_engines::MariaDb;

use self::wires::Wires;
use super::{SOME, judge};
use crate::campaign::Outcome;
use crate::place::Place;
use crate::workload::{Plan, Workload};

const CORES: [&str; 3] = ["c1", "c2", "c3"];
const EDGES: [&str; 2] = ["e1", "e2"];

/// What the faults of this folder happen to.
struct Stage {
    cluster: Cluster,
    workload: Workload,
    wires: Wires,
    /// The edges are in another region than the cores.
    far: bool,
    // Behind the nodes, so that it goes after them.
    database: MariaDb,
}

impl Stage {
    /// Starts all nodes, and lets users talk.
    async fn start(rng: &mut StdRng, mut wires: Wires) -> Self {
        let far = rng.random_bool(0.5);
        let (mut cluster, database) = wires.begin().await;
        let url = database.fresh_url();
        for name in CORES {
            let store = wires.database_url(name, &url, database.port()).await;
            let keys = ["store.engine=sql".to_owned(), format!("store.urls={store}")];
            add(&mut cluster, &mut wires, name, "core", "near", &keys).await;
        }
        for name in EDGES {
            let region = if far { "far" } else { "near" };
            add(&mut cluster, &mut wires, name, "edge", region, &[]).await;
        }
        cluster.ready().await;
        let place = Place::of_edges(&cluster, &EDGES);
        let workload = Workload::start(&place, &Plan::default(), rng);
        workload.go_on_for(SOME).await;
        Self { cluster, workload, wires, far, database }
    }

    /// Where its users connect.
    fn place(&self) -> Place {
        Place::of_edges(&self.cluster, &EDGES)
    }

    /// The usual end: users go on, stop, and everything is judged; the nodes end well.
    async fn conclude(self, rng: &mut StdRng, injected: u64, note: String) -> Outcome {
        let place = self.place();
        self.workload.go_on_for(SOME).await;
        let mut outcome = judge(&place, self.workload, rng, injected).await;
        outcome.violations.extend(copies::check(&self.cluster, &place, self.far).await);
        outcome.note = note;
        if !outcome.violations.is_empty() {
            let logs = self.cluster.keep_logs();
            outcome.note.push_str(&format!(" logs: {}", logs.display()));
        }
        self.cluster.stop().await;
        outcome
    }
}

async fn add(
    cluster: &mut Cluster,
    wires: &mut Wires,
    name: &'static str,
    role: &str,
    region: &str,
    more: &[String],
) {
    let mut keys = vec![format!("node.region={region}")];
    keys.extend_from_slice(more);
    keys.extend(wires.advertised(name).await);
    let prepared: Vec<&str> = keys.iter().map(String::as_str).collect();
    cluster.prepare(name, role, &prepared).await;
    wires.lead_to(name, cluster.address(name));
    cluster.start(name).await;
}
