//! What an operator hears of settings that spread clients over edges.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use sterna_core::cluster::balance::{AffinityBy, BalanceConfig, Policy};
use sterna_edge::IdFormat;

use super::tests::Place;

fn secret(place: &Place, name: &str, text: &str) -> String {
    let path = place.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

fn ids(place: &Place, overrides: &[&str]) -> Option<IdFormat> {
    place.load(&place.good(), &[], overrides).unwrap().clients.unwrap().connection_ids
}

#[test]
fn connection_ids_are_for_balancers_when_they_have_a_config_id() {
    let place = Place::new();
    let key = secret(&place, "lb.key", "8f95f09245765f80256934e50c66207f\n");
    let key_file = format!("quic_lb.key_file={key}");
    assert_eq!(ids(&place, &[]), None);
    let usual = ids(&place, &["quic_lb.config_id=2", &key_file, "node.number=258"]).unwrap();
    let key = [
        0x8f, 0x95, 0xf0, 0x92, 0x45, 0x76, 0x5f, 0x80, 0x25, 0x69, 0x34, 0xe5, 0x0c, 0x66, 0x20,
        0x7f,
    ];
    assert_eq!(usual, IdFormat { config_id: 2, ..IdFormat::of_node(258, key) });
    // As the load balancers of AWS want them: 16 octets, 8 of them a server id in clear.
    let aws = ids(
        &place,
        &[
            "quic_lb.config_id=0",
            "quic_lb.in_clear=true",
            "quic_lb.server_id=0x00000000000000a7",
            "quic_lb.nonce_octets=7",
        ],
    );
    let aws = aws.unwrap();
    assert_eq!(
        (aws.key, aws.server_id, aws.nonce_octets),
        (None, vec![0, 0, 0, 0, 0, 0, 0, 0xa7], 7)
    );
}

#[test]
fn mistakes_of_balancing_are_named() {
    let place = Place::new();
    let key = secret(&place, "lb.key", "8f95f09245765f80256934e50c66207f");
    let key = format!("quic_lb.key_file={key}");
    let short = format!("quic_lb.key_file={}", secret(&place, "short.key", "8f95"));
    let shared = format!("cluster.secrets={}", secret(&place, "cluster.secret", "not hexadecimal"));
    let cases: &[(&[&str], &str)] = &[
        (&["node.weight=0"], "`node.weight`: 0 is not between 1 and 10000"),
        (&["balance.sessions=random"], "`random` is none of off, weighted_round_robin, least_conn"),
        (&["balance.sessions=affinity"], "has no other edge to send anybody to"),
        (
            &["balance.sessions=affinity", "cluster.address=127.0.0.1:0"],
            "`client.advertise`: name the host:port at which clients reach this edge and no other",
        ),
        (&["balance.affinity=header:"], "is none of token_subject, source_address, header:NAME"),
        (&["balance.affinity=header:a b"], "is none of token_subject, source_address, header:NAME"),
        (
            &["balance.slack_percent=9999"],
            "`balance.slack_percent`: 9999 is not between 0 and 1000",
        ),
        (&[&key], "`quic_lb.key_file`: without `quic_lb.config_id` it has no effect"),
        (&["quic_lb.config_id=7", &key], "`quic_lb.config_id`: 7 is not between 0 and 6"),
        (&["quic_lb.config_id=1"], "`quic_lb.key_file`: name a file with the key of the balancers"),
        (&["quic_lb.config_id=1", &key, "quic_lb.in_clear=true"], "nothing is in clear"),
        (&["quic_lb.config_id=1", &short], "does not hold 16 octets in hexadecimal"),
        (&["quic_lb.config_id=1", &key, "quic_lb.server_id=xy"], "write octets in hexadecimal"),
        (&["quic_lb.config_id=1", &key, "quic_lb.server_id="], "write octets in hexadecimal"),
        (&["quic_lb.config_id=1", &key, "quic_lb.nonce_octets=6"], "6 is not between 7 and 18"),
        (&["quic_lb.config_id=1", &key, "quic_lb.nonce_octets=17"], "no more than 19 fit"),
        (&[&shared], "does not hold 32 octets in hexadecimal"),
        (&["cluster.secrets=nowhere"], "`cluster.secrets`: cannot read nowhere"),
    ];
    for (overrides, wanted) in cases {
        let complaints = place.load(&place.good(), &[], overrides).map(drop).unwrap_err();
        assert!(complaints.iter().any(|it| it.contains(wanted)), "{overrides:?}: {complaints:#?}");
    }
}

/// The example shows the defaults, which no node without a cluster has.
#[test]
fn the_example_shows_what_balancing_is_without_settings() {
    let text = include_str!("../../../deploy/config/sterna.toml");
    let BalanceConfig { policy, affinity, slack_percent } = BalanceConfig::default();
    assert_eq!((policy, affinity), (Policy::Off, AffinityBy::TokenSubject));
    for shown in [
        format!("sessions = \"{}\"", policy.name()),
        "affinity = \"token_subject\"".to_owned(),
        format!("slack_percent = {slack_percent}"),
        format!("weight = {}", sterna_core::cluster::placement::USUAL_WEIGHT),
    ] {
        assert!(text.contains(&shown), "{shown}");
    }
}
