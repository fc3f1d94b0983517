//! How client verbs find their node, and the runtime they share.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use sterna_client::{Client, ClientBuilder, ClientState, Error, TokenError, Transport};
use sterna_proto::ErrorCode;

use super::token::{self, Grant, Signing};
use crate::args::{ConnectArgs, TransportArg};
use crate::dev::DevNode;
use crate::keys::{self, DevKeys};

/// How long a made token is valid; the client asks for a fresh one before it ends.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// How often the way to the node is looked at: nobody tells a program of the command line that the
/// network has changed.
const LOOK_AT_ROUTE: Duration = Duration::from_secs(1);

/// How long a verb that is done waits for its connection to close.
const CLOSE: Duration = Duration::from_secs(2);

/// Where to connect, and whom to trust there.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) server: String,
    /// `None`: whom the platform trusts.
    pub(crate) ca: Option<PathBuf>,
}

impl Target {
    pub(crate) fn find(args: &ConnectArgs) -> Result<Self> {
        let dev_ca = DevKeys::locate(&args.data_dir).ca;
        let dev_ca = dev_ca.exists().then_some(dev_ca);
        let server = match &args.server {
            Some(server) => server.clone(),
            None => DevNode::find(&args.data_dir)?.client.to_string(),
        };
        Ok(Self { server, ca: args.ca.clone().or(dev_ca) })
    }
}

/// A client that has not been told to connect yet.
pub(crate) fn client(args: &ConnectArgs, transport: TransportArg) -> Result<Client> {
    Ok(builder(args, transport)?.build()?)
}

pub(crate) fn builder(args: &ConnectArgs, transport: TransportArg) -> Result<ClientBuilder> {
    let target = Target::find(args)?;
    let mut builder = Client::builder(target.server)
        .user_agent(concat!("sterna-cli/", env!("CARGO_PKG_VERSION")))
        .watch_route(LOOK_AT_ROUTE)
        .command_timeout(args.timeout);
    if let Some(path) = target.ca {
        builder = builder.root_certificates_file(path);
    }
    builder = match transport {
        TransportArg::Auto => builder,
        TransportArg::Quic => builder.transports([Transport::Quic]),
        TransportArg::Wss => builder.transports([Transport::WebSocket]),
    };
    with_token(builder, args)
}

fn with_token(builder: ClientBuilder, args: &ConnectArgs) -> Result<ClientBuilder> {
    if let Some(token) = &args.token {
        return Ok(builder.token(token));
    }
    let path = DevKeys::locate(&args.data_dir).token_secret;
    let secret = keys::read_secret(&path).map_err(anyhow::Error::msg).context(
        "no secret to make a token with; give one with --token, as `sterna token --config FILE` \
             makes it for a configured node",
    )?;
    let grant = Grant::everything(args.user.as_str(), TOKEN_LIFE);
    let signing = Signing::new(&secret);
    // Asked again before a token expires, so that `sub` can run for ever.
    Ok(builder.token_provider(move |_| {
        let token = token::sign(&grant, &signing);
        std::future::ready(token.map_err(|error| TokenError::Unavailable(error.to_string())))
    }))
}

/// Connects, runs a verb, and takes leave of the node.
pub(crate) async fn with_client<T>(
    args: &ConnectArgs,
    verb: impl AsyncFnOnce(&Client) -> Result<T>,
) -> Result<T> {
    let client = client(args, args.transport)?;
    client.connect();
    let ready = client.ready(args.timeout).await;
    let outcome = match ready {
        Ok(()) => verb(&client).await,
        Err(error) => Err(not_let_in(error)),
    };
    close(&client).await;
    outcome
}

/// Why there is no session, and what to do about it.
pub(crate) fn not_let_in(error: Error) -> anyhow::Error {
    let what = match &error {
        Error::Untrusted(reason) => {
            return anyhow!(
                "the node is not trusted; name its certificate authority with --ca FILE: {reason}"
            );
        }
        Error::Unauthorized(_) => {
            "the node was reached and does not accept the token: it has to be signed with a key of the \
             node's `auth.keys` and to say its `auth.audience` and `auth.issuer`, as one of `sterna \
             token --config FILE --user NAME` does; with `log.filter = \"info,sterna_edge::auth=debug\"` \
             the node's log says what is wrong with one"
        }
        _ => "the node cannot be reached",
    };
    anyhow::Error::from(error).context(what)
}

/// A refusal of a node that is reached, with what can be done about it from here.
pub(crate) fn explained(error: Error) -> anyhow::Error {
    match error.code() {
        Some(ErrorCode::UnknownChannel) => anyhow!(
            "{error} (`POST /api/v1/channels/create`), or let first use create channels \
             (`channels.create_on_first_use = true`)"
        ),
        _ => error.into(),
    }
}

/// Completes when the client has given up for good, with the reason: its token is void, or the node
/// does not understand it.
pub(crate) async fn given_up(client: &Client) -> anyhow::Error {
    let mut states = client.states();
    while let Some(state) = states.next().await {
        if let ClientState::Disconnected { error: Some(error) } = state {
            return anyhow::Error::from(error).context("the node wants no more of this client");
        }
    }
    std::future::pending().await
}

pub(crate) async fn close(client: &Client) {
    // Bounded, because the verb's outcome stands whatever the node says to the farewell.
    let _ = tokio::time::timeout(CLOSE, client.close()).await;
}

/// Runs a verb on a runtime of its own.
pub(crate) fn block_on<T>(verb: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(verb);
    // A read of standard input that nobody needs any more cannot be cancelled.
    runtime.shutdown_background();
    outcome
}
