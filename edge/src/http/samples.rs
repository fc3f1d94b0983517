//! The last quarter of an hour, for an operator's page.

use axum::extract::State;
use serde::Serialize;
use sterna_core::vitals::history::{NodeHistory, SAMPLE_EVERY, Sample};

use super::Shared;
use super::answer::{Answer, success};
use super::caller::Caller;

#[derive(Debug, Serialize)]
pub(super) struct SamplesBody {
    /// Who has been asked: what it has heard of the others.
    node: String,
    unix_ms: u64,
    every_ms: u64,
    nodes: Vec<NodeSamples>,
}

/// One figure at each moment, oldest first; `None`: the node was not heard of.
type Series<T> = Vec<Option<T>>;

#[derive(Debug, Serialize)]
struct NodeSamples {
    name: String,
    sessions: SessionSamples,
    publications_per_second: Series<f32>,
    deliveries_per_second: Series<f32>,
    append_p99_ms: Series<f64>,
    conflicts: Series<u64>,
    resumes: Series<u64>,
    path_changes: Series<u64>,
}

#[derive(Debug, Serialize)]
struct SessionSamples {
    quic: Series<u32>,
    webtransport: Series<u32>,
    wss: Series<u32>,
    http: Series<u32>,
    detached: Series<u32>,
    behind: Series<u32>,
}

pub(super) async fn samples(State(surface): Shared, caller: Caller) -> Answer<SamplesBody> {
    caller.check_observer("look at the samples")?;
    let node = &surface.parts.node;
    success(SamplesBody {
        node: node.config().node.to_string(),
        unix_ms: node.clock().unix_ms(),
        every_ms: SAMPLE_EVERY.as_millis() as u64,
        nodes: node.history().into_iter().map(Into::into).collect(),
    })
}

impl From<NodeHistory> for NodeSamples {
    fn from(history: NodeHistory) -> Self {
        let NodeHistory { name, samples } = history;
        Self {
            name,
            sessions: SessionSamples {
                quic: series(&samples, |sample| sample.sessions.quic),
                webtransport: series(&samples, |sample| sample.sessions.webtransport),
                wss: series(&samples, |sample| sample.sessions.websocket),
                http: series(&samples, |sample| sample.sessions.http),
                detached: series(&samples, |sample| sample.sessions.detached),
                behind: series(&samples, |sample| sample.sessions.behind),
            },
            publications_per_second: series(&samples, |sample| sample.publications_per_second),
            deliveries_per_second: series(&samples, |sample| sample.deliveries_per_second),
            append_p99_ms: series(&samples, |sample| sample.append_p99.as_micros() as f64 / 1000.0),
            conflicts: series(&samples, |sample| sample.totals.conflicts),
            resumes: series(&samples, |sample| sample.totals.resumes),
            path_changes: series(&samples, |sample| sample.totals.path_changes),
        }
    }
}

fn series<T>(samples: &[Option<Sample>], of: impl Fn(&Sample) -> T) -> Series<T> {
    samples.iter().map(|sample| sample.as_ref().map(&of)).collect()
}
