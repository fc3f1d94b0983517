//! What peers are told: the same work under the same conditions, and limits that a measurement does
//! not reach. Makes texts and arguments; writes nothing and starts nothing.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;

use super::Work;
use crate::bench::field::Store;

/// What one start of a peer is told.
pub(super) struct Place<'a> {
    pub(super) work: Work,
    pub(super) home: &'a Path,
    pub(super) address: SocketAddr,
    /// Nobody else listens there, for peers that insist on one listener more.
    pub(super) spare: SocketAddr,
    pub(super) certificate: &'a Path,
    pub(super) private_key: &'a Path,
    /// Where its configuration will lie.
    pub(super) config: &'a Path,
}

fn config_argument(flag: &str, place: &Place<'_>) -> Vec<String> {
    vec![flag.to_owned(), place.config.to_string_lossy().into_owned()]
}

/// Without JetStream nothing is stored. Unless told otherwise it syncs every two minutes.
pub(super) fn nats(place: &Place<'_>) -> (Vec<String>, String) {
    let store = |sync| {
        let directory = place.home.join("jetstream");
        format!(
            "jetstream {{ store_dir: {directory:?}, max_memory_store: {STREAM_BYTES}, \
             max_file_store: {STREAM_BYTES}{sync} }}\n"
        )
    };
    let stream = match place.work.store() {
        None => String::new(),
        Some(Store::Memory | Store::Os) => store(""),
        Some(Store::Fsync) => store(", sync_interval: \"always\""),
    };
    let config = format!(
        "host: \"127.0.0.1\"\nport: -1\nmax_connections: {CONNECTIONS}\n\
         max_payload: {PAYLOAD_BYTES}\nmax_pending: {QUEUE_BYTES}\n\
         write_deadline: \"30s\"\nping_interval: \"1h\"\n\
         websocket {{\n  host: \"127.0.0.1\"\n  port: {port}\n  compression: false\n  \
         tls {{ cert_file: {certificate:?}, key_file: {key:?}, min_version: \"1.3\" }}\n}}\n{stream}",
        port = place.address.port(),
        certificate = place.certificate,
        key = place.private_key,
    );
    (config_argument("-c", place), config)
}

/// Its WebSocket listener opens only beside another. Nothing is stored.
pub(super) fn mosquitto(place: &Place<'_>) -> (Vec<String>, String) {
    let config = format!(
        "user root\npersistence false\nlog_dest none\nallow_anonymous true\n\
         set_tcp_nodelay true\nmax_queued_messages 0\nmax_inflight_messages 0\n\
         message_size_limit {PAYLOAD_BYTES}\n\
         listener {spare} 127.0.0.1\nsocket_domain ipv4\n\
         listener {port} 127.0.0.1\nsocket_domain ipv4\nprotocol websockets\n\
         certfile {certificate}\nkeyfile {key}\ntls_version tlsv1.3\n",
        spare = place.spare.port(),
        port = place.address.port(),
        certificate = place.certificate.display(),
        key = place.private_key.display(),
    );
    (config_argument("-c", place), config)
}

/// Its log of publications is in memory.
pub(super) fn rumqttd(place: &Place<'_>) -> (Vec<String>, String) {
    let config = format!(
        "id = 0\n\
         [router]\nid = 0\nmax_connections = {CONNECTIONS}\nmax_outgoing_packet_count = 200\n\
         max_segment_size = 104857600\nmax_segment_count = 10\n\
         [ws.1]\nname = \"ws-1\"\nlisten = \"{address}\"\nnext_connection_delay_ms = 0\n\
         [ws.1.tls]\ncertpath = {certificate:?}\nkeypath = {key:?}\n\
         [ws.1.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = {PAYLOAD_BYTES}\n\
         max_inflight_count = 500\ndynamic_filters = true\n",
        address = place.address,
        certificate = place.certificate,
        key = place.private_key,
    );
    let mut arguments = config_argument("--config", place);
    arguments.push("--quiet".to_owned());
    (arguments, config)
}

/// It has no configuration of its own: what could be set is set in its program.
pub(super) fn centrifuge(place: &Place<'_>) -> (Vec<String>, String) {
    let mut arguments = vec![
        format!("-address={}", place.address),
        format!("-certificate={}", place.certificate.display()),
        format!("-private-key={}", place.private_key.display()),
    ];
    if matches!(place.work, Work::Visit(_)) {
        arguments.push(format!("-history={HISTORY}"));
    }
    (arguments, String::new())
}

/// Without history, webhooks and metrics. What may wait for one client stays at 1,000 messages: it
/// allocates for all of them with every connection.
pub(super) fn sockudo(place: &Place<'_>) -> (Vec<String>, String) {
    let limits = json!({ "max_connections": CONNECTIONS, "max_client_events_per_second": 0 });
    let features = json!({ "enable_client_messages": true });
    let app = json!({
        "id": "bench", "key": APP_KEY, "secret": APP_SECRET, "enabled": true,
        "policy": { "limits": limits, "features": features },
    });
    let config = json!({
        "host": "127.0.0.1",
        "port": place.address.port(),
        "mode": "production",
        "max_connections": CONNECTIONS,
        "activity_timeout": 3600,
        "websocket_max_payload_kb": PAYLOAD_BYTES / 1024,
        "ssl": { "enabled": true, "cert_path": place.certificate, "key_path": place.private_key },
        "app_manager": { "driver": "memory", "array": { "apps": [app] } },
        "rate_limiter": { "enabled": false },
        "metrics": { "enabled": false },
    });
    (config_argument("--config", place), config.to_string())
}

/// It has no configuration that it needs. What is public is so for everybody.
pub(super) fn moq(place: &Place<'_>) -> (Vec<String>, String) {
    let arguments = vec![
        format!("--listen={}", place.address),
        format!("--listen-tls-cert={}", place.certificate.display()),
        format!("--listen-tls-key={}", place.private_key.display()),
        "--auth-public=**".to_owned(),
        // A silent connection is kept: nobody is pinged.
        "--quic-keep-alive=0s".to_owned(),
        "--quic-idle-timeout=120s".to_owned(),
        "--log-level=error".to_owned(),
    ];
    (arguments, String::new())
}

pub(super) const APP_KEY: &str = "bench-key";
pub(super) const APP_SECRET: &str = "bench-secret";

/// More than a measurement opens, and few enough for those that allocate for all of them at once.
const CONNECTIONS: u32 = 20_000;

/// Of one publication.
const PAYLOAD_BYTES: u32 = 128 * 1024;

/// What may wait for one client, where that can be said in bytes: nobody is to be dropped as slow.
const QUEUE_BYTES: u32 = 256 * 1024 * 1024;

/// Publications of one channel that are kept for visitors: all of a measurement.
const HISTORY: u32 = 1_000_000;

/// What a stream may hold.
const STREAM_BYTES: u64 = 8 * 1024 * 1024 * 1024;
