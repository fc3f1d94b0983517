//! `sterna drain`: leaves an order with the node's HTTP surface.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::args::DrainArgs;
use crate::dev::DevNode;
use crate::keys::{self, DevKeys};
use crate::output;

/// How long the node may take to answer. It takes the order, it does not carry it out first.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest answer that is read.
const ANSWER_BYTES: u64 = 64 * 1024;

pub(crate) fn run(args: &DrainArgs) -> Result<ExitCode> {
    let http = match &args.http {
        Some(http) => http.clone(),
        None => DevNode::find(&args.data_dir)?.http.to_string(),
    };
    let key_file =
        args.api_key_file.clone().unwrap_or_else(|| DevKeys::locate(&args.data_dir).api_key);
    let key = keys::read_secret(&key_file).map_err(anyhow::Error::msg)?;
    let mut order = json!({ "deadline_ms": args.deadline.as_millis() as u64 });
    if let Some(successor) = &args.successor {
        order["successor"] = successor.as_str().into();
    }
    let answer = post(&http, "/api/v1/drain", &key, &order)
        .with_context(|| format!("the node at {http} cannot be asked"))?;
    if let Some(error) = answer.get("error") {
        bail!("refused: {}", error["message"].as_str().unwrap_or("without a reason"));
    }
    match args.json {
        true => output::line(&answer["result"].to_string())?,
        false => output::line(&format!(
            "the node is leaving; clients have {} ms",
            answer["result"]["deadline_ms"]
        ))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// One request over plain HTTP, as the loopback listener speaks it.
fn post(http: &str, path: &str, key: &str, body: &Value) -> Result<Value> {
    let address = http.to_socket_addrs()?.next().ok_or_else(|| anyhow!("no such address"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {http}\r\nX-API-Key: {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES).read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or_else(|| anyhow!("no HTTP answer"))?;
    serde_json::from_str(body).context("the answer is not JSON")
}
