//! The page of `sterna bench handover`: the table, the raw limits in it, and for each kind of switch a
//! line of each client's silences. Pure.

use serde::{Serialize as _, Serializer};
use sterna_bench::client::Transport;
use sterna_bench::report::{ABSENT, Column, Plot, Report as Page, Row as PageRow, Series};
use sterna_bench::target::Part;

use super::report::{Kind, Report, Row, Timeline};

const COLUMNS: &[Column] = &[
    Column::new("gap_min_ms", "gap ms, min", 1),
    Column::new("gap_p50_ms", "p50", 1),
    Column::new("gap_max_ms", "max", 1),
    Column::new("lost", "lost", 0),
    Column::new("duplicated", "duplicated", 0),
    Column::new("resubscribed", "resubscribed", 0),
    Column::new("reconnects", "reconnects", 0),
    Column::new("resumed", "resumed", 0),
];

/// Points of a line: more than its page has room for is nothing that anybody sees.
const POINTS: usize = 400;

pub(super) fn of(report: &Report) -> Page {
    let method = format!(
        "subscribers behind relays with {} ms round trip, {} publications a second, {} switches of each \
         kind; the gap is the longest silence around a switch, `of raw` that of the median; a WebSocket \
         is reset and told of every switch at once, on QUIC only hard ones are told, behind 100 ms of \
         darkness",
        report.round_trip_ms, report.publications_per_second, report.switches_of_each_kind,
    );
    let mut page = Page::new("handover", method, COLUMNS);
    page.rows.extend(report.rows.iter().map(|it| row(Part::Sterna, it, &report.raw_rows)));
    page.rows.extend(report.raw_rows.iter().map(|it| row(Part::Raw, it, &report.raw_rows)));
    page.plots = plots(&report.timelines);
    page.notes.push(match report.raw_rows.is_empty() {
        true => "Raw limits are measured without --netns only.".to_owned(),
        false => {
            "What the raw WebSocket lost was published while it was opened again: a raw server \
                  keeps nothing."
                .to_owned()
        }
    });
    page
}

fn row(part: Part, it: &Row, raw: &[Row]) -> PageRow {
    let same = |raw: &&Row| raw.transport == it.transport && raw.switch == it.switch;
    let resumed = if part == Part::Raw { ABSENT } else { it.resumed as f64 };
    let counts = [it.lost, it.duplicated, it.resubscribed, it.reconnects].map(|count| count as f64);
    PageRow {
        name: format!("{}: {}", name(part, it.transport), it.switch.name()),
        part,
        transport: Some(if it.transport == "quic" { Transport::Quic } else { Transport::Wss }),
        values: [&[it.gap_ms.min, it.gap_ms.p50, it.gap_ms.max], &counts[..], &[resumed]].concat(),
        of_raw: raw.iter().find(same).map(|raw| it.gap_ms.p50 / raw.gap_ms.p50),
    }
}

fn name(part: Part, transport: &str) -> &'static str {
    match (part, transport) {
        (Part::Raw, "quic") => "raw quinn",
        (Part::Raw, _) => "raw rustls + tungstenite",
        (Part::Sterna | Part::Peer, "quic") => "sterna, QUIC",
        (Part::Sterna | Part::Peer, _) => "sterna, wss",
    }
}

/// One for each kind of switch.
fn plots(timelines: &[Timeline]) -> Vec<Plot> {
    let plot = |kind: Kind| {
        let of_kind = || timelines.iter().filter(|timeline| timeline.switch == kind);
        let first = of_kind().next()?;
        let title = match kind {
            Kind::None => "Silence before each publication, without a switch".to_owned(),
            _ => format!("Silence before each publication, {} (dashed: a switch)", kind.name()),
        };
        let mut plot = Plot::new(&title, "seconds", "milliseconds");
        plot.series.extend(of_kind().map(|timeline| Series {
            name: name(timeline.part, timeline.transport).to_owned(),
            points: thinned(timeline),
        }));
        if kind != Kind::None {
            plot.marks = first.switches_us.iter().map(|at| *at as f64 / 1e6).collect();
        }
        Some(plot)
    };
    Kind::ALL.into_iter().filter_map(plot).collect()
}

/// The longest silence of each stretch of time.
fn thinned(timeline: &Timeline) -> Vec<(f64, f64)> {
    let end = timeline.silences.last().map_or(0, |(at, _)| *at);
    let stretch = (end / POINTS as u64).max(1);
    let stretches = timeline.silences.chunk_by(|one, next| one.0 / stretch == next.0 / stretch);
    let longest = stretches.filter_map(|stretch| stretch.iter().max_by_key(|(_, gap)| *gap));
    longest.map(|(at, gap)| (*at as f64 / 1e6, gap.as_secs_f64() * 1e3)).collect()
}

/// In JSON they are the plots of the page.
pub(super) fn plots_of<S: Serializer>(
    timelines: &[Timeline],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    plots(timelines).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn timeline(part: Part, switch: Kind, silences: &[(u64, u64)]) -> Timeline {
        let silences = silences.iter().map(|(at, ms)| (at * 1000, Duration::from_millis(*ms)));
        let (switches_us, silences) = (vec![0, 700_000], silences.collect());
        Timeline { part, transport: "quic", switch, switches_us, silences }
    }

    #[test]
    fn a_plot_has_a_line_for_each_client_and_marks_its_switches() {
        let found = plots(&[
            timeline(Part::Sterna, Kind::Hard, &[(5, 5), (210, 205)]),
            timeline(Part::Sterna, Kind::None, &[(5, 5)]),
            timeline(Part::Raw, Kind::Hard, &[(5, 5), (220, 215)]),
        ]);
        let marks: Vec<_> = found.iter().map(|plot| plot.marks.clone()).collect();
        assert_eq!(marks, [vec![], vec![0.0, 0.7]], "no switch, and a hard one");
        let names: Vec<_> = found[1].series.iter().map(|series| &series.name[..]).collect();
        assert_eq!(names, ["sterna, QUIC", "raw quinn"]);
        assert_eq!(found[1].series[0].points, [(0.005, 5.0), (0.21, 205.0)]);
    }

    #[test]
    fn of_many_silences_the_longest_are_kept() {
        let mut silences: Vec<(u64, u64)> = (1..=100_000).map(|at| (at, 1)).collect();
        silences[70_000].1 = 300;
        let points = thinned(&timeline(Part::Sterna, Kind::Hard, &silences));
        assert!((POINTS..POINTS + 2).contains(&points.len()), "{}", points.len());
        assert_eq!(points.iter().filter(|point| point.1 == 300.0).count(), 1);
    }
}
