//! Which start of a node this is. Others tell processes of one name apart by it and take the higher one
//! for the newer, so it has to go up with every start: by the clock, and where that has gone back, above
//! what the start before has left in the data directory.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, Result};
use sterna_core::cluster::Incarnation;

use crate::keys;

/// The incarnation of a process that starts now. Written down before anybody hears of it.
pub(crate) fn next(data_dir: &Path, unix_ms: u64) -> Result<Incarnation> {
    fs::create_dir_all(data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
    let path = data_dir.join("incarnation");
    let before_ms = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().ok().filter(|ms| *ms < MOST_MS).with_context(|| {
            let path = path.display();
            format!("{path} is damaged; if the clock is right, remove it and start again")
        })?,
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let started_ms: u64 = unix_ms.max(before_ms + 1);
    if started_ms > unix_ms + CLOCKS_DIFFER_MS {
        tracing::warn!(
            behind_ms = started_ms - unix_ms,
            "the clock has gone back since the last start of this node"
        );
    }
    keys::replace(&path, &started_ms.to_string(), 0o644)?;
    Ok(Incarnation::at(started_ms))
}

/// Of the year 2248: the number has room for twice as much.
const MOST_MS: u64 = 1 << 43;

/// Nothing that an operator has to look at.
const CLOCKS_DIFFER_MS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnations_go_up_whatever_the_clock_does() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("data");
        let noon = 1_800_000_000_000;
        let mut last = Incarnation(0);
        for unix_ms in [noon, noon, noon - 3_600_000, noon - 3_600_000, 0, noon + 1, noon + 7] {
            let next = next(&data_dir, unix_ms).unwrap();
            assert!(next > last, "{next:?} after {last:?} at {unix_ms}");
            last = next;
        }
        assert_eq!(last.0 >> 20, noon + 7, "by the clock as soon as it is ahead");
    }

    #[test]
    fn a_damaged_file_is_told_and_not_guessed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("incarnation");
        fs::write(&path, "yesterday").unwrap();
        let error = format!("{:#}", next(directory.path(), 1).unwrap_err());
        assert!(error.contains("damaged") && error.contains("remove it"), "{error}");
        fs::write(&path, u64::MAX.to_string()).unwrap();
        assert!(next(directory.path(), 1).is_err());
    }
}
