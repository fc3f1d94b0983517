//! What the machine says about a process: processor time, memory, and what its sockets hold in the
//! kernel. Linux only, from /proc.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

/// What a process has used, and uses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Of all its threads that still live, in user space and in the kernel.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub resident: u64,
}

/// Reads a process.
pub fn usage(pid: u32) -> Result<Usage> {
    let gone = || format!("process {pid} cannot be read; has it ended?");
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).with_context(gone)? {
        // A thread may end between the two reads.
        if let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) {
            let running = text.split_ascii_whitespace().next();
            nanoseconds += running.and_then(|it| it.parse().ok()).unwrap_or(0);
        }
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(gone)?;
    let resident = kilobytes(&status, "VmRSS:").context("a process without VmRSS")? * 1024;
    Ok(Usage { cpu: Duration::from_nanos(nanoseconds), resident })
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.trim().split(' ').next()?.parse().ok()
}

/// Bytes that buffers of sockets occupy in the kernel, of the whole machine.
#[must_use]
pub fn socket_bytes() -> u64 {
    let pages = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip_while(|word| *word != "mem");
        words.nth(1).and_then(|it| it.parse::<u64>().ok()).unwrap_or(0)
    };
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let of = |name: &str| text.lines().find(|line| line.starts_with(name)).map_or(0, pages);
    (of("TCP:") + of("UDP:")) * PAGE_BYTES
}

const PAGE_BYTES: u64 = 4096;

/// UDP datagrams over IPv4 that this network namespace has lost since it began, as the socket that they
/// were for had no room for them; `None`: the kernel does not say.
#[must_use]
pub fn datagrams_lost() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/snmp").ok()?;
    let mut lines = text.lines().filter(|line| line.starts_with("Udp:"));
    let (names, counts) = (lines.next()?, lines.next()?);
    let mut both = names.split(' ').zip(counts.split(' '));
    both.find(|(name, _)| *name == "RcvbufErrors")?.1.parse().ok()
}

/// Of these, those since there were `before`.
#[must_use]
pub fn datagrams_lost_since(before: Option<u64>) -> Option<u64> {
    datagrams_lost().zip(before).map(|(now, before)| now.saturating_sub(before))
}

/// What the figures were measured on.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory_gib: u64,
    pub kernel: String,
}

impl Machine {
    #[must_use]
    pub fn describe() -> Self {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let processor = cpuinfo.lines().find_map(|line| {
            line.strip_prefix("model name").map(|it| it.trim_start_matches([':', '\t', ' ']))
        });
        Self {
            processor: processor.unwrap_or("unknown").to_owned(),
            cores: cores(),
            memory_gib: kilobytes(&read("/proc/meminfo"), "MemTotal:").unwrap_or(0) >> 20,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// The kind of file system that a path lies on, as the kernel calls it.
#[must_use]
pub fn file_system(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    // Of two on the same point the later one covers the other.
    let over = mounts.filter(|(point, _)| path.starts_with(point));
    let deepest = over.max_by_key(|(point, _)| point.len());
    deepest.map_or("an unknown file system", |(_, kind)| kind).to_owned()
}

/// Whether what is synced there is in memory still.
#[must_use]
pub fn is_memory(path: &Path) -> bool {
    matches!(file_system(path).as_str(), "tmpfs" | "ramfs")
}

/// As they were when this was asked first, whatever this process may run on since.
#[must_use]
pub fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Keeps this process, with all its threads, off the core of the servers, where there are several: of
/// two threads that both have work the system would put one there, beside the server. Processes that
/// are started since are kept off it too, but for those that are put there.
pub fn leave_the_servers_core() -> Result<()> {
    if !can_pin() {
        return Ok(());
    }
    let (rest, this) = (format!("1-{}", cores() - 1), std::process::id().to_string());
    let done = Command::new("taskset").args(["-a", "-p", "-c", &rest, &this]).output()?;
    let complaint = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "cannot stay off the servers' core: {}", complaint.trim());
    Ok(())
}

/// Whether a process can be kept to a core with `taskset`, so that client and server do not take
/// each other's.
#[must_use]
pub fn can_pin() -> bool {
    cores() > 1
        && std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|it| is_program(&it)))
}

fn is_program(directory: &Path) -> bool {
    directory.join("taskset").is_file()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn this_process_has_worked_and_has_memory() {
        let mut sum = 0_u64;
        let before = usage(std::process::id()).unwrap();
        while usage(std::process::id()).unwrap().cpu <= before.cpu {
            sum = std::hint::black_box((0..100_000).fold(sum, u64::wrapping_add));
        }
        assert!(before.resident > 100_000);
        assert!(usage(u32::MAX).is_err());
    }

    #[test]
    fn what_a_full_socket_does_not_take_is_counted() {
        const SENT: usize = 10_000;
        let before = datagrams_lost();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = socket.local_addr().unwrap();
        for _ in 0..SENT {
            sender.send_to(&[0; 1000], to).unwrap();
        }
        socket.set_nonblocking(true).unwrap();
        let taken = std::iter::from_fn(|| socket.recv(&mut [0; 1000]).ok()).count();
        assert!(taken < SENT, "the socket took everything");
        // Others may lose some meanwhile.
        assert!(datagrams_lost_since(before).unwrap() >= (SENT - taken) as u64);
    }

    #[test]
    fn a_file_system_is_that_of_the_deepest_mount() {
        assert_eq!(file_system(Path::new("/proc/self")), "proc");
        assert!(!is_memory(Path::new("/proc")));
        assert_ne!(file_system(Path::new("/")), "proc");
    }
}
