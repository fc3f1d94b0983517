//! What the edge counts. One [`Meter`] per worker and transport: its handles are looked up once.

use metrics::{Counter, Gauge, counter, gauge};
use sterna_core::TransportKind;

use crate::listen::Refusal;

/// Counters and gauges of one transport.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    transport: &'static str,
    pub(crate) connections: Gauge,
    pub(crate) frames_in: Counter,
    pub(crate) frames_out: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
}

impl Meter {
    pub(crate) fn new(kind: TransportKind) -> Self {
        let transport = kind.name();
        Self {
            transport,
            connections: gauge!("sterna_edge_connections_active", "transport" => transport),
            frames_in: counter!("sterna_edge_frames_received_total", "transport" => transport),
            frames_out: counter!("sterna_edge_frames_sent_total", "transport" => transport),
            bytes_in: counter!("sterna_edge_received_bytes_total", "transport" => transport),
            bytes_out: counter!("sterna_edge_sent_bytes_total", "transport" => transport),
        }
    }

    pub(crate) fn handshake(&self, result: &'static str) {
        counter!("sterna_edge_handshakes_total", "transport" => self.transport, "result" => result)
            .increment(1);
    }

    pub(crate) fn closed(&self, reason: &'static str) {
        counter!("sterna_edge_closes_total", "transport" => self.transport, "reason" => reason)
            .increment(1);
    }

    pub(crate) fn refused(&self, refusal: Refusal) {
        let (transport, reason) = (self.transport, refusal.name());
        counter!("sterna_edge_refused_total", "transport" => transport, "reason" => reason)
            .increment(1);
    }
}

/// A request over HTTP/3: what became of it, or the status of its answer.
pub(crate) fn http3_request(result: &'static str) {
    counter!("sterna_edge_http3_requests_total", "result" => result).increment(1);
}

/// A stream of a session that there is not, or one too many before there is.
pub(crate) fn http3_stream_rejected() {
    counter!("sterna_edge_http3_streams_rejected_total").increment(1);
}

/// A connection that ended because its client did not keep to HTTP/3.
pub(crate) fn http3_violation(reason: &'static str) {
    counter!("sterna_edge_http3_violations_total", "reason" => reason).increment(1);
}

pub(crate) fn retry_sent() {
    counter!("sterna_edge_retries_total").increment(1);
}

/// A client's first frame came with its first packet (0-RTT).
pub(crate) fn early_data_accepted() {
    counter!("sterna_edge_early_data_accepted_total").increment(1);
}

pub(crate) fn path_changed() {
    counter!("sterna_edge_path_changes_total").increment(1);
}

pub(crate) fn datagram_dropped() {
    counter!("sterna_edge_datagrams_dropped_total").increment(1);
}

/// A datagram came with a connection id that this worker has not made: garbage, or one for another
/// node that something before us has sent here.
pub(crate) fn foreign_id() {
    counter!("sterna_edge_foreign_ids_total").increment(1);
}
