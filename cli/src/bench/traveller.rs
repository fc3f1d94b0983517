//! The subscriber of `sterna bench handover --netns`: this program once more, as a child inside a
//! network of its own. It tells what it sees on standard output; each line on standard input means
//! that the operating system reports another network; it ends with its input.

use std::process::{ExitCode, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use sterna_client::{NetworkChange, Subscribe};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::subscriber::Recorder;
use crate::args::TravellerArgs;
use crate::output;
use crate::verbs::connect;

/// The child.
pub(super) async fn run(args: &TravellerArgs) -> Result<ExitCode> {
    let connect = super::connect_args(args.server.clone(), args.data_dir.clone())?;
    let builder = connect::builder(&connect, args.transport)?.connect_to(args.connect_to);
    let client = builder.build()?;
    let subscription = client.subscribe(&args.channel, Subscribe::latest())?;
    client.connect();
    let telling = super::told::tell(client.clone(), subscription, |told| {
        output::line(&serde_json::to_string(&told)?)
    });
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let listening = async {
        while input.next_line().await?.is_some() {
            client.network_changed(NetworkChange::Path);
        }
        anyhow::Ok(())
    };
    tokio::select! {
        told = telling => told?,
        heard = listening => heard?,
    }
    connect::close(&client).await;
    Ok(ExitCode::SUCCESS)
}

/// The parent's end of it. The child ends with it.
#[derive(Debug)]
pub(super) struct Traveller {
    input: ChildStdin,
    _child: Child,
}

impl Traveller {
    pub(super) fn start(mut command: Command, args: &TravellerArgs) -> Result<(Self, ChildStdout)> {
        let program = std::env::current_exe().context("this program's own file is not known")?;
        command.arg(program).args(["bench", "traveller", "--server", &args.server]);
        command.args(["--connect-to", &args.connect_to.to_string()]);
        command.args(["--channel", args.channel.as_str()]);
        command.args(["--transport", args.transport.name()]).arg("--data-dir").arg(&args.data_dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("cannot start a client in its network")?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("a client in its network has no pipes");
        };
        Ok((Self { input, _child: child }, output))
    }

    pub(super) async fn network_changed(&mut self) -> Result<()> {
        self.input.write_all(b"network changed\n").await.context("a client in its network ended")
    }
}

/// Records what the child tells, until it ends.
pub(super) async fn record(output: ChildStdout, recorder: Arc<Recorder>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(told) => recorder.record(told),
            Err(error) => return recorder.fail(format!("a client spoke in riddles: {error}")),
        }
    }
    recorder.fail("a client in its network has ended".to_owned());
}
