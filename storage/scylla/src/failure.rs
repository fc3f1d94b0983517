//! What the errors of driver and nodes mean: was it done, and what may be tried again.

use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use sterna_storage::{StorageError, StorageErrorKind};

use crate::ENGINE;

/// What an error says about a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// No node has seen it, or one has refused it before it was proposed.
    Refused,
    /// It may have taken effect, or may still do so.
    Undetermined,
}

/// Only what is known not to have been proposed is `Refused`. That a quorum was away is not: it may
/// have gone between the proposal and the commit, which whoever comes next then finishes.
pub(crate) fn meaning(error: &ExecutionError) -> Meaning {
    match error {
        ExecutionError::BadQuery(_)
        | ExecutionError::EmptyPlan
        | ExecutionError::PrepareError(_)
        | ExecutionError::ConnectionPoolError(_) => Meaning::Refused,
        ExecutionError::LastAttemptError(attempt) => meaning_of_attempt(attempt),
        _ => Meaning::Undetermined,
    }
}

fn meaning_of_attempt(error: &RequestAttemptError) -> Meaning {
    match error {
        RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_)
        | RequestAttemptError::UnableToAllocStreamId
        | RequestAttemptError::RepreparedIdChanged { .. }
        | RequestAttemptError::RepreparedIdMissingInBatch => Meaning::Refused,
        RequestAttemptError::DbError(
            DbError::SyntaxError
            | DbError::Invalid
            | DbError::AuthenticationError
            | DbError::Unauthorized
            | DbError::ConfigError
            | DbError::IsBootstrapping
            | DbError::Unprepared { .. },
            _,
        ) => Meaning::Refused,
        _ => Meaning::Undetermined,
    }
}

/// Nothing was stored; the caller may try again later.
pub(crate) fn unavailable(message: impl Into<String>) -> StorageError {
    StorageError::new(StorageErrorKind::Unavailable, ENGINE, message)
}

/// The same for an error of the driver or a node.
pub(crate) fn refused(error: ExecutionError) -> StorageError {
    unavailable(format!("{error}; nothing was stored")).with_source(error)
}

/// It is not known whether the append took effect.
pub(crate) fn unknown(error: ExecutionError) -> StorageError {
    let message = format!("{error}: look up what was stored before trying again");
    StorageError::new(StorageErrorKind::Unknown, ENGINE, message).with_source(error)
}

/// Others were faster, every time.
pub(crate) fn overtaken(what: &str) -> StorageError {
    unavailable(format!("other writers were faster, time and again, at {what}; nothing was stored"))
}

/// What is stored contradicts itself.
pub(crate) fn corrupt(message: impl Into<String>) -> StorageError {
    StorageError::new(StorageErrorKind::Corrupt, ENGINE, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use scylla::errors::WriteType;
    use scylla::statement::Consistency;

    fn said(error: DbError) -> ExecutionError {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, String::new()))
    }

    #[test]
    fn i1_only_what_was_never_proposed_is_no_unknown_append() {
        let (consistency, received, required) = (Consistency::LocalQuorum, 1, 2);
        for write_type in [WriteType::Cas, WriteType::Simple, WriteType::Batch] {
            let timeout = DbError::WriteTimeout { consistency, received, required, write_type };
            assert_eq!(meaning(&said(timeout)), Meaning::Undetermined);
        }
        let away = DbError::Unavailable { consistency, required, alive: 1 };
        // 0x1700 is Cassandra's CAS_WRITE_UNKNOWN.
        for open in [away, DbError::ServerError, DbError::Overloaded, DbError::Other(0x1700)] {
            assert_eq!(meaning(&said(open)), Meaning::Undetermined);
        }
        let late = ExecutionError::RequestTimeout(std::time::Duration::from_secs(1));
        assert_eq!(meaning(&late), Meaning::Undetermined);
        for refused in [DbError::Invalid, DbError::Unauthorized, DbError::IsBootstrapping] {
            assert_eq!(meaning(&said(refused)), Meaning::Refused);
        }
        assert_eq!(meaning(&ExecutionError::EmptyPlan), Meaning::Refused);
    }
}
