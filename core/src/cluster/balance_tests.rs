//! What is promised of the decisions: shares within bounds, bounds that hold, and no session moved
//! that need not be.

use super::*;
use crate::cluster::NodeState;
use crate::cluster::testing::edge;
use proptest::prelude::*;

/// Edges of one region with these weights and no sessions.
fn edges(weights: &[u32]) -> Vec<NodeInfo> {
    let weighted = |(n, weight): (usize, &u32)| {
        let name = format!("edge-{n}");
        let client_address = format!("{name}:443");
        NodeInfo { weight: *weight, client_address, capacity: u32::MAX, ..edge(&name) }
    };
    weights.iter().enumerate().map(weighted).collect()
}

fn balancer(policy: Policy, slack_percent: u32) -> Balancer {
    Balancer::new(BalanceConfig { policy, slack_percent, ..BalanceConfig::default() })
}

fn key(number: usize) -> AffinityKey {
    AffinityKey::of(format!("user-{number}").as_bytes())
}

/// A newcomer comes to edge `at`; the edge that it ends at. What was sent is forgotten at once, since
/// here the roster always knows.
fn come(balancer: &mut Balancer, live: &mut [NodeInfo], at: usize, newcomer: usize) -> usize {
    let own = live[at].clone();
    let to = balancer.place(&own, live, key(newcomer), Instant::now());
    let to = to.map_or(own.name, |edge| edge.name.clone());
    balancer.sent.clear();
    let to = live.iter().position(|edge| edge.name == to).unwrap();
    live[to].sessions += 1;
    to
}

fn share_of(live: &[NodeInfo], edge: usize) -> f64 {
    let sessions: u32 = live.iter().map(|edge| edge.sessions).sum();
    let weights: u32 = live.iter().map(|edge| edge.weight).sum();
    f64::from(live[edge].sessions) * f64::from(weights)
        / (f64::from(sessions) * f64::from(live[edge].weight))
}

#[test]
fn whoever_is_to_stay_stays() {
    let mut live = edges(&[100, 100]);
    live[0].sessions = 1000;
    let own = live[0].clone();
    assert_eq!(balancer(Policy::Off, 0).place(&own, &live, key(0), Instant::now()), None);
    let alone = &live[..1];
    for policy in [Policy::WeightedRoundRobin, Policy::LeastConnections, Policy::Affinity] {
        assert_eq!(balancer(policy, 0).place(&own, alone, key(0), Instant::now()), None);
    }
}

#[test]
fn only_serving_edges_of_the_region_with_room_are_moved_to() {
    let mut live = edges(&[100; 5]);
    live[0].sessions = 10_000;
    live[1].state = NodeState::Leaving;
    live[2].region = "far".into();
    live[3].client_address = String::new();
    (live[4].capacity, live[4].sessions) = (5, 5);
    let own = live[0].clone();
    for policy in [Policy::WeightedRoundRobin, Policy::LeastConnections, Policy::Affinity] {
        for newcomer in 0..50 {
            let to = balancer(policy, 0).place(&own, &live, key(newcomer), Instant::now());
            assert_eq!(to, None, "{policy:?}");
        }
    }
}

#[test]
fn turns_follow_the_weights_whatever_edges_have_to_do() {
    let mut live = edges(&[100, 200, 300]);
    live[1].sessions = 5000;
    let mut balancer = balancer(Policy::WeightedRoundRobin, 25);
    let turns: Vec<usize> = (0..12).map(|n| come(&mut balancer, &mut live, 0, n)).collect();
    let of = |edge| turns.iter().filter(|turn| **turn == edge).count();
    assert_eq!([of(0), of(1), of(2)], [2, 4, 6]);
    assert!(turns.windows(3).all(|three| three != [2, 2, 2]), "smooth: {turns:?}");
}

#[test]
fn what_was_sent_counts_until_the_edge_says_so_itself() {
    let mut live = edges(&[100; 3]);
    (live[0].sessions, live[1].sessions, live[2].sessions) = (100, 0, 3);
    let own = live[0].clone();
    let mut balancer = balancer(Policy::LeastConnections, 0);
    let start = Instant::now();
    let mut to = |live: &[NodeInfo], after: Duration| {
        let chosen = balancer.place(&own, live, key(0), start + after);
        chosen.map(|edge| edge.name.to_string())
    };
    let first: Vec<_> = (0..5).filter_map(|_| to(&live, Duration::ZERO)).collect();
    assert_eq!(first, ["edge-1", "edge-1", "edge-1", "edge-1", "edge-2"]);
    // Not forgotten with the end of the window that it came in, but with the next.
    assert_eq!(to(&live, WINDOW).as_deref(), Some("edge-1"));
    live[2].sessions = 1;
    assert_eq!(to(&live, 4 * WINDOW).as_deref(), Some("edge-1"), "what was sent is in the roster");
    assert_eq!(to(&live, 4 * WINDOW).as_deref(), Some("edge-1"));
    assert_eq!(to(&live, 4 * WINDOW).as_deref(), Some("edge-2"));
}

#[test]
fn the_sessions_of_an_edge_that_leaves_are_spread_over_its_region() {
    let mut live = edges(&[100, 100, 300, 100]);
    live[3].region = "far".into();
    live[0].state = NodeState::Leaving;
    let own = live[0].clone();
    let mut balancer = balancer(Policy::Off, 25);
    let mut sent = [0; 4];
    for _ in 0..400 {
        let to = balancer.successor(&own, &live, Instant::now()).unwrap();
        sent[live.iter().position(|edge| edge.name == to.name).unwrap()] += 1;
    }
    assert_eq!(sent, [0, 100, 300, 0]);
    live.truncate(1);
    assert_eq!(balancer.successor(&own, &live, Instant::now()), None);
    let mut far = edges(&[100, 100]);
    far[1].region = "far".into();
    let to = balancer.successor(&own, &far, Instant::now());
    assert_eq!(to.map(|edge| edge.name.as_str()), Some("edge-1"), "rather far than nowhere");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However clients come, an edge has never more than its bound after a newcomer has come.
    #[test]
    fn bounded_loads_are_never_exceeded(
        weights in proptest::collection::vec(1u32..=1000, 1..8),
        slack in 0u32..=100,
        least in any::<bool>(),
        arrivals in proptest::collection::vec(any::<(u8, u8)>(), 1..400),
    ) {
        let mut live = edges(&weights);
        let policy = if least { Policy::LeastConnections } else { Policy::Affinity };
        let mut balancer = balancer(policy, slack);
        let all: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        for (came, (at, user)) in (1..).zip(arrivals) {
            let at = usize::from(at) % live.len();
            let to = come(&mut balancer, &mut live, at, user.into());
            let most = (came * u64::from(100 + slack) * u64::from(weights[to])).div_ceil(100 * all);
            prop_assert!(u64::from(live[to].sessions) <= most, "{} of {most}", live[to].sessions);
        }
    }

    /// Many newcomers, all at one edge: each ends with what its weight is due.
    #[test]
    fn everybody_gets_its_share(
        weights in proptest::collection::vec(50u32..=200, 2..7),
        policy in prop::sample::select(
            &[Policy::WeightedRoundRobin, Policy::LeastConnections, Policy::Affinity][..],
        ),
    ) {
        let mut live = edges(&weights);
        let mut balancer = balancer(policy, 5);
        for newcomer in 0..2000 {
            come(&mut balancer, &mut live, 0, newcomer);
        }
        for edge in 0..live.len() {
            let share = share_of(&live, edge);
            prop_assert!((0.5..=1.08).contains(&share), "{policy:?} edge {edge}: {share}");
        }
    }

    /// Without a bound in the way, an edge that comes or goes moves nobody else's clients.
    #[test]
    fn affinity_moves_no_more_than_it_must(
        weights in proptest::collection::vec(1u32..=1000, 2..8),
    ) {
        let all = edges(&weights);
        let (last, rest) = all.split_last().unwrap();
        let mut balancer = balancer(Policy::Affinity, 1_000_000);
        let mut home = |live: &[NodeInfo], user: usize| {
            let chosen = balancer.place(&live[0], live, key(user), Instant::now());
            chosen.map_or(live[0].name.clone(), |edge| edge.name.clone())
        };
        for user in 0..300 {
            let (before, after) = (home(&all, user), home(rest, user));
            prop_assert!(before == after || before == last.name);
        }
    }

    /// Whichever edge a client comes to, it is sent to the same.
    #[test]
    fn all_edges_know_the_same_home(weights in proptest::collection::vec(1u32..=1000, 2..8)) {
        let live = edges(&weights);
        for user in 0..100 {
            let homes: std::collections::HashSet<NodeId> = live
                .iter()
                .map(|own| {
                    let mut balancer = balancer(Policy::Affinity, 1_000_000);
                    let chosen = balancer.place(own, &live, key(user), Instant::now());
                    chosen.map_or(own.name.clone(), |edge| edge.name.clone())
                })
                .collect();
            prop_assert_eq!(homes.len(), 1);
        }
    }
}
