//! `sterna pub`: one publication, or one a line of standard input, many on their way at a time.

use std::collections::VecDeque;
use std::future::IntoFuture as _;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use sterna_client::{Client, Send};
use sterna_proto::limits;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::connect;
use crate::args::PubArgs;
use crate::output::{self, Format};

/// Publications waiting for their acknowledgement. Full: the input is not read.
const IN_FLIGHT: usize = 128;

/// How often publications are looked at while no line comes.
const LOOK: Duration = Duration::from_millis(20);

/// How long a publication may go without an answer, reconnects included.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(args: &PubArgs) -> Result<ExitCode> {
    connect::block_on(connect::with_client(&args.connect, async |client: &Client| {
        let mut publisher = Publisher { client, args, sent: VecDeque::new(), line: 0, failures: 0 };
        match &args.text {
            Some(text) => publisher.publish(text.clone().into_bytes()).await?,
            None => publisher.publish_lines().await?,
        }
        publisher.finish().await
    }))
}

struct Publisher<'a> {
    client: &'a Client,
    args: &'a PubArgs,
    /// In the order of the input, with the line that each came from.
    sent: VecDeque<(u64, Send)>,
    line: u64,
    failures: u64,
}

impl Publisher<'_> {
    async fn publish_lines(&mut self) -> Result<()> {
        let mut input = BufReader::new(tokio::io::stdin());
        loop {
            let mut line = Vec::new();
            let most = limits::PAYLOAD_BYTES as u64 + 2;
            let mut limited = (&mut input).take(most);
            let mut reading = pin!(limited.read_until(b'\n', &mut line));
            // Whoever types line by line sees each acknowledged before the next.
            let read = loop {
                tokio::select! {
                    read = &mut reading => break read,
                    () = tokio::time::sleep(LOOK), if !self.sent.is_empty() => {
                        self.settle_answered().await?;
                    }
                }
            };
            if read.context("cannot read standard input")? == 0 {
                return Ok(());
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            if line.len() > limits::PAYLOAD_BYTES {
                let line = self.line + 1;
                bail!(
                    "line {line} has more than {} bytes; nothing after it was published",
                    limits::PAYLOAD_BYTES
                );
            }
            self.publish(line).await?;
        }
    }

    async fn publish(&mut self, payload: Vec<u8>) -> Result<()> {
        while self.sent.len() >= IN_FLIGHT {
            self.settle().await?;
        }
        self.line += 1;
        let send = self.client.publish(&self.args.channel, payload).start();
        self.sent.push_back((self.line, send));
        self.settle_answered().await
    }

    /// Prints what is acknowledged already.
    async fn settle_answered(&mut self) -> Result<()> {
        while self.sent.front().is_some_and(|(_, send)| send.state().is_final()) {
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits for the oldest publication.
    async fn settle(&mut self) -> Result<()> {
        let Some((line, send)) = self.sent.pop_front() else { return Ok(()) };
        let outcome = match tokio::time::timeout(PATIENCE, send.into_future()).await {
            Ok(outcome) => outcome.map_err(connect::explained),
            Err(_) => {
                Err(anyhow!("no answer within {} s; it may be stored or not", PATIENCE.as_secs()))
            }
        };
        match outcome {
            Ok(ack) => {
                let format = Format::of(self.args.json);
                output::line(&output::acked(format, self.args.channel.as_str(), &ack))
            }
            Err(error) => {
                self.failures += 1;
                output::complain(&error.context(format!("publication {line} failed")));
                Ok(())
            }
        }
    }

    async fn finish(mut self) -> Result<ExitCode> {
        while !self.sent.is_empty() {
            self.settle().await?;
        }
        match self.failures {
            0 => Ok(ExitCode::SUCCESS),
            failures => bail!("{failures} of {} publications were not acknowledged", self.line),
        }
    }
}
