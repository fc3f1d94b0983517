//! The page of `sterna bench archive`: all figures in one table, and a plot of how long the newest page
//! takes in each place. Pure.

use std::time::Duration;

use sterna_bench::report::{ABSENT, Column, Plot, Report, Row, Series};
use sterna_bench::target::Part;

use super::Round;
use super::bed::Times;
use super::report::megabytes;
use crate::bench::args::ArchiveBenchArgs;

const COLUMNS: &[Column] = &[
    Column::new("megabytes_per_second", "MB / s of payload", 1),
    Column::new("publications_per_second", "publications / s", 0),
    Column::new("bytes_per_publication", "bytes each", 1),
    Column::new("newest_page_p50_us", "newest page µs, p50", 1),
    Column::new("newest_page_p99_us", "p99", 1),
];

impl Round {
    pub(super) fn page(&self, args: &ArchiveBenchArgs) -> Report {
        let method = format!(
            "{} publications of {} bytes in {} channels, on one disk; best of {} rounds; `of raw` is held \
             against zstd into one synced file; the newest page has 50 publications",
            args.publications, args.payload, args.channels, args.rounds
        );
        let mut page = Report::new("archive", method, COLUMNS);
        let [mut archived, mut packed] = self.written(args);
        archived.of_raw = Some(archived.values[0] / packed.values[0]);
        packed.of_raw = Some(1.0);
        let compaction = &self.compaction;
        let trimmed = row("trimmed", [ABSENT, per_second(args.publications, self.trimmed), ABSENT]);
        page.rows.extend([archived, packed, trimmed]);
        // Without small segments nothing is put together.
        page.rows.extend((compaction.records > 0).then(|| {
            let rate = megabytes(args, compaction.records, compaction.took);
            row("put together", [rate, per_second(compaction.records, compaction.took), ABSENT])
        }));
        let places = self.places();
        page.rows.extend(places.iter().map(|(name, times)| {
            let warm = if *name == WARM { self.warm_bytes as f64 } else { ABSENT };
            let mut row = row(name, [ABSENT, ABSENT, warm / args.publications as f64]);
            row.values[3..].copy_from_slice(&times.map_or([ABSENT; 2], in_us));
            row
        }));
        page.plots.push(plot(&places));
        page.notes.extend(self.not_measured(args));
        page
    }

    fn written(&self, args: &ArchiveBenchArgs) -> [Row; 2] {
        let figures = |took, bytes: u64| {
            let rate = megabytes(args, args.publications, took);
            let each = bytes as f64 / args.publications as f64;
            [rate, per_second(args.publications, took), each]
        };
        let archived = figures(self.archived, self.cold_bytes);
        let archived = row("archived, read back and referred to", archived);
        let packed = row("zstd into one synced file", figures(self.packed.took, self.packed.bytes));
        [archived, Row { part: Part::Raw, ..packed }]
    }

    fn places(&self) -> [(&'static str, Option<Times>); 8] {
        [
            ("in the owner's memory (hot)", Some(self.hot.ring)),
            ("pages on the core's own disk", self.hot.disk),
            ("pages in Redis", self.hot.redis),
            (WARM, Some(self.warm)),
            ("in the archive (cold), first look", Some(self.cold_first)),
            ("in the archive (cold), again", Some(self.cold_again)),
            ("in small segments, first look", Some(self.compaction.open_before)),
            ("the same put together, first look", Some(self.compaction.open_after)),
        ]
    }

    fn not_measured(&self, args: &ArchiveBenchArgs) -> Option<String> {
        let why = match (&self.hot.disk, &args.redis) {
            (None, _) => "Caches were not measured: no channel has a full page.",
            (_, None) => "Pages in Redis were not measured: no --redis.",
            _ => return None,
        };
        Some(why.to_owned())
    }
}

const WARM: &str = "in the log (warm)";

fn row(name: &str, [megabytes, publications, bytes]: [f64; 3]) -> Row {
    Row {
        name: name.to_owned(),
        part: Part::Sterna,
        transport: None,
        values: vec![megabytes, publications, bytes, ABSENT, ABSENT],
        of_raw: None,
    }
}

/// Places that were not measured have no point.
fn plot(places: &[(&str, Option<Times>)]) -> Plot {
    let title = "Newest page, by the places of the table in their order";
    let mut plot = Plot::new(title, "place", "microseconds");
    for (at, name) in ["p50", "p99"].into_iter().enumerate() {
        let times = places.iter().zip(1_u32..);
        let points = times.filter_map(|((_, times), place)| Some((place, in_us((*times)?)[at])));
        let points = points.map(|(place, us)| (f64::from(place), us)).collect();
        plot.series.push(Series { name: name.to_owned(), points });
    }
    plot
}

fn in_us(times: Times) -> [f64; 2] {
    [times.p50, times.p99].map(|time| time.as_nanos() as f64 / 1e3)
}

fn per_second(publications: u64, took: Duration) -> f64 {
    publications as f64 / took.as_secs_f64()
}
