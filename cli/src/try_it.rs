//! The try-it page of `sterna dev`: a chat of two users in one browser window. Its files come from
//! `console/`, bundled into `console/dist`; this node adds where to connect and whom as.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::{Map, json};
use sterna_edge::http::{Audience, Content, HttpConfig, Page, Trust};

use crate::keys::{self, DevKeys};
use crate::verbs::token::{self, Grant, Signing};

/// Where the page is.
pub(crate) const PATH: &str = "/try/";

/// Whom the page can be.
const USERS: [&str; 3] = ["alice", "bob", "carol"];

/// A page that is open for longer is loaded again.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

const FILES: [(&str, &str, &[u8]); 3] = [
    ("", "text/html; charset=utf-8", include_bytes!("../../console/dist/try/index.html")),
    ("try.js", "text/javascript; charset=utf-8", include_bytes!("../../console/dist/try/try.js")),
    ("try.css", "text/css; charset=utf-8", include_bytes!("../../console/dist/try/try.css")),
];

/// Puts the page on the HTTP surface, and lets it connect there without TLS.
pub(crate) fn add_to(http: &mut HttpConfig, keys: &DevKeys) -> Result<()> {
    let fixed = |(name, content_type, bytes): (&str, _, _)| Page {
        path: format!("{PATH}{name}"),
        content_type,
        content: Content::Fixed(bytes),
        audience: Audience::ThisMachine,
    };
    http.pages.extend(FILES.map(fixed));
    let secret = keys::read_secret(&keys.token_secret).map_err(anyhow::Error::msg)?;
    let hash = keys::certificate_hash(&keys.tls.certificate_chain).map_err(anyhow::Error::msg)?;
    let node = move |client: Option<std::net::SocketAddr>| {
        let tokens: Map<_, _> = USERS
            .into_iter()
            .filter_map(|user| {
                let grant = Grant::everything(user, TOKEN_LIFE);
                Some((user.to_owned(), token::sign(&grant, &Signing::new(&secret)).ok()?.into()))
            })
            .collect();
        let port = client.map(|client| client.port());
        json!({ "port": port, "certificateHash": hash, "tokens": tokens }).to_string().into_bytes()
    };
    http.pages.push(Page {
        path: format!("{PATH}node.json"),
        content_type: "application/json",
        content: Content::Made(Arc::new(node)),
        audience: Audience::ThisMachine,
    });
    http.bridge = Some(trust(&keys.ca)?);
    Ok(())
}

fn trust(ca: &Path) -> Result<Trust> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).context("the CA cannot be read")? {
        roots.add(certificate?)?;
    }
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(Trust { tls: Arc::new(tls), server_name: ServerName::try_from("localhost")? })
}
