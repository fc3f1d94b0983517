//! What a run of `sterna bench archive` says, for people and for programs.

use std::time::Duration;

use serde_json::{Value, json};

use super::Round;
use super::bed::Times;
use super::compaction::Compaction;
use crate::bench::args::ArchiveBenchArgs;

impl Round {
    fn rates(&self, args: &ArchiveBenchArgs) -> (f64, f64, f64) {
        let archive = megabytes(args, args.publications, self.archived);
        let raw = megabytes(args, args.publications, self.packed.took);
        (archive, raw, archive / raw)
    }

    pub(super) fn json(&self, args: &ArchiveBenchArgs) -> String {
        let (archive, raw, of_raw) = self.rates(args);
        let each = |bytes: u64| bytes as f64 / args.publications as f64;
        json!({
            "publications": args.publications,
            "channels": args.channels,
            "payload_bytes": args.payload,
            "archive_megabytes_per_second": archive,
            "raw_megabytes_per_second": raw,
            "of_raw": of_raw,
            "trimmed_per_second": args.publications as f64 / self.trimmed.as_secs_f64(),
            "bytes_per_publication": {
                "warm": each(self.warm_bytes),
                "cold": each(self.cold_bytes),
                "raw": each(self.packed.bytes),
            },
            "open": {
                "owner_ring": times_json(self.hot.ring),
                "local_pages": self.hot.disk.map(times_json),
                "redis_pages": self.hot.redis.map(times_json),
                "warm": times_json(self.warm),
                "cold_first": times_json(self.cold_first),
                "cold_again": times_json(self.cold_again),
            },
            "compaction": self.compaction.json(args),
        })
        .to_string()
    }

    pub(super) fn text(&self, args: &ArchiveBenchArgs) -> String {
        let (archive, raw, of_raw) = self.rates(args);
        let each = |bytes: u64| bytes as f64 / args.publications as f64;
        let mut lines = vec![
            row("archived, read back and referred to", &format!("{archive:.1} MB/s of payload")),
            row(
                "zstd into one synced file",
                &format!("{raw:.1} MB/s, of which that is {:.0} %", 100.0 * of_raw),
            ),
            row("trimmed", &per_second(args.publications, self.trimmed)),
        ];
        lines.extend(self.compaction.lines(args));
        lines.push(row("bytes of a publication, warm", &format!("{:.1}", each(self.warm_bytes))));
        let packed = each(self.packed.bytes);
        let cold = format!("{:.1} (zstd of payloads alone {packed:.1})", each(self.cold_bytes));
        lines.push(row("bytes of a publication, cold", &cold));
        let no_full_page = "not measured: no channel has a full page";
        let no_redis =
            if self.hot.disk.is_some() { "not measured: no --redis" } else { no_full_page };
        lines.push(row("newest 50, p50 and p99:", "").trim_end().to_owned());
        for (place, times) in [
            ("  in the owner's memory (hot)", Ok(self.hot.ring)),
            ("  pages on the core's own disk", self.hot.disk.ok_or(no_full_page)),
            ("  pages in Redis", self.hot.redis.ok_or(no_redis)),
            ("  in the log (warm)", Ok(self.warm)),
            ("  in the archive (cold), first look", Ok(self.cold_first)),
            ("  in the archive (cold), again", Ok(self.cold_again)),
            ("  in small segments, first look", Ok(self.compaction.open_before)),
            ("  the same put together, first look", Ok(self.compaction.open_after)),
        ] {
            lines.push(match times {
                Ok(times) => row(place, &times_text(times)),
                Err(reason) => row(place, reason),
            });
        }
        lines.join("\n")
    }
}

impl Compaction {
    fn json(&self, args: &ArchiveBenchArgs) -> Value {
        json!({
            "publications": self.records,
            "megabytes_per_second": megabytes(args, self.records, self.took),
            "publications_per_second": self.records as f64 / self.took.as_secs_f64(),
            "segments_before": self.before.0,
            "segments_after": self.after.0,
            "bytes_before": self.before.1,
            "bytes_after": self.after.1,
            "open_before": times_json(self.open_before),
            "open_after": times_json(self.open_after),
        })
    }

    fn lines(&self, args: &ArchiveBenchArgs) -> [String; 2] {
        if self.records == 0 {
            let none = "nothing: no shard has enough small segments";
            return [row("put together", none), row("  which are", &self.sizes())];
        }
        let rate = megabytes(args, self.records, self.took);
        let rates = format!("{rate:.1} MB/s of payload, {}", per_second(self.records, self.took));
        [row("put together", &rates), row("  which makes", &self.sizes())]
    }

    fn sizes(&self) -> String {
        let ((before, bytes_before), (after, bytes_after)) = (self.before, self.after);
        let mega = |bytes: u64| bytes as f64 / 1e6;
        format!(
            "{before} segments of {:.1} MB into {after} of {:.1} MB",
            mega(bytes_before),
            mega(bytes_after)
        )
    }
}

fn row(what: &str, reached: &str) -> String {
    format!("{what:<38} {reached}")
}

pub(super) fn megabytes(args: &ArchiveBenchArgs, publications: u64, took: Duration) -> f64 {
    (publications * u64::from(args.payload)) as f64 / 1e6 / took.as_secs_f64()
}

fn per_second(publications: u64, took: Duration) -> String {
    format!("{:.0} publications/s", publications as f64 / took.as_secs_f64())
}

/// With a digit after the point: what is hot takes few microseconds.
fn times_text(times: Times) -> String {
    let us = |time: Duration| time.as_nanos() as f64 / 1e3;
    format!("{:>8.1} µs {:>8.1} µs", us(times.p50), us(times.p99))
}

fn times_json(times: Times) -> Value {
    let us = |time: Duration| time.as_nanos() as f64 / 1e3;
    json!({ "p50_us": us(times.p50), "p99_us": us(times.p99) })
}
