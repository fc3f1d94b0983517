//! Where bytes enter and leave: terminates client connections, checks access tokens, and carries
//! frames between transports and the core's sessions. Makes no decision about a publication.

pub mod auth;
pub mod config;
pub mod error;
pub mod http;

pub use auth::Authenticator;
pub use config::{EdgeConfig, EdgeLimits, TlsFiles};
pub use error::EdgeError;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sterna_core::Node;

/// A running edge: its workers and their sockets.
#[derive(Debug)]
pub struct Edge {}

impl Edge {
    /// Binds the UDP and TCP sockets of all workers and starts them.
    pub async fn start(
        _config: EdgeConfig,
        _node: Node,
        _auth: Arc<Authenticator>,
    ) -> Result<Self, EdgeError> {
        todo!()
    }

    /// Where clients connect, on UDP and TCP alike.
    pub fn local_address(&self) -> SocketAddr {
        todo!()
    }

    /// Reads certificate and key again; connections go on with what they have.
    pub fn reload_certificate(&self) -> Result<(), EdgeError> {
        todo!()
    }

    /// Refuses new connections, tells clients to move (GoAway), waits until they have left or the
    /// deadline has passed, closes the rest, joins the workers. False: something did not end.
    pub async fn drain(self, _deadline: Duration, _successor: String) -> bool {
        todo!()
    }
}
