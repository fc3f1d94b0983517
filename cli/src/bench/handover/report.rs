//! The outcome of `sterna bench handover`, for people and for scripts. Pure.

use std::time::Duration;

use serde::Serialize;
use sterna_bench::machine::Machine;
use sterna_bench::target::Part;

use super::page;

/// What happens to a client's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::bench) enum Kind {
    /// Nothing: what the machine and the path do by themselves.
    None,
    /// Another port, and nobody tells the client.
    Rebind,
    /// Another address, and nobody tells the client.
    Address,
    /// Another address behind a short darkness, and the client is told.
    Hard,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::None, Self::Rebind, Self::Address, Self::Hard];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Rebind => "rebind",
            Self::Address => "address",
            Self::Hard => "hard",
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) round_trip_ms: u64,
    pub(super) publications_per_second: u32,
    pub(super) switches_of_each_kind: u32,
    pub(super) publications: usize,
    pub(super) rows: Vec<Row>,
    /// Bare quinn, and a bare WebSocket that is opened again.
    pub(super) raw_rows: Vec<Row>,
    /// Of each client under each kind of switch.
    #[serde(rename = "plots", serialize_with = "page::plots_of")]
    pub(super) timelines: Vec<Timeline>,
    pub(super) machine: Machine,
}

/// How long one client heard nothing before each publication, while one kind of switch went on.
#[derive(Debug)]
pub(super) struct Timeline {
    pub(super) part: Part,
    pub(super) transport: &'static str,
    pub(super) switch: Kind,
    /// Since the first of them.
    pub(super) switches_us: Vec<u64>,
    /// When, counted from there, and how long.
    pub(super) silences: Vec<(u64, Duration)>,
}

/// One client under one kind of switch.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) transport: &'static str,
    pub(super) switch: Kind,
    pub(super) gap_ms: Gaps,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    /// How often the subscription had to be asked for again.
    pub(super) resubscribed: u64,
    pub(super) reconnects: u64,
    /// Reconnects on which the node continued the session.
    pub(super) resumed: u64,
    pub(super) transport_after: String,
}

/// The longest silence around each switch, in milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Gaps {
    pub(super) min: f64,
    pub(super) p50: f64,
    pub(super) max: f64,
}

impl Gaps {
    pub(super) fn of(mut gaps: Vec<Duration>) -> Self {
        gaps.sort_unstable();
        let ms =
            |at: usize| gaps.get(at).map_or(0.0, |gap| (gap.as_secs_f64() * 1e4).round() / 10.0);
        let last = gaps.len().saturating_sub(1);
        Self { min: ms(0), p50: ms(last / 2), max: ms(last) }
    }
}

impl Report {
    pub(super) fn is_clean(&self) -> bool {
        self.rows.iter().all(|row| row.lost == 0 && row.duplicated == 0)
    }

    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "{} ms round trip, {} publications a second, {} switches of each kind; gaps in ms\n\
             {:10} {:8} {:>8} {:>8} {:>8} {:>6} {:>10} {:>12} {:>8}  {}",
            self.round_trip_ms,
            self.publications_per_second,
            self.switches_of_each_kind,
            "client",
            "switch",
            "min",
            "p50",
            "max",
            "lost",
            "duplicated",
            "resubscribed",
            "resumed",
            "transport after",
        );
        let ours = self.rows.iter().map(|row| (row.transport, row));
        let raw = self.raw_rows.iter().map(|row| (raw_name(row.transport), row));
        for (name, row) in ours.chain(raw) {
            text += &format!(
                "\n{:10} {:8} {:8.1} {:8.1} {:8.1} {:6} {:10} {:12} {:>8}  {}",
                name,
                row.switch.name(),
                row.gap_ms.min,
                row.gap_ms.p50,
                row.gap_ms.max,
                row.lost,
                row.duplicated,
                row.resubscribed,
                format!("{}/{}", row.resumed, row.reconnects),
                row.transport_after,
            );
        }
        text
    }
}

/// In a narrow column.
fn raw_name(transport: &str) -> &'static str {
    if transport == "quic" { "raw quinn" } else { "raw wss" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_sorted_and_rounded() {
        let gaps = [90.04, 12.26, 55.0].map(|ms: f64| Duration::from_secs_f64(ms / 1000.0));
        let gaps = Gaps::of(gaps.to_vec());
        assert_eq!((gaps.min, gaps.p50, gaps.max), (12.3, 55.0, 90.0));
        let none = Gaps::of(Vec::new());
        assert_eq!((none.min, none.p50, none.max), (0.0, 0.0, 0.0));
    }
}
