//! The roster in the store: where cores find each other.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use sterna_proto::link::v1 as wire;
use sterna_storage::{RosterEntry, RosterError, RosterStore};
use tokio::time::MissedTickBehavior;

use crate::link::router::Router;
use crate::node::Node;
use crate::vitals::Answering;

/// How long the store may take to forget a node that leaves.
const LEAVE: Duration = Duration::from_secs(1);

/// Tells the store of this node, and the router of the others, until the node shuts down. A store
/// that does not answer leaves the rosters that nodes tell each other.
pub(crate) async fn keep(node: Node, router: Arc<Router>, store: Arc<dyn RosterStore>) {
    let mut beat = tokio::time::interval(router.config().beat);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = node.shutdown_started() => break,
            _ = beat.tick() => {}
        }
        let own = router.own_to_wire();
        let entry = RosterEntry {
            name: own.name.clone(),
            incarnation: own.incarnation,
            content: own.encode_to_vec().into(),
        };
        let asked = tokio::time::Instant::now();
        let answer = store.beat(entry, router.config().lease).await;
        let healthy = !matches!(answer, Err(RosterError::Storage(_)));
        node.tally().on_database(Answering { healthy, took: asked.elapsed() });
        match answer {
            Ok(entries) => {
                let nodes = entries.iter().map(|entry| wire::Node::decode(entry.content.clone()));
                // What cannot be read is of another release, and no reason to forget the rest.
                router.on_roster(nodes.filter_map(Result::ok).collect());
            }
            Err(error @ RosterError::Superseded { .. }) => router.end(error.to_string()),
            Err(RosterError::Storage(error)) => {
                metrics::counter!("sterna_core_roster_failures_total").increment(1);
                tracing::warn!(%error, "the store does not take the beat of this node");
            }
        }
    }
    let own = router.own();
    let leave = store.leave(own.name.as_str(), own.incarnation.0);
    match tokio::time::timeout(LEAVE, leave).await {
        Ok(Ok(())) => {}
        // Its lease ends soon.
        Ok(Err(error)) => tracing::warn!(%error, "the store still has this node on its roster"),
        Err(_) => tracing::warn!("the store still has this node on its roster: no answer in time"),
    }
}
