//! What the log says while a node leaves: who is still there, once a second.

use std::time::Duration;

use sterna_core::Node;
use sterna_edge::Connections;

/// How often the log tells how far it is.
const EVERY: Duration = Duration::from_secs(1);

/// Does what takes the clients away, and tells how far that has come.
pub(crate) async fn told<T>(
    node: &Node,
    connections: &Connections,
    leaving: impl Future<Output = T>,
) -> T {
    let mut leaving = std::pin::pin!(leaving);
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            biased;
            left = &mut leaving => {
                tracing::info!("clients have left");
                return left;
            }
            _ = tick.tick() => tell(node, connections),
        }
    }
}

fn tell(node: &Node, connections: &Connections) {
    let Some(progress) = node.drain_progress() else { return };
    tracing::info!(
        sessions = progress.sessions,
        connections = connections.open(),
        slots = progress.slots,
        left_ms = progress.left.as_millis() as u64,
        successor = progress.successor,
        "clients are leaving"
    );
}
