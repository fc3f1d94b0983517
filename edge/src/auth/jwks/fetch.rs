//! Brings a JWKS document here: from a file, or with one GET over a connection of its own. Follows
//! no redirect, sends no credentials, and reads no more than a document may have; the time is
//! bounded by the caller.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use axum::body::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::JwksError;
use super::document::JWKS_BYTES;

/// Largest head of an answer; hyper asks for 8 KiB at least.
const HEAD_BYTES: usize = 16 * 1024;

/// `https://…`, or `http://…` on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwksUrl {
    host: String,
    port: u16,
    path: String,
    https: bool,
}

/// Why a URL is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwksUrlError {
    #[error("not a URL; write https://host/path")]
    Shape,
    #[error("a URL with a user or password is not taken; a JWKS is public")]
    Userinfo,
    #[error(
        "keys are taken over https only, from this machine (127.0.0.1, [::1], localhost) over \
             http as well"
    )]
    Scheme,
}

impl FromStr for JwksUrl {
    type Err = JwksUrlError;

    fn from_str(text: &str) -> Result<Self, JwksUrlError> {
        let uri: Uri = text.parse().map_err(|_| JwksUrlError::Shape)?;
        let authority = uri.authority().ok_or(JwksUrlError::Shape)?;
        if authority.as_str().contains('@') {
            return Err(JwksUrlError::Userinfo);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if loopback => false,
            _ => return Err(JwksUrlError::Scheme),
        };
        if host.is_empty() {
            return Err(JwksUrlError::Shape);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        Ok(Self { host, port, path, https })
    }
}

impl fmt::Display for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl JwksUrl {
    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    fn unreachable(&self, reason: impl fmt::Display) -> JwksError {
        JwksError::Unreachable { host: self.authority(), reason: reason.to_string() }
    }
}

pub(super) async fn file(path: &Path) -> Result<Bytes, JwksError> {
    let failed = |source| JwksError::File { path: path.to_owned(), source };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut bytes = Vec::new();
    // One byte more than is taken shows that there is more.
    file.take(JWKS_BYTES as u64 + 1).read_to_end(&mut bytes).await.map_err(failed)?;
    Ok(bytes.into())
}

pub(super) async fn url(url: &JwksUrl, ca: Option<&Path>) -> Result<Bytes, JwksError> {
    let stream = TcpStream::connect((url.host.as_str(), url.port))
        .await
        .map_err(|error| url.unreachable(error))?;
    if !url.https {
        let remote = stream.peer_addr().map_err(|error| url.unreachable(error))?;
        if !remote.ip().is_loopback() {
            return Err(JwksError::NotLoopback(remote.ip().to_string()));
        }
        return exchange(url, stream).await;
    }
    let name = ServerName::try_from(url.host.clone()).map_err(|error| url.unreachable(error))?;
    let connector = TlsConnector::from(client_config(url, ca)?);
    let stream = connector.connect(name, stream).await;
    exchange(url, stream.map_err(|error| url.unreachable(error))?).await
}

/// One request and its answer.
async fn exchange<S>(url: &JwksUrl, stream: S) -> Result<Bytes, JwksError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES);
    let opened = builder.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = opened.map_err(|error| url.unreachable(error))?;
    let request = Request::get(&url.path)
        .header(header::HOST, url.authority())
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| url.unreachable(error))?;
    let answer = async {
        let response =
            sender.send_request(request).await.map_err(|error| url.unreachable(error))?;
        if response.status() != StatusCode::OK {
            return Err(JwksError::Status(response.status().as_u16()));
        }
        let body = Limited::new(response.into_body(), JWKS_BYTES).collect().await;
        body.map(|body| body.to_bytes()).map_err(|error| match error.is::<LengthLimitError>() {
            true => JwksError::TooLarge,
            false => url.unreachable(error),
        })
    };
    // The connection moves the bytes of the exchange, which hears of its end by itself.
    let moving = async {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to the JWKS ended");
        }
        std::future::pending().await
    };
    tokio::select! {
        answer = answer => answer,
        never = moving => never,
    }
}

fn client_config(url: &JwksUrl, ca: Option<&Path>) -> Result<Arc<rustls::ClientConfig>, JwksError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(match ca {
        Some(path) => CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| url.unreachable(format!("{}: {error}", path.display())))?,
        None => rustls_native_certs::load_native_certs().certs,
    });
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| url.unreachable(error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
