//! What a node keeps and finds out for an operator who looks: nothing else asks for it.

use std::time::Duration;

use sterna_proto::SessionId;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Node;
use crate::vitals::inspect::SessionDetail;
use crate::vitals::{history, journey};
use crate::worker::WorkerControl;

/// How long a worker may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

impl Node {
    pub(crate) fn kept_history(&self) -> &history::Kept {
        &self.inner.history
    }

    pub(crate) fn kept_journeys(&self) -> &journey::Kept {
        &self.inner.journeys
    }

    /// One session of this node, with a connection or without. `None`: it is not here.
    pub async fn examine(&self, session: SessionId) -> Option<SessionDetail> {
        let worker = self.control(self.directory().worker(session)?)?;
        let (reply, answer) = oneshot::channel();
        let asked = async {
            worker.send(WorkerControl::Examine { session, reply }).await.ok()?;
            answer.await.ok().flatten()
        };
        timeout(PATIENCE, asked).await.ok().flatten()
    }
}
