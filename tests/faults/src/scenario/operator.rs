//! What operators do to a node of `sterna serve` under load: certificates that expire and change,
//! and files that are wrong when it is told to read them again.

use std::fs;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use sterna_client::{ChannelId, Error, Transport};
use sterna_system_tests::node::PATIENCE;
use sterna_system_tests::served::{Authority, Served, run, said};

use super::{SOME, judge};
use crate::campaign::Outcome;
use crate::place::Place;
use crate::workload::{Plan, Workload};

const GOOD: &str = "certificate read again";
const BAD: &str = "the old certificate stays in use";
const FAR_YEAR: i32 = 2100;
const PAST_YEAR: i32 = 2021;
/// The authority that the users of the workload trust.
const FIRST: &str = "first";
const SECOND: &str = "second";

/// Rotations in an order that the seed chooses; the certificate expires now and then.
pub async fn certificate(rng: &mut StdRng) -> Outcome {
    let authorities = [Authority::new(FIRST), Authority::new(SECOND)];
    let mut node = serve(&authorities[0]).await;
    let place = Place::of_served(&node, FIRST);
    let workload = Workload::start(&place, &Plan::default(), rng);
    workload.go_on_for(SOME).await;
    let reconnects = workload.reconnects();
    let (mut injected, mut note) = (0, String::new());
    for at in [1, rng.random_range(0..2), 0] {
        let name = [FIRST, SECOND][at];
        if rng.random_bool(0.5) {
            node.install_certificate(&authorities[at], PAST_YEAR);
            node.reload(GOOD).await;
            let reason = node.wait_ready(503).await;
            assert!(reason.contains("the certificate expired on"), "{reason}");
            assert!(!lets_in(&node, name).await, "an expired certificate is believed");
            workload.go_on_for(SOME).await;
            injected += 1;
            note.push_str("expiry ");
        }
        node.install_certificate(&authorities[at], FAR_YEAR);
        node.reload(GOOD).await;
        node.wait_ready(200).await;
        workload.go_on_for(SOME).await;
        assert!(lets_in(&node, name).await, "the new certificate is shown");
        let other = [FIRST, SECOND][1 - at];
        if node.path(&format!("{other}.pem")).exists() {
            assert!(!lets_in(&node, other).await, "the certificate of {other} is gone");
        }
        injected += 1;
        note.push_str(name);
        note.push(' ');
    }
    let disturbed = workload.reconnects() - reconnects;
    let mut outcome = judge(&place, workload, rng, injected).await;
    if disturbed > 0 {
        outcome.violations.push(format!("{disturbed} living connections were lost"));
    }
    end(&mut node).await;
    Outcome { note, ..outcome }
}

/// Files that are wrong in every way; the node goes on with what it has, and says so.
pub async fn config_reload(rng: &mut StdRng) -> Outcome {
    let authority = Authority::new(FIRST);
    let mut node = serve(&authority).await;
    let place = Place::of_served(&node, FIRST);
    let workload = Workload::start(&place, &Plan::default(), rng);
    workload.go_on_for(SOME).await;
    let reconnects = workload.reconnects();
    let good =
        ["node.pem", "node.key", "sterna.toml"].map(|it| (it, fs::read(node.path(it)).unwrap()));
    let mut mistakes = Mistake::ALL.to_vec();
    mistakes.shuffle(rng);
    for mistake in &mistakes {
        mistake.make(&node, rng);
        match mistake {
            // Only certificates are read again; a wrong configuration is found by who asks.
            Mistake::Configuration => {
                node.reload(GOOD).await;
                let refused = run(node.configured_verb("check")).await;
                assert!(!refused.status.success(), "{}", said(&refused));
            }
            _ => {
                let complaint = node.reload(BAD).await;
                let reason = complaint["fields"]["error"].as_str().unwrap_or_default();
                assert!(!reason.is_empty(), "{mistake:?}: it gives no reason");
            }
        }
        assert!(lets_in(&node, FIRST).await, "{mistake:?}: the old certificate is shown");
        workload.go_on_for(SOME).await;
        good.iter().for_each(|(name, bytes)| fs::write(node.path(name), bytes).unwrap());
    }
    node.reload(GOOD).await;
    node.wait_ready(200).await;
    let disturbed = workload.reconnects() - reconnects;
    let mut outcome = judge(&place, workload, rng, mistakes.len() as u64).await;
    if disturbed > 0 {
        outcome.violations.push(format!("{disturbed} living connections were lost"));
    }
    end(&mut node).await;
    Outcome { note: format!("{mistakes:?}"), ..outcome }
}

#[derive(Debug, Clone, Copy)]
enum Mistake {
    NoCertificate,
    HalfACertificate,
    Garbage,
    KeyOfAnother,
    Missing,
    Configuration,
}

impl Mistake {
    const ALL: &[Self] = &[
        Self::NoCertificate,
        Self::HalfACertificate,
        Self::Garbage,
        Self::KeyOfAnother,
        Self::Missing,
        Self::Configuration,
    ];

    fn make(self, node: &Served, rng: &mut StdRng) {
        let certificate = node.path("node.pem");
        match self {
            Self::NoCertificate => fs::write(certificate, "").unwrap(),
            Self::HalfACertificate => {
                let whole = fs::read(&certificate).unwrap();
                // Never as much that only the line break is missing.
                let part = rng.random_range(0..whole.len() - 40);
                fs::write(certificate, &whole[..part]).unwrap();
            }
            Self::Garbage => {
                let bytes: Vec<u8> = (0..900).map(|_| rng.random()).collect();
                fs::write(certificate, bytes).unwrap();
            }
            Self::KeyOfAnother => {
                let ours = fs::read(&certificate).unwrap();
                node.install_certificate(&Authority::new("stranger"), FAR_YEAR);
                fs::write(certificate, ours).unwrap();
            }
            Self::Missing => fs::remove_file(certificate).unwrap(),
            Self::Configuration => node.write_config("[clients]\nnothing = true\n"),
        }
    }
}

async fn serve(authority: &Authority) -> Served {
    let mut node = Served::prepare(authority, "");
    node.start(&[], &[]).await;
    node.wait_ready(200).await;
    node
}

async fn end(node: &mut Served) {
    node.signal(libc::SIGTERM);
    assert_eq!(node.ended().await.code(), Some(0), "{}", node.log());
}

/// Whether newcomers who trust this authority get in on both transports, or on none.
async fn lets_in(node: &Served, authority: &str) -> bool {
    let place = Place::of_served(node, authority);
    let lobby = ChannelId::new("room:lobby").unwrap();
    let mut outcomes = Vec::new();
    for transport in [Transport::Quic, Transport::WebSocket] {
        let client = place.builder("newcomer").transports([transport]).build().unwrap();
        client.connect();
        let verdict = first_verdict(&client).await;
        if verdict {
            client.publish(&lobby, "good evening").await.unwrap();
        }
        client.close().await;
        outcomes.push(verdict);
    }
    assert_eq!(outcomes[0], outcomes[1], "the transports differ with {authority}");
    outcomes[0]
}

/// Whether the client is connected, or sees a certificate that it does not trust.
async fn first_verdict(client: &sterna_client::Client) -> bool {
    use sterna_client::ClientState;
    let mut states = client.states();
    let verdict = async {
        loop {
            match states.next().await.expect("the client lives") {
                ClientState::Connected(_) => return true,
                ClientState::Connecting { last_error: Some(Error::Untrusted(_)), .. }
                | ClientState::Disconnected { error: Some(Error::Untrusted(_)) } => return false,
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, verdict).await.expect("a verdict")
}
