//! Two steps to a client: options here, everything checked once in [`ClientBuilder::build`].

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use sterna_proto::{ChannelId, ClientId};
use tokio::sync::watch;

use crate::client::Inner;
use crate::driver::{self, Driver, Setup};
use crate::event::SendState;
use crate::options::{
    BACKGROUND_GRACE, COMMAND_TIMEOUT, OutboxLimits, TokenError, TokenRequest, Transport,
};
use crate::outbox_store::{OutboxStore, StoredOutbox};
use crate::route;
use crate::send::Restored;
use crate::session::Session;
use crate::session::token::TokenKeeper;
use crate::shared::Shared;
use crate::transport::tls::{self, Tls};
use crate::transport::{Address, Target};
use crate::{Client, Error};

/// Asked for access tokens.
pub(crate) type TokenProvider =
    Arc<dyn Fn(TokenRequest) -> BoxFuture<'static, Result<String, TokenError>> + Send + Sync>;

/// Collects the options of a [`Client`].
#[must_use]
pub struct ClientBuilder {
    address: String,
    token: String,
    provider: Option<TokenProvider>,
    transports: Vec<Transport>,
    roots: Option<RootCertStore>,
    root_sources: Vec<RootSource>,
    client_id: Option<String>,
    connect_to: Vec<SocketAddr>,
    outbox: OutboxLimits,
    store: Option<Box<dyn OutboxStore>>,
    user_agent: String,
    command_timeout: Duration,
    background_grace: Duration,
    route_watch: Option<Duration>,
}

#[derive(Debug)]
enum RootSource {
    Pem(Vec<u8>),
    File(PathBuf),
}

impl ClientBuilder {
    pub(crate) fn new(address: String) -> Self {
        Self {
            address,
            token: String::new(),
            provider: None,
            transports: vec![Transport::Quic, Transport::WebSocket],
            roots: None,
            root_sources: Vec::new(),
            client_id: None,
            connect_to: Vec::new(),
            outbox: OutboxLimits::default(),
            store: None,
            user_agent: concat!("sterna-rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            command_timeout: COMMAND_TIMEOUT,
            background_grace: BACKGROUND_GRACE,
            route_watch: None,
        }
    }

    /// One access token for good. When it expires, the client stops with `Unauthorized`.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = token.into();
        self.provider = None;
        self
    }

    /// Where tokens come from: asked before the first connection, before a token expires, and
    /// after one has; never twice at a time.
    ///
    /// ```no_run
    /// # async fn fetch() -> Result<String, std::io::Error> { Ok(String::new()) }
    /// use sterna_client::{Client, TokenError};
    ///
    /// let builder = Client::builder("sterna://edge.example.com").token_provider(|_| async {
    ///     fetch().await.map_err(|error| TokenError::Unavailable(error.to_string()))
    /// });
    /// ```
    pub fn token_provider<P, F>(mut self, provider: P) -> Self
    where
        P: Fn(TokenRequest) -> F + Send + Sync + 'static,
        F: Future<Output = Result<String, TokenError>> + Send + 'static,
    {
        self.provider = Some(Arc::new(move |wanted| provider(wanted).boxed()));
        self
    }

    /// Which transports may be used. Both by default, and then they race.
    pub fn transports(mut self, transports: impl IntoIterator<Item = Transport>) -> Self {
        self.transports = transports.into_iter().collect();
        self
    }

    /// Certificate authorities to trust, PEM. Whoever names some trusts those only; without any,
    /// the platform's are trusted, or Mozilla's where the platform has none.
    pub fn root_certificates_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_sources.push(RootSource::Pem(pem.into()));
        self
    }

    /// Certificate authorities to trust instead of the platform's, from a PEM file that is read by
    /// [`build`](Self::build).
    pub fn root_certificates_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.root_sources.push(RootSource::File(path.into()));
        self
    }

    /// Certificate authorities to trust instead of the platform's.
    pub fn root_store(mut self, roots: RootCertStore) -> Self {
        self.roots.get_or_insert_with(RootCertStore::empty).roots.extend(roots.roots);
        self
    }

    /// Names this installation. A random one by default; an installation that keeps its outbox
    /// or wants to be recognised keeps its name. No two running clients may share one.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// Connects here instead of to what the address resolves to. The certificate still has to be
    /// the address's.
    pub fn connect_to(self, address: SocketAddr) -> Self {
        self.connect_to_any([address])
    }

    /// As [`connect_to`](Self::connect_to), for an application that resolves names by itself: the
    /// addresses are tried in this order, families taking turns, each a quarter of a second after
    /// the one before it, and the first that answers is used.
    pub fn connect_to_any(mut self, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.connect_to = addresses.into_iter().collect();
        self
    }

    /// Bounds of the outbox and what happens when they are reached.
    pub fn outbox(mut self, limits: OutboxLimits) -> Self {
        self.outbox = limits;
        self
    }

    /// Keeps the outbox across restarts of the process, for example in a
    /// [`FileOutbox`](crate::FileOutbox); without a store it lives in memory. The client takes the
    /// client id that the store was first used with, which a [`client_id`](Self::client_id) must
    /// not contradict. [`build`](Self::build) reads the store.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use sterna_client::{Client, FileOutbox};
    ///
    /// let client = Client::builder("sterna://edge.example.com")
    ///     .outbox_store(FileOutbox::open("outbox")?)
    ///     .build()?;
    /// for restored in client.take_restored() {
    ///     println!("{} waits for a connection", restored.send.message_id());
    /// }
    /// client.connect();
    /// # Ok(())
    /// # }
    /// ```
    pub fn outbox_store(mut self, store: impl OutboxStore) -> Self {
        self.store = Some(Box::new(store));
        self
    }

    /// What the node's logs call this program. The name and version of this crate by default.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// How long calls such as `history` wait for their reply, connection included. 10 s by default: a
    /// core of a cluster that dies is replaced in less.
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.command_timeout = timeout;
        self
    }

    /// How long [`Client::background`] keeps the connection. 25 s by default, a little less than
    /// what phones leave a process in the background.
    pub fn background_grace(mut self, grace: Duration) -> Self {
        self.background_grace = grace;
        self
    }

    /// Looks this often whether the way to the server begins at another address of this machine,
    /// and does by itself what [`Client::network_changed`] does. For programs to which no system
    /// reports it; a second is a good choice. Phones report it, and should not be woken for this. Not
    /// done by default.
    pub fn watch_route(mut self, every: Duration) -> Self {
        self.route_watch = Some(every);
        self
    }

    /// Checks everything and starts the driver, which waits for [`Client::connect`]. Has to be
    /// called inside a tokio runtime.
    pub fn build(mut self) -> Result<Client, Error> {
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| Error::Config("build has to be called inside a tokio runtime".into()))?;
        let target = target(&self.address, std::mem::take(&mut self.connect_to))?;
        if self.transports.is_empty() {
            return Err(Error::Config("name at least one transport".into()));
        }
        let roots = roots(self.roots.take(), std::mem::take(&mut self.root_sources))?;
        let tls = Tls::new(roots)?;
        let stored = self.load_outbox()?;
        let (session, restored) = self.session(stored);
        let tokens = match &self.provider {
            Some(_) => TokenKeeper::provided(),
            None => TokenKeeper::fixed(self.token),
        };
        let shared = Arc::new(Shared::new(session));
        let setup = Setup {
            target,
            tls,
            transports: self.transports,
            tokens,
            provider: self.provider,
            background_grace: self.background_grace,
            store: self.store,
        };
        let watched = self.route_watch.map(|every| (every, setup.target.address.clone()));
        let driver = Driver::new(shared.clone(), setup);
        let followed = shared.clone();
        let task = async move {
            let Some((every, target)) = watched else { return driver.run().await };
            tokio::select! {
                () = driver.run() => {}
                never = route::follow(&followed, &target, every) => never,
            }
        };
        // Owned: `Client::close` takes the handle out and awaits it.
        let task = runtime.spawn(task);
        if let Ok(mut owner) = shared.driver.try_lock() {
            *owner = Some(task);
        }
        Ok(Client { inner: Arc::new(Inner { shared, restored: Mutex::new(restored) }) })
    }

    /// What the store holds, and under which client id; without a store, nothing.
    fn load_outbox(&mut self) -> Result<StoredOutbox, Error> {
        let client_id =
            self.client_id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().simple().to_string());
        ClientId::new(&client_id).map_err(|error| Error::Config(error.to_string()))?;
        let Some(store) = &mut self.store else {
            return Ok(StoredOutbox { client_id, ..StoredOutbox::default() });
        };
        let stored =
            store.load(&client_id).map_err(|error| Error::OutboxStore(error.to_string()))?;
        if self.client_id.as_ref().is_some_and(|named| *named != stored.client_id) {
            return Err(Error::Config(format!(
                "the outbox store belongs to the client id `{}` and not to `{client_id}`; leave \
                 client_id out, or use another store",
                stored.client_id
            )));
        }
        Ok(stored)
    }

    fn session(&self, stored: StoredOutbox) -> (Session, Vec<Restored>) {
        let by_time = driver::unix_ms() << CLIENT_SEQ_SHIFT;
        let mut session = Session::new(
            stored.client_id,
            self.user_agent.clone(),
            self.outbox,
            by_time.max(stored.last_seq.saturating_add(1)),
            self.store.is_some(),
            self.command_timeout,
        );
        session.stats.outbox_damaged = stored.damaged;
        let mut restored = Vec::new();
        for publication in stored.publications {
            let Ok(channel) = ChannelId::new(&publication.publish.channel) else {
                session.stats.outbox_damaged += 1;
                continue;
            };
            let (tag, states) = watch::channel(SendState::Queued);
            restored.push(Restored::new(channel.clone(), &publication.publish, states));
            session.restore(channel, publication, tag);
        }
        (session, restored)
    }
}

impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the token.
        f.debug_struct("ClientBuilder")
            .field("address", &self.address)
            .field("transports", &self.transports)
            .finish_non_exhaustive()
    }
}

fn target(address: &str, connect_to: Vec<SocketAddr>) -> Result<Target, Error> {
    let bad = |why: &str| {
        Error::Config(format!("`{address}` is no address: {why}; write sterna://HOST:PORT"))
    };
    let rest = address.strip_prefix("sterna://").unwrap_or(address);
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('/') {
        return Err(bad("there is a path in it"));
    }
    let (host, port) = host_and_port(rest, DEFAULT_PORT).ok_or_else(|| bad("the port is wrong"))?;
    ServerName::try_from(host.clone()).map_err(|_| bad("the host is neither name nor IP"))?;
    let resolved = Address::Name { host: host.clone(), port };
    let address = if connect_to.is_empty() { resolved } else { Address::Sockets(connect_to) };
    Ok(Target { server_name: host, address })
}

/// Cuts `host:port`, `host`, `[v6]:port`, `[v6]` or a bare `v6`. `None`: the port is not a number.
pub(crate) fn host_and_port(text: &str, default_port: u16) -> Option<(String, u16)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = match rest.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None => default_port,
        };
        return Some((host.to_owned(), port));
    }
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some((text.to_owned(), default_port));
    }
    match text.rsplit_once(':') {
        Some((host, port)) => Some((host.to_owned(), port.parse().ok()?)),
        None => Some((text.to_owned(), default_port)),
    }
}

/// What was named, or what the platform trusts.
fn roots(named: Option<RootCertStore>, sources: Vec<RootSource>) -> Result<RootCertStore, Error> {
    if named.is_none() && sources.is_empty() {
        return Ok(tls::default_roots());
    }
    let mut roots = named.unwrap_or_else(RootCertStore::empty);
    sources.into_iter().try_for_each(|source| add_roots(&mut roots, source))?;
    Ok(roots)
}

fn add_roots(roots: &mut RootCertStore, source: RootSource) -> Result<(), Error> {
    let pem = match source {
        RootSource::Pem(pem) => pem,
        RootSource::File(path) => std::fs::read(&path)
            .map_err(|error| Error::Config(format!("cannot read {}: {error}", path.display())))?,
    };
    let mut found = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let added = certificate
            .map_err(|error| error.to_string())
            .and_then(|der| roots.add(der).map_err(|error| error.to_string()));
        added.map_err(|why| Error::Config(format!("a root certificate is not usable: {why}")))?;
        found += 1;
    }
    if found == 0 {
        return Err(Error::Config("there is no PEM certificate among the roots".into()));
    }
    Ok(())
}

const DEFAULT_PORT: u16 = 4443;
/// Client sequence numbers start at the time of building, so that a client id that is used again
/// never repeats one: room for 65,536 publications a millisecond.
const CLIENT_SEQ_SHIFT: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_all_their_forms() {
        let name = |address: &str| match target(address, vec![]).unwrap().address {
            Address::Name { host, port } => (host, port),
            Address::Sockets(_) => unreachable!("nothing was overridden"),
        };
        assert_eq!(name("sterna://edge.example.com"), ("edge.example.com".into(), 4443));
        assert_eq!(name("edge.example.com:443"), ("edge.example.com".into(), 443));
        assert_eq!(name("sterna://[::1]"), ("::1".into(), 4443));
        assert_eq!(name("fe80::1"), ("fe80::1".into(), 4443));
        assert_eq!(name("sterna://[::1]:5000/"), ("::1".into(), 5000));
        for bad in ["", "sterna://", "edge:port", "https://edge/", "a b"] {
            assert!(matches!(target(bad, vec![]), Err(Error::Config(_))), "{bad}");
        }
    }

    #[test]
    fn named_authorities_take_the_place_of_the_platforms() {
        let pem = || rcgen::generate_simple_self_signed(vec!["ca".into()]).unwrap().cert.pem();
        let named = RootSource::Pem(pem().into_bytes());
        assert_eq!(roots(None, vec![named]).unwrap().len(), 1);
        let store = roots(None, vec![RootSource::Pem(pem().into_bytes())]).unwrap();
        let both = roots(Some(store), vec![RootSource::Pem(pem().into_bytes())]).unwrap();
        assert_eq!(both.len(), 2);
        assert_eq!(roots(Some(RootCertStore::empty()), vec![]).unwrap().len(), 0);
        assert_eq!(roots(None, vec![]).unwrap().len(), tls::default_roots().len());
    }

    #[tokio::test]
    async fn what_cannot_work_is_refused_by_build() {
        let build = |builder: ClientBuilder| builder.build().map(drop);
        assert!(build(Client::builder("localhost").transports([])).is_err());
        assert!(build(Client::builder("localhost").client_id("a b")).is_err());
        assert!(build(Client::builder("localhost").root_certificates_pem("none")).is_err());
        assert!(
            build(Client::builder("localhost").root_certificates_file("/nonexistent")).is_err()
        );
    }
}
