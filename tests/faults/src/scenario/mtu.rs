//! Paths that pass no datagram much longer than what QUIC cannot do without, and tell nobody: one
//! from the beginning, and one from the middle of a talk on. Clients of QUIC connect through both,
//! and nothing is lost, connections least of all.

use std::future::IntoFuture as _;

use rand::Rng as _;
use rand::rngs::StdRng;
use sterna_client::{ChannelId, Client, Event, Subscribe, Subscription, Transport};
use sterna_relay::{Impairment, Relay, RelayConfig};
use sterna_system_tests::node::{Node, PATIENCE};

use super::{SOME, conclude};
use crate::campaign::Outcome;
use crate::place::Place;
use crate::workload::{Plan, Workload, within};

/// The least that a path has to pass for QUIC (RFC 9000, section 14), and a little more.
const LONGEST: [usize; 2] = [1_200, 1_280];
/// Fills datagrams, as the texts of the workload do not.
const LARGE_BYTES: usize = 50_000;
const LARGE: usize = 8;

pub async fn mtu(rng: &mut StdRng) -> Outcome {
    let node = Node::start().await;
    let at_first = usize::from(rng.random_bool(0.5));
    let [early, late] = [LONGEST[at_first], LONGEST[1 - at_first]];
    let config = RelayConfig::new(node.client_address());
    let narrow = Relay::start(config.with_impairment(Impairment::narrow(early))).await.unwrap();
    let wide = Relay::start(config).await.unwrap();
    let transports = vec![vec![Transport::Quic]];
    let place = Place::of(&node).through(narrow.address());
    let plan = Plan { transports, ..Plan::default() };
    let workload = Workload::start(&place.clone().or_through(wide.address()), &plan, rng);
    let mut large = [
        Large::start(&place, "narrow").await,
        Large::start(&place.through(wide.address()), "wide").await,
    ];
    for large in &mut large {
        large.publish_and_hear().await;
    }
    workload.go_on_for(SOME).await;

    wide.set_both(Impairment::narrow(late));
    for large in &mut large {
        large.publish_and_hear().await;
    }
    workload.go_on_for(2 * SOME).await;
    let dropped =
        [&narrow, &wide].map(|relay| relay.stats().up.too_long + relay.stats().down.too_long);
    let lost = workload.reconnects() + large.iter().map(Large::reconnects).sum::<u64>();
    for large in large {
        large.client.close().await;
    }
    let injected = dropped.iter().filter(|dropped| **dropped > 0).count() as u64;
    let mut outcome = conclude(node, workload, rng, injected).await;
    if lost > 0 {
        outcome.violations.push(format!("{lost} connections were lost"));
    }
    narrow.shutdown().await;
    wide.shutdown().await;
    let [from_first, from_then] = dropped;
    let note = format!("above {early}: {from_first}, then above {late}: {from_then} dropped");
    Outcome { note, ..outcome }
}

/// Somebody who publishes much at once and hears all of it.
struct Large {
    client: Client,
    room: ChannelId,
    heard: Subscription,
    said: usize,
}

impl Large {
    async fn start(place: &Place, name: &str) -> Self {
        let client = place.builder(name).transports([Transport::Quic]).build().unwrap();
        let room = ChannelId::new(&format!("room:{name}")).unwrap();
        let heard = client.subscribe(&room, Subscribe::earliest()).unwrap();
        client.connect();
        client.ready(PATIENCE).await.unwrap();
        Self { client, room, heard, said: 0 }
    }

    async fn publish_and_hear(&mut self) {
        let texts: Vec<String> =
            (0..LARGE).map(|at| format!("{:>LARGE_BYTES$}", self.said + at)).collect();
        let sends: Vec<_> = texts
            .iter()
            .map(|text| self.client.publish(&self.room, text.clone()).start())
            .collect();
        for send in sends {
            within("an answer through a narrow path", send.into_future()).await.unwrap();
        }
        for text in &texts {
            let payload = within("a publication through a narrow path", self.next()).await;
            assert!(payload == *text, "{}: another one than number {}", self.room, self.said);
            self.said += 1;
        }
    }

    async fn next(&mut self) -> bytes::Bytes {
        loop {
            match self.heard.next().await.expect("it goes on") {
                Event::Publication(it) => return it.payload,
                Event::State(_) | Event::Recovered { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn reconnects(&self) -> u64 {
        self.client.statistics().reconnects
    }
}
