//! `sterna bench handover`: a subscriber on QUIC and one on WebSocket, side by side on one channel
//! that somebody publishes to, and the same changes of network for both. Exit code 1 when anything
//! that was acknowledged is lost or comes twice.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget};
use sterna_client::{ChannelId, Client, Position, Transport};
use sterna_relay::{Impairment, RelayConfig};

use super::journal::Journal;
use super::private_node::PrivateNode;
use super::publisher::Publisher;
use super::report::{Gaps, Kind, Report, Row};
use super::subscriber::{DARKNESS, Subscriber};
use super::told::{self, Counts};
use super::uplinks::Uplinks;
use crate::args::{ConnectArgs, HandoverArgs, TransportArg};
use crate::output;
use crate::verbs::connect;

/// Between switches: long enough for what is late after one to show.
const PAUSE: Duration = Duration::from_millis(500);

/// A node that is not ours takes a client that moves more often for a broken one.
const PAUSE_ON_SERVER: Duration = Duration::from_secs(4);

pub(super) async fn run(args: &HandoverArgs) -> Result<ExitCode> {
    let report = match &args.server {
        Some(server) => {
            let connect = ConnectArgs {
                ca: args.ca.clone(),
                token: args.token.clone(),
                ..super::connect_args(server.clone(), args.data_dir.clone())?
            };
            measure(args, &connect, PAUSE_ON_SERVER).await?
        }
        None => {
            let node = PrivateNode::start().await?;
            let connect = node.connect_args()?;
            let report = measure(args, &connect, PAUSE).await;
            node.stop().await;
            report?
        }
    };
    match args.json {
        true => output::line(&serde_json::to_string(&report)?)?,
        false => output::line(&report.table())?,
    }
    if !report.is_clean() {
        bail!("publications that were acknowledged were lost or came twice");
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure(args: &HandoverArgs, connect: &ConnectArgs, pause: Duration) -> Result<Report> {
    let channel = channel()?;
    let uplinks = if args.netns { Some(Uplinks::make().await?) } else { None };
    let delay = Impairment::delayed(Duration::from_millis(args.delay_ms));
    let mut path = RelayConfig::new(node_address(connect).await?).with_impairment(delay);
    if let Some(uplinks) = &uplinks {
        path.listen = (uplinks.address(), 0).into();
    }
    let publishing = connect::client(connect, TransportArg::Quic)?;
    publishing.connect();
    publishing.ready(connect.timeout).await.context("the node cannot be reached")?;
    // Makes the channel, so that there is something to subscribe to.
    let made = publishing.publish(&channel, "made for a bench").await?.position;
    let subscribers = [
        Subscriber::start(Transport::Quic, &channel, connect, path, uplinks.as_ref()).await?,
        Subscriber::start(Transport::WebSocket, &channel, connect, path, uplinks.as_ref()).await?,
    ];
    let publisher = Publisher::start(publishing.clone(), channel, args.rate);
    let course = Course { subscribers, uplinks, publisher, pause, progress: progress(args) };
    course.run(args, made, &publishing).await
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

fn progress(args: &HandoverArgs) -> ProgressBar {
    let target = match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let legs = kinds(args).len() as u64;
    ProgressBar::with_draw_target(Some(u64::from(args.switches) * legs), target)
}

/// Behind an uplink of its own, a client's port changes with its address only.
fn kinds(args: &HandoverArgs) -> &'static [Kind] {
    match args.netns {
        true => &[Kind::None, Kind::Address, Kind::Hard],
        false => &Kind::ALL,
    }
}

struct Course {
    subscribers: [Subscriber; 2],
    uplinks: Option<Uplinks>,
    publisher: Publisher,
    pause: Duration,
    progress: ProgressBar,
}

/// All switches of one kind.
struct Leg {
    kind: Kind,
    /// Of each switch, from its beginning until everything was quiet again.
    windows: Vec<(u64, u64)>,
    after: Position,
    upto: Position,
    changes: [Change; 2],
}

/// What a subscriber's client has counted during a leg.
#[derive(Debug)]
struct Change {
    asked: u64,
    counts: Counts,
}

impl Course {
    async fn run(mut self, args: &HandoverArgs, made: Position, client: &Client) -> Result<Report> {
        let mut legs = Vec::new();
        let mut head = made;
        // The first window needs something before it.
        self.settle().await?;
        for kind in kinds(args) {
            let leg = self.leg(*kind, args.switches, head).await?;
            head = leg.upto;
            legs.push(leg);
        }
        self.progress.finish_and_clear();
        let acked = self.publisher.stop().await?;
        let last = acked.iter().max().copied().unwrap_or_default();
        for subscriber in &mut self.subscribers {
            subscriber.reach(last).await?;
        }
        // What came after the last window belongs to the last leg.
        if let Some(leg) = legs.last_mut() {
            leg.upto = last;
        }
        let rows = rows(&self.subscribers, &legs, &acked);
        for subscriber in self.subscribers {
            subscriber.close().await;
        }
        connect::close(client).await;
        Ok(Report {
            round_trip_ms: args.delay_ms * 2,
            publications_per_second: args.rate,
            switches_of_each_kind: args.switches,
            publications: acked.len(),
            rows,
        })
    }

    async fn leg(&mut self, kind: Kind, switches: u32, after: Position) -> Result<Leg> {
        let before = self.subscribers.each_ref().map(Change::so_far);
        let mut windows = Vec::new();
        let mut upto = after;
        for _ in 0..switches {
            let began = told::now_us();
            self.switch(kind).await?;
            upto = self.settle().await?;
            windows.push((began, told::now_us()));
            self.progress.inc(1);
        }
        let [quic, websocket] = self.subscribers.each_ref().map(Change::so_far);
        let changes = [quic.since(&before[0]), websocket.since(&before[1])];
        Ok(Leg { kind, windows, after, upto, changes })
    }

    async fn switch(&mut self, kind: Kind) -> Result<()> {
        match (&mut self.uplinks, kind) {
            (None, _) | (_, Kind::None) => {}
            (Some(uplinks), Kind::Hard) => uplinks.switch_after(DARKNESS).await?,
            (Some(uplinks), Kind::Rebind | Kind::Address) => uplinks.switch().await?,
        }
        let [quic, websocket] = &mut self.subscribers;
        tokio::try_join!(quic.switch(kind), websocket.switch(kind))?;
        Ok(())
    }

    /// Lets time pass, then waits until everybody has what was acknowledged by then.
    async fn settle(&mut self) -> Result<Position> {
        tokio::time::sleep(self.pause).await;
        let head = self.publisher.head();
        for subscriber in &mut self.subscribers {
            subscriber.reach(head).await?;
        }
        Ok(head)
    }
}

impl Change {
    fn so_far(subscriber: &Subscriber) -> Self {
        let journal = subscriber.journal();
        Self { asked: journal.asked(), counts: journal.counts().clone() }
    }

    fn since(self, before: &Self) -> Self {
        let counts = Counts {
            reconnects: self.counts.reconnects - before.counts.reconnects,
            resumed: self.counts.resumed - before.counts.resumed,
            ..self.counts
        };
        Self { asked: self.asked - before.asked, counts }
    }
}

fn rows(subscribers: &[Subscriber; 2], legs: &[Leg], acked: &[Position]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (at, subscriber) in subscribers.iter().enumerate() {
        let journal = subscriber.journal();
        for leg in legs {
            rows.push(row(subscriber.transport(), &journal, leg, &leg.changes[at], acked));
        }
    }
    rows
}

fn row(
    transport: Transport,
    journal: &Journal,
    leg: &Leg,
    change: &Change,
    acked: &[Position],
) -> Row {
    let verdict = journal.judge(acked, leg.after, leg.upto);
    let gaps = leg.windows.iter().map(|(from, to)| journal.longest_silence(*from, *to)).collect();
    Row {
        transport: transport.name(),
        switch: leg.kind,
        gap_ms: Gaps::of(gaps),
        lost: verdict.lost,
        duplicated: verdict.duplicated,
        resubscribed: change.asked,
        reconnects: change.counts.reconnects,
        resumed: change.counts.resumed,
        transport_after: change.counts.transport.clone(),
    }
}
