//! What the servers' errors mean: was it done, and what may be tried again.

use mysql_async::Error;
use sterna_storage::{StorageError, StorageErrorKind};

use crate::ENGINE;

/// Why an attempt at a transaction ended before its commit.
#[derive(Debug)]
pub(crate) enum Failure {
    Sql(Error),
    Storage(StorageError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// What an error of a statement says about its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Rolled back after a race; the next attempt may succeed.
    LostRace,
    /// Refused; the server did nothing.
    Refused,
    /// It may have taken effect.
    Undetermined,
    /// The connection is gone, and its transaction with it unless a commit was on its way.
    Broken,
}

/// The meaning of an error of a statement within a transaction.
pub(crate) fn meaning(error: &Error) -> Meaning {
    let Error::Server(said) = error else { return Meaning::Broken };
    match said.code {
        DUPLICATE_KEY | DEADLOCK | RECORD_CHANGED => Meaning::LostRace,
        TIDB_FOR_UPDATE_CONFLICT
        | TIDB_CONFLICT
        | TIDB_COMMIT_FAILED
        | TIDB_SCHEMA_CHANGED
        | TIDB_WRITE_CONFLICT => Meaning::LostRace,
        _ if said.message.contains(TIDB_UNDETERMINED) => Meaning::Undetermined,
        _ if said.message.contains(TIDB_LOCK_RETRIES) => Meaning::LostRace,
        _ => Meaning::Refused,
    }
}

/// The meaning of an error that answers a COMMIT: only what is known to have rolled back has.
pub(crate) fn meaning_at_commit(error: &Error) -> Meaning {
    match meaning(error) {
        Meaning::LostRace => Meaning::LostRace,
        Meaning::Refused | Meaning::Undetermined | Meaning::Broken => Meaning::Undetermined,
    }
}

/// Counts what ended because of others' locks: a site with many of them has writers beside ours.
pub(crate) fn count_lost_lock(error: &Error) {
    let Error::Server(said) = error else { return };
    let how = match said.code {
        DEADLOCK => "deadlock",
        LOCK_WAIT => "timeout",
        _ => return,
    };
    metrics::counter!("sterna_storage_sql_lost_locks_total", "how" => how).increment(1);
}

/// Nothing was stored; the caller may try again later.
pub(crate) fn unavailable(message: impl Into<String>) -> StorageError {
    StorageError::new(StorageErrorKind::Unavailable, ENGINE, message)
}

/// The same for an error of the driver or the server.
pub(crate) fn refused(error: Error) -> StorageError {
    let told = match &error {
        Error::Server(said) if said.code == LOCK_WAIT => {
            "another transaction held the lock for too long; nothing was stored".to_owned()
        }
        other => format!("{other}; nothing was stored"),
    };
    unavailable(told).with_source(error)
}

/// It is not known whether the commit took effect.
pub(crate) fn unknown(why: &str) -> StorageError {
    let message = format!("{why} during the commit: look up what was stored before trying again");
    StorageError::new(StorageErrorKind::Unknown, ENGINE, message)
}

/// What is stored contradicts itself.
pub(crate) fn corrupt(message: impl Into<String>) -> StorageError {
    StorageError::new(StorageErrorKind::Corrupt, ENGINE, message)
}

pub(crate) const DUPLICATE_KEY: u16 = 1062;
const LOCK_WAIT: u16 = 1205;
const DEADLOCK: u16 = 1213;
const RECORD_CHANGED: u16 = 1020;

// TiDB's error-codes page: the whole transaction may be tried again.
const TIDB_FOR_UPDATE_CONFLICT: u16 = 8002;
const TIDB_CONFLICT: u16 = 8005;
const TIDB_COMMIT_FAILED: u16 = 8022;
const TIDB_SCHEMA_CHANGED: u16 = 8028;
const TIDB_WRITE_CONFLICT: u16 = 9007;

/// TiDB's `[global:2]execution result undetermined`, which it has no number of its own for: it
/// comes as 1105, or as the end of the connection.
const TIDB_UNDETERMINED: &str = "result undetermined";

/// What a `SELECT … FOR UPDATE` of TiDB says when too many others were faster; a 1105 as well.
const TIDB_LOCK_RETRIES: &str = "pessimistic lock retry limit reached";

#[cfg(test)]
mod tests {
    use super::*;
    use mysql_async::ServerError;

    fn server(code: u16, message: &str) -> Error {
        ServerError { code, message: message.to_owned(), state: "HY000".to_owned() }.into()
    }

    #[test]
    fn only_a_rollback_that_is_known_of_is_no_unknown_commit() {
        for code in [1062, 1213, 8002, 8005, 8022, 8028, 9007] {
            assert_eq!(meaning(&server(code, "")), Meaning::LostRace, "{code}");
            assert_eq!(meaning_at_commit(&server(code, "")), Meaning::LostRace, "{code}");
        }
        for code in [1180, 1205, 1290, 2013, 9001, 9002] {
            assert_eq!(meaning(&server(code, "")), Meaning::Refused, "{code}");
            assert_eq!(meaning_at_commit(&server(code, "")), Meaning::Undetermined, "{code}");
        }
        let undetermined = server(1105, "[global:2]execution result undetermined");
        assert_eq!(meaning(&undetermined), Meaning::Undetermined);
        assert_eq!(meaning_at_commit(&undetermined), Meaning::Undetermined);
        let overtaken = server(1105, "pessimistic lock retry limit reached");
        assert_eq!(meaning(&overtaken), Meaning::LostRace);
        let cut: Error = std::io::Error::from(std::io::ErrorKind::ConnectionReset).into();
        assert_eq!(meaning(&cut), Meaning::Broken);
        assert_eq!(meaning_at_commit(&cut), Meaning::Undetermined);
    }
}
