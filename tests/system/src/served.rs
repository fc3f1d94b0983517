//! A node of `sterna serve`: written configuration, certificates and keys made for the test, the
//! real binary, free ports. Told what to do by signals, asked through its own command line and its
//! HTTP port. What it logged is shown when a test fails; the child is killed when dropped.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::node::{PATIENCE, binary, signal, sum_of_metric, wait_for};

/// Secret of the access tokens, as the written configuration names it.
pub const TOKEN_SECRET: &str = "a secret of the tests, long enough for HS256";

/// Who signs certificates.
pub struct Authority {
    name: &'static str,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new(name: &'static str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { name, issuer: Issuer::new(params, key), pem }
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A place with everything that a node needs, and the node while it runs.
#[derive(Debug)]
pub struct Served {
    home: TempDir,
    /// What `serve` is started through: a program and its arguments.
    launcher: Vec<String>,
    /// Of another release.
    other_binary: Option<PathBuf>,
    child: Option<Child>,
    client: SocketAddr,
    http: SocketAddr,
}

impl Served {
    /// Keys and configuration, with `more` behind it; nothing runs.
    pub fn prepare(authority: &Authority, more: &str) -> Self {
        let home = tempfile::Builder::new().prefix("sterna-serve-").tempdir().unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let (launcher, other_binary) = Default::default();
        let (child, client, http) = (None, nowhere, nowhere);
        let served = Self { home, launcher, other_binary, child, client, http };
        served.install_certificate(authority, 2100);
        served.write_secret("token.secret", TOKEN_SECRET);
        served.write_secret("api.secret", "an api key of the tests, long enough");
        served.write_config(more);
        served
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Puts a certificate of this authority, valid until the end of a year, where the node reads.
    pub fn install_certificate(&self, authority: &Authority, until_year: i32) {
        self.install_certificate_of(authority, until_year, "127.0.0.1");
    }

    /// The same of one that is valid from the beginning of a year on.
    pub fn install_certificate_from(&self, authority: &Authority, from_year: i32) {
        self.install(authority, [from_year, from_year + 1], "127.0.0.1");
    }

    /// The same for a node that has this address.
    pub fn install_certificate_of(&self, authority: &Authority, until_year: i32, address: &str) {
        self.install(authority, [2020, until_year], address);
    }

    fn install(&self, authority: &Authority, [from_year, until_year]: [i32; 2], address: &str) {
        let names = ["localhost".to_owned(), address.to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(from_year, 1, 1);
        params.not_after = rcgen::date_time_ymd(until_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &authority.issuer).unwrap();
        fs::write(self.path("node.pem"), leaf.pem()).unwrap();
        self.write_secret("node.key", &key.serialize_pem());
        fs::write(self.path(&format!("{}.pem", authority.name)), &authority.pem).unwrap();
    }

    pub fn write_secret(&self, name: &str, secret: &str) {
        let path = self.path(name);
        fs::write(&path, secret).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The configuration: port 0 everywhere, and `more`.
    pub fn write_config(&self, more: &str) {
        let path = |name: &str| format!("{:?}", self.path(name));
        let text = format!(
            "[node]\ndata_dir = {}\ndrain_deadline = \"5s\"\n\
             [client]\naddress = \"127.0.0.1:0\"\ncertificate = {}\nprivate_key = {}\n\
             address_connections_per_second = 10000\naddress_connection_burst = 10000\n\
             [http]\naddress = \"127.0.0.1:0\"\n\
             [[http.api_keys]]\nid = \"test\"\nsecret_file = {}\n\
             [channels]\ncreate_on_first_use = true\n\
             [[auth.keys]]\nalgorithm = \"HS256\"\nfile = {}\n{more}",
            path("data"),
            path("node.pem"),
            path("node.key"),
            path("api.secret"),
            path("token.secret"),
        );
        fs::write(self.config(), text).unwrap();
    }

    pub fn config(&self) -> PathBuf {
        self.path("sterna.toml")
    }

    /// From its next start on the node runs behind this program and its arguments.
    pub fn launch_through(&mut self, launcher: Vec<String>) {
        self.launcher = launcher;
    }

    /// From its next start on the node runs this binary; `None`: the one under test.
    pub fn run_binary(&mut self, binary: Option<PathBuf>) {
        self.other_binary = binary;
    }

    /// A verb that reads the configuration.
    pub fn configured_verb(&self, verb: &str) -> Command {
        self.configured_verbs(&[verb])
    }

    /// The same of a verb that has verbs of its own.
    pub fn configured_verbs(&self, verbs: &[&str]) -> Command {
        let mut parts = self.launcher.iter().map(OsString::from).collect::<Vec<_>>();
        parts.push(self.other_binary.as_deref().unwrap_or(binary()).into());
        let mut command = Command::new(&parts[0]);
        command.args(&parts[1..]).args(verbs).arg("--config").arg(self.config());
        // What the tests are told by variables would be configuration to the node.
        std::env::vars().filter(|(name, _)| name.starts_with("STERNA_")).for_each(|(name, _)| {
            command.env_remove(name);
        });
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Starts `sterna serve` with these variables and flags, and waits until it says that it is up.
    pub async fn start(&mut self, environment: &[(&str, &str)], flags: &[&str]) {
        assert!(self.child.is_none(), "the node runs already");
        let log = fs::File::create(self.path("node.log")).unwrap();
        let mut command = self.configured_verb("serve");
        command.args(["--set", "log.format=json"]).args(flags);
        command.envs(environment.iter().copied());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let up = wait_for("the node is up", || {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none(), "the node ended:\n{}", self.log());
            self.logged("node is up").first().cloned()
        });
        let up = up.await;
        let address = |name: &str| up["fields"][name].as_str().map(|text| text.parse().unwrap());
        self.http = address("http").expect("every node has an HTTP port");
        // A node that has no clients has no address for them.
        self.client = address("client").unwrap_or(self.client);
    }

    pub fn client_address(&self) -> SocketAddr {
        self.client
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("node.log")).unwrap_or_default()
    }

    /// The lines of the log whose message holds `text`.
    pub fn logged(&self, text: &str) -> Vec<Value> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter(|line| line["fields"]["message"].as_str().is_some_and(|it| it.contains(text)))
            .collect()
    }

    /// A verb that asks the HTTP surface of this node as its operator.
    pub fn operator_verb(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(verb).args(["--url", &format!("http://{}", self.http)]);
        command.arg("--api-key-file").arg(self.path("api.secret"));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// A verb that talks to this node as `user` and trusts `authority`.
    pub async fn verb(&self, authority: &Authority, user: &str, verb: &[&str]) -> Command {
        self.verb_with(authority, &self.token(user).await, verb)
    }

    /// The same with a token of whatever kind.
    pub fn verb_with(&self, authority: &Authority, token: &str, verb: &[&str]) -> Command {
        self.verb_through(self.client, authority, token, verb)
    }

    /// The same through something that is in front of the node.
    pub fn verb_through(
        &self,
        server: SocketAddr,
        authority: &Authority,
        token: &str,
        verb: &[&str],
    ) -> Command {
        let mut command = Command::new(binary());
        command.args(verb).args(["--server", &server.to_string()]);
        command.args(["--token", token]);
        command.arg("--ca").arg(self.path(&format!("{}.pem", authority.name)));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// A token that everybody believes who has the secret.
    pub async fn token(&self, user: &str) -> String {
        let mut command = Command::new(binary());
        command.args(["token", "--user", user, "--secret-file"]).arg(self.path("token.secret"));
        let output = run(command).await;
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Where its HTTP surface is.
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// The same as its operator; the body is JSON.
    pub async fn operator_get(&self, path: &str) -> (u16, Value) {
        let key = fs::read_to_string(self.path("api.secret")).unwrap();
        let header = format!("X-API-Key: {}\r\n", key.trim());
        let (status, body) = crate::node::http_get_with(self.http, path, &header).await.unwrap();
        (status, serde_json::from_str(&body).unwrap())
    }

    /// `POST path` with an Idempotency-Key as whom the token names: status, head and answer.
    pub async fn post(
        &self,
        path: &str,
        token: &str,
        key: &str,
        body: &str,
    ) -> (u16, String, Value) {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: sterna\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Idempotency-Key: {key}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut connection = TcpStream::connect(self.http).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), serde_json::from_str(body).unwrap())
    }

    /// Status and body of `GET path`.
    pub async fn http_get(&self, path: &str) -> (u16, String) {
        crate::node::http_get(self.http, path).await.unwrap()
    }

    /// The sum of a metric over those of its labels that contain `label`; `None` when it has not
    /// moved.
    pub async fn metric(&self, name: &str, label: &str) -> Option<f64> {
        sum_of_metric(&self.http_get("/metrics").await.1, name, label)
    }

    /// Waits until that sum is this.
    pub async fn wait_metric(&self, name: &str, label: &str, wanted: f64) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let found = self.metric(name, label).await;
            if found == Some(wanted) {
                return;
            }
            let late = tokio::time::Instant::now() >= deadline;
            assert!(!late, "{name} {label} is {found:?}, not {wanted}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until `GET /readyz` answers with this status, and returns its text.
    pub async fn wait_ready(&self, wanted: u16) -> String {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let (status, text) = self.http_get("/readyz").await;
            if status == wanted {
                return text;
            }
            assert!(tokio::time::Instant::now() < deadline, "{status} {text}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// SIGHUP, and what the node logged about it.
    pub async fn reload(&self, outcome: &str) -> Value {
        let before = self.logged(outcome).len();
        self.signal(libc::SIGHUP);
        wait_for(outcome, || self.logged(outcome).into_iter().nth(before)).await
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub fn signal(&self, number: i32) {
        signal(self.child.as_ref().expect("the node runs"), number);
    }

    /// Ends the process without a word, as a lost machine does.
    pub async fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        self.ended().await;
    }

    /// Of its process.
    pub fn id(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).expect("the node runs")
    }

    /// Its end, whenever it comes; may be dropped before.
    pub async fn exit(&mut self) -> ExitStatus {
        let status = self.child.as_mut().expect("the node runs").wait().await.unwrap();
        self.child = None;
        status
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the node runs");
        timeout(PATIENCE, child.wait()).await.expect("the node ends").unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the node's log ---\n{}\n---", self.log());
        }
    }
}

/// Runs a command to its end.
pub async fn run(mut command: Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    timeout(PATIENCE, command.output()).await.expect("the command ends").unwrap()
}

/// Both outputs of a command.
pub fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat()
}
