//! A process that cannot outlive its test: a shell beside it waits on a pipe that only the test
//! process holds, and kills it at the pipe's end. The parent-death signal would not do, since it
//! follows the thread that started the process, and tests run on threads that end.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A process and the shell that minds it. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Minded {
    shell: Child,
    pid: u32,
}

impl Minded {
    /// Starts the command. What it says goes to `log`; if the test process is killed, `directory`
    /// goes with it.
    pub(crate) fn start(command: &[String], log: &Path, directory: &Path) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", MINDER, "minder"])
            .arg(log)
            .arg(directory)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh is there");
        let mut line = String::new();
        let told = shell.stdout.take().expect("it is piped");
        BufReader::new(told).read_line(&mut line).expect("the shell tells the pid");
        let pid = line.trim().parse().expect("a pid is a number");
        Self { shell, pid }
    }

    /// Sends a signal by name, such as `KILL`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid.to_string()]).output();
        let sent = sent.expect("kill is there");
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    }

    /// Kills the process and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        use std::io::Write as _;
        if let Some(mut stdin) = self.shell.stdin.take() {
            // Fails if the shell has gone, and then so has the process.
            drop(stdin.write_all(b"keep\n"));
        }
        self.shell.wait().expect("nobody else waits for it");
    }
}

impl Drop for Minded {
    fn drop(&mut self) {
        self.end();
    }
}

/// A line on the pipe: kill. The end of the pipe without a line: kill and clear away.
const MINDER: &str = r#"
log=$1; directory=$2; shift 2
"$@" >>"$log" 2>&1 </dev/null &
pid=$!
echo $pid
exec >/dev/null
read -r keep || keep=
kill -s KILL $pid 2>/dev/null
wait $pid 2>/dev/null
[ "$keep" = keep ] || rm -rf "$directory"
"#;
