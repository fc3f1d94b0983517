//! Every call: bounded in number and time, measured, and its failures told in our words.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind, Value};
use sterna_storage::{StorageError, StorageErrorKind};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::link::{Connector, Link, SharedConnector, on_reconnect};
use crate::script::Script;
use crate::{ENGINE, RedisConfig};

#[derive(Debug)]
pub(crate) struct Calls {
    connector: SharedConnector,
    live: Mutex<Live>,
    room: Semaphore,
}

/// The connection in use, and when it last showed life.
#[derive(Debug)]
struct Live {
    link: Link,
    answered_at: Instant,
}

/// Which commands are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Routes,
    Directory,
    Presence,
    Rates,
    Idempotency,
    IdFloor,
    Sentinel,
    Pages,
    Admin,
}

impl Calls {
    pub(crate) fn new(config: RedisConfig) -> Result<Self, StorageError> {
        if config.urls.is_empty() {
            let message = "no url is configured; name a server as redis://host:port";
            return Err(StorageError::new(StorageErrorKind::Fatal, ENGINE, message));
        }
        let room = Semaphore::new(config.calls_in_flight.clamp(1, Semaphore::MAX_PERMITS));
        let connector = Arc::new(Connector::new(config).map_err(misconfigured)?);
        let live = Live::new(&connector).map_err(misconfigured)?;
        Ok(Self { connector, live: Mutex::new(live), room })
    }

    pub(crate) fn connector(&self) -> &SharedConnector {
        &self.connector
    }

    /// Runs a script; sends its text along if the server does not know it, as after a restart or
    /// on a node that has just got the slot.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        group: Group,
        script: &Script,
        keys: &[&[u8]],
        arguments: &[&[u8]],
    ) -> Result<T, StorageError> {
        let send = async |link: Link| match link.send(&script.by_hash(keys, arguments)).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                link.send(&script.by_text(keys, arguments)).await
            }
            answer => answer,
        };
        self.bounded(group, send).await
    }

    pub(crate) async fn call<T: FromRedisValue>(
        &self,
        group: Group,
        command: &Cmd,
    ) -> Result<T, StorageError> {
        self.bounded(group, async |link: Link| link.send(command).await).await
    }

    async fn bounded<T: FromRedisValue>(
        &self,
        group: Group,
        send: impl AsyncFnOnce(Link) -> Result<Value, RedisError>,
    ) -> Result<T, StorageError> {
        let Ok(_permit) = self.room.try_acquire() else { return Err(refused()) };
        let started = Instant::now();
        let link = self.live().link.clone();
        let outcome = match timeout(self.config().call_timeout, send(link)).await {
            Ok(Ok(value)) => {
                self.live().answered_at = Instant::now();
                redis::from_redis_value(value).map_err(|error| told(error.into()))
            }
            Ok(Err(error)) => {
                match Reach::of(&error) {
                    Reach::Server => self.live().answered_at = Instant::now(),
                    Reach::Door => self.on_silence(),
                    Reach::Nowhere => {}
                }
                Err(told(error))
            }
            Err(_) => {
                self.on_silence();
                Err(silent(self.config().call_timeout))
            }
        };
        measure(group, started.elapsed(), outcome.is_ok());
        outcome
    }

    /// A connection that has been silent for several calls may lead nowhere, and keeps what waits
    /// for an answer: another takes its place.
    fn on_silence(&self) {
        let mut live = self.live();
        if live.answered_at.elapsed() < self.config().call_timeout * SILENT_CALLS {
            return;
        }
        match Live::new(&self.connector) {
            Ok(fresh) => {
                *live = fresh;
                on_reconnect("calls");
            }
            Err(error) => tracing::error!(%error, "no new connection to Redis can be prepared"),
        }
    }

    fn live(&self) -> std::sync::MutexGuard<'_, Live> {
        // Nothing panics half-way through a change of it.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config(&self) -> &RedisConfig {
        self.connector.config()
    }
}

impl Live {
    fn new(connector: &Connector) -> Result<Self, RedisError> {
        Ok(Self { link: connector.link()?, answered_at: Instant::now() })
    }
}

impl Group {
    fn name(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Directory => "directory",
            Self::Presence => "presence",
            Self::Rates => "rates",
            Self::Idempotency => "idempotency",
            Self::IdFloor => "id_floor",
            Self::Sentinel => "sentinel",
            Self::Pages => "pages",
            Self::Admin => "admin",
        }
    }
}

/// How far a call that failed has come.
enum Reach {
    /// It was refused for what it asks.
    Server,
    /// The connection was refused for who asks. The client library keeps that answer for good, as
    /// if nobody ever mended it; so we make another connection in its stead.
    Door,
    /// The client library connects again by itself.
    Nowhere,
}

impl Reach {
    fn of(error: &RedisError) -> Self {
        let is_at_door = matches!(
            error.kind(),
            ErrorKind::AuthenticationFailed
                | ErrorKind::RESP3NotSupported
                | ErrorKind::Server(ServerErrorKind::BusyLoading)
        );
        match error.code() {
            Some("NOAUTH" | "WRONGPASS" | "NOPERM") => Self::Door,
            _ if is_at_door => Self::Door,
            _ if error.is_io_error() => Self::Nowhere,
            _ => Self::Server,
        }
    }
}

fn measure(group: Group, took: Duration, is_ok: bool) {
    let group = group.name();
    metrics::counter!("sterna_storage_redis_calls_total", "group" => group).increment(1);
    metrics::histogram!("sterna_storage_redis_call_seconds", "group" => group).record(took);
    if !is_ok {
        metrics::counter!("sterna_storage_redis_errors_total", "group" => group).increment(1);
    }
}

/// A failure of the server or on the way to it, in our words.
pub(crate) fn told(error: RedisError) -> StorageError {
    let (kind, advice) = match error.kind() {
        // Somebody else writes under our prefix, or a version of ours that is too new.
        ErrorKind::UnexpectedReturnType | ErrorKind::Parse => {
            (StorageErrorKind::Corrupt, "a key does not hold what this version wrote")
        }
        ErrorKind::AuthenticationFailed => {
            (StorageErrorKind::Unavailable, "see to user and password")
        }
        _ => match error.code() {
            Some("WRONGTYPE") => {
                (StorageErrorKind::Corrupt, "a key does not hold what this version wrote")
            }
            Some("NOAUTH" | "WRONGPASS" | "NOPERM") => {
                (StorageErrorKind::Unavailable, "see to user and password")
            }
            _ => (StorageErrorKind::Unavailable, "try again later"),
        },
    };
    StorageError::new(kind, ENGINE, format!("{error}; {advice}")).with_source(error)
}

pub(crate) fn silent(after: Duration) -> StorageError {
    let message = format!("no answer within {after:?}; it may have been done, try again later");
    StorageError::new(StorageErrorKind::Unavailable, ENGINE, message)
}

/// A value that no script of ours answers.
pub(crate) fn unexpected(what: &str) -> StorageError {
    let message = format!("a key does not hold what this version wrote: {what}");
    StorageError::new(StorageErrorKind::Corrupt, ENGINE, message)
}

/// No node serves a slot at the moment.
pub(crate) fn unserved(slot: u16) -> StorageError {
    let message = format!("nobody serves slot {slot}; try again later, or see CLUSTER NODES");
    StorageError::new(StorageErrorKind::Unavailable, ENGINE, message)
}

fn refused() -> StorageError {
    metrics::counter!("sterna_storage_refused_total", "engine" => ENGINE, "queue" => "calls")
        .increment(1);
    let message = "too many calls are on their way; nothing was done, try again later";
    StorageError::new(StorageErrorKind::Unavailable, ENGINE, message)
}

fn misconfigured(error: RedisError) -> StorageError {
    let message = format!("the configuration of Redis does not work: {error}");
    StorageError::new(StorageErrorKind::Fatal, ENGINE, message).with_source(error)
}

/// Calls in a row that may go unanswered before the connection is given up.
const SILENT_CALLS: u32 = 3;
