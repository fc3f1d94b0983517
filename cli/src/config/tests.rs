//! What an operator sees of a configuration that is wrong, and which of three origins wins.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use sterna_proto::v1;
use sterna_storage_rocks::Durability;

use crate::config::{Config, StoreConfig};
use crate::keys::DevKeys;
use crate::raw_config::RawConfig;
use crate::settings::Setting;

/// A directory with usable keys, and the configuration that names them.
pub(super) struct Place {
    directory: tempfile::TempDir,
    keys: DevKeys,
}

impl Place {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = DevKeys::ensure(directory.path()).unwrap();
        Self { directory, keys }
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn good(&self) -> String {
        format!(
            "[node]\ndata_dir = {:?}\n[client]\ncertificate = {:?}\nprivate_key = {:?}\n\
             [[auth.keys]]\nalgorithm = \"HS256\"\nfile = {:?}\n",
            self.directory.path(),
            self.keys.tls.certificate_chain,
            self.keys.tls.private_key,
            self.keys.token_secret,
        )
    }

    pub(super) fn load(
        &self,
        text: &str,
        environment: &[(&str, &str)],
        overrides: &[&str],
    ) -> Result<Config, Vec<String>> {
        let file = self.directory.path().join("sterna.toml");
        fs::write(&file, text).unwrap();
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let overrides: Vec<String> = overrides.iter().map(|pair| (*pair).to_owned()).collect();
        let raw = RawConfig::gather(&file, environment, &overrides);
        Config::from_raw(raw).map_err(|complaints| {
            let directory = format!("{}/", self.directory.path().display());
            complaints.iter().map(|it| it.to_string().replace(&directory, "")).collect()
        })
    }

    /// The complaints about the good configuration with `text` behind it (from line 9 on).
    fn complaints(&self, text: &str) -> Vec<String> {
        self.load(&(self.good() + text), &[], &[]).map(drop).expect_err(text)
    }
}

#[test]
fn the_least_configuration_is_enough_and_gets_the_defaults() {
    let place = Place::new();
    let config = place.load(&place.good(), &[], &[]).unwrap();
    let clients = config.clients.unwrap();
    assert_eq!(clients.address.to_string(), "0.0.0.0:4443");
    assert!(config.cluster.is_none());
    assert_eq!(config.http.address.to_string(), "127.0.0.1:4480");
    assert_eq!(config.core.durability, v1::Durability::Fsync);
    assert!(!config.core.create_on_first_use);
    let Some(StoreConfig::Rocks { directory, .. }) = config.store else { panic!("RocksDB") };
    assert_eq!(directory, place.directory.path().join("store"));
}

#[test]
fn mistakes_are_named_with_file_line_key_and_nearest_key() {
    let place = Place::new();
    for (text, wanted) in WRONG_KEYS.iter().chain(WRONG_TYPES).chain(WRONG_VALUES) {
        let complaints = place.complaints(text);
        assert!(complaints.iter().any(|it| it == wanted), "{text}\n{complaints:#?}\n{wanted}");
    }
    let broken = place.complaints("[http]\naddress = \n");
    assert!(broken[0].starts_with("sterna.toml:10: "), "{broken:?}");
    let twice = place.complaints("[http]\nconnections = 1\nconnections = 2\n");
    assert!(twice[0].starts_with("sterna.toml:11: "), "{twice:?}");
}

/// What is added to the good configuration (from line 9 on), and the complaint.
type Mistake = (&'static str, &'static str);

/// Keys that do not exist, and one that has to.
const WRONG_KEYS: &[Mistake] = &[
    (
        "[http]\nadress = \"127.0.0.1:1\"\n",
        "sterna.toml:10: `http.adress` is not a key; did you mean `http.address`?",
    ),
    (
        "\n[sesions]\nheartbeat = \"5s\"\n",
        "sterna.toml:10: `sesions` is not a key; did you mean `sessions.heartbeat`?",
    ),
    ("zzz = 1\n", "sterna.toml:9: `auth.keys.zzz` is not a key"),
    (
        "[[auth.keys]]\nalgoritm = \"HS256\"\nfile = \"x\"\n",
        "sterna.toml:10: `auth.keys.algoritm` is not a key; did you mean \
         `auth.keys.algorithm`?",
    ),
    (
        "[[http.api_keys]]\nid = \"a\"\n",
        "sterna.toml:9: `http.api_keys.secret_file` is missing and has no default",
    ),
];

/// Values of the wrong type.
const WRONG_TYPES: &[Mistake] = &[
    (
        "[http]\nconnections = \"many\"\n",
        "sterna.toml:10: `http.connections` is a whole number, 0 or more, not this string",
    ),
    (
        "[http]\nconnections = -1\n",
        "sterna.toml:10: `http.connections` is a whole number, 0 or more, not this integer",
    ),
    (
        "[store]\naccept_truncated = 1\n",
        "sterna.toml:10: `store.accept_truncated` is true or false, not this integer",
    ),
];

/// Values of the right type that cannot be used.
const WRONG_VALUES: &[Mistake] = &[
    (
        "[http]\nconnections = 0\n",
        "sterna.toml:10: `http.connections`: 0 is not between 1 and 100000",
    ),
    (
        "[http]\naddress = \"localhost:80\"\n",
        "sterna.toml:10: `http.address`: `localhost:80` is not address:port; write \
         127.0.0.1:4443 or [::]:4443",
    ),
    (
        "[sessions]\nheartbeat = \"25\"\n",
        "sterna.toml:10: `sessions.heartbeat`: `25` is not a duration; write a whole number \
         and ms, s, m, h or d, as in 10s",
    ),
    (
        "[sessions]\nheartbeat = \"1ms\"\n",
        "sterna.toml:10: `sessions.heartbeat`: 1ms is not between 1s and 10m",
    ),
    (
        "[store]\ndurability = \"maybe\"\n",
        "sterna.toml:10: `store.durability`: `maybe` is none of fsync, os",
    ),
    (
        "[log]\notlp_endpoint = \"collector:4318\"\n",
        "sterna.toml:10: `log.otlp_endpoint`: write http://host:port; for TLS, name a collector on \
         this machine that forwards",
    ),
    (
        "[queues]\noutbox_bytes = 1000\n",
        "sterna.toml:10: `queues.outbox_bytes`: 1000 is not between 524288 and 268435456",
    ),
    (
        "[queues]\nmailbox_patience = \"1h\"\n",
        "sterna.toml:10: `queues.mailbox_patience`: 1h is not between 1ms and 10s",
    ),
    (
        "[sessions]\ncommand_burst = 0\n",
        "sterna.toml:10: `sessions.command_burst`: 0 is not between 1 and 1000000",
    ),
    (
        "[auth.jwks]\nurl = \"http://login.example.com/keys\"\n",
        "sterna.toml:10: `auth.jwks.url`: keys are taken over https only, from this machine \
         (127.0.0.1, [::1], localhost) over http as well",
    ),
    (
        "[auth.jwks]\nurl = \"https://a.example\"\nfile = \"keys.json\"\n",
        "sterna.toml:10: `auth.jwks.url`: give this or `auth.jwks.file`, not both",
    ),
    (
        "[auth.jwks]\nca = \"ca.pem\"\n",
        "sterna.toml:10: `auth.jwks.ca`: there is no `auth.jwks.url` to trust it for",
    ),
    (
        "[auth.jwks]\nurl = \"https://a.example\"\nca = \"/dev/null\"\n",
        "sterna.toml:11: `auth.jwks.ca`: /dev/null holds no certificate in PEM",
    ),
    (
        "[[http.api_keys]]\nid = \"a\"\nsecret_file = \"x\"\nrole = \"admin\"\n",
        "sterna.toml:12: `http.api_keys.role`: `admin` is none of operator, observer",
    ),
    (
        "[[auth.keys]]\nalgorithm = \"none\"\nfile = \"x\"\n",
        "sterna.toml:10: `auth.keys.algorithm`: `none` is not an algorithm; use one of HS256, \
         RS256, ES256, EdDSA",
    ),
];

#[test]
fn all_mistakes_come_at_once() {
    let place = Place::new();
    let complaints = place
        .load("[client]\nworkers = 99\nbogus = 1\n[log]\nformat = \"xml\"\n", &[], &[])
        .map(drop)
        .unwrap_err();
    let text = complaints.join("\n");
    for needed in [
        "`client.bogus` is not a key",
        "99 is not between 1 and 32",
        "`xml` is none of human, json",
        "`node.data_dir` is missing",
        "`client.certificate` is missing",
        "`client.private_key` is missing",
        "`auth.keys` is missing",
    ] {
        assert!(text.contains(needed), "{needed} is missing in\n{text}");
    }
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let place = Place::new();
    let text = place.good() + "[sessions]\nheartbeat = \"20s\"\nslow_after = \"20s\"\n";
    let environment = [
        ("STERNA_SESSIONS_HEARTBEAT", "21s"),
        ("STERNA_CLIENT_WORKERS", "3"),
        ("STERNA_CLIENT_ALLOWED_ORIGINS", "https://a.example, https://b.example"),
        ("HOME", "/elsewhere"),
    ];
    let config = place.load(&text, &environment, &["client.workers=4"]).unwrap();
    assert_eq!(config.core.slow_after, Duration::from_secs(20), "file");
    assert_eq!(config.core.heartbeat, Duration::from_secs(21), "environment");
    let clients = config.clients.unwrap();
    assert_eq!(clients.workers, 4, "flag");
    assert_eq!(clients.allowed_origins, ["https://a.example", "https://b.example"]);
}

#[test]
fn mistakes_outside_the_file_name_their_origin() {
    let place = Place::new();
    let environment = [
        ("STERNA_CLIENT_WORKERS", "99"),
        ("STERNA_CLIENT_ADRESS", "127.0.0.1:1"),
        ("STERNA_SESSIONS_HEARTBEAT", "soon"),
    ];
    let complaints = place
        .load(&place.good(), &environment, &["store.engine=tape", "nonsense"])
        .map(drop)
        .unwrap_err();
    for wanted in [
        "environment variable STERNA_CLIENT_WORKERS: `client.workers`: 99 is not between 1 and 32",
        "environment variable STERNA_CLIENT_ADRESS: not a key; did you mean STERNA_CLIENT_ADDRESS?",
        "--set: `store.engine`: `tape` is none of rocksdb, memory, sql",
        "--set: `nonsense` is not KEY=VALUE",
    ] {
        assert!(complaints.iter().any(|it| it == wanted), "{complaints:#?}\n{wanted}");
    }
}

#[test]
fn variables_that_kubernetes_sets_for_a_service_are_not_ours() {
    let place = Place::new();
    let environment = [
        ("STERNA_SERVICE_HOST", "10.0.0.1"),
        ("STERNA_SERVICE_PORT", "4443"),
        ("STERNA_SERVICE_PORT_QUIC", "4443"),
        ("STERNA_PORT", "udp://10.0.0.1:4443"),
        ("STERNA_PORT_4443_UDP_ADDR", "10.0.0.1"),
    ];
    place.load(&place.good(), &environment, &[]).unwrap();
    let complaints = place.load(&place.good(), &[("STERNA_PORTS", "1")], &[]).map(drop);
    assert!(complaints.unwrap_err()[0].contains("STERNA_PORTS: not a key"));
}

#[test]
fn key_files_are_looked_at() {
    let place = Place::new();
    fs::set_permissions(&place.keys.token_secret, fs::Permissions::from_mode(0o644)).unwrap();
    let complaints = place.load(&place.good(), &[], &[]).map(drop).unwrap_err();
    assert!(complaints[0].contains("chmod 600"), "{complaints:?}");
    assert!(complaints[0].starts_with("sterna.toml:8: `auth.keys.file`"), "{complaints:?}");
    fs::set_permissions(&place.keys.token_secret, fs::Permissions::from_mode(0o600)).unwrap();
    let other = Place::new();
    fs::copy(&other.keys.tls.private_key, &place.keys.tls.private_key).unwrap();
    let complaints = place.load(&place.good(), &[], &[]).map(drop).unwrap_err();
    assert!(complaints[0].contains("cannot be used together"), "{complaints:?}");
    assert!(complaints[0].starts_with("sterna.toml:4: "), "{complaints:?}");
}

#[test]
fn example_configurations_hold_known_keys_and_nothing_else_to_complain_about_than_files() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config");
    let mut examples = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        examples += 1;
        let raw = RawConfig::gather(&path, std::iter::empty(), &[]);
        let Err(complaints) = Config::from_raw(raw) else { continue };
        for complaint in complaints {
            let text = complaint.to_string();
            assert!(text.contains("/etc/sterna/"), "only the key files are missing: {text}");
        }
    }
    assert!(examples >= 2);
}

/// What makes a node one of several, each mistake by itself.
#[test]
fn mistakes_of_a_cluster_are_named() {
    let place = Place::new();
    let cases: &[(&[&str], &str)] = &[
        (&["node.roles=edge,cor"], "`node.roles`: `cor` is none of edge, core"),
        (&["node.roles=edge"], "`cluster.address` is missing and has no default"),
        (&["cluster.address=0.0.0.0:4444"], "`cluster.certificate` is missing and has no default"),
        (
            &["node.roles=edge", "cluster.address=127.0.0.1:0", "store.engine=memory"],
            "`store.engine`: a node that is no core has no store",
        ),
        (&["store.engine=sql"], "`store.urls` is missing and has no default"),
        (
            &["store.engine=sql", "store.urls=postgres://x"],
            "`store.urls`: write mysql://user:password@host:port/database for each server",
        ),
        (
            &["redis.urls=redis://x:1"],
            "`redis.urls`: a node that is alone keeps this in its memory; leave the key out",
        ),
        (
            &["cluster.address=127.0.0.1:0", "redis.urls=http://x"],
            "`redis.urls`: write redis://host:port for each server",
        ),
        (
            &["cluster.address=127.0.0.1:0", "redis.urls=redis://a:1,redis://b:1"],
            "`redis.urls`: one server has one URL; of the nodes of a Redis Cluster say",
        ),
        (
            &["cluster.address=127.0.0.1:0", "redis.urls=rediss://a:1", "redis.ca=/none.pem"],
            "`redis.ca`: /none.pem cannot be read",
        ),
        (
            &["cluster.address=127.0.0.1:0", "redis.urls=redis://a:1", "redis.prefix={x}"],
            "`redis.prefix`: without braces",
        ),
        (&["store.page_cache=/tmp/pages"], "`store.page_cache`: for cores on a database"),
        (&["redis.pages=true"], "`redis.pages`: in which Redis? Name it in `redis.urls`"),
        (
            &["store.engine=sql", "store.urls=mysql://x/y", "store.databases=3"],
            "`store.databases`: `store.databases` and `store.tables` are powers of two",
        ),
    ];
    for (overrides, wanted) in cases {
        let complaints = place.load(&place.good(), &[], overrides).map(drop).unwrap_err();
        assert!(complaints.iter().any(|it| it.contains(wanted)), "{overrides:?}: {complaints:#?}");
    }
    // A certificate for clients makes nobody a node.
    let tls = &place.keys.tls;
    let flags = [
        "cluster.address=127.0.0.1:0".to_owned(),
        format!("cluster.certificate={}", tls.certificate_chain.display()),
        format!("cluster.private_key={}", tls.private_key.display()),
        format!("cluster.authorities={}", place.keys.ca.display()),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let complaints = place.load(&place.good(), &[], &flags).map(drop).unwrap_err();
    assert!(complaints[0].contains("it names no node"), "{complaints:#?}");
    let beat = place.load(&place.good(), &[], &[&flags[..], &["cluster.beat=4s"]].concat());
    let beat = beat.map(drop).unwrap_err();
    assert!(beat.iter().any(|it| it.contains("at least three times")), "{beat:#?}");
}

#[test]
fn mistakes_of_a_log_beside_the_store_are_named() {
    let place = Place::new();
    let cases: &[(&[&str], &str)] = &[
        (
            &["store.log=scylla"],
            "`store.log`: what is beside the log needs `store.engine = \"sql\"`",
        ),
        (
            &["store.engine=sql", "store.urls=mysql://x/y", "store.log=scylla"],
            "`scylla.nodes` is missing and has no default",
        ),
        (
            &["store.engine=sql", "store.urls=mysql://x/y", "store.log=scylla"],
            "`scylla.datacenter` is missing and has no default",
        ),
        (
            &["store.engine=sql", "store.urls=mysql://x/y", "scylla.nodes=a:9042"],
            "`scylla.nodes`: of no use without `store.log = \"scylla\"`",
        ),
        (
            &["store.engine=sql", "store.urls=mysql://x/y", "store.log=scylla", "scylla.nodes=a"],
            "`scylla.nodes`: write host:port for each node",
        ),
    ];
    for (overrides, wanted) in cases {
        let complaints = place.load(&place.good(), &[], overrides).map(drop).unwrap_err();
        assert!(complaints.iter().any(|it| it.contains(wanted)), "{overrides:?}: {complaints:#?}");
    }
}

#[test]
fn the_full_example_shows_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config/sterna.toml");
    let text = fs::read_to_string(path).unwrap();
    for setting in crate::settings::SETTINGS {
        let name = setting.path.rsplit('.').next().unwrap();
        let shown =
            text.contains(&format!("{name} = ")) || text.contains(&format!("[[{}]]", setting.path));
        assert!(shown, "{} is not in the example", setting.path);
    }
}

#[test]
fn the_full_example_shows_the_defaults_of_the_code() {
    let place = Place::new();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config/sterna.toml");
    let public = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().public_key_pem();
    fs::write(place.directory.path().join("token.pem"), public).unwrap();
    let mut text = fs::read_to_string(path).unwrap();
    for (name, own) in [
        ("node.pem", &place.keys.tls.certificate_chain),
        ("node.key", &place.keys.tls.private_key),
        ("api.secret", &place.keys.api_key),
        ("token.pem", &place.directory.path().join("token.pem")),
    ] {
        text = text.replace(&format!("/etc/sterna/{name}"), own.to_str().unwrap());
    }
    let shown = place.load(&text, &[], &[]).unwrap();
    let default = place.load(&place.good(), &[], &[]).unwrap();
    let of = |config: &Config| {
        let Config { http, auth, log, clients, .. } = config;
        let clients = clients.as_ref().unwrap();
        [
            format!("{:#?}", config.core),
            format!("{:#?}", clients.limits),
            format!("{:?} {} {:?}", clients.address, clients.workers, config.drain_deadline),
            format!("{} {:?}", http.address, (http.connections, http.request_deadline)),
            format!("{:?}", http.pages),
            format!("{:?} {:?} {}", http.read_deadline, auth.leeway, auth.require_expiry),
            format!("{log:?} {} {:?}", config.node_number, clients.connection_ids),
        ]
    };
    assert_eq!(of(&shown), of(&default));
    let Some(StoreConfig::Rocks { durability, accept_truncated, .. }) = shown.store else {
        panic!("RocksDB")
    };
    assert_eq!((durability, accept_truncated), (Durability::Fsync, false));
}

#[test]
fn the_console_is_there_unless_it_is_switched_off() {
    let place = Place::new();
    let paths = |overrides: &[&str]| -> Vec<String> {
        let config = place.load(&place.good(), &[], overrides).unwrap();
        config.http.pages.into_iter().map(|page| page.path).collect()
    };
    let all = [
        "/console/",
        "/console/console.js",
        "/console/console.css",
        "/console/node.json",
        "/console",
    ];
    assert_eq!(paths(&[]), all);
    assert!(paths(&["http.console=false"]).is_empty());
}

#[test]
fn every_limit_has_a_key_and_the_default_of_its_owner() {
    let place = Place::new();
    let config = place.load(&place.good(), &[], &[]).unwrap();
    let queues = format!("{:?}", sterna_core::config::QueueLimits::default());
    let limits = format!("{:?}", sterna_edge::EdgeLimits::default());
    assert_eq!(format!("{:?}", config.core.queues), queues);
    assert_eq!(format!("{:?}", config.clients.unwrap().limits), limits);
    for (section, fields) in [("queues", queues), ("client", limits)] {
        let fields = fields.split(['{', '}']).nth(1).unwrap();
        for field in fields.split(", ").map(|field| field.split(':').next().unwrap().trim()) {
            let path = format!("{section}.{field}");
            assert!(Setting::find(&path).is_some(), "{path} is no key of the configuration");
        }
    }
}

#[test]
fn a_jwks_is_enough_to_know_tokens_by() {
    let place = Place::new();
    let without_keys = place.good().split("[[auth.keys]]").next().unwrap().to_owned();
    let wanted = "`auth.keys` is missing and has no default";
    let complaints = place.load(&without_keys, &[], &[]).map(drop).unwrap_err();
    assert!(complaints[0].contains(wanted), "{complaints:?}");
    let overrides = ["auth.jwks.url=https://login.example.com/keys"];
    let config = place.load(&without_keys, &[], &overrides).unwrap();
    assert!(config.auth.keys.is_empty() && config.auth.jwks.is_some());
    let environment = [("STERNA_AUTH_JWKS_FILE", "/etc/sterna/jwks.json")];
    assert!(place.load(&without_keys, &environment, &[]).unwrap().auth.jwks.is_some());
}
