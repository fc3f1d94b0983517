//! Where a node is, whom it believes and how to get in: what clients need of a `sterna dev` and of a
//! `sterna serve` alike. Owns nothing.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use sterna_client::{Client, ClientBuilder};
use sterna_system_tests::cluster::Cluster;
use sterna_system_tests::node::Node;
use sterna_system_tests::served::{Served, TOKEN_SECRET};

/// Tokens are valid for clocks that are wrong by this much, back and forth.
const TOKEN_SPAN: Duration = Duration::from_secs(6 * 3600);

/// A node as its clients know it.
#[derive(Debug, Clone)]
pub struct Place {
    /// In the order in which they are tried.
    pub addresses: Vec<SocketAddr>,
    pub authority: PathBuf,
    secret: String,
}

impl Place {
    pub fn of(node: &Node) -> Self {
        let keys = node.data_dir().join("keys");
        let secret = std::fs::read_to_string(keys.join("token.secret")).unwrap();
        Self {
            addresses: vec![node.client_address()],
            authority: keys.join("ca.pem"),
            secret: secret.trim_end().to_owned(),
        }
    }

    pub fn of_served(node: &Served, authority: &str) -> Self {
        Self {
            addresses: vec![node.client_address()],
            authority: node.path(&format!("{authority}.pem")),
            secret: TOKEN_SECRET.to_owned(),
        }
    }

    /// Several nodes that clients may choose from.
    pub fn of_edges(cluster: &Cluster, edges: &[&str]) -> Self {
        let addresses = edges.iter().map(|name| cluster.node(name).client_address());
        Self {
            addresses: addresses.collect(),
            authority: cluster.clients_ca(edges[0]),
            secret: TOKEN_SECRET.to_owned(),
        }
    }

    /// The same node, reached through somebody else.
    #[must_use]
    pub fn through(mut self, address: SocketAddr) -> Self {
        self.addresses = vec![address];
        self
    }

    /// The same, reached through somebody else as well.
    #[must_use]
    pub fn or_through(mut self, address: SocketAddr) -> Self {
        self.addresses.push(address);
        self
    }

    /// The same with another of its addresses as the first choice.
    #[must_use]
    pub fn facing(mut self, at: usize) -> Self {
        let count = self.addresses.len();
        self.addresses.rotate_left(at % count);
        self
    }

    /// A client that is not connected yet.
    pub fn builder(&self, user: &str) -> ClientBuilder {
        Client::builder("localhost")
            .connect_to_any(self.addresses.iter().copied())
            .root_certificates_file(&self.authority)
            .client_id(format!("{user}-device"))
            .token(self.token(user))
    }

    fn token(&self, user: &str) -> String {
        let now = SystemTime::now();
        let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let actions = ["publish", "subscribe", "history", "presence", "manage"];
        let claims = json!({
            "sub": user,
            "iat": seconds(now - TOKEN_SPAN),
            "exp": seconds(now + TOKEN_SPAN),
            "channels": [{ "pattern": "*", "actions": actions }],
        });
        let key = EncodingKey::from_secret(self.secret.as_bytes());
        jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
    }
}
