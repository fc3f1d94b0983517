//! A network of a test's own: hosts in kernel network namespaces, and a router between them that can
//! be told to lose what goes from one host to another, one way or both. Nothing is refused and
//! nobody is told, as behind a cable that is cut. Made with `ip` of iproute2 as root, and removed when
//! dropped; what a killed process left is removed by the next one.
//!
//! ```text
//!   this process            host 2              host 3
//!   198.19.N.1            198.19.N.2          198.19.N.3
//!        └───── veth ──── router 198.19.N.254 ──── veth
//! ```
//!
//! A database, a Redis or a node is a host each: whatever takes a launcher and an address can be cut
//! off from any other.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Debug)]
pub struct Network {
    /// Of the router's namespace, and the beginning of the names of all others.
    name: String,
    third_octet: u8,
    hosts: u8,
    cuts: Mutex<Vec<(IpAddr, IpAddr)>>,
}

/// One machine.
#[derive(Debug, Clone)]
pub struct Host {
    namespace: String,
    pub address: Ipv4Addr,
}

impl Host {
    /// What a program is put behind to run there.
    pub fn launcher(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.namespace].map(str::to_owned).to_vec()
    }
}

impl Network {
    /// A network with this process as its first host. The error is why this machine lets nobody make
    /// one.
    pub fn make() -> Result<Self, String> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        remove_leftovers();
        let pid = std::process::id();
        let name = format!("{PREFIX}{pid}n{}", MADE.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name])?;
        let mut network = Self { name, third_octet: 0, hosts: 1, cuts: Mutex::default() };
        let name = &network.name;
        inside(name, &["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
        // Named like the namespace, so that whoever removes one finds the other.
        ip(&["link", "add", name, "type", "veth", "peer", "name", "p1", "netns", name])?;
        ip(&["link", "set", name, "up"])?;
        network.third_octet = network.claim_subnet(pid)?;
        ip(&["address", "add", &network.ipv4(1).to_string(), "dev", &network.name])?;
        network.connect(1)?;
        Ok(network)
    }

    /// This process, as others see it.
    pub fn outside(&self) -> Ipv4Addr {
        self.ipv4(1)
    }

    /// Another machine. Every machine reaches every other.
    pub fn add_host(&mut self) -> Host {
        self.hosts += 1;
        assert!(self.hosts < ROUTER, "a network has at most {ROUTER} hosts");
        let namespace = format!("{}h{}", self.name, self.hosts);
        let host = Host { namespace, address: self.ipv4(self.hosts) };
        self.furnish(&host).unwrap_or_else(|error| panic!("{error}"));
        host
    }

    /// From now on nothing gets from one address to the other; the way back is left alone.
    pub fn cut(&self, from: impl Into<IpAddr>, to: impl Into<IpAddr>) {
        let cut = (from.into(), to.into());
        self.rule("add", cut);
        self.cuts().push(cut);
    }

    /// Ends all cuts.
    pub fn mend(&self) {
        for cut in std::mem::take(&mut *self.cuts()) {
            self.rule("delete", cut);
        }
    }

    /// Makes everything of a host: its namespace, its end of the wire, and its routes.
    fn furnish(&self, host: &Host) -> Result<(), String> {
        let (space, wire) = (host.namespace.as_str(), format!("p{}", self.hosts));
        ip(&["netns", "add", space])?;
        let at = |arguments: &[&str]| ip(&[&["-n", space], arguments].concat());
        at(&["link", "set", "lo", "up"])?;
        at(&["link", "add", "wire", "type", "veth", "peer", "name", &wire, "netns", &self.name])?;
        at(&["address", "add", &host.address.to_string(), "dev", "wire"])?;
        at(&["link", "set", "wire", "up"])?;
        let router = self.ipv4(ROUTER).to_string();
        at(&["route", "add", &self.subnet(), "via", &router, "dev", "wire", "onlink"])?;
        self.connect(self.hosts)
    }

    /// The router's end of a wire.
    fn connect(&self, host: u8) -> Result<(), String> {
        let (wire, address) = (format!("p{host}"), self.ipv4(host).to_string());
        let at = |arguments: &[&str]| ip(&[&["-n", self.name.as_str()], arguments].concat());
        at(&["address", "add", &self.ipv4(ROUTER).to_string(), "dev", &wire])?;
        at(&["link", "set", &wire, "up"])?;
        at(&["route", "add", &address, "dev", &wire])
    }

    /// A subnet of 198.19.0.0/16, set aside for tests of networks (RFC 2544), that nobody on this
    /// machine has: the kernel takes a route only once.
    fn claim_subnet(&self, pid: u32) -> Result<u8, String> {
        let mut refused = String::new();
        for octet in (0..=255_u8).map(|n| n.wrapping_add(pid as u8)) {
            let (subnet, router) = (subnet(octet), ipv4(octet, ROUTER).to_string());
            let route = ["route", "add", &subnet, "via", &router, "dev", &self.name, "onlink"];
            match ip(&route) {
                Ok(()) => return Ok(octet),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn rule(&self, what: &str, (from, to): (IpAddr, IpAddr)) {
        let (from, to) = (from.to_string(), to.to_string());
        let rule = ["-n", &self.name, "rule", what, "from", &from, "to", &to, "blackhole"];
        ip(&rule).unwrap_or_else(|error| panic!("{error}"));
    }

    fn cuts(&self) -> MutexGuard<'_, Vec<(IpAddr, IpAddr)>> {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ipv4(&self, host: u8) -> Ipv4Addr {
        ipv4(self.third_octet, host)
    }

    fn subnet(&self) -> String {
        subnet(self.third_octet)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(&self.name, self.hosts);
    }
}

fn ipv4(third_octet: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 19, third_octet, host)
}

fn subnet(third_octet: u8) -> String {
    format!("198.19.{third_octet}.0/24")
}

/// Namespaces of processes that are gone. They take their ends of wires, and so whole wires, along.
fn remove_leftovers() {
    let Ok(spaces) = std::fs::read_dir("/run/netns") else { return };
    let names = spaces.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    for name in names {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let pid = rest.split('n').next().unwrap_or_default();
        if !pid.is_empty() && !Path::new("/proc").join(pid).exists() {
            // Another process may be doing the same.
            let _ = ip(&["netns", "delete", &name]);
        }
    }
}

fn remove(name: &str, hosts: u8) {
    // What was never made cannot be removed.
    let _ = ip(&["link", "delete", name]);
    for host in 2..=hosts {
        let _ = ip(&["netns", "delete", &format!("{name}h{host}")]);
    }
    let _ = ip(&["netns", "delete", name]);
}

fn inside(namespace: &str, command: &[&str]) -> Result<(), String> {
    ip(&[&["netns", "exec", namespace], command].concat())
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let told = format!("ip {}", arguments.join(" "));
    let output = output.map_err(|error| format!("{told}: {error}; install iproute2"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{told}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// Of all names, which the kernel allows 15 octets of.
const PREFIX: &str = "stn";
/// The router's address on every wire.
const ROUTER: u8 = 254;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    /// An answering machine on a host: what reaches it comes back.
    const ECHO: &str = "import socket, sys\n\
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
        s.bind((sys.argv[1], 7))\n\
        print('ready', flush=True)\n\
        while True:\n    data, peer = s.recvfrom(64)\n    print(data.decode(), flush=True)\n    s.sendto(data, peer)";

    fn answers(socket: &UdpSocket, host: &Host) -> bool {
        let mut buffer = [0; 64];
        (0..10).any(|_| {
            let sent = socket.send_to(b"are you there", (host.address, 7)).is_ok();
            sent && socket.recv_from(&mut buffer).is_ok()
        })
    }

    #[test]
    fn a_cut_loses_one_way_and_is_mended() {
        use std::io::{BufRead as _, BufReader};
        let mut network = match Network::make() {
            Ok(network) => network,
            Err(reason) => return println!("no network namespaces here: {reason}"),
        };
        let host = network.add_host();
        let launcher = host.launcher();
        let mut echo = Command::new(&launcher[0]);
        echo.args(&launcher[1..]).args(["python3", "-c", ECHO, &host.address.to_string()]);
        let mut echo = echo.stdout(Stdio::piped()).spawn().unwrap();
        let mut heard = BufReader::new(echo.stdout.take().unwrap()).lines();
        assert_eq!(heard.next().unwrap().unwrap(), "ready");
        let socket = UdpSocket::bind((network.outside(), 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(answers(&socket, &host));
        network.cut(host.address, network.outside());
        assert!(!answers(&socket, &host), "the answers are lost");
        // The first was answered before the cut; the questions still arrive.
        let arrived = heard.by_ref().take(3).map_while(Result::ok).count();
        assert_eq!(arrived, 3);
        network.mend();
        assert!(answers(&socket, &host));
        network.cut(network.outside(), host.address);
        assert!(!answers(&socket, &host), "the questions are lost");
        let name = network.name.clone();
        echo.kill().unwrap();
        echo.wait().unwrap();
        drop(network);
        assert!(!Path::new("/run/netns").join(name).exists());
    }
}
