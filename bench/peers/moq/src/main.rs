//! The load generator for moq-relay, with that project's own client: `sterna bench` starts it as a
//! process of its own, tells it on standard input what to do, and reads one JSON object for each
//! order on standard output. Counts what comes; what the relay has used, `sterna bench` reads itself.
//!
//! ```text
//! sterna-bench-moq ADDRESS CA.pem groups|frames fanout CHANNELS SUBSCRIBERS BYTES flight|rate N
//! sterna-bench-moq ADDRESS CA.pem groups|frames idle
//! sterna-bench-moq ADDRESS CA.pem groups|frames connects CONCURRENT
//! ```
//!
//! The orders are a number each: milliseconds to publish or to connect for, or sessions that there
//! shall be. Ends when its standard input does, or with the first thing that is wrong.

mod clients;
mod connects;
mod fanout;
mod tally;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin};
use tokio::task::LocalSet;

use crate::clients::{Relay, Session};
use crate::fanout::{Crowd, Options};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    LocalSet::new().run_until(run(&words)).await
}

async fn run(words: &[String]) -> Result<()> {
    let [address, authority, shape, work, rest @ ..] = words else {
        bail!("an address, a file of certificates, a shape and a work are wanted");
    };
    let relay = Relay::at(address.parse()?, authority.as_ref())?;
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    match work.as_str() {
        "fanout" => {
            let mut crowd = Crowd::gather(&relay, Options::read(shape, rest)?).await?;
            say(&json!({ "version": crowd.version(), "subscribers": crowd.subscribers() }));
            while let Some(milliseconds) = next(&mut orders).await? {
                say(&crowd.drive(milliseconds).await?);
            }
        }
        "idle" => idle(&relay, &mut orders).await?,
        "connects" => {
            let [concurrent] = rest else { bail!("how many at a time?") };
            let concurrent = concurrent.parse()?;
            say(&json!({ "version": Session::listening(&relay).await?.version() }));
            while let Some(milliseconds) = next(&mut orders).await? {
                say(&connects::go_on(&relay, concurrent, milliseconds).await?);
            }
        }
        other => bail!("no such work: {other}"),
    }
    Ok(())
}

/// Holds as many sessions as it is told; they say nothing.
async fn idle(relay: &Relay, orders: &mut Lines<BufReader<Stdin>>) -> Result<()> {
    let mut sessions = vec![Session::listening(relay).await?];
    say(&json!({ "version": sessions[0].version() }));
    while let Some(wanted) = next(orders).await? {
        while (sessions.len() as u64) < wanted {
            sessions.push(Session::listening(relay).await?);
        }
        let ended = sessions.iter().filter(|session| !session.is_there()).count();
        say(&json!({ "sessions": sessions.len(), "ended": ended }));
    }
    Ok(())
}

/// The next order; `None` when there will be no more.
async fn next(orders: &mut Lines<BufReader<Stdin>>) -> Result<Option<u64>> {
    let Some(line) = orders.next_line().await? else { return Ok(None) };
    let number = line.trim().parse().with_context(|| format!("no order: {line:?}"))?;
    Ok(Some(number))
}

fn say(answer: &Value) {
    println!("{answer}");
}
