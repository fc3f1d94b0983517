//! Other people's servers beside a node: which there are, what each can be measured at, and where
//! their programs lie. Installs nothing; `bench/peers/install.sh` does.

mod config;
#[cfg(test)]
mod tests;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use sterna_bench::client::Transport;
use sterna_bench::dialect::{Centrifuge, Dialect, Mqtt, Nats, Pusher, Quality, Storage};
use sterna_bench::foreign;
use sterna_bench::server::{Launch, free_address};
use sterna_bench::target::{Part, Prepare, Prepared, Target};
use tempfile::TempDir;

use self::config::{APP_KEY, APP_SECRET, Place};
use super::args::{FieldArgs, TargetName};
use super::field::{self, Store};
use crate::keys::DevKeys;
use crate::output;

/// A kind of server that is not ours.
#[derive(Clone, Copy)]
struct Peer {
    target: TargetName,
    name: &'static str,
    program: &'static str,
    /// As `bench/peers/install.sh` calls it.
    package: &'static str,
    clients: Clients,
    /// What its configuration is called: some go by the ending.
    config: &'static str,
    /// Makes its arguments, and the text of its configuration, of where it lives.
    configure: fn(&Place<'_>) -> (Vec<String>, String),
}

/// Who speaks with a peer.
#[derive(Clone, Copy)]
enum Clients {
    /// The load generator; `None`: the peer does not do this work.
    Ours(fn(Work) -> Option<Arc<dyn Dialect>>),
    /// A program of `bench/peers`, with the peer's own client, told this of its publications. It
    /// counts, and does nothing else.
    Foreign(&'static str, &'static str),
}

impl Peer {
    fn does(&self, work: Work) -> bool {
        match self.clients {
            Clients::Ours(dialect) => dialect(work).is_some(),
            Clients::Foreign(..) => work == Work::Count,
        }
    }

    /// The programs that have to be there.
    fn programs(&self) -> impl Iterator<Item = &'static str> {
        let clients = match self.clients {
            Clients::Ours(_) => None,
            Clients::Foreign(program, _) => Some(program),
        };
        std::iter::once(self.program).chain(clients)
    }
}

/// What a peer is measured at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Nothing is stored or acknowledged that need not be; clients are only counted, whoever's they
    /// are.
    Count,
    /// The same with clients of ours, each of which is followed.
    Deliver,
    /// Publications are acknowledged when they are stored so; the memory of a peer may be that it
    /// has told its subscribers.
    Acknowledge(Store),
    /// The same for visitors, who read what is there when they come, where a peer keeps it.
    Visit(Store),
}

impl Work {
    /// How publications are stored that are acknowledged.
    const fn store(self) -> Option<Store> {
        match self {
            Self::Count | Self::Deliver => None,
            Self::Acknowledge(store) | Self::Visit(store) => Some(store),
        }
    }
}

const PEERS: &[Peer] = &[
    Peer {
        target: TargetName::NatsWss,
        name: "NATS, wss",
        program: "nats-server",
        package: "nats",
        clients: Clients::Ours(nats_dialect),
        config: "nats.conf",
        configure: config::nats,
    },
    Peer {
        target: TargetName::MosquittoWss,
        name: "Mosquitto, wss",
        program: "mosquitto",
        package: "mosquitto",
        clients: Clients::Ours(mqtt_dialect),
        config: "mosquitto.conf",
        configure: config::mosquitto,
    },
    Peer {
        target: TargetName::RumqttdWss,
        name: "rumqttd, wss",
        program: "rumqttd",
        package: "rumqttd",
        clients: Clients::Ours(mqtt_dialect),
        config: "rumqttd.toml",
        configure: config::rumqttd,
    },
    Peer {
        target: TargetName::CentrifugeWss,
        name: "centrifuge, wss",
        program: "sterna-bench-centrifuge",
        package: "centrifuge",
        clients: Clients::Ours(centrifuge_dialect),
        config: "unused",
        configure: config::centrifuge,
    },
    Peer {
        target: TargetName::SockudoWss,
        name: "sockudo, wss",
        program: "sockudo",
        package: "sockudo",
        clients: Clients::Ours(pusher_dialect),
        config: "sockudo.json",
        configure: config::sockudo,
    },
    moq(TargetName::MoqRelayQuic, "moq-relay, QUIC", "frames"),
    moq(TargetName::MoqRelayGroupsQuic, "moq-relay, QUIC, a group each", "groups"),
];

/// Publications are frames of long groups, which come in order, or a group each.
const fn moq(target: TargetName, name: &'static str, shape: &'static str) -> Peer {
    Peer {
        target,
        name,
        program: "moq-relay",
        package: "moq",
        clients: Clients::Foreign("sterna-bench-moq", shape),
        config: "unused",
        configure: config::moq,
    }
}

fn nats_dialect(work: Work) -> Option<Arc<dyn Dialect>> {
    let storage = work.store().map(|store| match store {
        Store::Memory => Storage::Memory,
        Store::Os | Store::Fsync => Storage::File,
    });
    Some(Arc::new(Nats { storage }))
}

fn mqtt_dialect(work: Work) -> Option<Arc<dyn Dialect>> {
    let quality = match work.store() {
        None => Quality::AtMostOnce,
        Some(Store::Memory) => Quality::AtLeastOnce,
        Some(Store::Os | Store::Fsync) => return None,
    };
    Some(Arc::new(Mqtt::new(quality)))
}

fn centrifuge_dialect(work: Work) -> Option<Arc<dyn Dialect>> {
    let history = matches!(work, Work::Visit(_));
    let is_done = !matches!(work.store(), Some(Store::Os | Store::Fsync));
    is_done.then(|| Arc::new(Centrifuge { history }) as Arc<dyn Dialect>)
}

fn pusher_dialect(work: Work) -> Option<Arc<dyn Dialect>> {
    let pusher = Pusher { key: APP_KEY.to_owned(), secret: APP_SECRET.to_owned() };
    work.store().is_none().then(|| Arc::new(pusher) as Arc<dyn Dialect>)
}

/// The peers that were asked for and do this work; their files go into `directory`. Without a choice,
/// those that are installed; of the others standard error says how to install them.
pub(super) fn targets(
    args: &FieldArgs,
    work: Work,
    directory: Option<&Path>,
) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for &peer in PEERS {
        if !args.only.is_empty() && !args.only.contains(&peer.target) {
            continue;
        }
        if !peer.does(work) {
            if !args.only.is_empty() {
                output::complain(&anyhow!("{} is not measured: it does not do this", peer.name));
            }
            continue;
        }
        let programs: Result<Vec<_>> = peer.programs().map(|it| installed(it, &peer)).collect();
        match programs {
            Ok(programs) => targets.push(target(peer, work, programs, directory)),
            Err(missing) if args.only.is_empty() => output::complain(&missing),
            Err(missing) => return Err(missing),
        }
    }
    Ok(targets)
}

fn missing(program: &str, peer: &Peer) -> anyhow::Error {
    anyhow!(
        "{} is not measured: {program} is not installed; `bench/peers/install.sh {}` does it",
        peer.name,
        peer.package
    )
}

fn target(peer: Peer, work: Work, programs: Vec<PathBuf>, directory: Option<&Path>) -> Target {
    let directory = directory.map(Path::to_owned);
    let (transport, prepare) = match peer.clients {
        Clients::Ours(dialect) => {
            let prepare = move || ours(peer, dialect, work, &programs, directory.as_deref());
            (Transport::Wss, Prepare::Ours(Box::new(prepare)))
        }
        Clients::Foreign(_, told) => {
            let prepare = move || foreign(peer, told, &programs, directory.as_deref());
            (Transport::Quic, Prepare::Foreign(Box::new(prepare)))
        }
    };
    Target { name: peer.name.to_owned(), part: Part::Peer, transport, prepare }
}

fn ours(
    peer: Peer,
    dialect: fn(Work) -> Option<Arc<dyn Dialect>>,
    work: Work,
    programs: &[PathBuf],
    directory: Option<&Path>,
) -> Result<Prepared> {
    let dialect = dialect(work).context("this peer does not do that")?;
    let home = field::home(directory)?;
    let keys = DevKeys::ensure(home.path())?;
    let launch = launch(peer, work, programs, &home, &keys)?;
    field::prepared(home, &keys, dialect, launch)
}

fn foreign(
    peer: Peer,
    told: &str,
    programs: &[PathBuf],
    directory: Option<&Path>,
) -> Result<foreign::Prepared> {
    let home = field::home(directory)?;
    let keys = DevKeys::ensure(home.path())?;
    let launch = launch(peer, Work::Count, programs, &home, &keys)?;
    let arguments =
        vec![launch.address.to_string(), keys.ca.to_string_lossy().into_owned(), told.to_owned()];
    let program = programs.last().context("its clients are a program")?.clone();
    Ok(foreign::Prepared { launch, program, arguments, home })
}

/// Writes what the server reads.
fn launch(
    peer: Peer,
    work: Work,
    programs: &[PathBuf],
    home: &TempDir,
    keys: &DevKeys,
) -> Result<Launch> {
    let config = home.path().join(peer.config);
    let place = Place {
        work,
        home: home.path(),
        address: free_address()?,
        spare: free_address()?,
        certificate: &keys.tls.certificate_chain,
        private_key: &keys.tls.private_key,
        config: &config,
    };
    let (arguments, text) = (peer.configure)(&place);
    let address = place.address;
    std::fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
    let program = programs.first().context("a server is a program")?.clone();
    Ok(Launch { program, arguments, address })
}

/// In the directory of the installer, or on the search path.
fn installed(program: &str, peer: &Peer) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let own = directory(|name| env::var_os(name).filter(|value| !value.is_empty()));
    let places = own.map(|own| own.join("bin")).into_iter().chain(env::split_paths(&path));
    let found = places.map(|place| place.join(program)).find(|file| file.is_file());
    found.ok_or_else(|| missing(program, peer))
}

/// As the installer finds it.
fn directory(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(own) = variable("STERNA_BENCH_PEERS") {
        return Some(own.into());
    }
    let cache = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache")))?;
    Some(cache.join("sterna/peers"))
}
