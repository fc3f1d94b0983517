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
//! off from any other. A phone is a host with two uplinks, of which it uses one.

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

/// One machine with two uplinks, each with an address of its own; one is in use.
#[derive(Debug)]
pub struct Phone {
    host: Host,
    uplinks: [Uplink; 2],
    in_use: usize,
}

#[derive(Debug)]
struct Uplink {
    wire: String,
    address: Ipv4Addr,
}

impl Phone {
    /// The same command, run there.
    pub fn run(&self, command: &tokio::process::Command) -> tokio::process::Command {
        let (launcher, command) = (self.host.launcher(), command.as_std());
        let mut there = tokio::process::Command::new(&launcher[0]);
        there.args(&launcher[1..]).arg(command.get_program()).args(command.get_args());
        there.kill_on_drop(true);
        there
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

    /// A machine that changes its uplinks.
    pub fn add_phone(&mut self) -> Phone {
        let host = self.add_host();
        self.hosts += 1;
        assert!(self.hosts < ROUTER, "a network has at most {ROUTER} hosts");
        let first = Uplink { wire: WIRE.to_owned(), address: host.address };
        let second = Uplink { wire: format!("{WIRE}2"), address: self.ipv4(self.hosts) };
        let made = self.lay_wire(&host.namespace, &second.wire, second.address);
        made.and_then(|()| self.connect(self.hosts)).unwrap_or_else(|error| panic!("{error}"));
        Phone { host, uplinks: [first, second], in_use: 0 }
    }

    /// The phone's other uplink comes, and then the one in use goes, with everything that is on its way.
    pub fn switch(&self, phone: &mut Phone) {
        let old = phone.in_use;
        phone.in_use = 1 - old;
        let (new, old) = (&phone.uplinks[phone.in_use], &phone.uplinks[old]);
        let at = |arguments: &[&str]| {
            let done = ip(&[&["-n", phone.host.namespace.as_str()], arguments].concat());
            done.unwrap_or_else(|error| panic!("{error}"));
        };
        at(&["link", "set", &new.wire, "up"]);
        let (subnet, router) = (self.subnet(), self.ipv4(ROUTER).to_string());
        let address = new.address.to_string();
        let way = ["via", &router, "dev", &new.wire, "onlink", "src", &address];
        at(&[&["route", "replace", &subnet][..], &way].concat());
        at(&["link", "set", &old.wire, "down"]);
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
        let space = host.namespace.as_str();
        ip(&["netns", "add", space])?;
        let at = |arguments: &[&str]| ip(&[&["-n", space], arguments].concat());
        at(&["link", "set", "lo", "up"])?;
        self.lay_wire(space, WIRE, host.address)?;
        let router = self.ipv4(ROUTER).to_string();
        at(&["route", "add", &self.subnet(), "via", &router, "dev", WIRE, "onlink"])?;
        self.connect(self.hosts)
    }

    /// From a namespace to the router, for the host that is the newest.
    fn lay_wire(&self, space: &str, wire: &str, address: Ipv4Addr) -> Result<(), String> {
        let at = |arguments: &[&str]| ip(&[&["-n", space], arguments].concat());
        let end = format!("p{}", self.hosts);
        at(&["link", "add", wire, "type", "veth", "peer", "name", &end, "netns", &self.name])?;
        at(&["address", "add", &address.to_string(), "dev", wire])?;
        at(&["link", "set", wire, "up"])
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
/// A host's end of its first uplink.
const WIRE: &str = "wire";
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

    /// Whoever is asked says from where.
    const ASK: &str = "import socket, sys\n\
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
        s.settimeout(0.2)\n\
        for _ in range(50):\n    s.sendto(b'where am I', (sys.argv[1], int(sys.argv[2])))\n    \
        try: print(s.recv(64).decode()); break\n    except TimeoutError: pass";

    #[test]
    fn a_phone_comes_from_another_address_after_a_switch() {
        let mut network = match Network::make() {
            Ok(network) => network,
            Err(reason) => return println!("no network namespaces here: {reason}"),
        };
        let mut phone = network.add_phone();
        let socket = UdpSocket::bind((network.outside(), 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let answering = std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((len, peer)) = socket.recv_from(&mut buffer) {
                if &buffer[..len] == b"enough" {
                    return;
                }
                let _ = socket.send_to(peer.ip().to_string().as_bytes(), peer);
            }
        });
        let seen_as = |phone: &Phone| {
            let mut ask = tokio::process::Command::new("python3");
            ask.args(["-c", ASK, &network.outside().to_string(), &port.to_string()]);
            let output = phone.run(&ask).into_std().output().unwrap();
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        for _ in 0..3 {
            assert_eq!(seen_as(&phone), phone.uplinks[phone.in_use].address.to_string());
            network.switch(&mut phone);
        }
        let own = UdpSocket::bind((network.outside(), 0)).unwrap();
        own.send_to(b"enough", (network.outside(), port)).unwrap();
        answering.join().unwrap();
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
