//! What a node answered, as the view needs it. A node of an older release may say less.

use serde::Deserialize;
use std::collections::BTreeMap;

use crate::args::SortArg;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cluster {
    /// Who was asked.
    pub(super) node: String,
    pub(super) unix_ms: u64,
    pub(super) nodes: Vec<Node>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) roles: Vec<String>,
    pub(super) region: String,
    pub(super) zone: String,
    pub(super) release: String,
    pub(super) up_s: u64,
    pub(super) heard_ms_ago: u64,
    pub(super) clock_ahead_ms: Option<i64>,
    pub(super) sessions: Sessions,
    pub(super) publications_per_second: f64,
    pub(super) deliveries_per_second: f64,
    pub(super) slots: u64,
    pub(super) channels: u64,
    pub(super) append_p50_ms: f64,
    pub(super) append_p99_ms: f64,
    pub(super) database: Option<Answering>,
    pub(super) redis: Option<Redis>,
    pub(super) conflicts: u64,
    pub(super) resumes: u64,
    pub(super) path_changes: u64,
    pub(super) fullest_queue: Option<Queue>,
    /// By where it was looked for what was read.
    pub(super) lookups: BTreeMap<String, Lookups>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Lookups {
    pub(super) hits: u64,
    pub(super) misses: u64,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Sessions {
    pub(super) quic: u64,
    pub(super) webtransport: u64,
    pub(super) wss: u64,
    pub(super) http: u64,
    pub(super) detached: u64,
    pub(super) behind: u64,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answering {
    pub(super) healthy: bool,
    pub(super) answer_ms: f64,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Redis {
    pub(super) healthy: bool,
    pub(super) silent_s: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) depth: u64,
    pub(super) bound: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Inspection {
    pub(super) sessions: Vec<Session>,
    pub(super) channels: Vec<Channel>,
    pub(super) queues: BTreeMap<String, Queue>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Session {
    pub(super) user: String,
    pub(super) client: String,
    pub(super) transport: String,
    pub(super) remote: String,
    pub(super) subscriptions: u64,
    pub(super) behind: bool,
    pub(super) frames_per_second: f64,
    pub(super) outbox_frames: u64,
    pub(super) outbox_bytes: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Channel {
    pub(super) channel: String,
    pub(super) publications_per_second: f64,
    pub(super) offset: u64,
    pub(super) links: u64,
    pub(super) present: u64,
    pub(super) pending: u64,
}

impl Sessions {
    /// With a connection.
    pub(super) fn attached(&self) -> u64 {
        self.quic + self.webtransport + self.wss + self.http
    }
}

impl Cluster {
    pub(super) fn sort(&mut self, by: SortArg, reverse: bool) {
        let figure = |node: &Node| match by {
            SortArg::Name => 0.0,
            SortArg::Sessions => node.sessions.attached() as f64,
            SortArg::Publications => node.publications_per_second,
            SortArg::Deliveries => node.deliveries_per_second,
            SortArg::Behind => node.sessions.behind as f64,
            SortArg::Append => node.append_p99_ms,
        };
        self.nodes
            .sort_by(|a, b| figure(b).total_cmp(&figure(a)).then_with(|| a.name.cmp(&b.name)));
        if reverse {
            self.nodes.reverse();
        }
    }

    /// Keeps what has the text in it.
    pub(super) fn filter(&mut self, text: &str) {
        self.nodes.retain(|node| {
            let mut texts = [&node.name, &node.state, &node.region, &node.zone, &node.release]
                .into_iter()
                .chain(&node.roles);
            texts.any(|it| it.contains(text))
        });
    }

    pub(super) fn count(&self, state: &str) -> usize {
        self.nodes.iter().filter(|node| node.state == state).count()
    }

    /// What all nodes that are alive have looked for in one kind of place.
    pub(super) fn lookups(&self, place: &str) -> Lookups {
        let of_place = |node: &Node| node.lookups.get(place).copied().unwrap_or_default();
        let alive = self.nodes.iter().filter(|node| node.is_alive()).map(of_place);
        alive.fold(Lookups::default(), |sum, one| Lookups {
            hits: sum.hits.saturating_add(one.hits),
            misses: sum.misses.saturating_add(one.misses),
        })
    }

    /// A figure of all nodes that are alive.
    pub(super) fn sum(&self, of: impl Fn(&Node) -> f64) -> f64 {
        self.nodes.iter().filter(|node| node.is_alive()).map(of).sum()
    }
}

impl Lookups {
    /// `None`: nothing was looked for.
    pub(super) fn share(&self) -> Option<f64> {
        let all = self.hits.saturating_add(self.misses);
        (all > 0).then(|| self.hits as f64 / all as f64)
    }
}

impl Node {
    pub(super) fn is_alive(&self) -> bool {
        matches!(self.state.as_str(), "serving" | "draining")
    }
}

impl Inspection {
    pub(super) fn filter(&mut self, text: &str) {
        self.sessions.retain(|session| {
            [&session.user, &session.client, &session.transport, &session.remote]
                .iter()
                .any(|it| it.contains(text))
        });
        self.channels.retain(|channel| channel.channel.contains(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        let node = |name: &str, wss, region: &str| Node {
            name: name.into(),
            region: region.into(),
            state: "serving".into(),
            sessions: Sessions { wss, ..Sessions::default() },
            ..Node::default()
        };
        let nodes = vec![node("b", 5, "eu"), node("a", 5, "us"), node("c", 9, "us")];
        Cluster { nodes, ..Cluster::default() }
    }

    fn names(cluster: &Cluster) -> Vec<&str> {
        cluster.nodes.iter().map(|node| node.name.as_str()).collect()
    }

    #[test]
    fn nodes_are_sorted_by_what_was_asked_for_and_then_by_name() {
        let mut cluster = cluster();
        cluster.sort(SortArg::Name, false);
        assert_eq!(names(&cluster), ["a", "b", "c"]);
        cluster.sort(SortArg::Sessions, false);
        assert_eq!(names(&cluster), ["c", "a", "b"]);
        cluster.sort(SortArg::Sessions, true);
        assert_eq!(names(&cluster), ["b", "a", "c"]);
    }

    #[test]
    fn a_filter_keeps_what_has_the_text_in_it() {
        let mut cluster = cluster();
        cluster.filter("us");
        assert_eq!(names(&cluster), ["a", "c"]);
        cluster.filter("");
        assert_eq!(cluster.nodes.len(), 2, "no text is in everything");
    }

    #[test]
    fn what_an_older_node_does_not_say_is_nothing() {
        let said = serde_json::json!({ "nodes": [{ "name": "a", "more": true }] });
        let cluster: Cluster = serde_json::from_value(said).unwrap();
        assert_eq!((cluster.nodes[0].slots, cluster.nodes[0].clock_ahead_ms), (0, None));
    }
}
