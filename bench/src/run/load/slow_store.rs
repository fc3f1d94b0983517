//! A store whose disk has become slow: strace, attached to the one thread of a node that commits, has every
//! sync take longer. No other thread is traced, so that nothing else slows down. Owns the tracer, which
//! ends when this is dropped, or with the node.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};

use super::faults::signal;

/// A tracer at work.
#[derive(Debug)]
pub(crate) struct SlowStore {
    tracer: Child,
    /// What it has to say.
    said: NamedTempFile,
}

impl SlowStore {
    /// An error says what is missing for it.
    pub(crate) async fn begin(process: u32) -> Result<Self> {
        let committer = committer(&Path::new("/proc").join(process.to_string()))?;
        let said = NamedTempFile::new()?;
        let tracer = Command::new("strace")
            .args(["-e", &format!("trace={SYNCS}")])
            .args(["-e", &format!("inject={SYNCS}:delay_exit={}", SLOWER.as_micros())])
            .args(["-p", &committer.to_string(), "-o", "/dev/null"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said.reopen()?)
            .spawn()
            .context("strace is missing")?;
        let mut slow = Self { tracer, said };
        let deadline = Instant::now() + ATTACH_DEADLINE;
        while !slow.said().contains("attached") {
            if let Some(status) = slow.ended()? {
                bail!("strace may not attach to the node ({status}): {}", slow.said().trim());
            }
            ensure!(Instant::now() < deadline, "strace does not attach to the node");
            sleep(LOOK_AGAIN).await;
        }
        Ok(slow)
    }

    /// An error when it has not gone on until now.
    pub(crate) fn was_there(&mut self) -> Result<()> {
        let ended = self.ended()?;
        ensure!(ended.is_none(), "strace has left the node alone: {}", self.said().trim());
        Ok(())
    }

    fn said(&self) -> String {
        fs::read_to_string(self.said.path()).unwrap_or_default()
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.tracer.try_wait()?)
    }
}

impl Drop for SlowStore {
    fn drop(&mut self) {
        if self.tracer.try_wait().is_ok_and(|ended| ended.is_none()) {
            // Not to be killed: a thread that it has just stopped would stay so. It cannot have gone, and
            // nothing can be done if it has.
            let _ = signal("TERM", self.tracer.id());
            let _ = self.tracer.wait();
        }
    }
}

/// The thread that commits, of the process whose folder of `/proc` this is.
fn committer(process: &Path) -> Result<u32> {
    for thread in fs::read_dir(process.join("task")).context("the node's threads are not shown")? {
        let thread = thread?;
        // One that has ended meanwhile is not it.
        let name = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        if name.trim() == COMMITTER {
            let id = thread.file_name().into_string().ok().and_then(|id| id.parse().ok());
            return id.context("a thread without a number");
        }
    }
    bail!("the node has no thread {COMMITTER}")
}

/// As the store calls it.
const COMMITTER: &str = "sterna-commit";

const SYNCS: &str = "fdatasync,fsync";

/// By so much each sync is longer: a tired disk, where a good one takes a fraction of a millisecond.
pub(crate) const SLOWER: Duration = Duration::from_millis(20);

const ATTACH_DEADLINE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_that_commits_is_found_by_its_name() {
        let process = tempfile::tempdir().unwrap();
        for (id, name) in [("7", "sterna"), ("9", "sterna-commit"), ("11", "sterna-commits")] {
            let thread = process.path().join("task").join(id);
            fs::create_dir_all(&thread).unwrap();
            fs::write(thread.join("comm"), format!("{name}\n")).unwrap();
        }
        assert_eq!(committer(process.path()).unwrap(), 9);
        fs::remove_dir_all(process.path().join("task/9")).unwrap();
        let missing = committer(process.path()).unwrap_err().to_string();
        assert!(missing.contains("sterna-commit"), "{missing}");
    }

    #[tokio::test]
    async fn a_process_without_a_store_cannot_be_slowed() {
        let refused = SlowStore::begin(std::process::id()).await.unwrap_err().to_string();
        assert!(refused.contains("no thread sterna-commit"), "{refused}");
    }
}
