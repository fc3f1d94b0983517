//! `sterna doctor`: looks at the machine, the directory and the node, and says what is wrong, why
//! that matters and what to do. Exit code 0: nothing is broken; 1: something is.

mod configured;
mod database;
mod kernel;
mod links;
mod redis;
mod scylla;
mod tls;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::Serialize;

use super::connect;
use super::machine::{self, Protocol};
use crate::args::{ConnectArgs, DoctorArgs, TransportArg};
use crate::dev::DevNode;
use crate::keys::{self, DevKeys};
use crate::output;

/// Enough to store for a while, in bytes.
const FREE_BYTES: u64 = 1 << 30;

/// Connections, store and some room.
const OPEN_FILES: u64 = 65_536;

/// What bursts of many clients on few sockets need.
const UDP_BUFFER: u64 = 7_500_000;

/// A certificate with less time left is about to be a problem.
const CERTIFICATE: Duration = Duration::from_secs(14 * 86_400);

/// The same for that of a dev node, which lives for two weeks and is renewed at every start.
const DEV_CERTIFICATE: Duration = Duration::from_secs(2 * 86_400);

/// 2026-01-01: no clock that is right shows an earlier time.
const EARLIEST_NOW_S: u64 = 1_767_225_600;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Broken,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, what: what.into(), why: None, fix: None }
    }

    fn bad(
        check: &'static str,
        verdict: Verdict,
        what: impl Into<String>,
        why: &'static str,
        fix: impl Into<String>,
    ) -> Self {
        Self { check, verdict, what: what.into(), why: Some(why), fix: Some(fix.into()) }
    }
}

pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let findings = match &args.config {
        Some(file) => configured::examine(file, &args.overrides),
        None => examine(&args.connect),
    };
    let broken = findings.iter().any(|finding| finding.verdict == Verdict::Broken);
    if args.json {
        let report = serde_json::json!({ "healthy": !broken, "findings": findings });
        output::line(&report.to_string())?;
    } else {
        findings.iter().flat_map(human).try_for_each(|line| output::line(&line))?;
    }
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn human(finding: &Finding) -> Vec<String> {
    let mark = match finding.verdict {
        Verdict::Ok => "ok     ",
        Verdict::Warning => "warning",
        Verdict::Broken => "BROKEN ",
    };
    let mut lines = vec![format!("{mark}  {}: {}", finding.check, finding.what)];
    lines.extend(finding.why.map(|why| format!("         why: {why}")));
    lines.extend(finding.fix.as_ref().map(|fix| format!("         fix: {fix}")));
    lines
}

fn examine(args: &ConnectArgs) -> Vec<Finding> {
    let node = DevNode::find(&args.data_dir).ok();
    let mut findings = vec![
        data_directory(&args.data_dir),
        lock(&args.data_dir),
        disk(&args.data_dir),
        open_files(),
        clock(),
        certificate(&args.data_dir),
    ];
    findings.extend(kernel::examine());
    if args.server.is_none() {
        let (client, http) =
            node.as_ref().map_or((4443, 4480), |node| (node.client.port(), node.http.port()));
        let pid = node.as_ref().map(|node| node.pid);
        findings.push(port("client port (UDP)", Protocol::Udp, client, pid));
        findings.push(port("client port (TCP)", Protocol::Tcp, client, pid));
        findings.push(port("HTTP port", Protocol::Tcp, http, pid));
    }
    findings.push(reachable("node over QUIC", args, TransportArg::Quic));
    findings.push(reachable("node over wss", args, TransportArg::Wss));
    findings
}

fn data_directory(data_dir: &Path) -> Finding {
    let check = "data directory";
    if !data_dir.exists() {
        let what = format!("{} does not exist", data_dir.display());
        let why = "keys and the store live there";
        return Finding::bad(
            check,
            Verdict::Warning,
            what,
            why,
            "run `sterna dev`, which makes it",
        );
    }
    let probe = data_dir.join(format!(".doctor-{}", std::process::id()));
    match std::fs::write(&probe, "").and_then(|()| std::fs::remove_file(&probe)) {
        Ok(()) => Finding::ok(check, format!("{} is writable", data_dir.display())),
        Err(error) => Finding::bad(
            check,
            Verdict::Broken,
            format!("{} is not writable: {error}", data_dir.display()),
            "the node cannot store anything",
            format!("run as its owner, or `chown` {}", data_dir.display()),
        ),
    }
}

fn lock(data_dir: &Path) -> Finding {
    let check = "store";
    match machine::lock_holder(&data_dir.join("store").join("LOCK")) {
        Some(pid) => Finding::ok(check, format!("in use by process {pid}")),
        None => Finding::ok(check, "not in use"),
    }
}

fn disk(data_dir: &Path) -> Finding {
    let check = "disk space";
    let place = if data_dir.exists() { data_dir } else { Path::new(".") };
    match machine::free_bytes(place) {
        Some(free) if free < FREE_BYTES => Finding::bad(
            check,
            Verdict::Warning,
            format!("{} MiB are free", free >> 20),
            "a full disk ends the node: nothing that cannot be stored is acknowledged",
            "make room, or move the directory with --data-dir",
        ),
        Some(free) => Finding::ok(check, format!("{} MiB are free", free >> 20)),
        None => Finding::ok(check, "cannot be told here"),
    }
}

fn open_files() -> Finding {
    let check = "open files";
    match machine::open_files_limit() {
        Some(limit) if limit < OPEN_FILES => Finding::bad(
            check,
            Verdict::Warning,
            format!("the limit is {limit}"),
            "each WebSocket needs one, and the store some hundred",
            format!("`ulimit -n {OPEN_FILES}`, or LimitNOFILE={OPEN_FILES} in the unit"),
        ),
        Some(limit) => Finding::ok(check, format!("the limit is {limit}")),
        None => Finding::ok(check, "no limit"),
    }
}

fn clock() -> Finding {
    let check = "clock";
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if now_s >= EARLIEST_NOW_S {
        return Finding::ok(check, "plausible");
    }
    Finding::bad(
        check,
        Verdict::Broken,
        "shows a time before 2026",
        "certificates and access tokens are judged by it",
        "let NTP set it",
    )
}

fn certificate(data_dir: &Path) -> Finding {
    let check = "certificate";
    let chain = DevKeys::locate(data_dir).tls.certificate_chain;
    if !chain.exists() {
        return Finding::ok(check, "none yet; `sterna dev` makes one");
    }
    let why = "clients refuse a certificate that is not valid";
    match keys::time_left(&chain) {
        Ok(left) if left < DEV_CERTIFICATE => Finding::bad(
            check,
            Verdict::Warning,
            format!("valid for {} more days", left.as_secs() / 86_400),
            why,
            "start `sterna dev` again, which renews it",
        ),
        Ok(left) => Finding::ok(check, format!("valid for {} more days", left.as_secs() / 86_400)),
        Err(text) => Finding::bad(
            check,
            Verdict::Broken,
            text,
            why,
            "start `sterna dev` again, which renews it",
        ),
    }
}

fn port(check: &'static str, protocol: Protocol, port: u16, node: Option<u32>) -> Finding {
    let change = "end that process, or choose another port (--client-port, --http-port)";
    held(check, protocol, port, node, change)
        .unwrap_or_else(|| Finding::ok(check, format!("{port} is free")))
}

/// Who holds a port; `None`: nobody.
fn held(
    check: &'static str,
    protocol: Protocol,
    port: u16,
    node: Option<u32>,
    change: &str,
) -> Option<Finding> {
    let holders = machine::port_holders(protocol, port)?;
    if node.is_some_and(|pid| holders.contains(&pid)) {
        return Some(Finding::ok(check, format!("{port} is held by the node")));
    }
    let whom = match holders.as_slice() {
        [] => "a process of another user".to_owned(),
        pids => {
            format!("process {}", pids.iter().map(u32::to_string).collect::<Vec<_>>().join(", "))
        }
    };
    Some(Finding::bad(
        check,
        Verdict::Warning,
        format!("{port} is held by {whom}"),
        "a node cannot listen where somebody else does",
        change,
    ))
}

fn reachable(check: &'static str, args: &ConnectArgs, transport: TransportArg) -> Finding {
    let outcome = connect::block_on(async {
        let client = connect::client(args, transport)?;
        client.connect();
        let ready = client.ready(args.timeout.min(Duration::from_secs(3))).await;
        connect::close(&client).await;
        Ok(ready?)
    });
    match outcome {
        Ok(()) => Finding::ok(check, "reachable"),
        Err(error) => Finding::bad(
            check,
            Verdict::Broken,
            format!("{error:#}"),
            "clients cannot get in this way",
            "start the node, or check address, firewall (UDP and TCP), certificate and token",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_says_why_and_how_to_fix_it() {
        let directory = tempfile::tempdir().unwrap();
        let nowhere = directory.path().join("nowhere");
        for finding in
            [data_directory(directory.path()), data_directory(&nowhere), clock(), disk(&nowhere)]
        {
            let problem = finding.verdict != Verdict::Ok;
            assert_eq!(finding.why.is_some(), problem, "{finding:?}");
            assert_eq!(finding.fix.is_some(), problem, "{finding:?}");
        }
        assert_eq!(data_directory(&nowhere).verdict, Verdict::Warning);
    }

    #[test]
    fn a_foreign_holder_of_a_port_is_a_problem_the_node_itself_is_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.local_addr().unwrap().port();
        let own = port("p", Protocol::Tcp, number, Some(std::process::id()));
        assert_eq!(own.verdict, Verdict::Ok);
        let foreign = port("p", Protocol::Tcp, number, None);
        assert_eq!(foreign.verdict, Verdict::Warning);
        assert!(foreign.what.contains(&std::process::id().to_string()), "{foreign:?}");
    }
}
