//! Bytes and parse time of one frame in both encodings. Pure apart from reading the monotonic
//! clock; callers print.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use sterna_proto::{codec, limits};

use crate::mix::Kind;

/// One kind of frame, measured. Times are nanoseconds for one frame, the best of several rounds.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub name: &'static str,
    pub count: u32,
    pub protobuf_bytes: usize,
    pub json_bytes: usize,
    pub protobuf_parse_ns: f64,
    pub json_parse_ns: f64,
    pub protobuf_encode_ns: f64,
    pub json_encode_ns: f64,
}

/// Sums over the mix, weighted by how often each kind comes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    pub protobuf_bytes: f64,
    pub json_bytes: f64,
    pub protobuf_parse_ns: f64,
    pub json_parse_ns: f64,
    pub protobuf_encode_ns: f64,
    pub json_encode_ns: f64,
}

/// Sizes of a frame as a stream (length included) and as a text message carry it.
pub fn sizes(kind: &Kind) -> (usize, usize) {
    (codec::encode_to_bytes(&kind.frame).len(), codec::encode_json(&kind.frame).len())
}

/// Measures one kind; takes about eight times `round`.
pub fn measure(kind: &Kind, round: Duration) -> Measured {
    let protobuf = codec::encode_datagram(&kind.frame);
    let json = codec::encode_json(&kind.frame);
    let (protobuf_bytes, json_bytes) = sizes(kind);
    let mut out = BytesMut::with_capacity(limits::FRAME_BYTES);
    Measured {
        name: kind.name,
        count: kind.count,
        protobuf_bytes,
        json_bytes,
        protobuf_parse_ns: best_of(round, || {
            black_box(codec::decode_datagram(black_box(protobuf.clone()))).is_ok()
        }),
        json_parse_ns: best_of(round, || {
            black_box(codec::decode_json(black_box(&json), limits::FRAME_BYTES)).is_ok()
        }),
        protobuf_encode_ns: best_of(round, || {
            out.clear();
            codec::encode(black_box(&kind.frame), &mut out);
            !black_box(&out).is_empty()
        }),
        json_encode_ns: best_of(round, || {
            !black_box(codec::encode_json(black_box(&kind.frame))).is_empty()
        }),
    }
}

/// The mix as a whole.
pub fn sum(measured: &[Measured]) -> Sum {
    measured.iter().fold(Sum::default(), |sum, kind| {
        let count = f64::from(kind.count);
        Sum {
            protobuf_bytes: sum.protobuf_bytes + count * kind.protobuf_bytes as f64,
            json_bytes: sum.json_bytes + count * kind.json_bytes as f64,
            protobuf_parse_ns: sum.protobuf_parse_ns + count * kind.protobuf_parse_ns,
            json_parse_ns: sum.json_parse_ns + count * kind.json_parse_ns,
            protobuf_encode_ns: sum.protobuf_encode_ns + count * kind.protobuf_encode_ns,
            json_encode_ns: sum.json_encode_ns + count * kind.json_encode_ns,
        }
    })
}

/// Nanoseconds for one call: the best of two rounds, so that what else the machine does counts
/// less. A failed call would be no measurement.
fn best_of(round: Duration, mut call: impl FnMut() -> bool) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..2 {
        let start = Instant::now();
        let mut calls = 0u32;
        while start.elapsed() < round {
            for _ in 0..CALLS_BETWEEN_LOOKS {
                assert!(call(), "the frame survives its own encoding");
            }
            calls += CALLS_BETWEEN_LOOKS;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(calls));
    }
    best
}

/// Makes reading the clock cheap against what is measured.
const CALLS_BETWEEN_LOOKS: u32 = 16;
