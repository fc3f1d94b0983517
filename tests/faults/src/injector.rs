//! strace as a breaker: attached to a node that runs, it kills, stops, delays or fails the n-th
//! system call of a kind, and writes down what it did. Owns the tracer, which ends with the node,
//! with [`Injector::detach`], or when dropped; the node goes on without it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use sterna_system_tests::node::wait_for;
use tempfile::TempDir;

/// A tracer at work.
#[derive(Debug)]
pub struct Injector {
    tracer: Child,
    /// Held open: a tracer that cannot speak ends.
    _said: BufReader<ChildStderr>,
    notes: TempDir,
}

impl Injector {
    /// `fault` as strace wants it behind the calls, for example `signal=KILL:when=3`.
    pub fn attach(process: u32, calls: &str, fault: &str) -> Self {
        let notes = tempfile::tempdir().unwrap();
        let mut tracer = Command::new("strace")
            .args(["-f", "-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={calls}:{fault}")])
            .args(["-p", &process.to_string()])
            .arg("-o")
            .arg(notes.path().join("trace"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace is missing: `tools/setup.sh test` installs it");
        let mut said = BufReader::new(tracer.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("attached") {
            line.clear();
            let read = said.read_line(&mut line).unwrap();
            assert!(read > 0, "strace has not attached: {}", rest(&mut said));
        }
        Self { tracer, _said: said, notes }
    }

    /// Lines of the trace that contain this.
    pub fn count(&self, text: &str) -> usize {
        let trace = fs::read(self.notes.path().join("trace")).unwrap_or_default();
        String::from_utf8_lossy(&trace).lines().filter(|line| line.contains(text)).count()
    }

    /// Whether the fault has hit within `patience`.
    pub async fn hits(&self, text: &str, patience: Duration) -> bool {
        let until = tokio::time::Instant::now() + patience;
        while tokio::time::Instant::now() < until {
            if self.count(text) > 0 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// The node goes on alone.
    pub async fn detach(mut self) {
        self.end().await;
    }

    /// The same; what the tracer wrote down can still be asked for.
    pub async fn end(&mut self) {
        if self.tracer.try_wait().unwrap().is_none() {
            signal(self.tracer.id(), libc::SIGINT);
        }
        wait_for("the tracer ends", || self.tracer.try_wait().unwrap()).await;
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        if self.tracer.try_wait().is_ok_and(|ended| ended.is_none()) {
            // Not with SIGKILL: a tracee that is stopped at that moment would stay so.
            signal(self.tracer.id(), libc::SIGTERM);
            let _ = self.tracer.wait();
        }
    }
}

fn rest(said: &mut BufReader<ChildStderr>) -> String {
    let mut text = String::new();
    let _ = said.read_to_string(&mut text);
    text
}

/// Sends a signal to a process that is known to run.
#[allow(unsafe_code)]
pub fn signal(process: u32, signal: i32) {
    // SAFETY: a plain system call. The process has not been waited for, so its id names it.
    unsafe { libc::kill(process as libc::pid_t, signal) };
}
