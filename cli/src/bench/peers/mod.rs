//! Other people's servers beside a node: which there are, what each can be measured at, and where
//! their programs lie. Installs nothing; `bench/peers/install.sh` does.

mod config;
#[cfg(test)]
mod tests;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result, anyhow};
use sterna_bench::client::Transport;
use sterna_bench::dialect::{Centrifuge, Dialect, Mqtt, Nats, Pusher, Quality, Storage};
use sterna_bench::server::{Launch, free_address};
use sterna_bench::target::{Part, Prepared, Target};

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
    /// `None`: it does not do this work.
    dialect: fn(Work) -> Option<Rc<dyn Dialect>>,
    /// What its configuration is called: some go by the ending.
    config: &'static str,
    /// Makes its arguments, and the text of its configuration, of where it lives.
    configure: fn(&Place<'_>) -> (Vec<String>, String),
}

/// What a peer is measured at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Nothing is stored or acknowledged that need not be.
    Deliver,
    /// Publications are acknowledged when they are stored so; the memory of a peer may be that it
    /// has told its subscribers.
    Acknowledge(Store),
}

const PEERS: &[Peer] = &[
    Peer {
        target: TargetName::NatsWss,
        name: "NATS, wss",
        program: "nats-server",
        package: "nats",
        dialect: nats_dialect,
        config: "nats.conf",
        configure: config::nats,
    },
    Peer {
        target: TargetName::MosquittoWss,
        name: "Mosquitto, wss",
        program: "mosquitto",
        package: "mosquitto",
        dialect: mqtt_dialect,
        config: "mosquitto.conf",
        configure: config::mosquitto,
    },
    Peer {
        target: TargetName::RumqttdWss,
        name: "rumqttd, wss",
        program: "rumqttd",
        package: "rumqttd",
        dialect: mqtt_dialect,
        config: "rumqttd.toml",
        configure: config::rumqttd,
    },
    Peer {
        target: TargetName::CentrifugeWss,
        name: "centrifuge, wss",
        program: "sterna-bench-centrifuge",
        package: "centrifuge",
        dialect: centrifuge_dialect,
        config: "unused",
        configure: config::centrifuge,
    },
    Peer {
        target: TargetName::SockudoWss,
        name: "sockudo, wss",
        program: "sockudo",
        package: "sockudo",
        dialect: pusher_dialect,
        config: "sockudo.json",
        configure: config::sockudo,
    },
];

fn nats_dialect(work: Work) -> Option<Rc<dyn Dialect>> {
    let storage = match work {
        Work::Deliver => None,
        Work::Acknowledge(Store::Memory) => Some(Storage::Memory),
        Work::Acknowledge(Store::Os | Store::Fsync) => Some(Storage::File),
    };
    Some(Rc::new(Nats { storage }))
}

fn mqtt_dialect(work: Work) -> Option<Rc<dyn Dialect>> {
    let quality = match work {
        Work::Deliver => Quality::AtMostOnce,
        Work::Acknowledge(Store::Memory) => Quality::AtLeastOnce,
        Work::Acknowledge(Store::Os | Store::Fsync) => return None,
    };
    Some(Rc::new(Mqtt::new(quality)))
}

fn centrifuge_dialect(work: Work) -> Option<Rc<dyn Dialect>> {
    let is_done = matches!(work, Work::Deliver | Work::Acknowledge(Store::Memory));
    is_done.then(|| Rc::new(Centrifuge) as Rc<dyn Dialect>)
}

fn pusher_dialect(work: Work) -> Option<Rc<dyn Dialect>> {
    let pusher = Pusher { key: APP_KEY.to_owned(), secret: APP_SECRET.to_owned() };
    (work == Work::Deliver).then(|| Rc::new(pusher) as Rc<dyn Dialect>)
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
        if (peer.dialect)(work).is_none() {
            if !args.only.is_empty() {
                output::complain(&anyhow!("{} is not measured: it does not do this", peer.name));
            }
            continue;
        }
        match installed(peer.program) {
            Some(program) => targets.push(target(peer, work, program, directory)),
            None if args.only.is_empty() => output::complain(&missing(&peer)),
            None => return Err(missing(&peer)),
        }
    }
    Ok(targets)
}

fn missing(peer: &Peer) -> anyhow::Error {
    anyhow!(
        "{} is not measured: {} is not installed; `bench/peers/install.sh {}` does it",
        peer.name,
        peer.program,
        peer.package
    )
}

fn target(peer: Peer, work: Work, program: PathBuf, directory: Option<&Path>) -> Target {
    let directory = directory.map(Path::to_owned);
    Target {
        name: peer.name.to_owned(),
        part: Part::Peer,
        transport: Transport::Wss,
        prepare: Box::new(move || prepare(peer, work, program.clone(), directory.as_deref())),
    }
}

fn prepare(peer: Peer, work: Work, program: PathBuf, directory: Option<&Path>) -> Result<Prepared> {
    let dialect = (peer.dialect)(work).context("this peer does not do that")?;
    let home = field::home(directory)?;
    let keys = DevKeys::ensure(home.path())?;
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
    let launch = Launch { program, arguments, address };
    field::prepared(home, &keys, dialect, launch)
}

/// In the directory of the installer, or on the search path.
fn installed(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let own = directory(|name| env::var_os(name).filter(|value| !value.is_empty()));
    let places = own.map(|own| own.join("bin")).into_iter().chain(env::split_paths(&path));
    places.map(|place| place.join(program)).find(|file| file.is_file())
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
