//! Why links cannot be had.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::identity::IdentityError;

/// What is wrong, and with what.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("cannot bind {address} for links between nodes: {source}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("cannot read {path}: {reason}")]
    File { path: PathBuf, reason: String },
    #[error("the link certificate cannot be used: {0}")]
    Certificate(String),
    #[error("the link certificate {path}: {source}")]
    Identity { path: PathBuf, source: IdentityError },
    #[error("the link certificate {path} is that of node `{found}`, but this node is `{wanted}`")]
    OtherNode { path: PathBuf, found: String, wanted: String },
    #[error("link socket: {0}")]
    Io(#[source] io::Error),
}
