//! Logs on standard error, metrics for the HTTP surface, spans for a collector when there is one.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::config::{LogConfig, LogFormat};

/// How long the last spans may take to leave.
const FLUSH: Duration = Duration::from_secs(2);

/// Where the spans are that leave: one for each publication, from the mailbox to the answer. Finer
/// than the log, whose filter is another; without a collector nobody asks for them and none exist.
const SPANS: &str = "sterna_core::link";

/// Upper bounds of histogram buckets, in seconds: a tenth of a millisecond to ten seconds.
const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Flushes spans when dropped; to outlive the runtime.
#[derive(Debug)]
pub(crate) struct Telemetry {
    pub(crate) metrics: PrometheusHandle,
    spans: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// To be called before there is a runtime: the exporter brings a thread of its own.
    pub(crate) fn start(config: &LogConfig) -> Result<Self> {
        let spans = config.otlp_endpoint.as_deref().map(span_provider).transpose()?;
        let filter = EnvFilter::try_new(&config.filter)
            .map_err(|error| anyhow!("the log filter `{}` is wrong: {error}", config.filter))?;
        let logs = match config.format {
            LogFormat::Human => fmt::layer().with_writer(std::io::stderr).boxed(),
            LogFormat::Json => fmt::layer().json().with_writer(std::io::stderr).boxed(),
        };
        let exported = spans.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("sterna"))
                .with_filter(Targets::new().with_target(SPANS, LevelFilter::DEBUG))
        });
        tracing_subscriber::registry().with(logs.with_filter(filter)).with(exported).try_init()?;
        let metrics = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)?
            .install_recorder()
            .context("metrics cannot be recorded")?;
        Ok(Self { metrics, spans })
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.spans
            && let Err(error) = provider.shutdown_with_timeout(FLUSH)
        {
            tracing::warn!(%error, "the last spans did not leave");
        }
    }
}

fn span_provider(endpoint: &str) -> Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()
        .context("spans cannot be exported")?;
    let resource = Resource::builder().with_service_name("sterna").build();
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}
