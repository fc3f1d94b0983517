//! A node's place in its cluster: whether others would take its certificate, whether they can be
//! reached, and whether what they are adds up to a cluster that serves.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sterna_link::{LinkConfig, NodeIdentity, Probed};
use sterna_proto::link::v1::Node;

use super::{CERTIFICATE, Finding, Verdict, connect};
use crate::config::ClusterSettings;
use crate::keys;

/// How long another node may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Most other nodes that are tried; a firewall that is wrong is wrong for some of them.
const TRIED: usize = 16;

/// Clocks that are further apart than this confuse ids, tokens and people.
const CLOCK_OFF_MS: i64 = 500;

/// What is known of the cluster beyond this node.
pub(super) struct Seen {
    pub(super) findings: Vec<Finding>,
    /// This node among them, if it is one.
    pub(super) cores: u64,
}

pub(super) fn examine(cluster: &ClusterSettings, own: &str) -> Seen {
    let mut findings = vec![certificate(&cluster.links)];
    let mut roster: Option<Vec<Node>> = None;
    let mut unreachable = Vec::new();
    for seed in &cluster.links.seeds {
        match probe(&cluster.links, seed) {
            Ok(probed) => {
                findings.push(answering(seed, &probed));
                roster.get_or_insert(probed.nodes);
            }
            Err(reason) => unreachable.push((seed.clone(), reason)),
        }
    }
    // One that answers is enough to start; without any an edge serves nobody.
    let verdict = if roster.is_some() { Verdict::Warning } else { Verdict::Broken };
    findings.extend(unreachable.iter().map(|(seed, reason)| no_way(verdict, seed, reason)));
    let nodes = roster.unwrap_or_default();
    let others = nodes.iter().filter(|node| node.name != own);
    let unseeded = others.clone().filter(|node| {
        !node.link_address.is_empty() && !cluster.links.seeds.contains(&node.link_address)
    });
    for node in unseeded.take(TRIED) {
        if let Err(reason) = probe(&cluster.links, &node.link_address) {
            let whom = format!("`{}` at {}", node.name, node.link_address);
            findings.push(no_way(Verdict::Warning, &whom, &reason));
        }
    }
    let own_core = u64::from(cluster.roles.core);
    let cores = others.clone().filter(|node| node.core).count() as u64 + own_core;
    if !nodes.is_empty() {
        let own = Own { name: own, edge: cluster.roles.edge, core: cluster.roles.core };
        findings.extend(judge(&nodes, &own, unix_ms()));
    }
    Seen { findings, cores: cores.max(1) }
}

fn probe(links: &LinkConfig, address: &str) -> Result<Probed, String> {
    let asked = connect::block_on(async { Ok(sterna_link::probe(links, address, PATIENCE).await) });
    asked.unwrap_or_else(|error| Err(format!("{error:#}")))
}

fn certificate(links: &LinkConfig) -> Finding {
    let check = "link certificate";
    let why = "other nodes refuse this one, and it refuses them";
    let renew = "`sterna certificate node` makes a new one; then send SIGHUP to the node";
    let identity = match sterna_link::check_certificate(&links.files) {
        Ok(identity) => identity,
        Err(error) => return Finding::bad(check, Verdict::Broken, error.to_string(), why, renew),
    };
    let left = match keys::time_left(&links.files.certificate_chain) {
        Ok(left) => left,
        Err(text) => return Finding::bad(check, Verdict::Broken, text, why, renew),
    };
    let what = format!("{}, valid for {} more days", identity.to_uri(), left.as_secs() / 86_400);
    match left < CERTIFICATE {
        true => Finding::bad(check, Verdict::Warning, what, why, renew),
        false => Finding::ok(check, what),
    }
}

fn answering(address: &str, probed: &Probed) -> Finding {
    let NodeIdentity { cluster, name, .. } = &probed.identity;
    let count = probed.nodes.len();
    Finding::ok("link", format!("{address} is `{name}` of `{cluster}`, which knows {count} nodes"))
}

fn no_way(verdict: Verdict, whom: &str, reason: &str) -> Finding {
    Finding::bad(
        "link",
        verdict,
        format!("{whom}: {reason}"),
        "nodes pass publications to each other over UDP; without a way they go round it or wait",
        "open UDP to that address both ways, start that node, or give both certificates of one \
         authority and one cluster",
    )
}

/// This node, which may run or not.
struct Own<'a> {
    name: &'a str,
    edge: bool,
    core: bool,
}

/// What the nodes are together; pure.
fn judge(nodes: &[Node], own: &Own<'_>, now_ms: u64) -> Vec<Finding> {
    let others: Vec<&Node> = nodes.iter().filter(|node| node.name != own.name).collect();
    let cores: Vec<&&Node> = others.iter().filter(|node| node.core).collect();
    let has_core = own.core || !cores.is_empty();
    let has_edge = own.edge || others.iter().any(|node| node.edge);
    let mut findings = vec![shape(has_core, has_edge, others.len() + 1)];
    if cores.len() + usize::from(own.core) > 1
        && let Some(local) = cores.iter().find(|node| node.local_store)
    {
        findings.push(Finding::bad(
            "cluster",
            Verdict::Broken,
            format!("`{}` has its store on its own machine, and there are more cores", local.name),
            "nobody is served: half of a channel's life would lie in another store",
            "give all cores one database (`store.engine = \"sql\"`), or leave one core alone",
        ));
    }
    findings.extend(others.iter().filter_map(|node| release(node)));
    findings.extend(others.iter().filter_map(|node| clock(node, now_ms)));
    findings
}

fn shape(has_core: bool, has_edge: bool, count: usize) -> Finding {
    let check = "cluster";
    match (has_core, has_edge) {
        (true, true) => Finding::ok(check, format!("{count} nodes, cores and edges among them")),
        (false, _) => Finding::bad(
            check,
            Verdict::Broken,
            "no node is a core",
            "nobody owns channels, so nothing can be published",
            "start a node with \"core\" in `node.roles`",
        ),
        (true, false) => Finding::bad(
            check,
            Verdict::Warning,
            "no node is an edge",
            "no client can connect",
            "start a node with \"edge\" in `node.roles`",
        ),
    }
}

/// Nodes one release apart understand each other.
fn release(node: &Node) -> Option<Finding> {
    let theirs = node.vitals.as_ref().map_or("", |vitals| vitals.release.as_str());
    let own = env!("CARGO_PKG_VERSION");
    let apart = match (major_minor(theirs), major_minor(own)) {
        (Some(theirs), Some(own)) => theirs.0 != own.0 || theirs.1.abs_diff(own.1) > 1,
        // Before nodes said so.
        _ => false,
    };
    apart.then(|| {
        Finding::bad(
            "release",
            Verdict::Warning,
            format!("`{}` runs {theirs}, this is {own}", node.name),
            "only nodes that are one release apart understand each other",
            "upgrade one release at a time, all nodes before the next",
        )
    })
}

fn major_minor(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn clock(node: &Node, now_ms: u64) -> Option<Finding> {
    let said_ms = node.vitals.as_ref().map(|vitals| vitals.unix_ms).filter(|ms| *ms > 0)?;
    let ahead = said_ms as i64 + i64::from(node.age_ms) - now_ms as i64;
    (ahead.abs() > CLOCK_OFF_MS).then(|| {
        Finding::bad(
            "clock",
            Verdict::Warning,
            format!("that of `{}` is {ahead:+} ms from this one", node.name),
            "times of publications and of access tokens are told by the clocks of nodes",
            "let NTP set all clocks (`chronyc tracking`, `timedatectl`)",
        )
    })
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_proto::link::v1::Vitals;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn node(name: &str, core: bool) -> Node {
        let vitals = Vitals {
            release: env!("CARGO_PKG_VERSION").into(),
            unix_ms: NOW_MS - 300,
            ..Vitals::default()
        };
        let name = name.to_owned();
        Node { name, core, edge: !core, age_ms: 300, vitals: Some(vitals), ..Node::default() }
    }

    fn problems(nodes: &[Node], own_core: bool) -> Vec<(Verdict, String)> {
        let own = Own { name: "me", edge: !own_core, core: own_core };
        let findings = judge(nodes, &own, NOW_MS).into_iter();
        let bad = findings.filter(|finding| finding.verdict != Verdict::Ok);
        bad.map(|finding| (finding.verdict, finding.what)).collect()
    }

    #[test]
    fn cores_and_edges_that_agree_are_a_cluster() {
        assert_eq!(problems(&[node("c1", true), node("c2", true), node("e1", false)], true), []);
        assert_eq!(problems(&[node("me", true), node("c1", true)], false), []);
    }

    #[test]
    fn a_cluster_without_a_core_or_with_two_stores_is_broken() {
        let found = problems(&[node("e1", false)], false);
        assert_eq!(found, [(Verdict::Broken, "no node is a core".to_owned())]);
        let local = Node { local_store: true, ..node("c1", true) };
        let found = problems(&[local, node("e1", false)], true);
        assert_eq!(found[0].0, Verdict::Broken);
        assert!(found[0].1.contains("`c1`"), "{found:?}");
    }

    #[test]
    fn releases_and_clocks_that_are_too_far_apart_are_told() {
        let mut old = node("e1", false);
        old.vitals.as_mut().unwrap().release = "0.7.1".into();
        let mut slow = node("e2", false);
        slow.age_ms = 10_000;
        slow.vitals.as_mut().unwrap().unix_ms = NOW_MS - 12_500;
        let found = problems(&[old, slow], true);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].1.contains("0.7.1"), "{found:?}");
        assert!(found[1].1.contains("-2500 ms"), "{found:?}");
    }
}
