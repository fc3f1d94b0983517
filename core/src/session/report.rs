//! What a session tells of itself to operators.

use std::time::Duration;

use crate::session::TransportKind;
use crate::session::session::Session;
use crate::session::subscription::Subscription;
use crate::vitals::inspect::SessionReport;
use crate::vitals::tally::WorkerCounts;

impl Session {
    /// Notes how fast it gets frames. Only what has got some may have fallen behind or caught up.
    pub fn look(&mut self, since_last: Duration) {
        if self.pace.observe(self.outbox.added(), since_last) {
            self.pace.behind = self.subscriptions.values().any(Subscription::is_behind);
        }
    }

    /// Adds itself to the counts of its worker.
    pub fn count_into(&self, counts: &mut WorkerCounts) {
        let sessions = &mut counts.sessions;
        let of_transport = match self.connection.transport {
            TransportKind::Quic => &mut sessions.quic,
            TransportKind::WebTransport => &mut sessions.webtransport,
            TransportKind::WebSocket => &mut sessions.websocket,
        };
        *of_transport += 1;
        sessions.behind += u32::from(self.pace.behind);
        counts.outbox_frames = counts.outbox_frames.max(self.outbox.depth().0);
    }

    /// Something is going on: not worth a line otherwise.
    pub fn is_active(&self) -> bool {
        self.pace.behind || self.pace.per_second >= LEAST_PACE || !self.outbox.is_empty()
    }

    pub fn report(&self) -> SessionReport {
        let (outbox_frames, outbox_bytes) = self.outbox.depth();
        SessionReport {
            session: self.id().to_string(),
            user: self.identity().user.to_string(),
            client: self.client_id().to_string(),
            transport: self.connection.transport.name(),
            remote: self.connection.remote.to_string(),
            subscriptions: self.subscriptions.len(),
            behind: self.pace.behind,
            frames_per_second: self.pace.per_second,
            outbox_frames,
            outbox_bytes,
        }
    }
}

/// Frames a second below which a session is quiet.
const LEAST_PACE: f32 = 0.05;
