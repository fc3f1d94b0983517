//! Keeps the sizes of README.md honest: sizes are exact on every machine, unlike times.

use std::time::Duration;

use sterna_bench::{mix, wire};

/// As README.md says. Raise it only together with that text, and say there why.
const MIX_SHARE: f64 = 0.42;

/// Frames whose bytes are mostly somebody's text or token, which no encoding shrinks.
const MOSTLY_PAYLOAD: &[&str] = &[
    "hello",
    "publish, a line",
    "publication, a line",
    "publication, a paragraph",
    "subscribed, 2 lines",
    "history page of 50",
];

#[test]
fn protobuf_keeps_its_share_of_the_bytes() {
    let (mut protobuf, mut json) = (0.0, 0.0);
    for kind in mix::mix() {
        let (small, large) = wire::sizes(&kind);
        let share = small as f64 / large as f64;
        if !MOSTLY_PAYLOAD.contains(&kind.name) {
            assert!(share <= 0.40, "{}: {share:.2}", kind.name);
        }
        protobuf += f64::from(kind.count) * small as f64;
        json += f64::from(kind.count) * large as f64;
    }
    let share = protobuf / json;
    assert!(share <= MIX_SHARE, "{share:.3}");
    assert!(share > MIX_SHARE - 0.02, "{share:.3}: better than README.md says, tell it");
}

#[test]
fn every_kind_is_measured() {
    for kind in mix::mix() {
        let measured = wire::measure(&kind, Duration::from_micros(200));
        let times = [
            measured.protobuf_parse_ns,
            measured.json_parse_ns,
            measured.protobuf_encode_ns,
            measured.json_encode_ns,
        ];
        assert!(times.iter().all(|ns| ns.is_finite() && *ns > 0.0), "{measured:?}");
    }
}
