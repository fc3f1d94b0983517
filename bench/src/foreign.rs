//! Peers whose protocol fits into no [`crate::dialect`]: their clients are a program of its own, built
//! with the peer's own library, which is told on its standard input what to do and answers each order
//! with a JSON object. Server and program end with [`Foreign`] and [`Generator`].

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::machine::Usage;
use crate::server::{Launch, Server};

/// One that can be started now.
#[derive(Debug)]
pub struct Prepared {
    pub launch: Launch,
    /// The program of its clients.
    pub program: std::path::PathBuf,
    /// What the program is told before its work.
    pub arguments: Vec<String>,
    /// Files of both; they go with it.
    pub home: TempDir,
}

/// A server, and clients that wait for orders.
#[derive(Debug)]
pub(crate) struct Foreign {
    server: Server,
    generator: Generator,
    _home: TempDir,
}

/// The program of the clients.
#[derive(Debug)]
struct Generator {
    _child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// What happened while one order was carried out.
#[derive(Debug)]
pub(crate) struct Done {
    /// Processor time of the server.
    pub(crate) cpu: Duration,
    pub(crate) answer: Value,
}

impl Foreign {
    /// Starts both; the clients have gathered when it returns.
    pub(crate) async fn start(prepared: Prepared, work: &[String]) -> Result<Self> {
        let Prepared { launch, program, arguments, home } = prepared;
        let mut server = Server::start(&launch)?;
        let generator = async {
            let mut generator = Generator::start(&program, &arguments, work)?;
            generator.answer(GATHER_DEADLINE).await.context("its clients do not gather")?;
            anyhow::Ok(generator)
        };
        let generator = match generator.await {
            Ok(generator) => generator,
            // A server that has ended says more than clients that wait for it.
            Err(error) => return Err(server.usage().err().unwrap_or(error)),
        };
        Ok(Self { server, generator, _home: home })
    }

    pub(crate) fn usage(&mut self) -> Result<Usage> {
        self.server.usage()
    }

    pub(crate) async fn order(&mut self, number: u64, within: Duration) -> Result<Done> {
        let before = self.server.usage()?.cpu;
        self.generator.orders.write_all(format!("{number}\n").as_bytes()).await?;
        let answer = self.generator.answer(within).await?;
        Ok(Done { cpu: self.server.usage()?.cpu.saturating_sub(before), answer })
    }
}

impl Generator {
    fn start(program: &std::path::Path, arguments: &[String], work: &[String]) -> Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .args(work)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let orders = child.stdin.take().context("it has no standard input")?;
        let answers = child.stdout.take().context("it has no standard output")?;
        Ok(Self { _child: child, orders, answers: BufReader::new(answers).lines() })
    }

    async fn answer(&mut self, within: Duration) -> Result<Value> {
        let line = timeout(within, self.answers.next_line()).await;
        match line
            .with_context(|| format!("the program of its clients is silent for {within:?}"))??
        {
            Some(line) => serde_json::from_str(&line).with_context(|| format!("it says {line:?}")),
            None => bail!("the program of its clients has ended; standard error says why"),
        }
    }
}

impl Done {
    /// A number of the answer, by the names that lead to it.
    pub(crate) fn number(&self, names: &[&str]) -> Result<f64> {
        let found = names.iter().try_fold(&self.answer, |value, name| value.get(name));
        let number = found.and_then(Value::as_f64);
        number.with_context(|| format!("{names:?} is no number in {}", self.answer))
    }

    /// Microseconds of the server's processor time for each of `count`.
    pub(crate) fn cpu_us(&self, count: f64) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / count.max(1.0)
    }
}

/// How long thousands of clients may take to connect and to subscribe.
const GATHER_DEADLINE: Duration = Duration::from_secs(120);

/// How long an order may take beyond the time that it is for.
pub(crate) const ORDER_MARGIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn program(script: &str) -> Result<Generator> {
        Generator::start("sh".as_ref(), &["-c".to_owned()], &[script.to_owned()])
    }

    const SOON: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn every_order_has_an_answer() {
        let mut generator =
            program("echo '{}'; while read n; do echo \"{\\\"twice\\\": $((n * 2))}\"; done")
                .unwrap();
        assert_eq!(generator.answer(SOON).await.unwrap(), serde_json::json!({}));
        generator.orders.write_all(b"21\n").await.unwrap();
        let answer = generator.answer(SOON).await.unwrap();
        let done = Done { cpu: Duration::from_micros(84), answer };
        assert_eq!(done.number(&["twice"]).unwrap(), 42.0);
        assert_eq!(done.cpu_us(42.0), 2.0);
        assert!(done.number(&["twice", "again"]).is_err());
    }

    #[tokio::test]
    async fn a_program_that_ends_or_talks_nonsense_is_an_error() {
        let ended = program("exit 3").unwrap().answer(SOON).await.unwrap_err();
        assert!(ended.to_string().contains("has ended"), "{ended}");
        let nonsense = program("echo hello").unwrap().answer(SOON).await.unwrap_err();
        assert!(nonsense.to_string().contains("hello"), "{nonsense}");
    }
}
