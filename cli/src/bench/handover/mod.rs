//! `sterna bench handover`: a subscriber on QUIC and one on WebSocket, side by side on one channel
//! that somebody publishes to, with the raw limits beside them, and the same changes of network for
//! all. Exit code 1 when anything that was acknowledged is lost or comes twice.

mod bare;
mod course;
mod page;
mod report;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use sterna_bench::progress::Progress;
use sterna_bench::target::Part;
use sterna_client::{ChannelId, Client, Transport};
use sterna_relay::{Impairment, RelayConfig};

pub(super) use self::bare::{Bare, Reach, nth, publication};
pub(super) use self::report::Kind;

use self::bare::BareServer;
use self::course::{Course, Talk};
use self::report::Report;
use super::private_node::PrivateNode;
use super::publisher::Publisher;
use super::subscriber::Subscriber;
use super::told;
use super::uplinks::Uplinks;
use crate::args::{ConnectArgs, HandoverArgs, TransportArg};
use crate::output;
use crate::verbs::connect;

/// Between switches: long enough for what is late after one to show.
const PAUSE: Duration = Duration::from_millis(500);

/// A node that is not ours takes a client that moves more often for a broken one.
const PAUSE_ON_SERVER: Duration = Duration::from_secs(4);

const TRANSPORTS: [Transport; 2] = [Transport::Quic, Transport::WebSocket];

pub(super) async fn run(args: &HandoverArgs) -> Result<ExitCode> {
    let progress = args.shown.progress("handover");
    let outcome = on_a_node(args, &progress).await;
    progress.done();
    let report = outcome?;
    if let Some(file) = &args.shown.report {
        std::fs::write(file, page::of(&report).html())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    match args.shown.json {
        true => output::line(&serde_json::to_string(&report)?)?,
        false => output::line(&report.table())?,
    }
    if !report.is_clean() {
        bail!("publications that were acknowledged were lost or came twice");
    }
    Ok(ExitCode::SUCCESS)
}

async fn on_a_node(args: &HandoverArgs, progress: &Progress) -> Result<Report> {
    if let Some(server) = &args.server {
        let connect = ConnectArgs {
            ca: args.ca.clone(),
            token: args.token.clone(),
            ..super::connect_args(server.clone(), args.data_dir.clone())?
        };
        return measure(args, &connect, PAUSE_ON_SERVER, progress).await;
    }
    let node = PrivateNode::start().await?;
    let connect = node.connect_args()?;
    let report = measure(args, &connect, PAUSE, progress).await;
    node.stop().await;
    report
}

async fn measure(
    args: &HandoverArgs,
    connect: &ConnectArgs,
    pause: Duration,
    progress: &Progress,
) -> Result<Report> {
    let uplinks = if args.netns { Some(Uplinks::make().await?) } else { None };
    let delay = Impairment::delayed(Duration::from_millis(args.delay_ms));
    let mut path = RelayConfig::new(node_address(connect).await?).with_impairment(delay);
    if let Some(uplinks) = &uplinks {
        path.listen = (uplinks.address(), 0).into();
    }
    let publishing = connect::client(connect, TransportArg::Quic)?;
    publishing.connect();
    publishing.ready(connect.timeout).await.context("the node cannot be reached")?;
    let mut servers = Vec::new();
    let mut talks = vec![ours(args, connect, path, uplinks.as_ref(), &publishing).await?];
    // Their clients are in this process, and have no uplinks.
    for transport in TRANSPORTS.into_iter().filter(|_| uplinks.is_none()) {
        let (server, talk) = bare(transport, args.rate, path).await?;
        servers.push(server);
        talks.push(talk);
    }
    let course = Course { talks, uplinks, pause, progress };
    let report = course.run(args).await;
    connect::close(&publishing).await;
    report
}

/// One channel for both of our subscribers.
async fn ours(
    args: &HandoverArgs,
    connect: &ConnectArgs,
    path: RelayConfig,
    uplinks: Option<&Uplinks>,
    publishing: &Client,
) -> Result<Talk> {
    let channel = channel()?;
    // Makes the channel, so that there is something to subscribe to.
    let made = publishing.publish(&channel, "made for a bench").await?.position;
    let mut subscribers = Vec::new();
    for transport in TRANSPORTS {
        let subscriber = Subscriber::start(transport, &channel, connect, path, uplinks).await?;
        subscribers.push(subscriber);
    }
    let publisher = Publisher::start(publishing.clone(), channel, args.rate);
    Ok(Talk { part: Part::Sterna, publisher, subscribers, made })
}

/// A raw server and its only subscriber.
async fn bare(transport: Transport, rate: u32, path: RelayConfig) -> Result<(BareServer, Talk)> {
    let (server, publishing) = BareServer::start(transport).await?;
    let subscriber = Subscriber::start_bare(transport, &server.reach, path).await?;
    let publisher = Publisher::start_bare(publishing, rate);
    let (subscribers, made) = (vec![subscriber], nth(0));
    Ok((server, Talk { part: Part::Raw, publisher, subscribers, made }))
}

/// One channel a run, so that an earlier run is not in the way.
fn channel() -> Result<ChannelId> {
    Ok(ChannelId::new(&format!("bench:handover-{}-{}", told::now_us(), std::process::id()))?)
}

async fn node_address(connect: &ConnectArgs) -> Result<SocketAddr> {
    let server = connect::Target::find(connect)?.server;
    let found = tokio::net::lookup_host(&server)
        .await
        .with_context(|| format!("`{server}` is no HOST:PORT that can be looked up"))?;
    found.into_iter().find(|address| address.is_ipv4() && address.ip().is_loopback()).with_context(
        || format!("{server} is not on 127.0.0.1: run the bench on the node's own machine"),
    )
}
