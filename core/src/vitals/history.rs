//! How the nodes have fared in the last quarter of an hour, as this one has heard it: what an operator's
//! page draws. In memory, gone with the process; the metrics are for longer.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::node::Node;
use crate::vitals::{Observed, SessionCounts, Totals};

/// Between two samples.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// Samples that are kept: fifteen minutes.
pub const SAMPLES: usize = 180;

/// Nodes in one sample; of more, those whose names come first.
pub const SAMPLED_NODES: usize = 256;

/// One node at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sample {
    pub sessions: SessionCounts,
    pub publications_per_second: f32,
    pub deliveries_per_second: f32,
    pub append_p99: Duration,
    pub totals: Totals,
}

/// The samples of one node, oldest first, one for each moment of the [`History`]; `None`: it was not
/// heard of.
#[derive(Debug, PartialEq)]
pub struct NodeHistory {
    pub name: String,
    pub samples: Vec<Option<Sample>>,
}

/// The samples of all nodes. Pure: what is seen comes in.
#[derive(Debug, Default)]
pub struct History {
    moments: VecDeque<Vec<(String, Sample)>>,
}

impl History {
    /// Keeps how the nodes fare now; those that are silent have nothing to say.
    pub(crate) fn look(&mut self, observed: &[Observed]) {
        let alive = observed.iter().filter(|node| node.alive);
        let mut moment: Vec<(String, Sample)> =
            alive.map(|node| (node.info.name.to_string(), Sample::of(node))).collect();
        moment.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        moment.truncate(SAMPLED_NODES);
        self.moments.push_back(moment);
        while self.moments.len() > SAMPLES {
            self.moments.pop_front();
        }
    }

    /// By node, in the order of names.
    pub(crate) fn nodes(&self) -> Vec<NodeHistory> {
        let names: BTreeSet<&str> =
            self.moments.iter().flatten().map(|(name, _)| name.as_str()).collect();
        let of_node = |name: &str| NodeHistory {
            name: name.to_owned(),
            samples: self.moments.iter().map(|moment| find(moment, name)).collect(),
        };
        names.into_iter().take(SAMPLED_NODES).map(of_node).collect()
    }
}

fn find(moment: &[(String, Sample)], name: &str) -> Option<Sample> {
    let at = moment.binary_search_by(|(other, _)| other.as_str().cmp(name)).ok()?;
    Some(moment[at].1)
}

impl Sample {
    fn of(observed: &Observed) -> Self {
        let vitals = &observed.vitals;
        Self {
            sessions: vitals.sessions,
            publications_per_second: vitals.publications_per_second,
            deliveries_per_second: vitals.deliveries_per_second,
            append_p99: vitals.append_p99,
            totals: vitals.totals,
        }
    }
}

/// A node's own, looked at by its sampler.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<History>);

impl Kept {
    pub(crate) fn look(&self, observed: &[Observed]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).look(observed);
    }
}

impl Node {
    /// The last quarter of an hour, by node.
    pub fn history(&self) -> Vec<NodeHistory> {
        self.kept_history().0.lock().unwrap_or_else(PoisonError::into_inner).nodes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::NodeInfo;
    use crate::config::CoreConfig;
    use crate::vitals::Vitals;
    use sterna_proto::{NodeId, v1};

    fn seen(name: &str, rate: f32, alive: bool) -> Observed {
        let node = NodeId::new(name).unwrap();
        let config = CoreConfig::embedded(node, v1::Durability::Memory);
        let vitals = Vitals { publications_per_second: rate, ..Vitals::default() };
        Observed { info: NodeInfo::alone(&config, false, 0), vitals, age: Duration::ZERO, alive }
    }

    #[test]
    fn samples_are_kept_by_node_with_holes_where_it_was_silent() {
        let mut history = History::default();
        history.look(&[seen("b", 1.0, true), seen("a", 2.0, true)]);
        history.look(&[seen("b", 3.0, false), seen("a", 4.0, true)]);
        history.look(&[seen("c", 5.0, true), seen("b", 6.0, true)]);
        let found = history.nodes();
        let rates: Vec<(&str, Vec<Option<f32>>)> = found
            .iter()
            .map(|node| {
                let rate = |sample: &Option<Sample>| sample.map(|it| it.publications_per_second);
                (node.name.as_str(), node.samples.iter().map(rate).collect())
            })
            .collect();
        let wanted = [
            ("a", vec![Some(2.0), Some(4.0), None]),
            ("b", vec![Some(1.0), None, Some(6.0)]),
            ("c", vec![None, None, Some(5.0)]),
        ];
        assert_eq!(rates, wanted);
    }

    #[test]
    fn i12_samples_and_nodes_are_bounded() {
        let mut history = History::default();
        for round in 0..SAMPLES + 7 {
            let many: Vec<Observed> = (0..SAMPLED_NODES + 3)
                .map(|n| seen(&format!("n{n:04}"), round as f32, true))
                .collect();
            history.look(&many);
        }
        let found = history.nodes();
        assert_eq!((found.len(), found[0].samples.len()), (SAMPLED_NODES, SAMPLES));
        assert_eq!(found[0].samples[0].unwrap().publications_per_second, 7.0, "the oldest went");
    }
}
