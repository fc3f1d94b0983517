//! Where a node is, whom it believes and how to get in: what clients need of a `sterna dev` and of a
//! `sterna serve` alike. Owns nothing.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use sterna_client::{Client, ClientBuilder};
use sterna_system_tests::node::Node;
use sterna_system_tests::served::{Served, TOKEN_SECRET};

/// Tokens are valid for clocks that are wrong by this much, back and forth.
const TOKEN_SPAN: Duration = Duration::from_secs(6 * 3600);

/// A node as its clients know it.
#[derive(Debug, Clone)]
pub struct Place {
    pub address: SocketAddr,
    pub authority: PathBuf,
    secret: String,
}

impl Place {
    pub fn of(node: &Node) -> Self {
        let keys = node.data_dir().join("keys");
        let secret = std::fs::read_to_string(keys.join("token.secret")).unwrap();
        Self {
            address: node.client_address(),
            authority: keys.join("ca.pem"),
            secret: secret.trim_end().to_owned(),
        }
    }

    pub fn of_served(node: &Served, authority: &str) -> Self {
        Self {
            address: node.client_address(),
            authority: node.path(&format!("{authority}.pem")),
            secret: TOKEN_SECRET.to_owned(),
        }
    }

    /// The same node, reached through somebody else.
    #[must_use]
    pub fn through(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// A client that is not connected yet.
    pub fn builder(&self, user: &str) -> ClientBuilder {
        Client::builder("localhost")
            .connect_to(self.address)
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
