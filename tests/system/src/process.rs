//! A verb of the command line as a child process that takes lines and prints JSON objects: a
//! publisher or a subscriber as scripts use them. Its tasks and its process end with the value.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::checker::{Acked, Seen};

/// No object for this long means that nothing moves any more.
const STANDSTILL: Duration = Duration::from_secs(120);

/// Objects that are shown of a process that stands still, newest first.
const LAST_SAID: usize = 12;

/// A running verb with `--json`.
#[derive(Debug)]
pub struct JsonProcess {
    name: String,
    child: Child,
    objects: Arc<Mutex<Vec<Value>>>,
    count: watch::Receiver<usize>,
    longest_silence: Arc<Mutex<Duration>>,
    errors: Arc<Mutex<String>>,
    tasks: JoinSet<()>,
}

impl JsonProcess {
    /// Starts the verb and feeds it `input`, a line at a time.
    pub fn start(name: &str, command: Command, input: Vec<String>) -> Self {
        let (lines, waiting) = mpsc::channel(input.len().max(1));
        input.into_iter().for_each(|line| lines.try_send(line).unwrap());
        Self::start_fed(name, command, waiting)
    }

    /// Starts the verb and feeds it lines as they come; its input ends with them.
    pub fn start_fed(name: &str, mut command: Command, input: mpsc::Receiver<String>) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (counted, count) = watch::channel(0);
        let objects = Arc::new(Mutex::new(Vec::new()));
        let errors = Arc::new(Mutex::new(String::new()));
        let longest_silence = Arc::new(Mutex::new(Duration::ZERO));
        let mut tasks = JoinSet::new();
        tasks.spawn(feed(child.stdin.take().unwrap(), input));
        let (stdout, silence) = (child.stdout.take().unwrap(), Arc::clone(&longest_silence));
        tasks.spawn(collect(stdout, Arc::clone(&objects), counted, silence));
        tasks.spawn(keep(child.stderr.take().unwrap(), Arc::clone(&errors)));
        Self { name: name.to_owned(), child, objects, count, longest_silence, errors, tasks }
    }

    /// Objects printed so far.
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits for at least `wanted` objects; fails when none comes for a long time.
    pub async fn wait_for_count(&mut self, wanted: usize) {
        while self.count() < wanted {
            let before = self.count();
            match timeout(STANDSTILL, self.count.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) if self.count() >= wanted => return,
                _ => panic!(
                    "{} stands at {before} of {wanted}, last at {:#?}\n{}",
                    self.name,
                    self.objects().iter().rev().take(LAST_SAID).collect::<Vec<_>>(),
                    self.errors()
                ),
            }
        }
    }

    /// The longest time between two objects that followed each other. To be told, never asserted.
    pub fn longest_silence(&self) -> Duration {
        *self.longest_silence.lock().unwrap()
    }

    pub fn objects(&self) -> Vec<Value> {
        self.objects.lock().unwrap().clone()
    }

    /// Waits until the verb ends by itself and everything that it printed has been read.
    pub async fn finish(&mut self) -> ExitStatus {
        loop {
            let before = self.count();
            match timeout(STANDSTILL, self.child.wait()).await {
                Ok(status) => {
                    while self.tasks.join_next().await.is_some() {}
                    return status.unwrap();
                }
                Err(_) if self.count() > before => {}
                Err(_) => panic!("{} stands at {before}\n{}", self.name, self.errors()),
            }
        }
    }

    /// kill -9, and everything that it had printed.
    pub async fn kill(&mut self) -> Vec<Value> {
        self.child.kill().await.unwrap();
        while self.tasks.join_next().await.is_some() {}
        self.objects()
    }

    /// Waits until it has said this on standard error.
    pub async fn wait_for_error(&self, text: &str) {
        let deadline = Instant::now() + STANDSTILL;
        while !self.errors().contains(text) {
            assert!(Instant::now() < deadline, "never said {text:?}\n{}", self.errors());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What it said on standard error.
    pub fn errors(&self) -> String {
        format!("--- {} said ---\n{}", self.name, self.errors.lock().unwrap())
    }
}

/// What `sub --json` and `history --json` print.
pub fn seen(object: &Value) -> Seen {
    Seen {
        epoch: object["epoch"].as_u64().unwrap().try_into().unwrap(),
        offset: object["offset"].as_u64().unwrap(),
        sender: object["sender"].as_str().unwrap().to_owned(),
        text: object["text"].as_str().unwrap().to_owned(),
    }
}

/// What `pub --json` prints for a line that was stored; `None` for one that was not.
pub fn acked(object: &Value, sender: &str, text: &str) -> Option<Acked> {
    Some(Acked {
        epoch: object["epoch"].as_u64()?.try_into().ok()?,
        offset: object["offset"].as_u64()?,
        sender: sender.to_owned(),
        text: text.to_owned(),
    })
}

async fn feed(mut stdin: tokio::process::ChildStdin, mut input: mpsc::Receiver<String>) {
    while let Some(line) = input.recv().await {
        // A verb that has ended takes no more.
        if stdin.write_all(format!("{line}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn collect(
    stdout: tokio::process::ChildStdout,
    objects: Arc<Mutex<Vec<Value>>>,
    counted: watch::Sender<usize>,
    longest_silence: Arc<Mutex<Duration>>,
) {
    let mut last: Option<Instant> = None;
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // A process that was killed may leave half a line.
        let Ok(object) = serde_json::from_str(&line) else { continue };
        let silence = last.replace(Instant::now()).map_or(Duration::ZERO, |last| last.elapsed());
        let mut longest = longest_silence.lock().unwrap();
        *longest = silence.max(*longest);
        drop(longest);
        let mut objects = objects.lock().unwrap();
        objects.push(object);
        counted.send_replace(objects.len());
    }
}

async fn keep(mut stderr: tokio::process::ChildStderr, errors: Arc<Mutex<String>>) {
    let mut bytes = [0; 4096];
    while let Ok(len) = stderr.read(&mut bytes).await {
        if len == 0 {
            return;
        }
        let mut errors = errors.lock().unwrap();
        if errors.len() < ERROR_BYTES {
            errors.push_str(&String::from_utf8_lossy(&bytes[..len]));
        }
    }
}

const ERROR_BYTES: usize = 64 * 1024;
