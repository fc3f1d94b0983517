//! The one error of this crate. It says whose fault it is and whether trying again can help; the
//! wire's numbers come from `sterna_proto::reason`.

use std::time::Duration;

use sterna_proto::{ErrorCode, reason, v1};

/// Why something did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No answer in time. The command may or may not have been carried out.
    #[error("no answer in time; check the connection or raise the timeout")]
    Timeout,
    /// There is no connection; `code` is the close code where the server gave one.
    #[error("not connected{}: {reason}", code.map(|c| format!(" (close code {c})")).unwrap_or_default())]
    Disconnected {
        /// The close code; `None` when the connection broke or never was.
        code: Option<u64>,
        /// For people.
        reason: String,
    },
    /// The server's certificate was issued by nobody that this client trusts, or not for the name
    /// it was reached under, or has expired. Attempts go on: a portal in between may be the cause.
    #[error(
        "the server's certificate is not trusted: {0}; to trust its authority, name it with \
         `root_certificates_file` of the builder"
    )]
    Untrusted(String),
    /// The server refused the command.
    #[error("refused with code {code} ({name}): {message}")]
    Rejected {
        /// By which programs tell errors apart; see [`Error::code`].
        code: u32,
        /// The name of the code.
        name: String,
        /// What was wrong with this command, for people.
        message: String,
        /// The same command may succeed later.
        retryable: bool,
        /// Not before then, if the server says so.
        retry_after: Option<Duration>,
    },
    /// The access token is missing, expired or not accepted.
    #[error("not authorized: {0}; supply a valid access token")]
    Unauthorized(String),
    /// Larger than the server takes.
    #[error("{len} bytes are above the limit of {limit}; put larger content into a blob")]
    TooLarge {
        /// What it would have taken, in bytes.
        len: usize,
        /// The most that is taken, in bytes.
        limit: usize,
    },
    /// The outbox is full.
    #[error("the outbox is full; wait for earlier publications or raise its limits")]
    QueueFull,
    /// The outbox store has not taken the publication, which is therefore not sent.
    #[error("the publication could not be saved: {0}; it was not sent")]
    OutboxStore(String),
    /// Pushes that cannot be recovered were dropped because the application was too slow.
    #[error("{missed} pushes were dropped because they were not taken in time")]
    Lagged {
        /// How many.
        missed: u64,
    },
    /// This client holds a subscription of the channel already.
    #[error("the channel is subscribed already; drop the other subscription first")]
    AlreadySubscribed,
    /// The server does not speak this protocol, or not correctly.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// The client cannot be built from what the builder was told.
    #[error("bad client configuration: {0}")]
    Config(String),
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    /// True when the same call may succeed later without a change by the caller.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout
            | Self::QueueFull
            | Self::Lagged { .. }
            | Self::Untrusted(_)
            | Self::OutboxStore(_) => true,
            Self::Disconnected { code, .. } => {
                code.is_none_or(|code| reason::advice(code) == reason::Advice::Reconnect)
            }
            Self::Rejected { retryable, .. } => *retryable,
            Self::Unauthorized(_)
            | Self::TooLarge { .. }
            | Self::AlreadySubscribed
            | Self::Protocol(_)
            | Self::Config(_)
            | Self::Closed => false,
        }
    }

    /// The row of the error table, when the server refused with a code that this version knows.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Rejected { code, .. } => ErrorCode::from_number(*code),
            _ => None,
        }
    }
}

impl From<v1::Error> for Error {
    fn from(error: v1::Error) -> Self {
        if error.code == ErrorCode::Unauthorized.number() {
            return Self::Unauthorized(error.message);
        }
        Self::Rejected {
            code: error.code,
            name: error.name,
            message: error.message,
            retryable: error.retryable,
            retry_after: (error.retry_after_ms > 0)
                .then(|| Duration::from_millis(error.retry_after_ms.into())),
        }
    }
}
