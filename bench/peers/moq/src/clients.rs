//! Sessions with the relay, all from one endpoint, as the client's users open them: raw QUIC, the
//! newest version of the protocol that both speak.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use moq_tokio::connect::{Addr, Config};
use moq_tokio::moq_net::{Path as BroadcastPath, origin, track};
use moq_tokio::rustls::crypto::{CryptoProvider, aws_lc_rs};
use moq_tokio::{Addrs, Client, Connection, quic};
use url::Url;

/// How to reach the relay.
#[derive(Clone)]
pub(crate) struct Relay {
    client: Client,
    place: Addrs,
}

impl Relay {
    pub(crate) fn at(address: SocketAddr, authority: &Path) -> Result<Self> {
        // The one cipher suite of all load generators: left to themselves some servers take a dearer
        // one than others.
        let cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
        let provider = CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() };
        provider.install_default().ok().context("there is a provider of cryptography already")?;
        let mut config = Config::default();
        config.tls.root = vec![authority.to_owned()];
        config.bind = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        // A session that breaks is a failure of the measurement.
        config.once = Some(true);
        let mut transport = quic::Config::default();
        transport.idle_timeout = SILENCE;
        transport.keep_alive = Duration::ZERO;
        let url = Url::parse(&format!("moqt://localhost:{}/", address.port()))?;
        let place = Addrs::new(Addr::pinned(url, [address])?);
        Ok(Self { client: config.init(transport)?, place })
    }

    /// Publishes what is in an origin.
    pub(crate) async fn publishing(&self, origin: &origin::Producer) -> Result<Session> {
        let client = self.client.clone().with_publisher(origin);
        Session::open(&client, self.place.clone(), origin.clone()).await
    }
}

/// One session. Dropping it ends it.
pub(crate) struct Session {
    connection: Connection,
    origin: origin::Producer,
}

impl Session {
    async fn open(client: &Client, place: Addrs, origin: origin::Producer) -> Result<Self> {
        let connection = client.connect(place).established().await?;
        Ok(Self { connection, origin })
    }

    /// One that is told of broadcasts.
    pub(crate) async fn listening(relay: &Relay) -> Result<Self> {
        let origin = moq_tokio::origin::spawn();
        let client = relay.client.clone().with_subscriber(origin.clone());
        Self::open(&client, relay.place.clone(), origin).await
    }

    /// Subscribes to a track of a broadcast, waiting until there is such a broadcast.
    pub(crate) async fn subscribe(
        &self,
        broadcast: &str,
        track: &str,
    ) -> Result<track::Subscriber> {
        let path = BroadcastPath::from(broadcast);
        let origin = self.origin.consume();
        let mut announced = origin.announced();
        loop {
            let update = announced.next().await.context("the relay announces nothing more")?;
            if update.kind.is_active() && update.prefix.as_str() == path.as_str() {
                break;
            }
        }
        let broadcast = origin.request_broadcast(&path).await?;
        let wanted = track::Subscription::default().with_max_age(KEPT);
        Ok(broadcast.track(track)?.subscribe(wanted).await?)
    }

    /// What was agreed on.
    pub(crate) fn version(&self) -> String {
        self.connection.version().map_or_else(|| "none".to_owned(), |it| it.as_str().to_owned())
    }

    pub(crate) fn is_there(&self) -> bool {
        self.connection.connected()
    }
}

/// How long a publication may wait for a subscriber before it is given up, on both sides: longer than
/// a measurement.
pub(crate) const KEPT: Duration = Duration::from_secs(600);

/// A silent session lasts for so long.
const SILENCE: Duration = Duration::from_secs(120);

/// A track that keeps what it is given.
pub(crate) fn kept() -> track::Info {
    track::Info::default().with_max_age(KEPT)
}
