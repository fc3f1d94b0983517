//! What a session tells of itself to operators.

use std::net::SocketAddr;
use std::time::Duration;

use sterna_proto::v1;

use crate::session::TransportKind;
use crate::session::session::Session;
use crate::session::subscription::Subscription;
use crate::vitals::inspect::{
    SUBSCRIPTIONS_TOLD, SessionDetail, SessionReport, SubscriptionReport,
};
use crate::vitals::tally::WorkerCounts;

/// What the client has said that it is connected through.
#[derive(Debug, Default)]
pub(super) struct KnownNetwork {
    now: v1::Network,
    /// As its last leg has it.
    noted: v1::Network,
}

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
            TransportKind::Http => &mut sessions.http,
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
            network: self.network(),
            subscriptions: self.subscriptions.len(),
            behind: self.pace.behind,
            frames_per_second: self.pace.per_second,
            outbox_frames,
            outbox_bytes,
        }
    }
}

impl Session {
    /// Everything about it, but whether it has a connection.
    pub fn detail(&self) -> SessionDetail {
        let mut subscriptions: Vec<SubscriptionReport> =
            self.subscriptions.values().map(Subscription::report).collect();
        subscriptions.sort_unstable_by(|a, b| a.channel.cmp(&b.channel));
        subscriptions.truncate(SUBSCRIPTIONS_TOLD);
        SessionDetail {
            report: self.report(),
            encoding: self.connection.encoding.name(),
            attached: false,
            frames: self.outbox.added(),
            max_frames: self.config.queues.outbox_frames,
            max_bytes: self.config.queues.outbox_bytes,
            subscriptions,
        }
    }

    /// Where the client is, as the node sees it.
    /// The client has said what it is connected through. True if that is new.
    pub fn on_network(&mut self, network: v1::Network) -> bool {
        let is_new = network != v1::Network::Unspecified && network != self.network.now;
        if is_new {
            self.network.now = network;
        }
        is_new
    }

    /// The networks of a leg that is to be noted.
    pub fn take_leg(&mut self) -> (v1::Network, v1::Network) {
        (std::mem::replace(&mut self.network.noted, self.network.now), self.network.now)
    }

    pub fn network(&self) -> v1::Network {
        self.network.now
    }

    pub fn remote(&self) -> SocketAddr {
        self.connection.remote
    }

    pub fn transport(&self) -> TransportKind {
        self.connection.transport
    }
}

/// Frames a second below which a session is quiet.
const LEAST_PACE: f32 = 0.05;
