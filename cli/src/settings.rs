//! Every key of the configuration, in one table. The file, the environment and `--set` know the
//! same keys; the environment variable of a key is `STERNA_` and its path in capitals with `_`.

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Bool,
    Integer,
    /// Text such as `10s`.
    Duration,
    /// Texts; in the environment separated by commas.
    Texts,
    /// `[[tables]]` with these keys, all texts. From the file only.
    Tables(&'static [&'static str]),
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) path: &'static str,
    pub(crate) kind: Kind,
}

const fn key(path: &'static str, kind: Kind) -> Setting {
    Setting { path, kind }
}

pub(crate) const SETTINGS: &[Setting] = &[
    key("node.name", Kind::Text),
    key("node.number", Kind::Integer),
    key("node.roles", Kind::Texts),
    key("node.region", Kind::Text),
    key("node.zone", Kind::Text),
    key("node.data_dir", Kind::Text),
    key("node.drain_deadline", Kind::Duration),
    key("node.weight", Kind::Integer),
    key("client.address", Kind::Text),
    key("client.workers", Kind::Integer),
    key("client.certificate", Kind::Text),
    key("client.private_key", Kind::Text),
    key("client.allowed_origins", Kind::Texts),
    key("client.early_data", Kind::Bool),
    key("client.connections", Kind::Integer),
    key("client.address_connections_per_second", Kind::Integer),
    key("client.address_connection_burst", Kind::Integer),
    key("client.address_connections_open", Kind::Integer),
    key("client.handshake_deadline", Kind::Duration),
    key("client.hello_deadline", Kind::Duration),
    key("client.handshakes_before_retry", Kind::Integer),
    key("client.path_changes_per_minute", Kind::Integer),
    key("client.idle_timeout", Kind::Duration),
    key("client.advertise", Kind::Text),
    key("cluster.address", Kind::Text),
    key("cluster.advertise", Kind::Text),
    key("cluster.certificate", Kind::Text),
    key("cluster.private_key", Kind::Text),
    key("cluster.authorities", Kind::Text),
    key("cluster.seeds", Kind::Texts),
    key("cluster.beat", Kind::Duration),
    key("cluster.lease", Kind::Duration),
    key("cluster.idle_timeout", Kind::Duration),
    key("cluster.patience", Kind::Duration),
    key("cluster.head_watch", Kind::Duration),
    key("cluster.secrets", Kind::Texts),
    key("balance.sessions", Kind::Text),
    key("balance.affinity", Kind::Text),
    key("balance.slack_percent", Kind::Integer),
    key("quic_lb.config_id", Kind::Integer),
    key("quic_lb.key_file", Kind::Text),
    key("quic_lb.in_clear", Kind::Bool),
    key("quic_lb.server_id", Kind::Text),
    key("quic_lb.nonce_octets", Kind::Integer),
    key("quic_lb.tells_length", Kind::Bool),
    key("http.address", Kind::Text),
    key("http.connections", Kind::Integer),
    key("http.request_deadline", Kind::Duration),
    key("http.read_deadline", Kind::Duration),
    key("http.console", Kind::Bool),
    key("http.api_keys", Kind::Tables(&["id", "secret_file", "role"])),
    key("auth.audience", Kind::Text),
    key("auth.issuer", Kind::Text),
    key("auth.leeway", Kind::Duration),
    key("auth.require_expiry", Kind::Bool),
    key("auth.keys", Kind::Tables(&["kid", "algorithm", "file"])),
    key("auth.jwks.url", Kind::Text),
    key("auth.jwks.file", Kind::Text),
    key("auth.jwks.ca", Kind::Text),
    key("store.engine", Kind::Text),
    key("store.directory", Kind::Text),
    key("store.durability", Kind::Text),
    key("store.accept_truncated", Kind::Bool),
    key("store.urls", Kind::Texts),
    key("store.tls", Kind::Bool),
    key("store.authorities", Kind::Text),
    key("store.layout", Kind::Text),
    key("store.databases", Kind::Integer),
    key("store.tables", Kind::Integer),
    key("store.migrate", Kind::Bool),
    key("store.write_connections", Kind::Integer),
    key("store.read_connections", Kind::Integer),
    key("store.patience", Kind::Duration),
    key("store.log", Kind::Text),
    key("scylla.nodes", Kind::Texts),
    key("scylla.keyspace", Kind::Text),
    key("scylla.datacenter", Kind::Text),
    key("scylla.user", Kind::Text),
    key("scylla.password_file", Kind::Text),
    key("scylla.tls", Kind::Bool),
    key("scylla.authorities", Kind::Text),
    key("scylla.replication", Kind::Integer),
    key("scylla.migrate", Kind::Bool),
    key("scylla.calls", Kind::Integer),
    key("scylla.patience", Kind::Duration),
    key("store.page_cache", Kind::Text),
    key("store.page_cache_bytes", Kind::Integer),
    key("archive.url", Kind::Text),
    key("archive.endpoint", Kind::Text),
    key("archive.region", Kind::Text),
    key("archive.key_id_file", Kind::Text),
    key("archive.secret_file", Kind::Text),
    key("archive.after", Kind::Duration),
    key("archive.every", Kind::Duration),
    key("archive.grace", Kind::Duration),
    key("archive.keep_newest", Kind::Integer),
    key("archive.keep_active", Kind::Duration),
    key("archive.segment_bytes", Kind::Integer),
    key("archive.records_per_second", Kind::Integer),
    key("archive.compact", Kind::Bool),
    key("archive.slow_write", Kind::Duration),
    key("backup.directory", Kind::Text),
    key("backup.keep_free", Kind::Integer),
    key("archive.encrypt", Kind::Text),
    key("archive.master_key_file", Kind::Text),
    key("retention.direct", Kind::Text),
    key("retention.group", Kind::Text),
    key("retention.broadcast", Kind::Text),
    key("retention.every", Kind::Duration),
    key("retention.lookups_per_second", Kind::Integer),
    key("retention.believe_clock", Kind::Bool),
    key("redis.urls", Kind::Texts),
    key("redis.cluster", Kind::Bool),
    key("redis.user", Kind::Text),
    key("redis.password", Kind::Text),
    key("redis.ca", Kind::Text),
    key("redis.prefix", Kind::Text),
    key("redis.connect_timeout", Kind::Duration),
    key("redis.call_timeout", Kind::Duration),
    key("redis.pages", Kind::Bool),
    key("channels.create_on_first_use", Kind::Bool),
    key("channels.shards", Kind::Integer),
    key("channels.beacon_period", Kind::Duration),
    key("channels.inbox_coalesce", Kind::Duration),
    key("sessions.resume_window", Kind::Duration),
    key("sessions.roaming_after", Kind::Duration),
    key("sessions.presence_debounce", Kind::Duration),
    key("sessions.foreground_linger", Kind::Duration),
    key("sessions.background_heads", Kind::Duration),
    key("sessions.heartbeat", Kind::Duration),
    key("sessions.slow_after", Kind::Duration),
    key("sessions.publish_per_second", Kind::Integer),
    key("sessions.publish_burst", Kind::Integer),
    key("sessions.user_publish_per_second", Kind::Integer),
    key("sessions.user_publish_burst", Kind::Integer),
    key("sessions.commands_per_second", Kind::Integer),
    key("sessions.command_burst", Kind::Integer),
    key("sessions.ephemerals_per_second", Kind::Integer),
    key("sessions.ephemeral_burst", Kind::Integer),
    key("sessions.syncs_per_second", Kind::Integer),
    key("sessions.sync_burst", Kind::Integer),
    key("queues.mailbox_patience", Kind::Duration),
    key("queues.shard_mailbox", Kind::Integer),
    key("queues.channel_pending", Kind::Integer),
    key("queues.append_batch", Kind::Integer),
    key("queues.append_bytes", Kind::Integer),
    key("queues.link_pushes", Kind::Integer),
    key("queues.link_push_bytes", Kind::Integer),
    key("queues.owed_heads", Kind::Integer),
    key("queues.owed_evicts", Kind::Integer),
    key("queues.cursor_moves", Kind::Integer),
    key("queues.inbox_marks", Kind::Integer),
    key("queues.inbox_touches", Kind::Integer),
    key("queues.outbox_frames", Kind::Integer),
    key("queues.outbox_bytes", Kind::Integer),
    key("queues.session_calls", Kind::Integer),
    key("queues.session_pages", Kind::Integer),
    key("queues.present_users", Kind::Integer),
    key("queues.subscription_held", Kind::Integer),
    key("queues.ring_publications", Kind::Integer),
    key("queues.ring_bytes", Kind::Integer),
    key("queues.ring_age", Kind::Duration),
    key("queues.rings_bytes", Kind::Integer),
    key("queues.edge_ring_bytes", Kind::Integer),
    key("queues.edge_ring_age", Kind::Duration),
    key("queues.edge_rings_bytes", Kind::Integer),
    key("queues.dedup_window", Kind::Integer),
    key("queues.detached_sessions", Kind::Integer),
    key("queues.shard_channels", Kind::Integer),
    key("log.format", Kind::Text),
    key("log.filter", Kind::Text),
    key("log.otlp_endpoint", Kind::Text),
];

impl Setting {
    pub(crate) fn find(path: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.path == path)
    }

    /// The environment variable of this key; `None` where there is none.
    pub(crate) fn variable(&self) -> Option<String> {
        match self.kind {
            Kind::Tables(_) => None,
            _ => Some(format!("STERNA_{}", self.path.replace('.', "_").to_uppercase())),
        }
    }
}

/// Whether keys begin with this table.
pub(crate) fn is_table(path: &str) -> bool {
    SETTINGS
        .iter()
        .any(|setting| setting.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The candidate that looks most like `text`, if any does.
pub(crate) fn nearest<'a>(
    text: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(text, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, candidate)| candidate)
}
