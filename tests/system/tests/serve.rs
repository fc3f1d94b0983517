//! `sterna serve` as an operator meets it: a written configuration, certificates that change, the
//! order of file, environment and flags, readiness, signals, and spans that reach a collector.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::PublicKeyData as _;
use sterna_system_tests::node::PATIENCE;
use sterna_system_tests::process::JsonProcess;
use sterna_system_tests::served::{Authority, Served, run, said};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::timeout;

const CHANNEL: &str = "room:serve";

/// How long a publisher tries; one that is refused because of the certificate tries all the time.
const PUBLISH: &str = "5s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_let_in_is_told_what_to_do() {
    let authority = Authority::new("authority");
    let wanted = "[auth]\naudience = \"tests\"\nissuer = \"https://login.test\"\n";
    let mut node = Served::prepare(&authority, wanted);
    node.start(&[], &["--set", "channels.create_on_first_use=false"]).await;
    // Signed as it should be, and meant for nobody.
    let bare = run(node.verb(&authority, "ana", &["pub", "room:1", "x"]).await).await;
    assert!(!bare.status.success());
    for advice in ["does not accept the token", "auth.audience", "sterna token --config"] {
        assert!(said(&bare).contains(advice), "{}", said(&bare));
    }
    let mut making = node.configured_verb("token");
    making.args(["--user", "ana"]);
    let made = run(making).await;
    assert!(made.status.success(), "{}", said(&made));
    let token = String::from_utf8(made.stdout).unwrap();
    // It is let in, and the channel is not there.
    for verb in [&["pub", "room:1", "x"][..], &["history", "room:1"], &["sub", "room:1"]] {
        let refused = run(node.verb_with(&authority, token.trim(), verb)).await;
        assert!(!refused.status.success());
        for advice in ["UNKNOWN_CHANNEL", "/api/v1/channels/create", "create_on_first_use"] {
            assert!(said(&refused).contains(advice), "{}", said(&refused));
        }
    }
    let created = r#"{"channel":"room:1","kind":"group","access":"open"}"#;
    let (status, _, answer) =
        node.post("/api/v1/channels/create", token.trim(), "k1", created).await;
    assert_eq!(status, 200, "{answer}");
    let stored = run(node.verb_with(&authority, token.trim(), &["pub", "room:1", "x"])).await;
    assert!(stored.status.success(), "{}", said(&stored));
    node.signal(libc::SIGTERM);
    assert_eq!(node.ended().await.code(), Some(0), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_exchanged_under_living_connections() {
    let [first, second] = ["first", "second"].map(Authority::new);
    let mut node = Served::prepare(&first, "");
    node.start(&[], &[]).await;
    node.wait_ready(200).await;
    let mut readers = [reader(&node, &first, "quic").await, reader(&node, &first, "wss").await];
    publish(&node, &first, "quic", "old").await.unwrap();
    for reader in &mut readers {
        reader.wait_for_count(1).await;
    }

    node.install_certificate(&second, 2100);
    node.reload("certificate read again").await;
    for transport in ["quic", "wss"] {
        let refused = publish(&node, &first, transport, "lost").await.unwrap_err();
        assert!(refused.contains("certificate"), "{transport} shows the new one: {refused}");
        publish(&node, &second, transport, transport).await.unwrap();
    }
    for reader in &mut readers {
        reader.wait_for_count(3).await;
        let texts: Vec<String> =
            reader.objects().iter().map(|it| it["text"].as_str().unwrap().to_owned()).collect();
        assert_eq!(texts, ["old", "quic", "wss"], "old connections live on");
    }

    std::fs::write(node.path("node.pem"), "no certificate at all").unwrap();
    let complaint = node.reload("the old certificate stays in use").await;
    let reason = complaint["fields"]["error"].as_str().unwrap().to_owned();
    assert!(reason.contains("node.pem"), "it says what is wrong: {reason}");
    publish(&node, &second, "quic", "kept").await.unwrap();
    let (_, metrics) = node.http_get("/metrics").await;
    for line in ["{result=\"ok\"} 1", "{result=\"failed\"} 1"] {
        let line = format!("sterna_edge_certificate_reloads_total{line}");
        assert!(metrics.contains(&line), "{line} is missing in\n{metrics}");
    }
    node.wait_ready(200).await;

    node.signal(libc::SIGTERM);
    assert_eq!(node.ended().await.code(), Some(0), "SIGTERM drains:\n{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_makes_a_node_unready_and_a_new_one_ready_again() {
    let authority = Authority::new("authority");
    let mut node = Served::prepare(&authority, "");
    node.install_certificate(&authority, 2021);
    node.start(&[], &[]).await;
    let reason = node.wait_ready(503).await;
    assert!(reason.contains("the certificate expired on"), "{reason}");
    assert_eq!(node.http_get("/livez").await, (200, "ok\n".to_owned()), "it is alive");
    let refused = publish(&node, &authority, "quic", "lost").await.unwrap_err();
    assert!(refused.contains("certificate"), "no client would get in: {refused}");
    node.install_certificate(&authority, 2100);
    node.reload("certificate read again").await;
    node.wait_ready(200).await;
    node.signal(libc::SIGTERM);
    assert_eq!(node.ended().await.code(), Some(0), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_comes_too_early_is_named_and_does_not_replace_a_good_one() {
    let authority = Authority::new("authority");
    let mut node = Served::prepare(&authority, "");
    node.install_certificate_from(&authority, 2090);
    node.start(&[], &[]).await;
    let reason = node.wait_ready(503).await;
    assert!(reason.contains("valid only from"), "{reason}");
    assert!(publish(&node, &authority, "quic", "lost").await.is_err(), "nobody believes it");
    node.install_certificate(&authority, 2100);
    node.reload("certificate read again").await;
    node.wait_ready(200).await;

    node.install_certificate_from(&authority, 2090);
    let complaint = node.reload("the old certificate stays in use").await;
    let reason = complaint["fields"]["error"].as_str().unwrap();
    assert!(reason.contains("valid only from"), "{reason}");
    for transport in ["quic", "wss"] {
        publish(&node, &authority, transport, transport).await.unwrap();
    }
    node.wait_ready(200).await;
    node.signal(libc::SIGTERM);
    assert_eq!(node.ended().await.code(), Some(0), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_win_over_the_environment_and_that_over_the_file() {
    let authority = Authority::new("authority");
    let more = "[log]\nfilter = \"off\"\n[sessions]\nheartbeat = \"25s\"\n";
    let mut node = Served::prepare(&authority, more);
    // With the file's filter or the environment's the log would be empty.
    let environment = [("STERNA_LOG_FILTER", "error"), ("STERNA_CLIENT_WORKERS", "3")];
    node.start(&environment, &["--set", "log.filter=info"]).await;
    let serving = node.logged("serving clients");
    assert_eq!(serving[0]["fields"]["workers"], 3, "the environment wins over the default");
    node.signal(libc::SIGTERM);
    assert_eq!(node.ended().await.code(), Some(0), "{}", node.log());

    for variable in ["STERNA_CLIENT_WORKERS", "STERNA_CLIENT_WORKER"] {
        let mut command = node.configured_verb("serve");
        command.env(variable, "99");
        let refused = run(command).await;
        assert_eq!(refused.status.code(), Some(1));
        assert!(said(&refused).contains(variable), "{}", said(&refused));
        assert!(said(&refused).contains("nothing was started"), "{}", said(&refused));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaving_node_is_not_ready_and_waits_for_who_is_still_there() {
    let authority = Authority::new("authority");
    let mut node = Served::prepare(&authority, "");
    // With one worker, connections are accepted in the order in which they came.
    node.start(&[], &["--set", "client.workers=1"]).await;
    node.wait_ready(200).await;
    let idler = TcpStream::connect(node.client_address()).await.unwrap();
    publish(&node, &authority, "wss", "behind the idler").await.unwrap();
    node.signal(libc::SIGTERM);
    assert_eq!(node.wait_ready(503).await, "draining\n");
    assert_eq!(node.http_get("/livez").await.0, 200, "leaving is no reason to be killed");
    drop(idler);
    assert_eq!(node.ended().await.code(), Some(0), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_span_of_every_publication_reaches_the_collector() {
    let collector = Collector::start().await;
    let authority = Authority::new("authority");
    let mut node = Served::prepare(&authority, "");
    let endpoint = format!("log.otlp_endpoint=http://{}", collector.address);
    node.start(&[], &["--set", &endpoint]).await;
    publish(&node, &authority, "quic", "traced").await.unwrap();
    // What has not left yet leaves before the process ends.
    node.signal(libc::SIGTERM);
    assert_eq!(node.ended().await.code(), Some(0), "{}", node.log());
    let (head, body) = timeout(PATIENCE, collector.received).await.unwrap().unwrap();
    assert!(head.starts_with("POST /v1/traces "), "{head}");
    for name in ["publish", "service.name", "sterna"] {
        let found = body.windows(name.len()).any(|window| window == name.as_bytes());
        assert!(found, "{name} is not in {}", String::from_utf8_lossy(&body));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_sees_what_a_configuration_meets_on_this_machine() {
    let authority = Authority::new("authority");
    let mut node = Served::prepare(&authority, "");
    let (healthy, findings) = examine(&node, &[]).await;
    assert!(healthy, "{findings:#?}");
    assert_eq!(verdict(&findings, "certificate"), "ok");
    assert!(!node.path("data").exists(), "nothing is made");

    node.start(&[], &[]).await;
    let client = format!("client.address={}", node.client_address());
    let (healthy, findings) = examine(&node, &["--set", &client]).await;
    assert!(healthy, "the node itself may hold its places: {findings:#?}");
    assert_eq!(verdict(&findings, "client address (UDP)"), "ok");
    node.signal(libc::SIGTERM);
    assert!(node.ended().await.success());

    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stranger = format!("http.address={}", taken.local_addr().unwrap());
    let (_, findings) = examine(&node, &["--set", &stranger]).await;
    assert_eq!(verdict(&findings, "HTTP address"), "warning", "somebody else holds it");
    // `check` binds nothing, so this is none of its business.
    let mut command = node.configured_verb("check");
    command.args(["--set", &stranger]);
    assert!(run(command).await.status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_names_every_reason_why_a_node_would_fail() {
    let authority = Authority::new("authority");
    let node = Served::prepare(&authority, "");
    node.install_certificate(&authority, 2021);
    std::fs::write(node.path("file"), "no directory").unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let store = format!("store.directory={}", node.path("file").join("store").display());
    let jwks = format!("auth.jwks.url=http://{nobody}/keys");
    let elsewhere = "client.address=192.0.2.1:4443";
    let flags = ["--set", &store, "--set", &jwks, "--set", elsewhere];
    let (healthy, findings) = examine(&node, &flags).await;
    assert!(!healthy);
    for (check, wanted) in [
        ("certificate", "broken"),
        ("store", "broken"),
        ("token keys", "broken"),
        ("client address (TCP)", "broken"),
        ("client address (UDP)", "broken"),
        ("open files", "warning"),
        ("data directory", "ok"),
    ] {
        assert_eq!(verdict(&findings, check), wanted, "{check}: {findings:#?}");
    }
    for finding in findings.as_array().unwrap().iter().filter(|it| it["verdict"] != "ok") {
        assert!(finding["why"].is_string() && finding["fix"].is_string(), "{finding}");
    }
    let (healthy, findings) = examine(&node, &["--set", "client.workers=99"]).await;
    assert!(!healthy);
    assert!(findings[0]["what"].as_str().unwrap().contains("client.workers"), "{findings}");
}

/// Whether the doctor is content, and all that it found.
async fn examine(node: &Served, flags: &[&str]) -> (bool, serde_json::Value) {
    let doctor = node.configured_verb("doctor");
    // With few open files, whatever this machine allows.
    let mut command = Command::new("bash");
    command.args(["-c", "ulimit -n 1024; exec \"$0\" \"$@\""]).arg(doctor.as_std().get_program());
    command.args(doctor.as_std().get_args()).arg("--json").args(flags);
    doctor.as_std().get_envs().for_each(|(name, _)| {
        command.env_remove(name);
    });
    let output = run(command).await;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["healthy"], output.status.success(), "{}", said(&output));
    (output.status.success(), report["findings"].clone())
}

fn verdict<'a>(findings: &'a serde_json::Value, check: &str) -> &'a str {
    let finding = findings.as_array().unwrap().iter().find(|it| it["check"] == check);
    finding.unwrap_or_else(|| panic!("{check}: {findings:#?}"))["verdict"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_by_published_keys_are_believed_beside_configured_ones() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let stranger = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let x = URL_SAFE_NO_PAD.encode(key.der_bytes());
    let jwk = serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x });
    let authority = Authority::new("authority");
    let mut node = Served::prepare(&authority, "");
    let published = node.path("jwks.json");
    std::fs::write(&published, serde_json::json!({ "keys": [jwk] }).to_string()).unwrap();
    let file = format!("auth.jwks.file={}", published.display());
    node.start(&[], &["--set", &file]).await;
    let verb = ["pub", CHANNEL, "published", "--timeout", PUBLISH];
    let output = run(node.verb_with(&authority, &signed(&key), &verb)).await;
    assert!(output.status.success(), "{}", said(&output));
    let output = run(node.verb_with(&authority, &signed(&stranger), &verb)).await;
    assert!(!output.status.success(), "a key with the same name is not the same key");
    publish(&node, &authority, "wss", "configured").await.unwrap();
    let (_, metrics) = node.http_get("/metrics").await;
    let read = "sterna_edge_jwks_refreshes_total{result=\"ok\"} 1";
    for line in [read, "sterna_edge_jwks_keys_held 1"] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    node.signal(libc::SIGTERM);
    assert_eq!(node.ended().await.code(), Some(0), "{}", node.log());
}

/// An access token by this key, which it calls `k`.
fn signed(key: &rcgen::KeyPair) -> String {
    let header = jsonwebtoken::Header {
        kid: Some("k".to_owned()),
        ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA)
    };
    let exp = jsonwebtoken::get_current_timestamp() + 600;
    let claims = serde_json::json!({ "sub": "ana", "exp": exp, "channels": ["room:*"] });
    let private = jsonwebtoken::EncodingKey::from_ed_pem(key.serialize_pem().as_bytes()).unwrap();
    jsonwebtoken::encode(&header, &claims, &private).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_store_is_opened_once_with_new_epochs() {
    let authority = Authority::new("authority");
    let mut node = Served::prepare(&authority, "");
    let mut refused = node.configured_verb("serve");
    refused.arg("--restored");
    let refused = run(refused).await;
    assert_eq!(refused.status.code(), Some(1), "there is nothing that was restored");
    assert!(said(&refused).contains("put the backup"), "{}", said(&refused));
    let mut epochs = Vec::new();
    for flags in [&[][..], &[], &["--restored"], &[]] {
        node.start(&[], flags).await;
        publish(&node, &authority, "quic", "again").await.unwrap();
        epochs.push(newest_epoch(&node, &authority).await);
        node.signal(libc::SIGTERM);
        assert_eq!(node.ended().await.code(), Some(0), "{}", node.log());
    }
    assert_eq!(epochs[0], epochs[1], "a restart alone keeps the epoch");
    assert!(epochs[2] > epochs[1], "clients notice: {epochs:?}");
    assert_eq!(epochs[3], epochs[2], "once");
}

async fn newest_epoch(node: &Served, authority: &Authority) -> u64 {
    let verb = ["history", CHANNEL, "--json"];
    let command = node.verb(authority, "historian", &verb).await;
    let mut history = JsonProcess::start("history", command, Vec::new());
    assert!(history.finish().await.success(), "{}", history.errors());
    history.objects().last().unwrap()["epoch"].as_u64().unwrap()
}

/// A collector of spans (OTLP over HTTP) for one batch.
struct Collector {
    address: std::net::SocketAddr,
    received: tokio::task::JoinHandle<(String, Vec<u8>)>,
}

impl Collector {
    #[allow(clippy::disallowed_methods)] // Ends with its one request, or with the test's runtime.
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { address, received: tokio::spawn(receive(listener)) }
    }
}

async fn receive(listener: TcpListener) -> (String, Vec<u8>) {
    let (mut connection, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    loop {
        assert_ne!(connection.read_buf(&mut bytes).await.unwrap(), 0, "the request is whole");
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length = head.to_lowercase().split_once("content-length: ").map_or(0, |(_, rest)| {
            rest.split_whitespace().next().unwrap().parse::<usize>().unwrap()
        });
        if bytes.len() >= end + 4 + length {
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            connection.write_all(answer.as_bytes()).await.unwrap();
            return (head, bytes.split_off(end + 4));
        }
    }
}

async fn reader(node: &Served, authority: &Authority, transport: &str) -> JsonProcess {
    let verb = ["sub", CHANNEL, "--from", "earliest", "--json", "--transport", transport];
    JsonProcess::start(transport, node.verb(authority, "reader", &verb).await, Vec::new())
}

/// What the verb said when it did not succeed.
async fn publish(
    node: &Served,
    authority: &Authority,
    transport: &str,
    text: &str,
) -> Result<(), String> {
    let verb = ["pub", CHANNEL, text, "--transport", transport, "--timeout", PUBLISH];
    let output = run(node.verb(authority, "ana", &verb).await).await;
    if output.status.success() { Ok(()) } else { Err(said(&output)) }
}
