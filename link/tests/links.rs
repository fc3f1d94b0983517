//! Two nodes and the link between them: a conversation over it, and who is not let in.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use sterna_core::cluster::{ClusterConfig, Incarnation, NodeInfo, NodeState};
use sterna_core::link::{Caller, LinkCommand, LinkReply, Verb};
use sterna_core::vitals::inspect::Examined;
use sterna_core::{CoreConfig, Identity, Node, Permission, SystemClock};
use sterna_link::{LinkConfig, LinkError, LinkFiles, Links};
use sterna_proto::v1::{self, reply::Result as Reply};
use sterna_proto::{ChannelId, ClientId, NodeId, SessionId, UserId};
use sterna_storage::memory::MemoryStore;
use tempfile::TempDir;

/// An authority, and a place for what it signs.
struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(directory.path().join("authority.pem"), certificate.pem()).unwrap();
        Self { directory, issuer: Issuer::new(params, key) }
    }

    fn files(&self, name: &str) -> LinkFiles {
        let path = |file: String| self.directory.path().join(file);
        LinkFiles {
            certificate_chain: path(format!("{name}.pem")),
            private_key: path(format!("{name}.key")),
            authorities: path("authority.pem".into()),
        }
    }

    /// Signs a certificate for a node, in place of the one it had.
    fn sign(&self, name: &str, uri: &str) -> LinkFiles {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = self.files(name);
        write(&files.certificate_chain, &certificate.pem());
        write(&files.private_key, &key.serialize_pem());
        files
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

struct Running {
    node: Node,
    links: Links,
}

impl Running {
    async fn start(
        name: &str,
        core: bool,
        files: LinkFiles,
        seeds: Vec<String>,
    ) -> Result<Self, LinkError> {
        Self::start_in("", name, core, files, seeds).await
    }

    async fn start_in(
        region: &str,
        name: &str,
        core: bool,
        files: LinkFiles,
        seeds: Vec<String>,
    ) -> Result<Self, LinkError> {
        let mut config = CoreConfig::embedded(NodeId::new(name).unwrap(), v1::Durability::Memory);
        config.incarnation = Incarnation(1);
        let info = NodeInfo {
            name: config.node.clone(),
            incarnation: config.incarnation,
            edge: !core,
            core,
            local_store: false,
            region: region.to_owned(),
            zone: String::new(),
            link_address: String::new(),
            client_address: String::new(),
            state: NodeState::Serving,
            sessions: 0,
            capacity: 0,
            weight: 100,
        };
        let stores = core.then(|| MemoryStore::new().stores());
        let clock = Arc::new(SystemClock);
        let node = Node::join(config, stores, clock, ClusterConfig::new(info)).await.unwrap();
        let mut config = LinkConfig::new("127.0.0.1:0".parse().unwrap(), files);
        config.seeds = seeds;
        let links = Links::start(config, node.router().unwrap().clone())?;
        node.router().unwrap().set_link_address(links.local_address().unwrap().to_string());
        Ok(Self { node, links })
    }

    fn address(&self) -> String {
        self.links.local_address().unwrap().to_string()
    }

    /// Waits for a way to an owner.
    async fn connected(&self) {
        while !self.node.router().unwrap().is_connected() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stop(self) {
        assert!(self.links.shutdown(Duration::from_secs(10)).await);
        assert!(self.node.shutdown(Duration::from_secs(10)).await);
    }
}

fn publish(seq: u64) -> LinkCommand {
    command(Verb::Publish(v1::Publish { client_seq: seq, ..Default::default() }))
}

fn command(verb: Verb) -> LinkCommand {
    let identity = Identity {
        user: UserId::new("alice").unwrap(),
        permissions: vec![Permission::all("*")],
        expires_at_ms: None,
        issued_at_ms: None,
        operator: false,
    };
    let (client_id, session) = (ClientId::new("phone").unwrap(), SessionId(1));
    let channel = ChannelId::new("room:1").unwrap();
    LinkCommand {
        caller: Arc::new(Caller::new(identity.into(), client_id, session, Incarnation(1))),
        key: channel.key(),
        channel,
        hops: 0,
        verb,
    }
}

fn offset(reply: LinkReply) -> u64 {
    match reply {
        Ok(Reply::Published(published)) => published.offset,
        other => panic!("{other:?}"),
    }
}

const CORE: &str = "sterna://chat/c1?roles=core";
const EDGE: &str = "sterna://chat/e1?roles=edge";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_finds_its_core_by_a_seed_and_asks_it() {
    let authority = Authority::new();
    let core = Running::start("c1", true, authority.sign("c1", CORE), vec![]).await.unwrap();
    let seeds = vec![core.address()];
    let edge = Running::start("e1", false, authority.sign("e1", EDGE), seeds).await.unwrap();
    edge.connected().await;
    for seq in 1..=200 {
        assert_eq!(offset(edge.node.call(publish(seq)).await), seq);
    }
    edge.stop().await;
    core.stop().await;
}

/// I9: what goes to another region is told apart, also over a link whose core has never heard of the
/// edge before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_from_another_region_is_known_to_be_far_from_the_first_call() {
    let authority = Authority::new();
    let core = Running::start_in("near", "c1", true, authority.sign("c1", CORE), vec![]).await;
    let core = core.unwrap();
    for (at, region) in ["far", "near"].into_iter().enumerate() {
        let name = format!("e{at}");
        let files = authority.sign(&name, &format!("sterna://chat/{name}?roles=edge"));
        let edge = Running::start_in(region, &name, false, files, vec![]).await.unwrap();
        // As by its database: a core that has just started is known before it knows anybody.
        edge.node.router().unwrap().on_roster(core.node.router().unwrap().roster_to_wire());
        edge.connected().await;
        let (subscribe, replaces) = (v1::Subscribe::default(), None);
        let attach = Verb::Attach { subscribe, turn: 1, again: false, held_upto: None, replaces };
        edge.node.call(command(attach)).await.unwrap();
        let room = ChannelId::new("room:1").unwrap();
        let Examined::Channel(found) = core.node.examine_channel(&room).await else {
            panic!("the core owns it");
        };
        let ways = found.live.expect("somebody is attached").ways;
        let wide: Vec<bool> = ways.iter().map(|way| way.wide).collect();
        assert_eq!(wide, [region == "far"], "{ways:?}");
        edge.stop().await;
    }
    core.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_changed_without_a_restart() {
    let authority = Authority::new();
    let core = Running::start("c1", true, authority.sign("c1", CORE), vec![]).await.unwrap();
    let seeds = vec![core.address()];
    let edge = Running::start("e1", false, authority.sign("e1", EDGE), seeds).await.unwrap();
    edge.connected().await;
    // Another authority takes over: the nodes trust both, then have certificates of the new one.
    let new = Authority::new();
    let both = std::fs::read_to_string(authority.files("c1").authorities).unwrap()
        + &std::fs::read_to_string(new.files("c1").authorities).unwrap();
    write(&authority.files("c1").authorities, &both);
    for (running, name, uri) in [(&core, "c1", CORE), (&edge, "e1", EDGE)] {
        let (old, made) = (authority.files(name), new.sign(name, uri));
        std::fs::copy(made.certificate_chain, old.certificate_chain).unwrap();
        std::fs::copy(made.private_key, old.private_key).unwrap();
        running.links.reload_certificate().unwrap();
    }
    assert_eq!(offset(edge.node.call(publish(1)).await), 1, "the open link goes on");
    // Who comes now shows the new one, and is let in by it alone.
    write(
        &authority.files("c1").authorities,
        &std::fs::read_to_string(new.files("c1").authorities).unwrap(),
    );
    core.links.reload_certificate().unwrap();
    let uri = "sterna://chat/e2?roles=edge";
    let late = Running::start("e2", false, new.sign("e2", uri), vec![core.address()]).await;
    let late = late.unwrap();
    late.connected().await;
    assert_eq!(offset(late.node.call(publish(2)).await), 2);
    // A certificate of another node, or none at all, is refused and the old one stays in use.
    authority.sign("c1", "sterna://chat/c9?roles=core");
    assert!(matches!(core.links.reload_certificate(), Err(LinkError::OtherNode { .. })));
    write(&authority.files("c1").certificate_chain, "nothing");
    assert!(matches!(core.links.reload_certificate(), Err(LinkError::File { .. })));
    late.stop().await;
    edge.stop().await;
    core.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_certificate_of_the_cluster_nobody_gets_in() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    // Of all tests here; only that something was counted is asked.
    recorder.install().unwrap();
    let (authority, foreign) = (Authority::new(), Authority::new());
    let core = Running::start("c1", true, authority.sign("c1", CORE), vec![]).await.unwrap();
    let seeds = || vec![core.address()];
    // Signed by somebody else.
    let files = foreign.sign("e1", EDGE);
    let stranger = Running::start("e1", false, files, seeds()).await.unwrap();
    // Signed by ours, of another cluster.
    let files = authority.sign("e2", "sterna://other/e2?roles=edge");
    let neighbour = Running::start("e2", false, files, seeds()).await.unwrap();
    // Signed by ours, for a web server.
    let files = authority.sign("e3", "https://example.com/");
    let refused = Running::start("e3", false, files, seeds()).await;
    assert!(matches!(refused, Err(LinkError::Identity { .. })));
    // An honest one gets in meanwhile, so the others have had their time.
    let edge =
        Running::start("e4", false, authority.sign("e4", "sterna://chat/e4?roles=edge"), seeds());
    let edge = edge.await.unwrap();
    edge.connected().await;
    for _ in 0..3 {
        let nobody: &Node = &stranger.node;
        assert!(nobody.call(publish(1)).await.unwrap_err().retryable);
        assert!(neighbour.node.call(publish(1)).await.is_err());
    }
    assert_eq!(offset(edge.node.call(publish(1)).await), 1, "nothing of theirs was stored");
    let known: Vec<String> =
        core.node.router().unwrap().live().iter().map(|node| node.name.to_string()).collect();
    assert_eq!(known, ["c1", "e4"], "nor are they in the roster");
    let counted = snapshotter.snapshot().into_vec();
    for metric in
        ["sterna_link_refused_total", "sterna_link_opened_total", "sterna_link_peers_count"]
    {
        assert!(counted.iter().any(|(key, ..)| key.key().name() == metric), "{metric}");
    }
    for running in [stranger, neighbour, edge, core] {
        running.stop().await;
    }
}
