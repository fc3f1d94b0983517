//! Clients of the SDK for a [`Node`], with access tokens that its own secret signs. Owns nothing:
//! who builds a client closes it.

use std::future::IntoFuture as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use sterna_client::{Ack, ChannelId, Client, ClientBuilder, Transport};
use tokio::time::timeout;

use crate::node::{Node, PATIENCE};

/// How long a token is valid unless a test says otherwise.
pub const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// A client for the node's own address that trusts the node's own authority.
pub fn builder(node: &Node, user: &str) -> ClientBuilder {
    Client::builder("localhost")
        .connect_to(node.client_address())
        .root_certificates_file(node.data_dir().join("keys/ca.pem"))
        .token(token(node, user, TOKEN_LIFE))
}

/// A client on one transport that is connected.
pub async fn connect(node: &Node, user: &str, transport: Transport) -> Client {
    let client = builder(node, user).transports([transport]).build().unwrap();
    client.connect();
    client.ready(PATIENCE).await.unwrap();
    client
}

/// Everything in every channel, issued now.
pub fn token(node: &Node, user: &str, life: Duration) -> String {
    token_issued_at(node, user, SystemTime::now(), life)
}

/// Everything in every channel, issued then.
pub fn token_issued_at(node: &Node, user: &str, at: SystemTime, life: Duration) -> String {
    let secret = std::fs::read_to_string(node.data_dir().join("keys/token.secret")).unwrap();
    signed_token(secret.trim_end(), user, at, life)
}

/// The same of whoever believes this secret.
pub fn signed_token(secret: &str, user: &str, at: SystemTime, life: Duration) -> String {
    let issued = at.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let actions = ["publish", "subscribe", "history", "presence", "manage"];
    let claims = json!({
        "sub": user,
        "iat": issued,
        "exp": issued + life.as_secs(),
        "channels": [{ "pattern": "*", "actions": actions }],
    });
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
}

/// Publishes and waits until the node has answered for it.
pub async fn publish(client: &Client, channel: &ChannelId, text: &str) -> Ack {
    let ack = timeout(PATIENCE, client.publish(channel, text.to_owned()).into_future());
    ack.await.unwrap_or_else(|_| panic!("no answer for `{text}`")).unwrap()
}
