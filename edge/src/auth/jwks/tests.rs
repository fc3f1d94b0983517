//! What is taken from a JWKS, when it is read anew, and what a server of keys may do to us.

use std::fs;
use std::net::SocketAddr;

use jsonwebtoken::{Algorithm, EncodingKey, Header, crypto, get_current_timestamp};
use metrics_util::debugging::DebuggingRecorder;
use rcgen::PublicKeyData as _;
use serde_json::{Value, json};
use sterna_core::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::super::{AuthConfig, AuthError, Authenticator};
use super::*;
use crate::testing::moved_since;

/// A key of somebody who issues tokens.
struct Issuer {
    kid: &'static str,
    algorithm: Algorithm,
    private: EncodingKey,
    jwk: Value,
}

impl Issuer {
    fn new(kid: &'static str, algorithm: Algorithm) -> Self {
        let kind = match algorithm {
            Algorithm::RS256 => &rcgen::PKCS_RSA_SHA256,
            Algorithm::ES256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            _ => &rcgen::PKCS_ED25519,
        };
        let pair = rcgen::KeyPair::generate_for(kind).unwrap();
        let pem = pair.serialize_pem();
        let raw = pair.der_bytes();
        let (private, jwk) = match algorithm {
            Algorithm::RS256 => (EncodingKey::from_rsa_pem(pem.as_bytes()), rsa_jwk(raw)),
            Algorithm::ES256 => (
                EncodingKey::from_ec_pem(pem.as_bytes()),
                json!({ "kty": "EC", "crv": "P-256", "x": b64(&raw[1..33]), "y": b64(&raw[33..]) }),
            ),
            _ => (
                EncodingKey::from_ed_pem(pem.as_bytes()),
                json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(raw) }),
            ),
        };
        let mut jwk = jwk;
        jwk["kid"] = kid.into();
        Self { kid, algorithm, private: private.unwrap(), jwk }
    }

    fn token(&self) -> String {
        self.token_naming(Some(self.kid))
    }

    fn token_naming(&self, kid: Option<&str>) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(self.algorithm) };
        let claims = json!({ "sub": "alice", "exp": get_current_timestamp() + 600 });
        jsonwebtoken::encode(&header, &claims, &self.private).unwrap()
    }
}

/// Modulus and exponent out of the DER of an RSAPublicKey with a modulus of 2048 bits.
fn rsa_jwk(der: &[u8]) -> Value {
    let exponent_at = der.len() - 3;
    let modulus_at = exponent_at - 2 - 256;
    json!({
        "kty": "RSA",
        "n": b64(&der[modulus_at..modulus_at + 256]),
        "e": b64(&der[exponent_at..]),
    })
}

fn b64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn document(issuers: &[&Issuer]) -> String {
    let keys: Vec<&Value> = issuers.iter().map(|issuer| &issuer.jwk).collect();
    json!({ "keys": keys }).to_string()
}

fn authenticator(config: JwksConfig) -> Arc<Authenticator> {
    let config = AuthConfig { jwks: Some(config), ..AuthConfig::new(Vec::new()) };
    Arc::new(Authenticator::new(config).unwrap())
}

fn now_ms() -> u64 {
    get_current_timestamp() * 1000
}

async fn user_of(auth: &Authenticator, issuer: &Issuer) -> Result<String, AuthError> {
    let identity = auth.check_fresh(&issuer.token(), now_ms).await;
    identity.map(|identity| identity.user.to_string())
}

/// A file that the authenticator reads, and the task that keeps it fresh.
struct Published {
    directory: tempfile::TempDir,
    auth: Arc<Authenticator>,
    tasks: Tasks,
}

impl Published {
    async fn start(issuers: &[&Issuer]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jwks.json");
        let auth = authenticator(JwksConfig::new(JwksSource::File(path)));
        let published = Self { directory, auth, tasks: Tasks::new() };
        published.publish(issuers);
        published.auth.read_published_keys().await;
        let (auth, tasks) = (Arc::clone(&published.auth), published.tasks.clone());
        published.tasks.spawn("jwks", async move {
            tokio::select! {
                () = auth.keep_fresh() => {}
                () = tasks.shutdown_started() => {}
            }
        });
        published
    }

    fn publish(&self, issuers: &[&Issuer]) {
        fs::write(self.path(), document(issuers)).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("jwks.json")
    }

    async fn stop(self) {
        assert!(self.tasks.shutdown(Duration::from_secs(5)).await, "the task ends");
    }
}

#[tokio::test]
async fn each_kind_of_key_serves_its_algorithm_and_no_other() {
    let issuers = [
        Issuer::new("rsa", Algorithm::RS256),
        Issuer::new("ec", Algorithm::ES256),
        Issuer::new("ed", Algorithm::EdDSA),
    ];
    let published = Published::start(&issuers.each_ref()).await;
    for issuer in &issuers {
        assert_eq!(
            user_of(&published.auth, issuer).await.as_deref(),
            Ok("alice"),
            "{}",
            issuer.kid
        );
    }
    for impostor in [Issuer::new("rsa", Algorithm::EdDSA), Issuer::new("ed", Algorithm::EdDSA)] {
        assert_eq!(user_of(&published.auth, &impostor).await, Err(AuthError::Invalid));
    }
    // The public key as an HMAC secret (RFC 8725 section 2.1).
    let secret = EncodingKey::from_secret(issuers[2].jwk["x"].as_str().unwrap().as_bytes());
    let header = b64(br#"{"alg":"HS256","kid":"ed"}"#);
    let claims = b64(br#"{"sub":"eve","exp":99999999999}"#);
    let message = format!("{header}.{claims}");
    let signature = crypto::sign(message.as_bytes(), &secret, Algorithm::HS256).unwrap();
    let forged = format!("{message}.{signature}");
    assert!(published.auth.check_fresh(&forged, now_ms).await.is_err());
    published.stop().await;
}

#[tokio::test]
async fn a_key_with_a_name_serves_who_names_it_and_one_without_who_names_none() {
    let [named, mut nameless] = ["named", "nameless"].map(|kid| Issuer::new(kid, Algorithm::EdDSA));
    nameless.jwk.as_object_mut().unwrap().remove("kid");
    let published = Published::start(&[&named, &nameless]).await;
    for (issuer, kid, good) in [
        (&named, Some("named"), true),
        (&named, None, false),
        (&named, Some("other"), false),
        (&nameless, None, true),
        (&nameless, Some("nameless"), false),
        (&nameless, Some("named"), false),
    ] {
        let verdict = published.auth.check(&issuer.token_naming(kid), now_ms());
        assert_eq!(verdict.is_ok(), good, "{} as {kid:?}", issuer.kid);
    }
    published.stop().await;
}

#[test]
fn what_cannot_be_used_is_left_out_and_too_much_is_refused() {
    let good = Issuer::new("good", Algorithm::EdDSA).jwk;
    let with = |key: &Value, name: &str, value: Value| {
        let mut changed = key.clone();
        changed[name] = value;
        changed
    };
    let rsa = Issuer::new("rsa", Algorithm::RS256).jwk;
    let short = b64(&[0xff; 255]);
    let padded = b64(&[[0; 128], [0xff; 128]].concat());
    for bad in [
        with(&good, "use", json!("enc")),
        with(&good, "alg", json!("ES256")),
        with(&good, "key_ops", json!(["sign"])),
        with(&good, "d", json!("a private key")),
        with(&good, "crv", json!("Ed448")),
        with(&good, "x", json!("AAAA")),
        with(&good, "kid", json!(7)),
        with(&rsa, "n", json!(short)),
        with(&rsa, "n", json!(padded)),
        with(&rsa, "e", json!("")),
        json!({ "kty": "oct", "k": b64(&[1; 32]), "kid": "secret" }),
        json!({ "kty": "EC", "crv": "P-384", "x": b64(&[1; 48]), "y": b64(&[1; 48]) }),
        json!("no object"),
    ] {
        let alone = json!({ "keys": [bad] }).to_string();
        let error = document::parse(alone.as_bytes()).unwrap_err();
        assert!(matches!(error, JwksError::NoneUsable(1)), "{bad}: {error}");
        let beside = json!({ "keys": [bad, good] }).to_string();
        assert_eq!(document::parse(beside.as_bytes()).unwrap().len(), 1, "{bad}");
    }
    let crowd = json!({ "keys": vec![&good; document::JWKS_KEYS + 1] }).to_string();
    assert!(matches!(document::parse(crowd.as_bytes()), Err(JwksError::TooMany(65))));
    let full = json!({ "keys": vec![&good; document::JWKS_KEYS] }).to_string();
    assert_eq!(document::parse(full.as_bytes()).unwrap().len(), document::JWKS_KEYS);
    let padding = " ".repeat(document::JWKS_BYTES);
    let large = json!({ "keys": [good] }).to_string() + &padding;
    assert!(matches!(document::parse(large.as_bytes()), Err(JwksError::TooLarge)));
    for bad in ["", "[]", "{}", r#"{"keys":{}}"#, "nonsense"] {
        assert!(matches!(document::parse(bad.as_bytes()), Err(JwksError::Json(_))), "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_rotate_by_time_and_the_old_ones_stay_while_they_are_published() {
    let [first, second] = ["first", "second"].map(|kid| Issuer::new(kid, Algorithm::ES256));
    let published = Published::start(&[&first]).await;
    published.publish(&[&first, &second]);
    let cache = published.auth.jwks.as_ref().unwrap().config.cache;
    tokio::time::sleep(cache + Duration::from_secs(1)).await;
    // `check` never waits: the new key is there by itself.
    for issuer in [&first, &second] {
        assert!(published.auth.check(&issuer.token(), now_ms()).is_ok(), "{}", issuer.kid);
    }
    published.publish(&[&second]);
    tokio::time::sleep(cache + Duration::from_secs(1)).await;
    assert!(published.auth.check(&first.token(), now_ms()).is_err(), "withdrawn");
    assert!(published.auth.check(&second.token(), now_ms()).is_ok());
    published.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_asked_for_once_in_a_while_and_by_all_together() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _here = metrics::set_default_local_recorder(&recorder);
    let refreshes =
        || moved_since(&snapshotter).remove("sterna_edge_jwks_refreshes_total result=ok");
    let [first, second, nobody] =
        ["first", "second", "nobody"].map(|kid| Issuer::new(kid, Algorithm::EdDSA));
    let published = Published::start(&[&first]).await;
    let pause = published.auth.jwks.as_ref().unwrap().config.pause;
    assert_eq!(refreshes(), Some(1.0));
    published.publish(&[&first, &second]);
    assert!(user_of(&published.auth, &second).await.is_err(), "the last reading was just now");
    assert_eq!(refreshes().unwrap_or_default(), 0.0);
    tokio::time::sleep(pause).await;
    // A session that shows a fresh token is not thrown out for a key that is on its way.
    let later = published.auth.check(&second.token(), now_ms()).map(drop);
    assert_eq!(later, Err(AuthError::Later));
    let together = (0..20).map(|_| user_of(&published.auth, &second));
    let users = futures_util::future::join_all(together).await;
    assert!(users.iter().all(Result::is_ok), "all wait for the one reading: {users:?}");
    assert_eq!(refreshes(), Some(1.0));
    for _ in 0..20 {
        assert!(user_of(&published.auth, &nobody).await.is_err());
    }
    assert_eq!(refreshes().unwrap_or_default(), 0.0, "a stranger cannot make the node ask");
    let never = published.auth.check(&nobody.token(), now_ms()).map(drop);
    assert_eq!(never, Err(AuthError::Invalid), "nothing is on its way");
    published.stop().await;
}

#[tokio::test(start_paused = true)]
async fn old_keys_outlive_failures_for_a_day() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _here = metrics::set_default_local_recorder(&recorder);
    let issuer = Issuer::new("only", Algorithm::EdDSA);
    let published = Published::start(&[&issuer]).await;
    assert_eq!(moved_since(&snapshotter)["sterna_edge_jwks_keys_held"], 1.0);
    fs::write(published.path(), "half a docum").unwrap();
    let day = published.auth.jwks.as_ref().unwrap().config.stale_if_error;
    tokio::time::sleep(day - Duration::from_secs(60)).await;
    assert!(user_of(&published.auth, &issuer).await.is_ok(), "kept for nearly a day");
    let moved = moved_since(&snapshotter);
    assert!(moved["sterna_edge_jwks_refreshes_total result=failed"] > 100.0, "{moved:?}");
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(user_of(&published.auth, &issuer).await.is_err(), "too old to be believed");
    assert!(!published.auth.has_keys());
    assert_eq!(moved_since(&snapshotter)["sterna_edge_jwks_keys_held"], 0.0);
    published.publish(&[&issuer]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(user_of(&published.auth, &issuer).await.is_ok(), "back without anybody's help");
    published.stop().await;
}

#[test]
fn urls_are_https_or_on_this_machine() {
    for good in [
        "https://login.example.com/jwks.json?v=1",
        "https://10.0.0.1:8443/",
        "http://127.0.0.1:80/keys",
        "http://[::1]:8080/keys",
        "http://localhost/keys",
    ] {
        let url: JwksUrl = good.parse().unwrap();
        assert_eq!(url.to_string().parse::<JwksUrl>().unwrap(), url);
    }
    for (bad, error) in [
        ("http://login.example.com/keys", JwksUrlError::Scheme),
        ("http://127.0.0.1.example.com/keys", JwksUrlError::Scheme),
        ("ftp://localhost/keys", JwksUrlError::Scheme),
        ("file:///keys", JwksUrlError::Shape),
        ("login.example.com", JwksUrlError::Scheme),
        ("https://user:secret@login.example.com/", JwksUrlError::Userinfo),
        ("http://127.0.0.1@example.com/", JwksUrlError::Userinfo),
        ("", JwksUrlError::Shape),
        ("/keys", JwksUrlError::Shape),
    ] {
        assert_eq!(bad.parse::<JwksUrl>().unwrap_err(), error, "{bad}");
    }
}

/// A server that gives every connection the same answer, and counts them.
struct Server {
    address: SocketAddr,
    asked: watch::Receiver<usize>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(answer: Vec<u8>, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (count, asked) = watch::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.send_modify(|count| *count += 1);
                match &tls {
                    None => answer_with(stream, &answer).await,
                    Some(tls) => {
                        let accepted = tokio_rustls::TlsAcceptor::from(tls.clone()).accept(stream);
                        if let Ok(stream) = accepted.await {
                            answer_with(stream, &answer).await;
                        }
                    }
                }
            }
        });
        Self { address, asked, _tasks: tasks }
    }
}

async fn answer_with(mut stream: impl AsyncWrite + tokio::io::AsyncRead + Unpin, answer: &[u8]) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    assert!(request.starts_with(b"GET /keys?v=1 HTTP/1.1\r\n"), "{request:?}");
    // A client that has seen enough is gone.
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn config(server: &Server, scheme: &str, ca: Option<PathBuf>) -> JwksConfig {
    let url = format!("{scheme}://localhost:{}/keys?v=1", server.address.port());
    JwksConfig::new(JwksSource::Url { url: url.parse().unwrap(), ca })
}

#[tokio::test]
async fn keys_come_over_https_from_whom_the_configuration_trusts() {
    let issuer = Issuer::new("far", Algorithm::EdDSA);
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let server = Server::start(ok(&document(&[&issuer])), Some(Arc::new(tls))).await;
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    fs::write(&ca, made.cert.pem()).unwrap();
    let auth = authenticator(config(&server, "https", Some(ca)));
    auth.read_published_keys().await;
    assert_eq!(user_of(&auth, &issuer).await.as_deref(), Ok("alice"));
    // The machine's own roots do not know this authority.
    let error = probe(&config(&server, "https", None)).await.unwrap_err();
    assert!(matches!(error, JwksError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_key_published_a_moment_ago_is_fetched_before_the_verdict() {
    let issuer = Issuer::new("new", Algorithm::RS256);
    let server = Server::start(ok(&document(&[&issuer])), None).await;
    let auth = authenticator(config(&server, "http", None));
    assert!(!auth.has_keys());
    let keeping = auth.keep_fresh();
    let asking = user_of(&auth, &issuer);
    tokio::select! {
        user = asking => assert_eq!(user.as_deref(), Ok("alice")),
        () = keeping => unreachable!("it is kept fresh for ever"),
    }
    assert_eq!(*server.asked.borrow(), 1);
}

#[tokio::test]
async fn a_server_of_keys_cannot_lead_elsewhere_flood_or_stall() {
    let target = Server::start(ok("{}"), None).await;
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://{}/keys?v=1\r\nContent-Length: 0\r\n\r\n",
        target.address
    );
    let endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
    let endless = [endless, vec![b' '; 10 * document::JWKS_BYTES]].concat();
    let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)).into_bytes();
    let chatter = b"SSH-2.0-OpenSSH_9.9\r\n".to_vec();
    let short = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec();
    for (answer, wanted) in [
        (redirect.into_bytes(), "status 302 instead of 200"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n".to_vec(), "status 500"),
        (endless, "more than 65536 bytes"),
        (head, "cannot reach"),
        (chatter, "cannot reach"),
        (short, "cannot reach"),
        (ok("<html>"), "not a JWKS"),
    ] {
        let server = Server::start(answer, None).await;
        let error = probe(&config(&server, "http", None)).await.unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
    assert_eq!(*target.asked.borrow(), 0, "redirects are not followed");
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap();
    let deadline = Duration::from_millis(50);
    let config = JwksConfig { deadline, ..JwksConfig::new(JwksSource::Url { url, ca: None }) };
    assert!(matches!(probe(&config).await, Err(JwksError::TooSlow(_))));
}
