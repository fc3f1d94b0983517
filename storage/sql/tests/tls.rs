//! TLS to a server, and whose word for it is taken.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sterna_storage::{PublicationLog as _, StorageErrorKind};
use sterna_storage_sql::{SqlConfig, SqlStore, Tls};
use sterna_test_engines::{MariaDb, Site};

use support::{append, key, record};

mod support;

/// An authority's file, and the options of a server with a certificate from it for this host.
fn certified(directory: &Path, host: &str) -> (PathBuf, Vec<String>) {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    // Of two authorities with one name it would be the signature that tells them apart.
    let name = directory.display().to_string();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority = directory.join("authority.pem");
    fs::write(&authority, params.self_signed(&authority_key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![host.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let (certificate, private) = (directory.join("server.pem"), directory.join("server.key"));
    fs::write(&certificate, leaf.pem()).unwrap();
    fs::write(&private, key.serialize_pem()).unwrap();
    let options = [("cert", certificate), ("key", private)];
    let options = options.map(|(name, file)| format!("--ssl-{name}={}", file.display()));
    (authority, options.to_vec())
}

async fn refusal(config: SqlConfig) -> String {
    let error = SqlStore::connect(config).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Unavailable, "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_server_is_spoken_to_in_tls_alone_and_only_with_a_certificate_that_is_believed() {
    if MariaDb::is_tidb() {
        return println!("the certificate is given to MariaDB");
    }
    let [ours, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (authority, options) = certified(ours.path(), "127.0.0.1");
    let (stranger, _) = certified(other.path(), "127.0.0.1");
    let server = MariaDb::start_at(Site::HERE, &options);
    let url = server.fresh_url();
    server.execute("ALTER USER 'sterna'@'%' REQUIRE SSL");
    let with = |tls| SqlConfig { tls, ..SqlConfig::new(&url) };
    let required = |file: &Path| Tls::Required { authorities: Some(file.to_owned()) };

    let told = refusal(with(Tls::AsTheUrlsSay)).await;
    assert!(told.contains("Access denied"), "the server insists: {told}");
    let told = refusal(with(required(&stranger))).await;
    assert!(told.contains("UnknownIssuer"), "{told}");
    let told = refusal(with(Tls::Required { authorities: None })).await;
    assert!(told.contains("UnknownIssuer"), "{told}");
    let elsewhere = url.replace("127.0.0.1", "localhost");
    let told = refusal(SqlConfig { urls: vec![elsewhere], ..with(required(&authority)) }).await;
    assert!(told.contains("not valid for name"), "{told}");

    let store = SqlStore::connect(with(required(&authority))).await.unwrap();
    append(&store, key("room"), None, record("a", 1)).await.unwrap();
    assert!(store.head(key("room")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_it_is_required() {
    if MariaDb::is_tidb() {
        return println!("TiDB makes itself a certificate");
    }
    let server = MariaDb::start_at(Site::HERE, &["--skip-ssl".to_owned()]);
    let tls = Tls::Required { authorities: None };
    let told = refusal(SqlConfig { tls, ..SqlConfig::new(server.fresh_url()) }).await;
    assert!(told.contains("nothing was stored"), "{told}");
}
