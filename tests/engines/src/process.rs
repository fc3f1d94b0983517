//! A server process that belongs to this test process: it ends with the value, and with the test
//! process even when that is killed.
//!
//! The kernel sends the signal that `setpriv --pdeathsig` asks for when the *thread* that started
//! the process ends, and every test has a thread of its own; so all processes are started by one
//! thread that ends with the test process.

use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// A running process, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a program; what it prints goes nowhere, so have it write a log file.
    pub fn start(program: &str, arguments: &[String]) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", program]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let (answer, started) = sync_channel(1);
        starter().send(Start { command, answer }).expect("the starting thread never ends");
        let child = started.recv().expect("the starting thread answers");
        Self { child: child.unwrap_or_else(|error| panic!("setpriv {program}: {error}")) }
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL, and waits until it is gone. Without effect on one that has ended.
    pub fn kill(&mut self) {
        // An error says that it has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGSTOP, and waits until it has stopped: it keeps its sockets and answers nothing.
    pub fn pause(&self) {
        self.signal("STOP");
        while !self.has_stopped() {
            thread::yield_now();
        }
    }

    /// SIGCONT after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn has_stopped(&self) -> bool {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(path).expect("a process that was not waited for");
        // `pid (name) state …`, and a name may hold anything.
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -s {name} {id}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Start {
    command: Command,
    answer: SyncSender<io::Result<Child>>,
}

fn starter() -> &'static SyncSender<Start> {
    static STARTER: OnceLock<SyncSender<Start>> = OnceLock::new();
    STARTER.get_or_init(|| {
        let (starts, waiting) = sync_channel::<Start>(64);
        thread::spawn(move || {
            for mut start in waiting {
                // Whoever asked and went away needs no answer.
                let _ = start.answer.send(start.command.spawn());
            }
        });
        starts
    })
}
