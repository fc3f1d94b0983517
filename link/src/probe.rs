//! What a node would meet at another one: connects as the node itself would, hears the roster, and
//! says nothing. For operators who want to know before, or why not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use quinn::Endpoint;
use sterna_core::link::lane::FrameReceiver as _;
use sterna_proto::link::v1::{Node, Open, frame::Body};
use sterna_proto::{limits, version};

use crate::dial::resolve;
use crate::error::LinkError;
use crate::tls::{self, LinkTls};
use crate::{LinkConfig, LinkFiles, NodeIdentity, frames};

/// Who answered, and what it knows.
#[derive(Debug)]
pub struct Probed {
    pub identity: NodeIdentity,
    /// Itself among them.
    pub nodes: Vec<Node>,
}

/// Whether the node's own certificate is one that its own authorities make a node of: what every
/// other node asks first.
pub fn check_certificate(files: &LinkFiles) -> Result<NodeIdentity, LinkError> {
    LinkTls::read(files)?.check_own()
}

/// Connects to the node at `host:port` with the certificate of this configuration. An error says why
/// a link could not be had; nothing is bound but a port for the answer.
pub async fn probe(config: &LinkConfig, address: &str, within: Duration) -> Result<Probed, String> {
    let asking = ask(config, address);
    tokio::time::timeout(within, asking)
        .await
        .map_err(|_| format!("no answer over UDP within {} s", within.as_secs()))?
}

async fn ask(config: &LinkConfig, address: &str) -> Result<Probed, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let tls = LinkTls::read(&config.files).map_err(|error| text(&error))?;
    let remote = resolve(address, config.address).await?;
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let endpoint = Endpoint::client((any, 0).into()).map_err(|error| text(&error))?;
    let mut client = tls.client().map_err(|error| text(&error))?;
    client.transport_config(config.transport());
    let connecting = endpoint.connect_with(client, remote, "node").map_err(|error| text(&error))?;
    let connection = connecting.await.map_err(|error| text(&error))?;
    let probed = hear(&connection).await;
    connection.close(frames::GOODBYE.into(), b"");
    endpoint.wait_idle().await;
    probed
}

async fn hear(connection: &quinn::Connection) -> Result<Probed, String> {
    let identity = tls::peer(connection)?;
    let streams = connection.open_bi().await.map_err(|error| error.to_string())?;
    let (mut sender, mut receiver) = frames::lane(streams);
    let open = Open {
        lane: limits::LINK_LANES as u32,
        lanes: limits::LINK_LANES as u32,
        incarnation: 0,
        version: version::LINK_VERSION,
    };
    sender.say(Body::Open(open)).await.map_err(|error| error.to_string())?;
    receiver.opened().await.map_err(|error| error.to_string())?;
    loop {
        let mut received = Vec::new();
        receiver.receive(&mut received).await.map_err(|error| error.to_string())?;
        let roster = received.into_iter().find_map(|frame| match frame.body {
            Some(Body::Roster(roster)) => Some(roster.nodes),
            _ => None,
        });
        if let Some(nodes) = roster {
            return Ok(Probed { identity, nodes });
        }
    }
}
