//! The least of HTTP: what a server says of itself is asked for over plain loopback.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The body of the answer to `GET path`; an error when it is not answered with 200 within
/// [`DEADLINE`].
pub async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer =
        timeout(DEADLINE, asked).await.with_context(|| format!("no answer: GET {path}"))??;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.lines().next().unwrap_or("");
    ensure!(status.starts_with("HTTP/1.1 200"), "GET {path}: {status}");
    Ok(body.to_owned())
}

const DEADLINE: Duration = Duration::from_secs(10);
