//! How much of everything: bounds of the clients' side and of the core's queues. A limit that is too
//! small to let the largest publication through, or too large to be one, is a mistake.

use std::ops::RangeInclusive;

use sterna_core::config::QueueLimits;
use sterna_edge::EdgeLimits;

use super::Reader;

const MIB: u64 = 1024 * 1024;

/// Room for the largest publication with everything around it.
const LARGEST: u64 = 128 * 1024;

/// A key, its field and what it may be.
type QueueLimit = (&'static str, fn(&mut QueueLimits) -> &mut usize, RangeInclusive<u64>);

const QUEUES: &[QueueLimit] = &[
    ("queues.shard_mailbox", |queues| &mut queues.shard_mailbox, 16..=1_000_000),
    ("queues.channel_pending", |queues| &mut queues.channel_pending, 16..=1_000_000),
    ("queues.append_batch", |queues| &mut queues.append_batch, 1..=10_000),
    ("queues.append_bytes", |queues| &mut queues.append_bytes, LARGEST..=64 * MIB),
    ("queues.link_pushes", |queues| &mut queues.link_pushes, 64..=1_000_000),
    ("queues.link_push_bytes", |queues| &mut queues.link_push_bytes, MIB..=4096 * MIB),
    ("queues.owed_heads", |queues| &mut queues.owed_heads, 1..=10_000_000),
    ("queues.owed_evicts", |queues| &mut queues.owed_evicts, 1..=1_000_000),
    ("queues.cursor_moves", |queues| &mut queues.cursor_moves, 1..=10_000_000),
    ("queues.inbox_marks", |queues| &mut queues.inbox_marks, 1..=10_000_000),
    ("queues.inbox_touches", |queues| &mut queues.inbox_touches, 0..=10_000_000),
    ("queues.outbox_frames", |queues| &mut queues.outbox_frames, 16..=1_000_000),
    ("queues.outbox_bytes", |queues| &mut queues.outbox_bytes, 4 * LARGEST..=256 * MIB),
    ("queues.session_calls", |queues| &mut queues.session_calls, 1..=10_000),
    ("queues.session_pages", |queues| &mut queues.session_pages, 1..=1000),
    ("queues.present_users", |queues| &mut queues.present_users, 1..=1_000_000),
    ("queues.subscription_held", |queues| &mut queues.subscription_held, 1..=100_000),
    ("queues.ring_publications", |queues| &mut queues.ring_publications, 1..=1_000_000),
    ("queues.ring_bytes", |queues| &mut queues.ring_bytes, LARGEST..=1024 * MIB),
    ("queues.rings_bytes", |queues| &mut queues.rings_bytes, MIB..=1_048_576 * MIB),
    ("queues.edge_ring_bytes", |queues| &mut queues.edge_ring_bytes, 0..=1024 * MIB),
    ("queues.edge_rings_bytes", |queues| &mut queues.edge_rings_bytes, MIB..=1_048_576 * MIB),
    ("queues.dedup_window", |queues| &mut queues.dedup_window, 1..=1_000_000),
    ("queues.detached_sessions", |queues| &mut queues.detached_sessions, 1..=100_000_000),
    ("queues.shard_channels", |queues| &mut queues.shard_channels, 16..=100_000_000),
];

impl Reader {
    pub(super) fn limits(&mut self) -> Option<EdgeLimits> {
        let defaults = EdgeLimits::default();
        let connections =
            self.integer("client.connections", defaults.connections as u64, 1..=10_000_000);
        let per_second = self.integer(
            "client.address_connections_per_second",
            defaults.address_connections_per_second.into(),
            1..=1_000_000,
        );
        let burst = self.integer(
            "client.address_connection_burst",
            defaults.address_connection_burst.into(),
            1..=1_000_000,
        );
        let open = self.integer(
            "client.address_connections_open",
            defaults.address_connections_open.into(),
            1..=10_000_000,
        );
        let handshake_deadline = self.duration("client.handshake_deadline", "10s", "1s", "1m");
        let hello_deadline = self.duration("client.hello_deadline", "5s", "1s", "1m");
        let before_retry = self.integer(
            "client.handshakes_before_retry",
            defaults.handshakes_before_retry as u64,
            0..=1_000_000,
        );
        let path_changes = self.integer(
            "client.path_changes_per_minute",
            defaults.path_changes_per_minute.into(),
            1..=100_000,
        );
        let idle_timeout = self.duration("client.idle_timeout", "75s", "5s", "1h");
        Some(EdgeLimits {
            connections: connections? as usize,
            address_connections_per_second: per_second? as u32,
            address_connection_burst: burst? as u32,
            address_connections_open: open? as u32,
            handshake_deadline: handshake_deadline?,
            hello_deadline: hello_deadline?,
            handshakes_before_retry: before_retry? as usize,
            path_changes_per_minute: path_changes? as u32,
            idle_timeout: idle_timeout?,
        })
    }

    pub(super) fn queues(&mut self) -> Option<QueueLimits> {
        let mut queues = QueueLimits::default();
        let patience = self.duration("queues.mailbox_patience", "50ms", "1ms", "10s");
        let ring_age = self.duration("queues.ring_age", "5m", "1s", "1h");
        let edge_age = self.duration("queues.edge_ring_age", "60s", "1s", "10m");
        let mut complete = patience.is_some() && ring_age.is_some() && edge_age.is_some();
        queues.mailbox_patience = patience.unwrap_or(queues.mailbox_patience);
        queues.ring_age = ring_age.unwrap_or(queues.ring_age);
        queues.edge_ring_age = edge_age.unwrap_or(queues.edge_ring_age);
        for (key, field, range) in QUEUES {
            let field = field(&mut queues);
            match self.integer(key, *field as u64, range.clone()) {
                Some(limit) => *field = limit as usize,
                None => complete = false,
            }
        }
        complete.then_some(queues)
    }
}
