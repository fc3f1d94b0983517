//! The stages as a report shows them.

use super::super::DATAGRAMS_LOST;
use super::account::Consistency;
use super::stage::{Done, Said};
use crate::client::Transport;
use crate::meter::Percentiles;
use crate::report::{ABSENT, Column, Plot, Row, Series};
use crate::target::Part;

pub(super) const COLUMNS: &[Column] = &[
    Column::new("arrivals_per_second", "arrivals / s", 0),
    Column::new("connects_per_second", "connects / s", 0),
    Column::new("sessions_predicted", "sessions, predicted", 0),
    Column::new("sessions_seen", "sessions, most seen", 0),
    Column::new("connect_ms_p50", "connect ms, p50", 2),
    Column::new("connect_ms_p95", "connect ms, p95", 2),
    Column::new("connect_ms_p99", "connect ms, p99", 2),
    Column::new("acks_per_second", "acknowledged / s", 0),
    Column::new("ack_ms_p50", "ack ms, p50", 2),
    Column::new("ack_ms_p95", "ack ms, p95", 2),
    Column::new("ack_ms_p99", "ack ms, p99", 2),
    Column::new("deliveries_per_second", "deliveries / s", 0),
    Column::new("delivery_ms_p50", "delivery ms, p50", 2),
    Column::new("delivery_ms_p95", "delivery ms, p95", 2),
    Column::new("delivery_ms_p99", "delivery ms, p99", 2),
    Column::new("failures", "failures", 0),
    Column::new("append_ms_p99", "append ms, p99 (node)", 2),
    Column::new("commit_ms_p99", "commit ms, p99 (node)", 2),
    Column::new("turnstile_ms_p99", "at the turnstile ms, p99 (node)", 2),
    Column::new("database_wait_ms_p99", "for the database ms, p99 (node)", 2),
    Column::new("writes_waiting", "writes waiting (node)", 0),
    Column::new("busy", "answered BUSY (node)", 0),
    Column::new("pages_read", "pages read (node)", 0),
    Column::new("ring_percent", "from the owner's ring, % (node)", 1),
    Column::new("edge_percent", "from the asker's ring, % (node)", 1),
    Column::new("log_percent", "from the log, % (node)", 1),
    Column::new("resident_mib", "memory MiB", 1),
    Column::new("cpu_percent", "processor %", 0),
    Column::new("generator_percent", "generator, processor %", 0),
    DATAGRAMS_LOST,
    Column::new("late_ms", "generator late ms", 0),
    Column::new("acked", "acknowledged in all", 0),
    Column::new("missing", "of them missing", 0),
    Column::new("doubled", "of them there twice", 0),
    Column::new("holes", "empty offsets before them", 0),
];

/// `kept`: of the publications that were `acked`, as they were read back in the end.
pub(super) fn row(
    done: &Done,
    part: Part,
    name: String,
    acked: u64,
    kept: Option<&Consistency>,
) -> Row {
    let mut values = values(done);
    values.push(acked as f64);
    values.extend(
        kept.map_or([ABSENT; 3], |it| [it.missing, it.doubled, it.holes].map(|count| count as f64)),
    );
    Row { name, part, transport: None, values, of_raw: None }
}

fn values(done: &Done) -> Vec<f64> {
    let (tally, window) = (&done.tally, &done.window);
    let mut values = vec![
        done.stage.arrivals,
        window.per_second(tally.connected),
        done.stage.predicted,
        f64::from(tally.most),
    ];
    values.extend(in_ms(&Percentiles::of(&tally.connect)));
    values.push(window.per_second(window.counts.acked));
    values.extend(in_ms(&done.ack));
    values.push(window.per_second(window.counts.delivered));
    values.extend(in_ms(&done.delivery));
    values.push(tally.failures.total() as f64);
    values.extend(done.said.as_ref().map_or([ABSENT; OF_A_NODE], said));
    values.extend([
        done.resident as f64 / MIB,
        window.percent(window.cpu),
        window.percent(window.own_cpu),
        window.datagrams_lost(Transport::Quic),
        tally.late.as_secs_f64() * 1e3,
    ]);
    values
}

fn in_ms(times: &Percentiles) -> [f64; 3] {
    [times.p50, times.p95, times.p99].map(|us| us / 1e3)
}

const OF_A_NODE: usize = 10;

/// What only a node says of itself.
fn said(said: &Said) -> [f64; OF_A_NODE] {
    let [read, ring, edge, log] = pages(said);
    [
        waited(said, "sterna_core_append_seconds"),
        waited(said, "sterna_storage_commit_seconds"),
        waited(said, "sterna_edge_turnstile_seconds"),
        waited(said, "sterna_storage_sql_pool_wait_seconds"),
        said.after.sum("sterna_storage_queue_depth", ""),
        grown(said, "sterna_core_mailbox_busy_total", ""),
        read,
        ring,
        edge,
        log,
    ]
}

/// Absent when nobody waited there.
fn waited(said: &Said, histogram: &str) -> f64 {
    said.after.quantile_ms(&said.before, histogram, 0.99).unwrap_or(ABSENT)
}

fn grown(said: &Said, name: &str, label: &str) -> f64 {
    said.after.sum(name, label) - said.before.sum(name, label)
}

/// The pages that joining visitors read, and the share of each place that they came from.
fn pages(said: &Said) -> [f64; 4] {
    let tier = |tier: &str| grown(said, "sterna_core_pages_total", &format!("tier=\"{tier}\""));
    let tiers = ["ring", "edge", "log"].map(tier);
    let read: f64 = tiers.iter().sum();
    let share = |count: f64| if read > 0.0 { count / read * 100.0 } else { ABSENT };
    let [ring, edge, log] = tiers.map(share);
    [read, ring, edge, log]
}

pub(super) fn note(done: &Done) -> Option<String> {
    let failures = &done.tally.failures;
    (failures.total() > 0).then(|| format!("{}: {}", done.stage.name, failures.text()))
}

pub(super) fn verdict(it: &Consistency) -> String {
    let Consistency { acked, missing, doubled, holes, unacked, unanswered } = it;
    format!(
        "Consistency: of {acked} acknowledged publications {missing} are missing, {doubled} are there \
         more than once, {holes} offsets are empty; {unacked} are stored that no client saw \
         acknowledged, of {unanswered} sent without an answer"
    )
}

/// Of a server that keeps nothing, or nothing that visitors could read.
pub(super) fn no_verdict(acked: u64) -> String {
    format!(
        "Consistency: {acked} publications were acknowledged; what became of them cannot be read back, \
         and visitors had no page to read"
    )
}

pub(super) fn plots(done: &[Done], full: &dyn Fn(&str) -> String) -> Vec<Plot> {
    let stage = |at: usize| at as f64 + 1.0;
    let series = |name: &str, value: &dyn Fn(&Done) -> f64| Series {
        name: name.to_owned(),
        points: done.iter().enumerate().map(|(at, it)| (stage(at), value(it))).collect(),
    };
    let mut sessions = Plot::new(&full("Sessions over the stages"), "stage", "sessions");
    sessions.series.push(series("predicted", &|it| it.stage.predicted));
    sessions.series.push(series("most seen", &|it| f64::from(it.tally.most)));
    let mut times = Plot::new(&full("p99 over the stages"), "stage", "milliseconds");
    times.series.push(series("connect", &|it| Percentiles::of(&it.tally.connect).p99 / 1e3));
    times.series.push(series("acknowledgement", &|it| it.ack.p99 / 1e3));
    times.series.push(series("delivery", &|it| it.delivery.p99 / 1e3));
    vec![sessions, times]
}

const MIB: f64 = 1024.0 * 1024.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::node_metrics::Samples;

    fn of(before: &str, after: &str) -> Said {
        Said { before: Samples::of(before), after: Samples::of(after) }
    }

    #[test]
    fn pages_are_counted_by_where_they_came_from() {
        let page = |tier, count| format!("sterna_core_pages_total{{tier=\"{tier}\"}} {count}\n");
        let before = page("ring", 10);
        let tiers = [page("ring", 13), page("edge", 4), page("log", 1), page("none", 50)].concat();
        let found = pages(&of(&before, &(tiers + &page("history", 9))));
        assert_eq!(found, [8.0, 37.5, 50.0, 12.5]);
        let [read, shares @ ..] = pages(&of(&before, &before));
        assert_eq!(read, 0.0);
        assert!(shares.iter().all(|share| share.is_nan()), "nobody has read a page: {shares:?}");
    }

    #[test]
    fn a_wait_that_nobody_had_is_absent() {
        let waited = |name: &str, upto| {
            let bucket = |upto| format!("{name}_bucket{{le=\"{upto}\"}} 4\n");
            format!("{}{}{name}_count 4\n", bucket(upto), bucket("+Inf"))
        };
        let turnstile = waited("sterna_edge_turnstile_seconds", "0.1");
        let found = said(&of("", &turnstile));
        assert!(found[0].is_nan() && found[1].is_nan() && found[3].is_nan(), "{found:?}");
        assert_eq!(found[2], 100.0);
        let pool = waited("sterna_storage_sql_pool_wait_seconds", "0.005");
        assert_eq!(said(&of(&turnstile, &(pool + &turnstile)))[3], 5.0);
    }
}
