//! Keys that somebody else publishes and rotates (JWKS, RFC 7517), from a file or an https URL.
//!
//! Owns the keys in use and the one task that reads them anew: when they have been kept for long
//! enough, and, at most once in a while, when a token names a key that is not among them. Keys that
//! cannot be read anew stay in use for a day. Started by the composition root; the tokens that wait
//! for fresh keys are those of connections and requests, which are bounded themselves.

mod document;
mod fetch;

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::keys::KeySet;

pub use fetch::{JwksUrl, JwksUrlError};

/// Where keys are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksSource {
    File(PathBuf),
    Url {
        url: JwksUrl,
        /// PEM certificates to trust there; `None`: those of the machine.
        ca: Option<PathBuf>,
    },
}

/// How keys of others are kept.
#[derive(Debug, Clone)]
pub struct JwksConfig {
    pub source: JwksSource,
    /// How long keys are used before they are read anew.
    pub cache: Duration,
    /// How long they are used when that fails.
    pub stale_if_error: Duration,
    /// Least time between the starts of two readings, whatever tokens name and however often a
    /// reading fails.
    pub pause: Duration,
    /// How long one reading may take, and how long a token may wait for it.
    pub deadline: Duration,
}

impl JwksConfig {
    pub fn new(source: JwksSource) -> Self {
        Self {
            source,
            cache: Duration::from_secs(10 * 60),
            stale_if_error: Duration::from_secs(24 * 3600),
            pause: Duration::from_secs(30),
            deadline: Duration::from_secs(4),
        }
    }
}

/// Why no keys could be had; the old ones stay.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    #[error("cannot read {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("cannot reach {host}: {reason}")]
    Unreachable { host: String, reason: String },
    #[error("{0} is not on this machine; only https is taken from elsewhere")]
    NotLoopback(String),
    #[error("answered with status {0} instead of 200; redirects are not followed")]
    Status(u16),
    #[error("more than {} bytes; a JWKS has no more", document::JWKS_BYTES)]
    TooLarge,
    #[error("no answer within {0:?}")]
    TooSlow(Duration),
    #[error("not a JWKS: {0}")]
    Json(serde_json::Error),
    #[error("{0} keys are more than the {keys} that are taken", keys = document::JWKS_KEYS)]
    TooMany(usize),
    #[error(
        "none of its {0} keys can be used: RSA from 2048 bits, P-256 or Ed25519, public, for \
             signatures"
    )]
    NoneUsable(usize),
}

/// Reads once, for those who want to know whether it works. The number of usable keys.
pub async fn probe(config: &JwksConfig) -> Result<usize, JwksError> {
    read(config).await.map(|keys| keys.len())
}

/// The keys in use.
#[derive(Debug)]
pub(super) struct Jwks {
    config: JwksConfig,
    keys: ArcSwap<KeySet>,
    /// A token has named an unknown key.
    asked: Notify,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// Readings that are over, whatever came of them.
    finished: u64,
    running: bool,
    started: Option<Instant>,
    succeeded: Option<Instant>,
}

impl Jwks {
    /// Without keys until the first [`refresh`](Self::refresh).
    pub(super) fn new(config: JwksConfig) -> Self {
        let keys = ArcSwap::from_pointee(KeySet::default());
        Self { config, keys, asked: Notify::new(), progress: watch::Sender::default() }
    }

    pub(super) fn keys(&self) -> Arc<KeySet> {
        self.keys.load_full()
    }

    /// Readings so far; see [`newer`](Self::newer).
    pub(super) fn finished(&self) -> u64 {
        self.progress.borrow().finished
    }

    /// Asks for a reading. False: the last one is not long enough ago, and none comes.
    pub(super) fn ask(&self) -> bool {
        let progress = *self.progress.borrow();
        if progress.running {
            return true;
        }
        let may = self.wait_left(progress).is_zero();
        if may {
            self.asked.notify_one();
        }
        may
    }

    /// Whether there was a reading since `seen`; waits for the one that is asked for or under way,
    /// but not for one that may not start yet.
    pub(super) async fn newer(&self, seen: u64) -> bool {
        if self.finished() > seen {
            return true;
        }
        if !self.ask() {
            return false;
        }
        let mut watching = self.progress.subscribe();
        let finished = watching.wait_for(|progress| progress.finished > seen);
        matches!(timeout(self.config.deadline, finished).await, Ok(Ok(_)))
    }

    /// Keeps the keys fresh until it is dropped.
    pub(super) async fn keep_fresh(&self) {
        loop {
            let progress = *self.progress.borrow();
            let every = if self.is_fresh(progress) { self.config.cache } else { self.config.pause };
            let due = progress.started.map_or_else(Instant::now, |at| at + every);
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                // Left over from before the last reading, it is no reason for another.
                () = self.asked.notified() => {
                    if self.wait_left(*self.progress.borrow()) > Duration::ZERO {
                        continue;
                    }
                }
            }
            self.refresh().await;
        }
    }

    /// One reading. What fails is logged, counted and leaves the old keys in use.
    pub(super) async fn refresh(&self) {
        let started = Instant::now();
        self.progress.send_modify(|progress| {
            progress.running = true;
            progress.started = Some(started);
        });
        let outcome = read(&self.config).await;
        let result = match &outcome {
            Ok(_) => "ok",
            Err(_) => "failed",
        };
        metrics::counter!("sterna_edge_jwks_refreshes_total", "result" => result).increment(1);
        let succeeded = outcome.is_ok();
        match outcome {
            Ok(keys) => self.keys.store(Arc::new(keys)),
            Err(error) => self.bear(&error),
        }
        metrics::gauge!("sterna_edge_jwks_keys_held").set(self.keys.load().len() as f64);
        self.progress.send_modify(|progress| {
            progress.running = false;
            progress.finished += 1;
            if succeeded {
                progress.succeeded = Some(started);
            }
        });
    }

    fn bear(&self, error: &JwksError) {
        let kept = self
            .progress
            .borrow()
            .succeeded
            .is_some_and(|at| at.elapsed() < self.config.stale_if_error);
        if kept {
            tracing::warn!(%error, "the JWKS cannot be read anew; its old keys stay in use");
        } else {
            self.keys.store(Arc::default());
            tracing::error!(%error, "the JWKS cannot be read, and there are no keys that are fresh \
                                     enough to use");
        }
    }

    fn is_fresh(&self, progress: Progress) -> bool {
        progress.succeeded.is_some() && progress.succeeded == progress.started
    }

    /// How long the next reading has to wait.
    fn wait_left(&self, progress: Progress) -> Duration {
        progress.started.map_or(Duration::ZERO, |at| self.config.pause.saturating_sub(at.elapsed()))
    }
}

async fn read(config: &JwksConfig) -> Result<KeySet, JwksError> {
    let reading = async {
        match &config.source {
            JwksSource::File(path) => fetch::file(path).await,
            JwksSource::Url { url, ca } => fetch::url(url, ca.as_deref()).await,
        }
    };
    let bytes = timeout(config.deadline, reading).await;
    let bytes = bytes.unwrap_or(Err(JwksError::TooSlow(config.deadline)))?;
    document::parse(&bytes)
}
