//! A server that wants TLS and a password.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sterna_storage::StorageErrorKind;
use sterna_storage_scylla::{Login, ScyllaConfig, ScyllaStore, Tls};
use sterna_test_engines::Cassandra;

use support::{Keyspace, append, in_the_end, key, record};

mod support;

/// An authority in `NAME.pem`, and what it signs for the address of the server, with its key, in
/// `server-NAME.pem`.
fn authority(at: &Path, name: &str) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pair = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&pair).unwrap();
    std::fs::write(at.join(format!("{name}.pem")), certificate.pem()).unwrap();
    let issuer = Issuer::new(params, pair);
    let pair = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let server = server.signed_by(&pair, &issuer).unwrap();
    let both = format!("{}{}", pair.serialize_pem(), server.pem());
    std::fs::write(at.join(format!("server-{name}.pem")), both).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_said_to_a_server_that_is_not_believed() {
    let at = tempfile::tempdir().unwrap();
    authority(at.path(), "ours");
    authority(at.path(), "another");
    let settings = format!(
        "authenticator: PasswordAuthenticator
client_encryption_options:
  enabled: true
  optional: false
  keystore: {}
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
",
        at.path().join("server-ours.pem").display()
    );
    let server = Cassandra::start_with(1, &settings);
    let keyspace = Keyspace::of(&server);
    let login = Login { user: "cassandra".into(), password: "cassandra".into() };
    let whole = ScyllaConfig {
        tls: Tls::Required { authorities: Some(at.path().join("ours.pem")) },
        login: Some(login.clone()),
        ..keyspace.config()
    };
    // The server makes its first user a while after it takes connections.
    let store = in_the_end(async || ScyllaStore::connect(&whole).await).await;
    append(&store, key("room"), None, record("a", 1)).await.unwrap();

    let another = Tls::Required { authorities: Some(at.path().join("another.pem")) };
    let nobody = Login { password: "wrong".into(), ..login };
    let impatient = ScyllaConfig { patience: Duration::from_secs(3), ..whole };
    for wrong in [
        ScyllaConfig { tls: another, ..impatient.clone() },
        ScyllaConfig { tls: Tls::Off, ..impatient.clone() },
        ScyllaConfig { login: Some(nobody), ..impatient.clone() },
        ScyllaConfig { login: None, ..impatient.clone() },
    ] {
        let refused = ScyllaStore::connect(&wrong).await.unwrap_err();
        assert_eq!(refused.kind, StorageErrorKind::Unavailable, "{wrong:?}: {refused}");
    }
    let missing = Tls::Required { authorities: Some(at.path().join("missing.pem")) };
    let refused = ScyllaStore::connect(&ScyllaConfig { tls: missing, ..impatient }).await;
    assert!(refused.unwrap_err().message.contains("missing.pem"));
}
