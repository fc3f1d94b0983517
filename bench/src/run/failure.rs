//! Kinds of failure that a client meets, told apart by what libraries say.

use std::collections::BTreeMap;
use std::io;

use quinn::ConnectionError;
use tokio::time::error::Elapsed;
use tokio_tungstenite::tungstenite;

/// What went wrong, and how often.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Failures(BTreeMap<&'static str, u64>);

impl Failures {
    pub(crate) fn add(&mut self, kind: &'static str) {
        *self.0.entry(kind).or_default() += 1;
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    pub(crate) fn of(&self, kind: &str) -> u64 {
        self.0.get(kind).copied().unwrap_or_default()
    }

    /// `3 x refused, 1 x timed out`, or `none`.
    pub(crate) fn text(&self) -> String {
        let kinds: Vec<_> =
            self.0.iter().map(|(kind, count)| format!("{count} x {kind}")).collect();
        if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") }
    }
}

pub(crate) const REFUSED: &str = "refused";
pub(crate) const TIMED_OUT: &str = "timed out";

/// The kind of an error of a client.
pub(crate) fn kind(error: &anyhow::Error) -> &'static str {
    error.chain().find_map(known).unwrap_or("other")
}

fn known(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    if error.is::<Elapsed>() {
        return Some(TIMED_OUT);
    }
    if error.is::<crate::client::Refused>() {
        return Some("subscription refused");
    }
    if let Some(error) = error.downcast_ref::<ConnectionError>() {
        return Some(match error {
            ConnectionError::TimedOut => TIMED_OUT,
            ConnectionError::ConnectionClosed(_) => REFUSED,
            ConnectionError::ApplicationClosed(_) => "closed",
            ConnectionError::Reset => "reset",
            _ => "protocol",
        });
    }
    if let Some(tungstenite::Error::Io(error)) = error.downcast_ref() {
        return Some(io_kind(error));
    }
    error.downcast_ref().map(io_kind)
}

/// A server that does not want a TCP connection closes it.
fn io_kind(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::TimedOut => TIMED_OUT,
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => REFUSED,
        _ => "system",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context as _, Error, anyhow};

    #[test]
    fn kinds_are_found_behind_contexts() {
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        let wrapped = Err::<(), _>(reset()).context("while connecting").unwrap_err();
        assert_eq!(kind(&wrapped), REFUSED);
        assert_eq!(kind(&Error::new(tungstenite::Error::Io(reset()))), REFUSED);
        assert_eq!(kind(&Error::new(ConnectionError::TimedOut)), TIMED_OUT);
        assert_eq!(kind(&anyhow!("anything")), "other");
    }

    #[test]
    fn failures_are_counted_by_kind() {
        let mut failures = Failures::default();
        assert_eq!(failures.text(), "none");
        for kind in [REFUSED, TIMED_OUT, REFUSED] {
            failures.add(kind);
        }
        assert_eq!((failures.total(), failures.of(REFUSED), failures.of("other")), (3, 2, 0));
        assert_eq!(failures.text(), "2 x refused, 1 x timed out");
    }
}
