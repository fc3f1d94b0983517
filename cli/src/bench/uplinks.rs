//! A network of its own for the clients of a bench, with two uplinks to this machine, of which one
//! is in use: a kernel network namespace and two veth pairs. Made and changed with `ip`, as root;
//! everything is removed when the value is dropped.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// How long a link may take to come up. A few milliseconds are usual.
const CARRIER: Duration = Duration::from_secs(5);
const CARRIER_POLL: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct Uplinks {
    /// Of the network, and the beginning of the names of its links' ends on this side.
    name: String,
    third_octet: u8,
    in_use: u8,
}

impl Uplinks {
    pub(super) async fn make() -> Result<Self> {
        let pid = std::process::id();
        // 198.18.0.0/15 is set aside for benchmarks (RFC 2544).
        let third_octet = (pid % 256) as u8;
        let uplinks = Self { name: format!("sterna{pid}"), third_octet, in_use: 0 };
        let name = &uplinks.name;
        ip(&[], &[format!("netns add {name}")]).await.context(
            "cannot make a network for the clients; --netns needs root, and `ip` of iproute2",
        )?;
        let mut outside = Vec::new();
        for link in [0, 1] {
            let (near, gateway) = (uplinks.near(link), uplinks.gateway(link));
            let (far, outer, inner) = (far(link), mac(0, link), mac(1, link));
            outside.push(format!(
                "link add {near} address {outer} type veth peer name {far} address {inner} \
                 netns {name}"
            ));
            outside.push(format!("address add {gateway}/30 dev {near}"));
            outside.push(format!("link set dev {near} up"));
            let neighbour = uplinks.ipv4(2 + 4 * link);
            outside.push(format!("neighbour add {neighbour} lladdr {inner} dev {near}"));
        }
        outside.push(format!("address add {}/32 dev {}", uplinks.address(), uplinks.near(0)));
        ip(&[], &outside).await?;
        ip(&["-n", name], &["link set dev lo up".to_owned()]).await?;
        uplinks.raise(0).await?;
        Ok(uplinks)
    }

    /// Where clients inside reach this machine, whichever uplink is in use.
    pub(super) fn address(&self) -> Ipv4Addr {
        self.ipv4(9)
    }

    /// What runs a program inside.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]);
        command
    }

    /// The other uplink comes, and then the one in use goes.
    pub(super) async fn switch(&mut self) -> Result<()> {
        let old = self.in_use;
        self.in_use = 1 - old;
        self.raise(self.in_use).await?;
        self.lower(old).await
    }

    /// The uplink in use goes, and the other one comes only later.
    pub(super) async fn switch_after(&mut self, darkness: Duration) -> Result<()> {
        self.lower(self.in_use).await?;
        tokio::time::sleep(darkness).await;
        self.in_use = 1 - self.in_use;
        self.raise(self.in_use).await
    }

    async fn raise(&self, link: u8) -> Result<()> {
        let far = far(link);
        let lines = [
            format!("address add {}/30 dev {far}", self.ipv4(2 + 4 * link)),
            format!("link set dev {far} up"),
        ];
        ip(&["-n", &self.name], &lines).await?;
        self.wait_for_carrier(far).await?;
        let (gateway, outer) = (self.gateway(link), mac(0, link));
        let lines = [
            format!("neighbour replace {gateway} lladdr {outer} dev {far}"),
            format!("route replace default via {gateway} dev {far}"),
        ];
        ip(&["-n", &self.name], &lines).await
    }

    /// What is sent before the kernel has noticed that a link is there is lost.
    async fn wait_for_carrier(&self, far: &str) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < CARRIER {
            let mut command = Command::new("ip");
            command.args(["-n", &self.name, "-brief", "link", "show", "dev", far, "up"]);
            let output = command.kill_on_drop(true).output().await.context("cannot run `ip`")?;
            if String::from_utf8_lossy(&output.stdout).split_whitespace().nth(1) == Some("UP") {
                return Ok(());
            }
            tokio::time::sleep(CARRIER_POLL).await;
        }
        bail!("a link of the clients' network does not come up")
    }

    async fn lower(&self, link: u8) -> Result<()> {
        let far = far(link);
        let lines = [format!("link set dev {far} down"), format!("address flush dev {far}")];
        ip(&["-n", &self.name], &lines).await
    }

    fn near(&self, link: u8) -> String {
        format!("{}{}", self.name, far(link))
    }

    fn gateway(&self, link: u8) -> Ipv4Addr {
        self.ipv4(1 + 4 * link)
    }

    fn ipv4(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.third_octet, last)
    }
}

impl Drop for Uplinks {
    fn drop(&mut self) {
        let (first, second) = (self.near(0), self.near(1));
        for arguments in [
            ["link", "delete", &first],
            ["link", "delete", &second],
            ["netns", "delete", &self.name],
        ] {
            // What was never made cannot be removed.
            let _ = std::process::Command::new("ip")
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// The end of an uplink inside.
fn far(link: u8) -> &'static str {
    if link == 0 { "a" } else { "b" }
}

/// Known beforehand, so that nobody has to ask for it: a question that is lost costs a second.
fn mac(side: u8, link: u8) -> String {
    format!("02:00:00:00:{side:02x}:{link:02x}")
}

/// Several commands of `ip` at once; the first that fails ends it.
async fn ip(options: &[&str], lines: &[String]) -> Result<()> {
    let mut child = Command::new("ip")
        .args(options)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run `ip`")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all((lines.join("\n") + "\n").as_bytes()).await.context("cannot tell `ip`")?;
    }
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        bail!("`ip` refused: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
