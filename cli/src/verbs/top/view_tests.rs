//! The view as people see it, line by line.

use serde_json::json;

use super::super::table::rendered;
use super::*;

fn cluster() -> Cluster {
    serde_json::from_value(json!({
        "node": "c1",
        "unix_ms": 1_800_000_000_000_u64,
        "nodes": [
            {
                "name": "c1", "state": "serving", "roles": ["core"], "region": "eu", "zone": "a",
                "release": "0.1.0", "up_s": 90_000, "publications_per_second": 1234.5,
                "slots": 1024, "channels": 7, "append_p50_ms": 0.8, "append_p99_ms": 12.25,
                "database": { "healthy": true, "answer_ms": 1.5 }, "conflicts": 3,
                "clock_ahead_ms": 0, "redis": { "healthy": true, "silent_s": 0 },
                "fullest_queue": { "name": "shard_mailbox", "depth": 768, "bound": 1024 },
                "lookups": {
                    "owner_ring": { "hits": 900, "misses": 100 },
                    "redis_pages": { "hits": 0, "misses": 7 },
                    "of a later release": { "hits": 1, "misses": 0 },
                },
            },
            {
                "name": "e1", "state": "draining", "roles": ["edge"], "region": "eu", "zone": "b",
                "release": "0.1.0", "up_s": 61, "deliveries_per_second": 98_765.0,
                "sessions": { "quic": 1200, "webtransport": 12, "wss": 34, "http": 2, "detached": 5, "behind": 2 },
                "resumes": 4, "path_changes": 9, "clock_ahead_ms": -812,
                "redis": { "healthy": false, "silent_s": 120 },
                "lookups": { "edge_ring": { "hits": 2, "misses": 1 } },
            },
            {
                "name": "e2", "state": "silent", "roles": ["edge"], "region": "us",
                "heard_ms_ago": 65_000, "sessions": { "quic": 7 },
                "lookups": { "edge_ring": { "hits": 1000, "misses": 0 } },
            },
        ],
    }))
    .unwrap()
}

fn inspection() -> Inspection {
    serde_json::from_value(json!({
        "sessions": [{
            "user": "ana\u{1b}[2J", "client": "phone", "transport": "quic",
            "remote": "192.0.2.7:50000", "subscriptions": 3, "behind": true,
            "frames_per_second": 12.4, "outbox_frames": 900, "outbox_bytes": 409_600,
        }],
        "channels": [{
            "channel": "room:1", "publications_per_second": 2.25, "offset": 12_345,
            "links": 2, "present": 40, "pending": 1,
        }],
        "queues": {
            "shard_mailbox": { "depth": 768, "bound": 1024 },
            "outbox_frames": { "depth": 0, "bound": 1024 },
        },
    }))
    .unwrap()
}

fn plain(width: usize) -> Vec<String> {
    let lines = lines(&cluster(), &inspection(), width);
    lines.iter().map(|line| rendered(line, width, false)).collect()
}

#[test]
fn a_wide_terminal_shows_everything() {
    let expected = "\
sterna top  as c1 sees it  08:00:00 UTC  3 nodes  1 serving  1 draining  1 silent
1,248 sessions (1,200 quic, 12 webtransport, 34 wss, 2 http), 5 detached, 2 behind  1234 publications/s  98.8k deliveries/s  3 conflicts  4 resumes  9 path changes
found in  edge rings 67% of 3  owner rings 90% of 1,000  pages in Redis 0% of 7

NODE  STATE      ROLES  REGION  ZONE  RELEASE     UP   QUIC  WT  WSS  HTTP  DETACHED  BEHIND  PUB/S  DELIV/S  SLOTS  P50 MS  P99 MS  DB MS  REDIS      QUEUE    CLOCK
c1    serving    core   eu      a     0.1.0    1d01h      0   0    0     0         0       0   1234        0  1,024     0.8      12    1.5  ok           75%    +0 ms
e1    draining   edge   eu      b     0.1.0       1m  1,200  12   34     2         5       2      0    98.8k      0       -       -      -  silent 2m     0%  -812 ms
e2    silent 1m  edge   us                        0s      7   0    0     0         0       0      0        0      0       -       -      -  -             0%    +0 ms

sessions of c1
USER     CLIENT  TRANSPORT  REMOTE           CHANNELS  FRAMES/S  OUTBOX  KIB
ana\u{fffd}[2J  phone   quic       192.0.2.7:50000         3        12     900  400  behind

channels of c1
CHANNEL  PUB/S  OFFSET  LINKS  PRESENT  WAITING
room:1     2.2  12,345      2       40        1

queues of c1  shard_mailbox 768/1,024";
    assert_eq!(plain(200).join("\n"), expected);
}

#[test]
fn a_narrow_terminal_keeps_what_matters_most() {
    for width in [1, 20, 40, 60, 80, 120] {
        let lines = plain(width);
        assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:#?}");
    }
    let lines = plain(60);
    let titles = lines.iter().find(|line| line.starts_with("NODE")).unwrap();
    for kept in ["NODE", "STATE", "PUB/S", "DELIV/S", "QUIC", "WSS"] {
        assert!(titles.contains(kept), "{titles}");
    }
    assert!(!titles.contains("CLOCK"), "{titles}");
}

#[test]
fn what_is_wrong_stands_out() {
    let lines = lines(&cluster(), &inspection(), 200);
    let tone = |text: &str| {
        let found = lines.iter().flatten().find(|piece| piece.text.trim() == text);
        found.unwrap_or_else(|| panic!("no {text}")).tone
    };
    assert_eq!(tone("1 silent"), Tone::Bad);
    assert_eq!(tone("1 draining"), Tone::Warn);
    assert_eq!(tone("2 behind"), Tone::Warn);
    assert_eq!(tone("-812 ms"), Tone::Warn);
    assert_eq!(tone("75%"), Tone::Warn);
    assert_eq!(tone("silent 2m"), Tone::Warn, "nobody waits for Redis");
    assert_eq!(tone("serving"), Tone::Good);
    assert_eq!(tone("e2"), Tone::Faint, "what a silent node said is no news");
    let mut cluster = cluster();
    cluster.nodes[0].database = Some(super::super::model::Answering::default());
    let lines = super::lines(&cluster, &inspection(), 200);
    let said = lines.iter().flatten().find(|piece| piece.text.contains("no answer")).unwrap();
    assert_eq!(said.tone, Tone::Bad);
}

#[test]
fn where_nothing_was_read_nothing_is_said_of_it() {
    let mut cluster = cluster();
    cluster.nodes.iter_mut().for_each(|node| node.lookups.clear());
    let lines = lines(&cluster, &inspection(), 200);
    assert!(!lines.iter().flatten().any(|piece| piece.text.contains("found in")));
}

#[test]
fn figures_are_short() {
    assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    let rates = [0.0, 0.25, 9.96, 12.0, 9_999.0, 12_345.0, 2_500_000.0];
    assert_eq!(rates.map(rate), ["0", "0.2", "10.0", "12", "9999", "12.3k", "2.5M"]);
    assert_eq!([0.0, 0.12, 9.94, 123.4].map(ms), ["-", "0.1", "9.9", "123"]);
    assert_eq!([59, 61, 3720, 90_000].map(time), ["59s", "1m", "1h02", "1d01h"]);
}
