//! What the kernel tells about this machine, read from `/proc` and never changed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

/// Soft limit of open files of this process.
pub(crate) fn open_files_limit() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// A kernel setting that is a number.
pub(crate) fn kernel_number(name: &str) -> Option<u64> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Free bytes of the file system that holds this path.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let output = Command::new("df").arg("-Pk").arg(path).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let kilobytes: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The process that holds a lock on this file.
pub(crate) fn lock_holder(path: &Path) -> Option<u32> {
    let inode = fs::metadata(path).ok()?.ino();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        // 1: POSIX  ADVISORY  WRITE 1234 08:01:5678 0 EOF
        let fields: Vec<&str> = line.split_whitespace().collect();
        let held = fields.get(5)?.rsplit(':').next()?.parse::<u64>().ok()?;
        (held == inode).then(|| fields.get(4)?.parse().ok()).flatten()
    })
}

/// Protocols of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Udp,
    Tcp,
}

/// Processes that hold a port here, as far as this user may see them; `None`: nobody holds it.
pub(crate) fn port_holders(protocol: Protocol, port: u16) -> Option<Vec<u32>> {
    let (tables, listening) = match protocol {
        Protocol::Udp => (["/proc/net/udp", "/proc/net/udp6"], "07"),
        Protocol::Tcp => (["/proc/net/tcp", "/proc/net/tcp6"], "0A"),
    };
    let sockets: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|text| sockets_on(&text, port, listening))
        .collect();
    if sockets.is_empty() { None } else { Some(processes_with(&sockets)) }
}

/// Whether a process runs this program.
pub(crate) fn is_this_program(pid: u32) -> bool {
    let name = |path: std::path::PathBuf| path.file_name().map(std::ffi::OsStr::to_owned);
    let other = fs::read_link(format!("/proc/{pid}/exe")).ok().and_then(name);
    other.is_some() && other == std::env::current_exe().ok().and_then(name)
}

/// Inodes of the sockets of a kernel table that listen on `port`.
fn sockets_on(table: &str, port: u16, listening: &str) -> Vec<String> {
    let suffix = format!(":{port:04X}");
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|fields| {
            fields.get(1).is_some_and(|local| local.ends_with(&suffix))
                && fields.get(3) == Some(&listening)
        })
        .filter_map(|fields| fields.get(9).map(|inode| format!("socket:[{inode}]")))
        .collect()
}

fn processes_with(sockets: &[String]) -> Vec<u32> {
    let holds = |pid: u32| {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        files.flatten().any(|file| {
            fs::read_link(file.path())
                .is_ok_and(|target| sockets.iter().any(|socket| target == Path::new(socket)))
        })
    };
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter(|pid| holds(*pid))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_seen_with_its_holder() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(port_holders(Protocol::Tcp, port), Some(vec![std::process::id()]));
        assert!(is_this_program(std::process::id()) && !is_this_program(1));
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(port_holders(Protocol::Udp, port), Some(vec![std::process::id()]));
    }

    #[test]
    fn limits_and_space_are_readable() {
        assert!(open_files_limit().unwrap() > 0);
        assert!(free_bytes(Path::new("/")).is_some());
        assert_eq!(kernel_number("no.such.setting"), None);
    }
}
