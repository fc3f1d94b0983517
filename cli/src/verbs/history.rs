//! `sterna history`: page after page until the end or the limit.

use std::process::ExitCode;

use anyhow::Result;
use sterna_client::{Client, History};
use sterna_proto::{Position, limits};

use super::connect;
use crate::args::{FromArg, HistoryArgs};
use crate::output::{self, Format};

pub(crate) fn run(args: &HistoryArgs) -> Result<ExitCode> {
    let print = async |client: &Client| print(args, client).await;
    connect::block_on(connect::with_client(&args.connect, print))?;
    Ok(ExitCode::SUCCESS)
}

async fn print(args: &HistoryArgs, client: &Client) -> Result<()> {
    let mut since = match args.from {
        FromArg::After(position) => position,
        FromArg::Earliest | FromArg::Latest => Position::EARLIEST,
    };
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let limit = left.min(limits::PAGE_PUBLICATIONS as u64) as u32;
        let history = History::since(since).with_limit(limit);
        let page = client.history(&args.channel, history).await.map_err(connect::explained)?;
        for publication in &page.publications {
            output::line(&output::publication(Format::of(args.json), publication))?;
            since = publication.position;
            left = left.saturating_sub(1);
        }
        if !page.more || page.publications.is_empty() {
            break;
        }
    }
    Ok(())
}
