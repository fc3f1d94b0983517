//! `sterna sub`: prints a channel's publications as they come, through every reconnect, or in the
//! background only where it ends.

use std::process::ExitCode;

use anyhow::{Result, bail};
use sterna_client::{Client, Event, Subscribe};
use tokio::signal::unix::{SignalKind, signal};

use super::connect;
use crate::args::{FromArg, SubArgs};
use crate::output::{self, Format};

pub(crate) fn run(args: &SubArgs) -> Result<ExitCode> {
    connect::block_on(async {
        let client = connect::client(&args.connect, args.connect.transport)?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let outcome = tokio::select! {
            outcome = receive(args, &client) => outcome,
            error = connect::given_up(&client) => Err(error),
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        };
        connect::close(&client).await;
        outcome.map(|()| ExitCode::SUCCESS)
    })
}

async fn receive(args: &SubArgs, client: &Client) -> Result<()> {
    let options = match args.from {
        FromArg::Earliest => Subscribe::earliest(),
        FromArg::Latest => Subscribe::latest(),
        FromArg::After(position) => Subscribe::after(position),
    };
    let options = options.with_activity(args.activity.into());
    let mut subscription = client.subscribe(&args.channel, options)?;
    client.connect();
    if let Err(error) = client.ready(args.connect.timeout).await {
        if !error.is_retryable() {
            return Err(connect::not_let_in(error));
        }
        output::complain(&anyhow::Error::from(error).context("not connected yet, trying on"));
    }
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        match subscription.next().await {
            Some(Event::Publication(publication)) => {
                output::line(&output::publication(Format::of(args.json), &publication))?;
                left -= 1;
            }
            Some(Event::Head { position }) => {
                output::line(&output::head(
                    Format::of(args.json),
                    args.channel.as_str(),
                    position,
                ))?;
                left -= 1;
            }
            Some(Event::Gap { after, upto, .. }) => {
                let text = format!("{} to {} are not kept any more", after.next().0, upto.0);
                output::complain(&anyhow::anyhow!("publications {text}"));
            }
            Some(Event::Error(error)) => return Err(connect::explained(error)),
            Some(_) => {}
            None => bail!("the subscription has ended"),
        }
    }
    Ok(())
}
