//! Every step between a client's bytes and its answer is a system call: the node is killed, stopped
//! or held up at one that the seed names.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use sterna_system_tests::node::Node;

use super::pressure::newcomers;
use super::{HIT_PATIENCE, SOME, conclude, talk};
use crate::campaign::Outcome;
use crate::injector::{self, Injector};

/// What a node calls while it takes, stores and spreads a publication, from the edge to the disk
/// and back.
const STEPS: &[&str] = &[
    "recvmmsg",
    "recvfrom",
    "epoll_wait",
    "futex",
    "write",
    "pwrite64",
    "fdatasync",
    "sendmsg",
    "writev",
];

/// What a node calls while it opens its store.
const OPENING: &[&str] =
    &["openat", "pwrite64", "write", "fdatasync", "fsync", "rename", "ftruncate", "unlink", "read"];

const KILLS: usize = 3;

pub async fn kill(rng: &mut StdRng) -> Outcome {
    let (mut node, workload) = talk(rng).await;
    let (mut injected, mut note) = (0, String::new());
    let mut hits = Vec::new();
    for _ in 0..KILLS {
        workload.go_on_for(rng.random_range(1..SOME)).await;
        let (call, nth) = draw(rng, STEPS);
        let fault = format!("signal=KILL:when={nth}");
        let injector = Injector::attach(node.id(), call, &fault);
        let killed = node.ended_within(HIT_PATIENCE).await;
        match killed {
            Some(status) => {
                assert_eq!(status.signal(), Some(libc::SIGKILL), "{call} {nth}: {}", node.log());
                note.push_str(&format!("{call}:{nth} "));
                hits.push(format!("kill {call}"));
                injected += 1;
                injected += reopen(&mut node, rng, &mut note).await;
            }
            None => injector.detach().await,
        }
    }
    Outcome { note, hits, ..conclude(node, workload, rng, injected).await }
}

/// Starts the node again; in every third case it is killed while it opens what the last kill left.
async fn reopen(node: &mut Node, rng: &mut StdRng, note: &mut String) -> u64 {
    let (call, nth) = draw(rng, OPENING);
    let mut injected = 0;
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
                note.push_str(&format!("open:{call}:{nth} "));
                injected = 1;
            }
            Ok(()) => node.kill().await,
        }
        node.launch_through(&[]);
    }
    node.restart().await;
    injected
}

pub async fn pause(rng: &mut StdRng) -> Outcome {
    let (node, workload) = talk(rng).await;
    let (call, nth) = draw(rng, STEPS);
    let injector = Injector::attach(node.id(), call, &format!("signal=STOP:when={nth}"));
    let hit = injector.hits("stopped by SIGSTOP", HIT_PATIENCE).await;
    let pause = Duration::from_millis(rng.random_range(500..10_000));
    if hit {
        tokio::time::sleep(pause).await;
    }
    // Otherwise every thread would stop again at its own n-th call.
    injector.detach().await;
    injector::signal(node.id(), libc::SIGCONT);
    let note = format!("{call}:{nth} for {pause:?}");
    let hits = hit.then(|| format!("pause {call}")).into_iter().collect();
    Outcome { note, hits, ..conclude(node, workload, rng, hit.into()).await }
}

/// One step takes seconds, in one thread; everything else goes on meanwhile, or waits for it.
pub async fn delay(rng: &mut StdRng) -> Outcome {
    let (node, workload) = talk(rng).await;
    let (call, nth) = draw(rng, STEPS);
    let delay_us = rng.random_range(500_000..5_000_000);
    let fault = format!("delay_enter={delay_us}:when={nth}");
    let injector = Injector::attach(node.id(), call, &fault);
    let hit = injector.hits("DELAYED", HIT_PATIENCE).await;
    workload.go_on_for(SOME).await;
    let injected = injector.count("DELAYED") as u64;
    injector.detach().await;
    let note = format!("{call}:{nth} for {} ms", delay_us / 1000);
    let outcome = conclude(node, workload, rng, injected).await;
    Outcome { note, hits: hit.then(|| format!("delay {call}")).into_iter().collect(), ..outcome }
}

/// What the kernel may answer now and then to a process that is well: interrupted, no room, no
/// descriptor, hung up. Nobody's session depends on a single call.
const REFUSALS: &[(&str, &str)] = &[
    ("recvmmsg", "EINTR"),
    ("sendmsg", "ENOBUFS"),
    ("sendmsg", "EPERM"),
    ("recvfrom", "EINTR"),
    ("accept4", "EMFILE"),
    ("accept4", "ECONNABORTED"),
    ("epoll_wait", "EINTR"),
    ("fdatasync", "EINTR"),
];

/// Some calls of a kind fail, as they do now and then. For syncs that is the end of the process,
/// honestly said; for all others nothing that a user notices.
pub async fn refuse(rng: &mut StdRng) -> Outcome {
    let (mut node, workload) = talk(rng).await;
    let (call, error) = REFUSALS.choose(rng).copied().unwrap_or(("sendmsg", "ENOBUFS"));
    // There are as many accepts as newcomers.
    let from = rng.random_range(if call == "accept4" { 1..6 } else { 1..40 });
    let upto = from + rng.random_range(0..10);
    let fault = format!("error={error}:when={from}..{upto}");
    let injector = Injector::attach(node.id(), call, &fault);
    let mut hit = false;
    let until = tokio::time::Instant::now() + HIT_PATIENCE;
    while !hit && tokio::time::Instant::now() < until {
        if call == "fdatasync" {
            hit = node.ended_within(HIT_PATIENCE).await.is_some();
            break;
        }
        // Somebody has to come for a call of accept.
        newcomers(&node).await;
        hit = injector.count("INJECTED") > 0;
    }
    let injected = injector.count("INJECTED") as u64;
    if call == "fdatasync" && hit {
        assert!(node.log().contains("storage failed"), "it says why:\n{}", node.log());
        drop(injector);
        node.restart().await;
    } else {
        workload.go_on_for(SOME).await;
        injector.detach().await;
    }
    let note = format!("{call}:{error} {from}..{upto}");
    let hits = (injected > 0).then(|| format!("{call} {error}")).into_iter().collect();
    Outcome { note, hits, ..conclude(node, workload, rng, injected).await }
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

fn draw<'a>(rng: &mut StdRng, calls: &[&'a str]) -> (&'a str, usize) {
    let call = calls.choose(rng).copied().unwrap_or("write");
    (call, rng.random_range(1..60))
}
