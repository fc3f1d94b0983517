//! Opening: connect, bring the schema up to date, and learn what was settled at the store's birth.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::host_filter::DcHostFilter;
use scylla::policies::load_balancing::DefaultPolicy;
use sterna_proto::Epoch;
use sterna_storage::StorageError;

use crate::config::{ScyllaConfig, Tls};
use crate::cql::Cql;
use crate::engine::Engine;
use crate::failure::{corrupt, unavailable};
use crate::schema;
use crate::statements::{Channels, Extras, Heads, Hints, Lists, Meta, Owed, Preparing, Rows};

/// Opens the store that the configuration names.
pub(crate) async fn open(config: &ScyllaConfig) -> Result<Engine, StorageError> {
    let session = connect(config).await?;
    check_datacenter(&session, config).await?;
    schema::keyspace(&session, config).await?;
    session.use_keyspace(&config.keyspace, true).await.map_err(|error| {
        let message = format!("the keyspace {:?} cannot be used: {error}", config.keyspace);
        unavailable(message).with_source(error)
    })?;
    schema::tables(&session, config).await?;
    let with = Preparing(&session);
    let meta = Meta::prepare(&with).await?;
    let (heads, lists) = (Heads::prepare(&with).await?, Lists::prepare(&with).await?);
    let (rows, extras) = (Rows::prepare(&with).await?, Extras::prepare(&with).await?);
    let (hints, owed) = (Hints::prepare(&with).await?, Owed::prepare(&with).await?);
    let channels = Channels::prepare(&with).await?;
    let cql = Cql::new(session, config);
    schema::conclude(&cql, &meta).await?;
    let datacenter = schema::settle(&cql, &meta, "datacenter", &config.datacenter).await?;
    if datacenter != config.datacenter {
        let message = format!(
            "the store decides its appends in the datacenter {datacenter:?}, and {:?} is \
             configured: two cores with different ones would not see each other's appends",
            config.datacenter
        );
        return Err(unavailable(message));
    }
    let birth = schema::settle(&cql, &meta, "birth", &now_secs().to_string()).await?;
    let birth = birth.parse().map_err(|_| corrupt(format!("the birth {birth:?} is no number")))?;
    Ok(Engine {
        cql,
        heads,
        lists,
        rows,
        extras,
        hints,
        owed,
        channels,
        birth: Epoch(birth),
        tips: Default::default(),
        turns: Default::default(),
        bucket_records: config.bucket_records.max(1),
        bucket_bytes: config.bucket_bytes.max(1),
        retries: config.retries,
        closed: AtomicBool::new(false),
    })
}

/// A session that sends statements to nodes of the datacenter alone: what is decided there is not
/// decided elsewhere, so no other node may be asked, not even when all of these are away.
pub(crate) async fn connect(config: &ScyllaConfig) -> Result<Session, StorageError> {
    let policy = DefaultPolicy::builder()
        .prefer_datacenter(config.datacenter.clone())
        .token_aware(true)
        .permit_dc_failover(false)
        .build();
    let profile = ExecutionProfile::builder()
        .load_balancing_policy(policy)
        .request_timeout(Some(config.patience))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.nodes)
        .connection_timeout(config.patience)
        .host_filter(Arc::new(DcHostFilter::new(config.datacenter.clone())))
        .default_execution_profile_handle(profile.into_handle())
        .schema_agreement_timeout(SCHEMA_PATIENCE)
        // Where its rows are; what others keep there is not asked for.
        .keyspaces_to_fetch([&config.keyspace]);
    if let Some(login) = &config.login {
        builder = builder.user(&login.user, &login.password);
    }
    if let Tls::Required { authorities } = &config.tls {
        builder = builder.tls_context(Some(Arc::new(tls(authorities.as_deref())?)));
    }
    builder.build().await.map_err(|error| {
        let nodes = config.nodes.join(", ");
        unavailable(format!("no node of {nodes} can be used: {error}")).with_source(error)
    })
}

pub(crate) async fn check_datacenter(
    session: &Session,
    config: &ScyllaConfig,
) -> Result<(), StorageError> {
    let mut known = datacenters(session);
    if known.is_empty() {
        // Connected to, and not asked yet: a node that has just started does not tell at once.
        session.refresh_metadata().await.map_err(|error| {
            unavailable(format!("the nodes cannot be asked where they are: {error}"))
                .with_source(error)
        })?;
        known = datacenters(session);
    }
    if known.contains(&config.datacenter) {
        return Ok(());
    }
    Err(unavailable(format!(
        "no node is in the datacenter {:?}; there is {}",
        config.datacenter,
        known.join(", ")
    )))
}

fn datacenters(session: &Session) -> Vec<String> {
    let state = session.get_cluster_state();
    let mut known: Vec<String> =
        state.get_nodes_info().iter().filter_map(|node| node.datacenter.clone()).collect();
    known.sort_unstable();
    known.dedup();
    known
}

fn tls(authorities: Option<&Path>) -> Result<ClientConfig, StorageError> {
    let mut roots = RootCertStore::empty();
    match authorities {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            let refuse = |error: &dyn std::fmt::Display| {
                unavailable(format!("the authorities in {} are of no use: {error}", file.display()))
            };
            let pem = fs::read(file).map_err(|error| refuse(&error))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| refuse(&error))?;
                roots.add(certificate).map_err(|error| refuse(&error))?;
            }
            if roots.is_empty() {
                return Err(refuse(&"there is none"));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unavailable(format!("TLS cannot be used: {error}")))?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

/// Seconds since 2024-01-01 UTC, at least one.
fn now_secs() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().saturating_sub(BEGIN_UNIX_SECS).max(1)
}

const BEGIN_UNIX_SECS: u64 = 1_704_067_200;

/// How long nodes may take to agree on a change of the schema.
const SCHEMA_PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
