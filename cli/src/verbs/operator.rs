//! Asking a node's HTTP surface with an API key. Plain HTTP, as the listener speaks it: it is on
//! loopback or on an operator's network, and one answer a connection is enough.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use crate::args::OperatorArgs;
use crate::dev::DevNode;
use crate::keys::{self, DevKeys};

/// How long the node may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest answer that is read: some thousands of nodes.
const ANSWER_BYTES: u64 = 16 * 1024 * 1024;

/// A node, and the right to ask it.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    /// `host:port`.
    address: String,
    key: String,
}

impl Operator {
    pub(crate) fn find(args: &OperatorArgs) -> Result<Self> {
        let address = match &args.url {
            Some(url) => address_of(url)?,
            None => DevNode::find(&args.data_dir)?.http.to_string(),
        };
        let key_file =
            args.api_key_file.clone().unwrap_or_else(|| DevKeys::locate(&args.data_dir).api_key);
        let key = keys::read_secret(&key_file).map_err(anyhow::Error::msg)?;
        Ok(Self { address, key })
    }

    /// Of a node that this process has started.
    pub(crate) fn new(address: SocketAddr, key: &str) -> Self {
        Self { address: address.to_string(), key: key.to_owned() }
    }

    /// The `result` of an answer; what is refused is an error.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.ask(&format!("GET {path} HTTP/1.1\r\n"), "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
        self.ask(&head, &body)
    }

    fn ask(&self, head: &str, body: &str) -> Result<Value> {
        let answer = self
            .exchange(head, body)
            .with_context(|| format!("the node at {} cannot be asked", self.address))?;
        if let Some(error) = answer.get("error") {
            bail!("refused: {}", error["message"].as_str().unwrap_or("without a reason"));
        }
        Ok(answer["result"].clone())
    }

    fn exchange(&self, head: &str, body: &str) -> Result<Value> {
        let found = self.address.to_socket_addrs()?.next();
        let address = found.ok_or_else(|| anyhow!("no such address"))?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let (host, key) = (&self.address, &self.key);
        let rest = format!("Host: {host}\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n");
        stream.write_all(format!("{head}{rest}{body}").as_bytes())?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES).read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or_else(|| anyhow!("no HTTP answer"))?;
        serde_json::from_str(body).context("the answer is not JSON")
    }
}

/// `host:port` of `http://host:port/`, or of itself.
fn address_of(url: &str) -> Result<String> {
    if url.starts_with("https://") {
        bail!("the HTTP surface of a node speaks plain HTTP; name it as http://HOST:PORT");
    }
    let rest = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    match rest.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(rest.into()),
        _ => bail!("`{url}` is no http://HOST:PORT"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_written_as_a_url() {
        for url in ["http://a:4480", "http://a:4480/", "a:4480"] {
            assert_eq!(address_of(url).unwrap(), "a:4480");
        }
        assert_eq!(address_of("http://[::1]:4480").unwrap(), "[::1]:4480");
        for bad in ["https://a:4480", "a", "http://", ":4480", "a:port"] {
            assert!(address_of(bad).is_err(), "{bad}");
        }
    }
}
