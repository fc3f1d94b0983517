//! Tests of what peers are told and of what they are measured at. None of them has to be installed.

use std::fs;
use std::net::SocketAddr;

use super::*;

const WORKS: [Work; 7] = [
    Work::Count,
    Work::Deliver,
    Work::Acknowledge(Store::Memory),
    Work::Acknowledge(Store::Os),
    Work::Acknowledge(Store::Fsync),
    Work::Visit(Store::Memory),
    Work::Visit(Store::Fsync),
];

fn place(work: Work) -> Place<'static> {
    Place {
        work,
        home: Path::new("/home"),
        address: SocketAddr::from(([127, 0, 0, 1], 4433)),
        spare: SocketAddr::from(([127, 0, 0, 1], 4434)),
        certificate: Path::new("/keys/node.pem"),
        private_key: Path::new("/keys/node.key"),
        config: Path::new("/home/peer.conf"),
    }
}

#[test]
fn the_installer_knows_every_peer() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/peers/install.sh");
    let script = fs::read_to_string(script).unwrap();
    let all = script.lines().find_map(|line| line.strip_prefix("readonly all=(")).unwrap();
    let mut packages: Vec<_> = PEERS.iter().map(|peer| peer.package).collect();
    // One that is measured in two ways is installed once.
    packages.dedup();
    assert_eq!(all.trim_end_matches(')').split(' ').collect::<Vec<_>>(), packages);
}

#[test]
fn every_peer_listens_where_it_is_told_with_the_certificate_of_all() {
    for peer in PEERS {
        let (arguments, config) = (peer.configure)(&place(Work::Deliver));
        let told = format!("{arguments:?} {config}");
        for what in ["127.0.0.1", "4433", "/keys/node.pem", "/keys/node.key"] {
            assert!(told.contains(what), "{} is not told {what}: {told}", peer.name);
        }
        assert_eq!(told.contains("/home/peer.conf"), !config.is_empty(), "{}", peer.name);
    }
}

#[test]
fn configurations_are_what_their_endings_say() {
    let of = |name| PEERS.iter().find(|peer| peer.package == name).unwrap();
    let (_, sockudo) = (of("sockudo").configure)(&place(Work::Deliver));
    let sockudo: serde_json::Value = serde_json::from_str(&sockudo).unwrap();
    let app = &sockudo["app_manager"]["array"]["apps"][0];
    assert_eq!(app["policy"]["features"]["enable_client_messages"], true);
    let (_, rumqttd) = (of("rumqttd").configure)(&place(Work::Deliver));
    let rumqttd: toml::Table = rumqttd.parse().unwrap();
    assert_eq!(rumqttd["ws"]["1"]["listen"].as_str(), Some("127.0.0.1:4433"));
}

/// Whoever syncs nothing must not be measured as if it did.
#[test]
fn only_who_stores_is_measured_at_storing() {
    let done = |peer: &Peer| WORKS.map(|work| peer.does(work));
    for peer in PEERS {
        let expected = match peer.package {
            "nats" => [true; 7],
            "sockudo" => [true, true, false, false, false, false, false],
            "moq" => [true, false, false, false, false, false, false],
            _ => [true, true, true, false, false, true, false],
        };
        assert_eq!(done(peer), expected, "{}", peer.name);
    }
    let synced =
        WORKS.map(|work| config::nats(&place(work)).1.contains("sync_interval: \"always\""));
    assert_eq!(synced, [false, false, false, false, true, false, true]);
    let stored = WORKS.map(|work| config::nats(&place(work)).1.contains("/home/jetstream"));
    assert_eq!(stored, [false, false, true, true, true, true, true]);
    let kept = WORKS.map(|work| {
        config::centrifuge(&place(work)).0.iter().any(|it| it.starts_with("-history="))
    });
    assert_eq!(kept, [false, false, false, false, false, true, true]);
}

#[test]
fn programs_are_looked_for_where_the_installer_puts_them() {
    let with = |set: &'static [(&str, &str)]| {
        directory(move |name| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    };
    let all = &[("STERNA_BENCH_PEERS", "/p"), ("XDG_CACHE_HOME", "/c"), ("HOME", "/h")];
    assert_eq!(with(all), Some("/p".into()));
    assert_eq!(with(&all[1..]), Some("/c/sterna/peers".into()));
    assert_eq!(with(&all[2..]), Some("/h/.cache/sterna/peers".into()));
    assert_eq!(with(&[]), None);
}
