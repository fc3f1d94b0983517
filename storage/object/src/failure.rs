//! What a service says becomes what a caller may do about it.

use std::time::Duration;

use opendal::ErrorKind;
use sterna_storage::{Missing, StorageError, StorageErrorKind};

use crate::ENGINE;
use crate::encode::Unfit;
use crate::format::Damage;

/// What came of one call to the service. An object that is not there is damage: somebody refers to
/// it.
pub(crate) fn told(object: &str, error: opendal::Error) -> StorageError {
    match error.kind() {
        ErrorKind::NotFound => missing(object),
        // The object is shorter than it was.
        ErrorKind::RangeNotSatisfied => corrupt(object, &Damage::new("cut", 0)),
        // Also where it is refused for a wrong key or right: a rotated one may be well later.
        _ => unavailable(format!("{object}: {}", short(&error))).with_source(error),
    }
}

/// Without the request's address and headers, which may hold a signature.
fn short(error: &opendal::Error) -> String {
    format!("{}: {}", error.kind(), error.message())
}

/// Not done, and may succeed later.
pub(crate) fn unavailable(message: impl Into<String>) -> StorageError {
    StorageError::new(StorageErrorKind::Unavailable, ENGINE, message)
}

/// A configuration with which there is no archive.
pub(crate) fn unfit(message: impl Into<String>) -> StorageError {
    StorageError::new(StorageErrorKind::Fatal, ENGINE, message)
}

/// A call that did not end in time.
pub(crate) fn late(call: &'static str, deadline: Duration) -> StorageError {
    unavailable(format!("{call} took longer than {} ms", deadline.as_millis()))
}

/// The bytes of an object are not what they were.
pub(crate) fn corrupt(object: &str, damage: &Damage) -> StorageError {
    let message = format!("{object}: {} (at byte {})", damage.what, damage.at);
    StorageError::new(StorageErrorKind::Corrupt, ENGINE, message)
}

pub(crate) fn missing(object: &str) -> StorageError {
    let message = format!("{object} is missing");
    StorageError::new(StorageErrorKind::Corrupt, ENGINE, message).with_source(Missing)
}

/// Records that make no segment: what they were read from is not in order.
pub(crate) fn refused(object: &str, why: &Unfit) -> StorageError {
    StorageError::new(StorageErrorKind::Corrupt, ENGINE, format!("{object}: {why}"))
}

/// Which of them it is, for a metric.
pub(crate) fn kind_of(error: &StorageError) -> &'static str {
    match error.kind {
        StorageErrorKind::Unavailable => "unavailable",
        StorageErrorKind::Unknown => "unknown",
        StorageErrorKind::Corrupt if error.is_missing() => "missing",
        StorageErrorKind::Corrupt => "corrupt",
        StorageErrorKind::Fatal => "fatal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_of(error: opendal::Error) -> StorageError {
        told("v1/a.seg", error)
    }

    #[test]
    fn a_failure_says_what_may_be_done() {
        let error = |kind| opendal::Error::new(kind, "said so");
        for (error, expected) in [
            (error(ErrorKind::Unexpected).set_temporary(), StorageErrorKind::Unavailable),
            (error(ErrorKind::RateLimited), StorageErrorKind::Unavailable),
            (error(ErrorKind::Unexpected), StorageErrorKind::Unavailable),
            (error(ErrorKind::PermissionDenied), StorageErrorKind::Unavailable),
            (error(ErrorKind::NotFound), StorageErrorKind::Corrupt),
            (error(ErrorKind::RangeNotSatisfied), StorageErrorKind::Corrupt),
        ] {
            let text = error.to_string();
            assert_eq!(told_of(error).kind, expected, "{text}");
        }
        let missing = told_of(error(ErrorKind::NotFound));
        assert!(missing.is_missing() && missing.message.contains("is missing"));
        assert!(!told_of(error(ErrorKind::RangeNotSatisfied)).is_missing());
    }

    #[test]
    fn a_failure_does_not_tell_the_address() {
        let url = "https://bucket/key?X-Amz-Signature=secret";
        let error = opendal::Error::new(ErrorKind::Unexpected, "send").with_context("url", url);
        assert!(!told_of(error).to_string().contains("secret"));
    }
}
