//! Memory under attack: every border of a node is flooded, one after the other, while honest users
//! talk on. The process stays below what it had before and a bound that is stated for each border,
//! nobody honest is cut off, and newcomers get in. What it took is a table at the campaign's end.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use sterna_system_tests::node::{Node, Resident};

use super::borders::{self, Held};
use super::pressure::newcomers;
use super::{SOME, conclude, talk, unread};
use crate::campaign::{Figure, Outcome};

const MIB: u64 = 1024 * 1024;
/// What honest users and the store's write buffers may take meanwhile.
const WORK_MIB: u64 = 32;

/// Where bytes come in.
#[derive(Debug, Clone, Copy)]
enum Border {
    Garbage,
    FirstPackets,
    HalfOpenTls,
    BeforeHello,
    Publications,
    Subscriptions,
    HttpRequests,
    SlowRequests,
    SlowReaders,
    Pages,
    Pings,
    ControlFrames,
    Datagrams,
    Streams,
}

impl Border {
    const ALL: [Self; 14] = [
        Self::Garbage,
        Self::FirstPackets,
        Self::HalfOpenTls,
        Self::BeforeHello,
        Self::Publications,
        Self::Subscriptions,
        Self::HttpRequests,
        Self::SlowRequests,
        Self::SlowReaders,
        Self::Pages,
        Self::Pings,
        Self::ControlFrames,
        Self::Datagrams,
        Self::Streams,
    ];

    /// As it stands in the table; the numbers are those of `borders`.
    fn what(self) -> &'static str {
        match self {
            Self::Garbage => "20,000 datagrams of garbage from 16 addresses",
            Self::FirstPackets => "2,000 QUIC first packets, each with ids of its own",
            Self::HalfOpenTls => "2,200 TLS handshakes that stop half-way",
            Self::BeforeHello => "100 WebSockets with 200 KiB of a message, no Hello",
            Self::Publications => "4 clients, 40 MB of publications each, replies unread",
            Self::Subscriptions => "8 clients, 4,000 subscriptions each, replies unread",
            Self::HttpRequests => "1,920 HTTP requests of 200 KiB, 64 at a time",
            Self::SlowRequests => "400 HTTP requests that do not end",
            Self::SlowReaders => "16 subscribers who stop reading 10 MB",
            Self::Pages => "8 clients, 2,000 full pages each, unread",
            Self::Pings => "4 clients, 100,000 pings each, replies unread",
            Self::ControlFrames => "16 WebSockets, 10,000 pings of RFC 6455 each",
            Self::Datagrams => "40,000 ephemerals by datagram to 16 who stop reading",
            Self::Streams => "32 answers over HTTP, 10 MB each, unread",
        }
    }

    /// Above what was resident before. By what the limits of a node allow, connections times what
    /// one may hold, and about three times of what a debug build was seen to take.
    const fn bound_mib(self) -> u64 {
        match self {
            // Nothing is kept of them.
            Self::Garbage => 8,
            // 1,024 handshakes of each worker at most, a few tens of KiB each.
            Self::FirstPackets => 80,
            Self::HalfOpenTls => 96,
            // A message may be held whole: 256 KiB each.
            Self::BeforeHello => 100 / 4 + 40,
            // A window or a read buffer each, the outbox, and a memtable of the store.
            Self::Publications => 160,
            Self::Subscriptions => 48,
            // 64 bodies and their parsers.
            Self::HttpRequests => 48,
            Self::SlowRequests => 16,
            // An outbox of 512 KiB and a transport's buffers each, the ring, a memtable.
            Self::SlowReaders | Self::Datagrams => 96,
            // Pages of 256 KiB on their way, as commands in flight of a session allow.
            Self::Pages => 160,
            Self::Pings | Self::ControlFrames => 32,
            // 64 KiB and a batch beside the outbox.
            Self::Streams => 128,
        }
    }

    async fn flood(self, node: &Node, rng: &mut StdRng) -> Held {
        match self {
            Self::Garbage => borders::garbage(node, rng).await,
            Self::FirstPackets => borders::first_packets(node).await,
            Self::HalfOpenTls => borders::half_open_tls(node).await,
            Self::BeforeHello => borders::before_hello(node).await,
            Self::Publications => borders::publications(node).await,
            Self::Subscriptions => borders::subscriptions(node).await,
            Self::HttpRequests => borders::http_requests(node).await,
            Self::SlowRequests => borders::slow_requests(node).await,
            Self::SlowReaders => borders::slow_readers(node).await,
            Self::Pages => unread::pages(node).await,
            Self::Pings => unread::pings(node).await,
            Self::ControlFrames => unread::control_frames(node).await,
            Self::Datagrams => unread::datagrams(node).await,
            Self::Streams => unread::streams(node).await,
        }
    }
}

pub async fn flood(rng: &mut StdRng) -> Outcome {
    let allowed = open_files();
    if allowed < OPEN_FILES {
        return Outcome::skipped(format!(
            "{allowed} open files are allowed: `ulimit -n {OPEN_FILES}`"
        ));
    }
    let (node, workload) = talk(rng).await;
    let reconnects = workload.reconnects();
    let mut order = Border::ALL;
    order.shuffle(rng);
    let (mut figures, mut violations) = (Vec::new(), Vec::new());
    for border in order {
        node.forget_peak();
        let before = node.resident_bytes().now;
        let held = border.flood(&node, rng).await;
        workload.go_on_for(SOME).await;
        let began = Instant::now();
        newcomers(&node).await;
        let waited = began.elapsed();
        assert_eq!(node.http_get("/readyz").await.unwrap().0, 200, "{border:?}");
        let Resident { peak, .. } = node.resident_bytes();
        drop(held);
        let bound = before + (border.bound_mib() + WORK_MIB) * MIB;
        let figure = Figure { what: border.what(), before, peak, bound, waited };
        violations.extend(complaint(&figure));
        figures.push(figure);
    }
    let disturbed = workload.reconnects() - reconnects;
    if disturbed > 0 {
        violations.push(format!("{disturbed} honest connections were lost"));
    }
    let mut outcome = conclude(node, workload, rng, order.len() as u64).await;
    outcome.violations.extend(violations);
    Outcome { note: format!("{order:?}"), figures, ..outcome }
}

/// How many this process, and a node that it starts, may have.
fn open_files() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(u64::MAX)
}

/// Those of [`Border::HalfOpenTls`], and as many as there are besides.
const OPEN_FILES: u64 = 4_096;

fn complaint(figure: &Figure) -> Option<String> {
    let Figure { what, peak, bound, waited, .. } = figure;
    if *peak > WHOLE_MIB * MIB {
        return Some(format!("{what}: {peak} bytes were resident, {WHOLE_MIB} MiB at most may be"));
    }
    if peak > bound {
        return Some(format!("{what}: {peak} bytes were resident, {bound} at most may be"));
    }
    (*waited > LONGEST_WAIT).then(|| format!("{what}: newcomers waited for {waited:?}"))
}

/// Whatever came before, and however much of it an allocator keeps.
const WHOLE_MIB: u64 = 512;

/// Far above what a busy machine needs, and below what a node's deadlines would allow.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_memory_and_too_long_a_wait_are_complained_of() {
        let good = Figure {
            what: "a flood",
            before: 10,
            peak: 20,
            bound: 20,
            waited: Duration::from_secs(1),
        };
        assert_eq!(complaint(&good), None);
        assert!(complaint(&Figure { peak: 21, ..good }).is_some());
        let all = WHOLE_MIB * MIB;
        assert_eq!(complaint(&Figure { peak: all, bound: 2 * all, ..good }), None);
        assert!(complaint(&Figure { peak: all + 1, bound: 2 * all, ..good }).is_some());
        assert!(complaint(&Figure { waited: 2 * LONGEST_WAIT, ..good }).is_some());
    }
}
