//! How a node leaves: its sessions are told to move, its channels are given away, and whoever asks
//! hears how far it is. The composition root decides when, and ends the process afterwards.

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use sterna_proto::v1;
use tokio::time::Instant;

use super::Node;
use crate::worker::WorkerControl;

#[derive(Debug, Clone)]
pub(super) struct Leaving {
    until: Instant,
    successor: String,
}

/// What is left to do before a node has left.
#[derive(Debug, Clone)]
pub struct DrainProgress {
    /// Until the deadline.
    pub left: Duration,
    /// Where clients are sent, `host:port`; empty: each to an edge with room for it, or to where it
    /// connected in the first place.
    pub successor: String,
    /// Sessions that still have a connection, at most half a second ago.
    pub sessions: u32,
    /// Slots that no other node has taken over yet.
    pub slots: u32,
}

impl Node {
    /// New sessions are refused from now on and all sessions are told to move: to `successor`, or
    /// where it is empty each to an edge with room for it. Tells nobody twice.
    pub async fn start_drain(&self, deadline: Duration, successor: String) {
        if self.inner.draining.swap(true, Ordering::AcqRel) {
            return;
        }
        let leaving = Leaving { until: Instant::now() + deadline, successor: successor.clone() };
        self.leaving().get_or_insert(leaving);
        if let Some(router) = self.router() {
            router.start_leaving();
        }
        let go_away = v1::GoAway {
            deadline_ms: u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX),
            successor,
            reason: "the node is leaving".into(),
        };
        for worker in self.controls() {
            let _ = worker.send(WorkerControl::GoAway(go_away.clone())).await;
        }
    }

    /// Completes when others have had the time to take over this node's channels, at the latest
    /// after a deadline. At once on a node that is alone.
    pub async fn given_away(&self, deadline: Duration) {
        let Some(router) = self.router() else { return };
        if self.inner.channels.is_some() {
            // They hear of it with the next beat, and attach where they are told.
            tokio::time::sleep((router.config().beat * 2).min(deadline)).await;
        }
    }

    /// How far the node has come with leaving; `None`: it is not.
    pub fn drain_progress(&self) -> Option<DrainProgress> {
        let leaving = self.leaving().clone()?;
        let sessions = self.tally().workers().sessions;
        Some(DrainProgress {
            left: leaving.until.saturating_duration_since(Instant::now()),
            successor: leaving.successor,
            sessions: sessions.attached(),
            slots: self.owned_slots(),
        })
    }

    fn leaving(&self) -> MutexGuard<'_, Option<Leaving>> {
        self.inner.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the node is leaving.
    pub fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Acquire)
    }
}
