//! What a node with this configuration would meet on this machine right now: everything that
//! `sterna check` must not touch. Binds and lets go, writes and removes, asks and forgets.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use sterna_edge::auth::AuthConfig;
use sterna_edge::auth::jwks;

use super::{
    Finding, OPEN_FILES, Protocol, Verdict, clock, connect, database, disk, held, kernel, links,
    machine, redis, scylla, tls,
};
use crate::config::{Config, StoreConfig};
use crate::raw_config::{RawConfig, environment};

/// Open files that a node needs beside one for each connection.
const OWN_FILES: u64 = 512;

pub(super) fn examine(file: &Path, overrides: &[String]) -> Vec<Finding> {
    let raw = RawConfig::gather(file, environment(), overrides);
    match Config::from_raw(raw) {
        Ok(config) => {
            let mut findings = vec![Finding::ok("configuration", file.display().to_string())];
            findings.extend(live(&config));
            findings
        }
        Err(complaints) => complaints
            .iter()
            .map(|complaint| {
                Finding::bad(
                    "configuration",
                    Verdict::Broken,
                    complaint.to_string(),
                    "a node refuses to start with it",
                    "correct it; `sterna check` says when nothing is left",
                )
            })
            .collect(),
    }
}

fn live(config: &Config) -> Vec<Finding> {
    let mut findings = vec![writable("data directory", &config.data_dir)];
    let mut node = running(config);
    if let Some(StoreConfig::Rocks { directory, .. }) = &config.store {
        let holding = machine::lock_holder(&directory.join("LOCK"));
        findings.push(writable("store", directory));
        findings.push(disk(existing(directory)));
        findings.push(holder(holding));
        node = node.or(holding);
    }
    findings.extend([
        open_files(config),
        clock(),
        token_keys(&config.auth),
        place("HTTP address", Protocol::Tcp, config.http.address, node),
    ]);
    let mut cores = 1;
    if let Some(cluster) = &config.cluster {
        let seen = links::examine(cluster, config.core.node.as_str());
        cores = seen.cores;
        findings.extend(seen.findings);
        let address = cluster.links.address;
        findings.push(place("link address", Protocol::Udp, address, node));
        findings.extend(cluster.redis.iter().flat_map(redis::examine));
    }
    if let Some(StoreConfig::Sql(stores)) = &config.store {
        findings.extend(database::examine(&stores.sql, cores));
        findings.extend(stores.scylla.iter().flat_map(scylla::examine));
    }
    if let Some(clients) = &config.clients {
        findings.extend(kernel::examine());
        findings.extend(tls::examine(&clients.tls.certificate_chain, &clients.advertise));
        findings.extend([
            place("client address (UDP)", Protocol::Udp, clients.address, node),
            place("client address (TCP)", Protocol::Tcp, clients.address, node),
        ]);
    }
    findings
}

/// The node of this configuration, if it runs: what it holds is no problem.
fn running(config: &Config) -> Option<u32> {
    let holders = machine::port_holders(Protocol::Tcp, config.http.address.port())?;
    holders.into_iter().find(|pid| machine::is_this_program(*pid))
}

/// The directory itself, or the nearest one above it, in which it would be made.
fn existing(directory: &Path) -> &Path {
    directory.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("."))
}

fn writable(check: &'static str, directory: &Path) -> Finding {
    let unusable = |what: String| {
        Finding::bad(
            check,
            Verdict::Broken,
            what,
            "the node keeps its secret and its publications there",
            "make it, and give it to the user that the node runs as",
        )
    };
    if let Some(file) = directory.ancestors().find(|above| above.exists())
        && !file.is_dir()
    {
        return unusable(format!("{} is not a directory", file.display()));
    }
    let place = existing(directory);
    let probe = place.join(format!(".doctor-{}", std::process::id()));
    match std::fs::write(&probe, "").and_then(|()| std::fs::remove_file(&probe)) {
        Err(error) => unusable(format!("{} is not writable: {error}", place.display())),
        Ok(()) if place == directory => {
            Finding::ok(check, format!("{} is writable", place.display()))
        }
        Ok(()) => Finding::ok(check, format!("will be made in {}", place.display())),
    }
}

fn holder(node: Option<u32>) -> Finding {
    match node {
        Some(pid) => Finding::ok("store lock", format!("in use by process {pid}")),
        None => Finding::ok("store lock", "not in use"),
    }
}

fn open_files(config: &Config) -> Finding {
    let check = "open files";
    let clients = config.clients.as_ref().map_or(0, |clients| clients.limits.connections);
    let wanted = (clients + config.http.connections) as u64 + OWN_FILES;
    match machine::open_files_limit() {
        Some(limit) if limit < wanted => Finding::bad(
            check,
            Verdict::Warning,
            format!("the limit is {limit}, the configuration can need {wanted}"),
            "when none is left, nobody new gets in",
            format!(
                "LimitNOFILE={} in the unit, or smaller `client.connections`",
                wanted.max(OPEN_FILES)
            ),
        ),
        Some(limit) => Finding::ok(check, format!("the limit is {limit}")),
        None => Finding::ok(check, "no limit"),
    }
}

/// Configured keys have been read with the configuration; those of others have to be asked for.
fn token_keys(auth: &AuthConfig) -> Finding {
    let check = "token keys";
    let configured = auth.keys.len();
    let Some(published) = &auth.jwks else {
        return Finding::ok(check, format!("{configured} configured"));
    };
    let asked = connect::block_on(async { Ok(jwks::probe(published).await?) });
    match asked {
        Ok(count) => Finding::ok(check, format!("{configured} configured, {count} published")),
        Err(error) => Finding::bad(
            check,
            Verdict::Broken,
            format!("the JWKS: {error:#}"),
            "tokens that are signed with published keys are refused",
            "correct `auth.jwks`, or open the way there",
        ),
    }
}

fn place(
    check: &'static str,
    protocol: Protocol,
    address: SocketAddr,
    node: Option<u32>,
) -> Finding {
    let bound = match protocol {
        Protocol::Udp => UdpSocket::bind(address).map(drop),
        Protocol::Tcp => TcpListener::bind(address).map(drop),
    };
    let change = "end that process, or configure another address";
    match bound {
        Ok(()) => Finding::ok(check, format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            held(check, protocol, address.port(), node, change)
                .unwrap_or_else(|| Finding::ok(check, format!("{address} was free a moment later")))
        }
        Err(error) => Finding::bad(
            check,
            Verdict::Broken,
            format!("{address}: {error}"),
            "the node cannot listen there",
            "configure an address of this machine and a port that this user may use",
        ),
    }
}
