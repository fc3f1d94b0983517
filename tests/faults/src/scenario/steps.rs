//! Every step between a client's bytes and its answer is a system call: the node is killed, stopped
//! or held up at each of them, in an order and at an n-th call that the seed names.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use sterna_system_tests::node::Node;

use super::pressure::newcomers;
use super::{HIT_PATIENCE, SOME, conclude, talk};
use crate::campaign::Outcome;
use crate::injector::{self, Injector};
use crate::workload::Workload;

/// What a node calls while it takes, stores and spreads a publication, from the edge to the disk
/// and back: QUIC comes by `recvmmsg` and leaves by `sendmsg`, wss by `recvfrom` and `sendto`.
const STEPS: &[&str] = &[
    "recvmmsg",
    "recvfrom",
    "epoll_wait",
    "futex",
    "write",
    "pwrite64",
    "fdatasync",
    "sendmsg",
    "sendto",
];

/// What a node calls while it opens its store.
const OPENING: &[&str] =
    &["openat", "pwrite64", "write", "fdatasync", "fsync", "rename", "ftruncate", "unlink", "read"];

/// Calls are counted by thread, and no thread may come to the n-th. The first is tried then.
const NTH_PATIENCE: Duration = Duration::from_secs(5);

/// What became of the steps of one round.
#[derive(Debug, Default)]
struct Tally {
    injected: u64,
    note: String,
    hits: Vec<String>,
    missed: Vec<String>,
}

impl Tally {
    fn hit(&mut self, what: &str, note: &str) {
        self.injected += 1;
        self.hits.push(what.to_owned());
        self.note.push_str(note);
        self.note.push(' ');
    }

    async fn conclude(self, node: Node, workload: Workload, rng: &mut StdRng) -> Outcome {
        let Self { injected, note, hits, missed } = self;
        Outcome { note, hits, missed, ..conclude(node, workload, rng, injected).await }
    }
}

pub async fn kill(rng: &mut StdRng) -> Outcome {
    let (mut node, workload) = talk(rng).await;
    let mut tally = Tally::default();
    for call in shuffled(rng, STEPS) {
        workload.go_on_for(rng.random_range(1..SOME)).await;
        let what = format!("kill {call}");
        match strike(&node, call, "signal=KILL", "killed by SIGKILL", rng).await {
            Some((_injector, nth)) => {
                let status = node.ended().await;
                assert_eq!(status.signal(), Some(libc::SIGKILL), "{call} {nth}: {}", node.log());
                tally.hit(&what, &format!("{call}:{nth}"));
                reopen(&mut node, rng, &mut tally).await;
            }
            None => tally.missed.push(what),
        }
    }
    tally.conclude(node, workload, rng).await
}

/// Starts the node again; in every third case it is killed while it opens what the last kill left.
async fn reopen(node: &mut Node, rng: &mut StdRng, tally: &mut Tally) {
    let call = OPENING.choose(rng).copied().unwrap_or("write");
    // Of some there are a few only.
    let most = if rng.random_bool(0.5) { 4 } else { 60 };
    let nth = rng.random_range(1..most);
    if rng.random_range(0..3) == 0 {
        let inject = format!("inject={call}:signal=KILL:when={nth}");
        let trace = format!("trace={call}");
        // With -D the node is this process's own child, and the tracer that of nobody.
        let launcher =
            ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        node.launch_through(&launcher);
        match node.try_restart().await {
            Err(status) => {
                assert_eq!(status.signal(), Some(libc::SIGKILL), "{call} {nth}: {}", node.log());
                tally.hit(&format!("kill at opening {call}"), &format!("open:{call}:{nth}"));
            }
            Ok(()) => node.kill().await,
        }
        node.launch_through(&[]);
    }
    node.restart().await;
}

pub async fn pause(rng: &mut StdRng) -> Outcome {
    let (node, workload) = talk(rng).await;
    let mut tally = Tally::default();
    // One of them for so long that its clients give up.
    let mut longest_ms = 10_000;
    for call in shuffled(rng, STEPS) {
        let what = format!("pause {call}");
        let pause = Duration::from_millis(rng.random_range(longest_ms / 10..longest_ms));
        let struck = strike(&node, call, "signal=STOP", "stopped by SIGSTOP", rng).await;
        let Some((injector, nth)) = struck else {
            tally.missed.push(what);
            continue;
        };
        longest_ms = 2_000;
        tokio::time::sleep(pause).await;
        // Otherwise every thread would stop again at its own n-th call.
        injector.detach().await;
        injector::signal(node.id(), libc::SIGCONT);
        workload.go_on_for(SOME).await;
        tally.hit(&what, &format!("{call}:{nth} for {} ms", pause.as_millis()));
    }
    tally.conclude(node, workload, rng).await
}

/// One step takes seconds, in one thread; everything else goes on meanwhile, or waits for it.
pub async fn delay(rng: &mut StdRng) -> Outcome {
    let (node, workload) = talk(rng).await;
    let mut tally = Tally::default();
    let mut longest_us = 5_000_000;
    for call in shuffled(rng, STEPS) {
        let what = format!("delay {call}");
        let delay_us = rng.random_range(longest_us / 10..longest_us);
        let fault = format!("delay_enter={delay_us}");
        let Some((injector, nth)) = strike(&node, call, &fault, "DELAYED", rng).await else {
            tally.missed.push(what);
            continue;
        };
        longest_us = 2_000_000;
        workload.go_on_for(SOME).await;
        injector.detach().await;
        tally.hit(&what, &format!("{call}:{nth} for {} ms", delay_us / 1000));
    }
    tally.conclude(node, workload, rng).await
}

/// A tracer whose fault has hit, as its trace shows by `sign`, and at which call of a thread: one
/// that the seed names, or else the first. `None`: the node does not call this at all.
async fn strike(
    node: &Node,
    call: &str,
    fault: &str,
    sign: &str,
    rng: &mut StdRng,
) -> Option<(Injector, usize)> {
    for (nth, patience) in [(rng.random_range(1..60), NTH_PATIENCE), (1, HIT_PATIENCE)] {
        let mut injector = Injector::attach(node.id(), call, &format!("{fault}:when={nth}"));
        if injector.hits(sign, patience).await {
            return Some((injector, nth));
        }
        injector.end().await;
        // In the last moment.
        if injector.count(sign) > 0 {
            return Some((injector, nth));
        }
    }
    None
}

/// What the kernel may answer now and then to a process that is well: interrupted, no room, no
/// descriptor, hung up. Nobody's session depends on a single call.
const REFUSALS: &[(&str, &str)] = &[
    ("recvmmsg", "EINTR"),
    ("sendmsg", "ENOBUFS"),
    ("sendmsg", "EPERM"),
    ("recvfrom", "EINTR"),
    ("sendto", "ECONNRESET"),
    ("accept4", "EMFILE"),
    ("accept4", "ECONNABORTED"),
    ("epoll_wait", "EINTR"),
    ("fdatasync", "EINTR"),
];

/// Some calls of a kind fail, as they do now and then. For syncs that is the end of the process,
/// honestly said; for all others nothing that a user notices.
pub async fn refuse(rng: &mut StdRng) -> Outcome {
    let (mut node, workload) = talk(rng).await;
    let mut tally = Tally::default();
    for (call, error) in shuffled(rng, REFUSALS) {
        let what = format!("{call} {error}");
        // There are as many accepts as newcomers.
        let from = rng.random_range(if call == "accept4" { 1..6 } else { 1..40 });
        let upto = from + rng.random_range(0..10);
        let mut refused = 0;
        // Calls are counted by thread: no thread may come so far, but each to its first.
        for from in [from, 1] {
            let fault = format!("error={error}:when={from}..{upto}");
            refused = refused_calls(&mut node, &workload, call, &fault).await;
            if refused > 0 {
                tally.hit(&what, &format!("{call}:{error}:{from}..{upto}"));
                // All that were refused count.
                tally.injected += refused - 1;
                break;
            }
        }
        if refused == 0 {
            tally.missed.push(what);
        }
    }
    tally.conclude(node, workload, rng).await
}

/// How many calls were refused; the node works again afterwards.
async fn refused_calls(node: &mut Node, workload: &Workload, call: &str, fault: &str) -> u64 {
    let mut injector = Injector::attach(node.id(), call, fault);
    if call == "fdatasync" {
        let ended = node.ended_within(HIT_PATIENCE).await.is_some();
        injector.end().await;
        let refused = injector.count("INJECTED") as u64;
        if refused > 0 || ended {
            // In the last moment, when it has not ended yet.
            if !ended {
                node.ended().await;
            }
            assert!(node.log().contains("storage failed"), "it says why:\n{}", node.log());
            node.restart().await;
        }
        return refused;
    }
    let until = tokio::time::Instant::now() + HIT_PATIENCE;
    while injector.count("INJECTED") == 0 && tokio::time::Instant::now() < until {
        // Somebody has to come for a call of accept.
        newcomers(node).await;
    }
    workload.go_on_for(SOME).await;
    injector.end().await;
    injector.count("INJECTED") as u64
}

/// Syncs take half a second longer. Everything goes on, slowly.
pub async fn slow_disk(rng: &mut StdRng) -> Outcome {
    let (node, workload) = talk(rng).await;
    let delay_us = rng.random_range(200_000..800_000);
    let wanted = rng.random_range(4..10);
    let injector =
        Injector::attach(node.id(), "fdatasync,fsync", &format!("delay_exit={delay_us}"));
    let before = workload.acked();
    while injector.count("DELAYED") < wanted {
        workload.go_on_for(1).await;
    }
    let injected = injector.count("DELAYED") as u64;
    let note = format!("{delay_us} us each, {} acked meanwhile", workload.acked() - before);
    injector.detach().await;
    Outcome { note, ..conclude(node, workload, rng, injected).await }
}

fn shuffled<T: Copy>(rng: &mut StdRng, all: &[T]) -> Vec<T> {
    let mut all = all.to_vec();
    all.shuffle(rng);
    all
}
