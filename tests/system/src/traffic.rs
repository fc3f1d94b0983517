//! Publishers and subscribers of a cluster with edges `e1` and `e2`, through the command line, and
//! the verdict on what they saw.

use tokio::process::Command;

use crate::checker::Checker;
use crate::cluster::Cluster;
use crate::network::Phone;
use crate::process::{self, JsonProcess};
use crate::text::Writer;

/// Where all of it is said.
pub const CHANNEL: &str = "room:cluster";

/// Publishers and subscribers at two edges, and what they were promised.
#[derive(Debug)]
pub struct Traffic {
    lines: usize,
    checker: Checker,
    publishers: Vec<(&'static str, JsonProcess, Vec<String>)>,
    subscribers: Vec<(&'static str, JsonProcess)>,
    wanted: usize,
}

impl Traffic {
    /// Two publishers of so many lines each.
    pub async fn start(cluster: &Cluster, lines: usize) -> Self {
        Self::of(cluster, lines, ["wss", "quic", "auto"], |command| command).await
    }

    /// The same from a phone, all on QUIC.
    pub async fn start_from(phone: &Phone, cluster: &Cluster, lines: usize) -> Self {
        Self::of(cluster, lines, ["quic"; 3], |command| phone.run(&command)).await
    }

    async fn of(
        cluster: &Cluster,
        lines: usize,
        [at_e1, at_e2, publishing]: [&str; 3],
        place: impl Fn(Command) -> Command,
    ) -> Self {
        let mut checker = Checker::new();
        let mut subscribers = Vec::new();
        for (edge, transport) in [("e1", at_e1), ("e2", at_e2)] {
            let verb = ["sub", CHANNEL, "--from", "earliest", "--json", "--transport", transport];
            let command = place(cluster.verb(edge, edge, &verb).await);
            subscribers.push((edge, JsonProcess::start(edge, command, Vec::new())));
        }
        let mut publishers = Vec::new();
        for (at, (user, edge)) in [("ana", "e1"), ("ben", "e2")].into_iter().enumerate() {
            let mut writer = Writer::new(user, at as u64);
            let texts: Vec<String> = (0..lines).map(|_| writer.next_line()).collect();
            texts.iter().for_each(|line| checker.attempt(user, line));
            let (verb, patience) = (["pub", CHANNEL, "--stdin", "--json"], ["--timeout", "60s"]);
            let verb = [&verb[..], &patience, &["--transport", publishing]].concat();
            let command = place(cluster.verb(edge, user, &verb).await);
            publishers.push((user, JsonProcess::start(user, command, texts.clone()), texts));
        }
        Self { lines, checker, publishers, subscribers, wanted: 0 }
    }

    /// Waits until every publisher has this many more acknowledgements.
    pub async fn more(&mut self, count: usize) {
        self.wanted += count;
        assert!(self.wanted < self.lines, "the traffic is too short to be disturbed");
        for (_, publisher, _) in &mut self.publishers {
            publisher.wait_for_count(self.wanted).await;
        }
    }

    /// What the subscribers have felt so far, for whoever reads the output of the test.
    pub fn tell_silences(&self, when: &str) {
        for (edge, subscriber) in &self.subscribers {
            let longest = subscriber.longest_silence();
            eprintln!("{when}: the subscriber of {edge} heard nothing for {longest:?} at most");
        }
    }

    /// Everything was acknowledged, and both subscribers saw it once and in order.
    pub async fn finish(mut self) {
        for (user, mut publisher, lines) in self.publishers {
            assert!(publisher.finish().await.success(), "{}", publisher.errors());
            for (line, object) in lines.iter().zip(&publisher.objects()) {
                let acked = process::acked(object, user, line);
                self.checker.ack(acked.expect("every line was acknowledged"));
            }
        }
        for (edge, mut subscriber) in self.subscribers {
            subscriber.wait_for_count(2 * self.lines).await;
            let seen: Vec<_> = subscriber.kill().await.iter().map(process::seen).collect();
            self.checker.view(edge, seen);
        }
        self.checker.assert_clean();
    }
}
