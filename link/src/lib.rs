//! Links between nodes: QUIC with certificates on both sides. A node dials every node that it wants
//! to ask (its [`Router`] names them) and answers whoever has a certificate of the cluster. What is
//! said on a link is the core's business ([`sterna_core::link`]); here are sockets, TLS, and who
//! may speak.
//!
//! A link is one QUIC connection with a stream for each lane, so that a channel that is slow does
//! not hold up those of another lane.

mod accept;
mod config;
mod dial;
mod error;
mod frames;
mod identity;
mod probe;
mod tls;

pub use config::{LinkConfig, LinkFiles};
pub use error::LinkError;
pub use identity::{IdentityError, NodeIdentity};
pub use probe::{Probed, check_certificate, probe};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sterna_core::Tasks;
use sterna_core::link::router::Router;

use crate::tls::LinkTls;

/// The links of one node.
#[derive(Debug)]
pub struct Links {
    shared: Arc<Shared>,
    tasks: Tasks,
}

/// What accepting and dialling have in common.
#[derive(Debug)]
struct Shared {
    config: LinkConfig,
    router: Arc<Router>,
    endpoint: quinn::Endpoint,
    own: NodeIdentity,
    tls: ArcSwap<LinkTls>,
}

impl Links {
    /// Binds, and keeps links to the nodes that the router wants from now on. To be called inside a
    /// runtime.
    pub fn start(config: LinkConfig, router: Arc<Router>) -> Result<Self, LinkError> {
        let tls = LinkTls::read(&config.files)?;
        let own = tls.own(&router.own().name)?;
        let endpoint = config.bind(tls.server()?)?;
        let shared =
            Arc::new(Shared { config, router, endpoint, own, tls: ArcSwap::from_pointee(tls) });
        let tasks = Tasks::new();
        tasks.spawn("links in", accept::run(shared.clone(), tasks.clone()));
        tasks.spawn("links out", dial::run(shared.clone(), tasks.clone()));
        tasks.spawn("link seeds", dial::ask_seeds(shared.clone(), tasks.clone()));
        Ok(Self { shared, tasks })
    }

    /// Where other nodes reach this one.
    pub fn local_address(&self) -> Result<SocketAddr, LinkError> {
        self.shared.endpoint.local_addr().map_err(LinkError::Io)
    }

    /// Reads certificate, key and authorities again: new links use them, open ones go on.
    pub fn reload_certificate(&self) -> Result<(), LinkError> {
        let tls = LinkTls::read(&self.shared.config.files)?;
        tls.own(&self.shared.own.name)?;
        self.shared.endpoint.set_server_config(Some(tls.server()?));
        self.shared.tls.store(Arc::new(tls));
        Ok(())
    }

    /// Ends all links. False: something did not end in time.
    pub async fn shutdown(self, deadline: Duration) -> bool {
        self.tasks.start_shutdown();
        self.shared.endpoint.close(frames::GOODBYE.into(), b"the node ends");
        let ended = self.tasks.shutdown(deadline).await;
        tokio::time::timeout(deadline, self.shared.endpoint.wait_idle()).await.is_ok() && ended
    }
}
