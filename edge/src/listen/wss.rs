//! TCP connections of one worker: accept, TLS handshake, then the upgrade to a WebSocket, or what else
//! HTTP asks, which [`http`] answers. Each step has a deadline, and there is a bounded number of places
//! for who is on the way; whoever takes long makes room when others wait.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use sterna_proto::{CloseReason, version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::machine::TryParse as _;
use tokio_tungstenite::tungstenite::handshake::server::Request;

use super::admission::{Admitted, Proof, Refusal, canonical};
use super::rewound::Rewound;
use super::{http, upgrade};
use crate::connection;
use crate::descriptors;
use crate::places::{Place, Places};
use crate::tls::TlsStream;
use crate::transport::{self, Transport};
use crate::worker::WorkerContext;

/// Takes connections until the edge drains.
pub(crate) async fn accept(
    context: Rc<WorkerContext>,
    listener: TcpListener,
    tls: Arc<ServerConfig>,
) {
    let places = Places::new(HANDSHAKES);
    loop {
        let accept = async {
            let accepted = listener.accept().await?;
            Ok((accepted, places.take().await))
        };
        let accepted: std::io::Result<_> = tokio::select! {
            accepted = accept => accepted,
            () = context.draining.cancelled() => return,
        };
        match accepted {
            Ok(((stream, remote), place)) => {
                admit(&context, stream, canonical(remote), &tls, place);
            }
            Err(error) => {
                // Out of descriptors, most likely: others have to close first.
                tracing::warn!(%error, "cannot accept TCP connections");
                tokio::time::sleep(ACCEPT_BACK_OFF).await;
            }
        }
    }
}

fn admit(
    context: &Rc<WorkerContext>,
    stream: TcpStream,
    remote: SocketAddr,
    tls: &Arc<ServerConfig>,
    place: Place,
) {
    let admitted = match descriptors::leave_room(&stream) {
        true => context.admission.try_admit(remote.ip(), Proof::Validated, Instant::now()),
        false => Err(Refusal::Connections),
    };
    match admitted {
        Ok(admitted) => {
            let serve = serve(context.clone(), stream, remote, tls.clone(), admitted, place);
            context.tasks.spawn_local("wss connection", serve);
        }
        Err(refusal) => context.wss.refused(refusal),
    }
}

/// Boxes what is only needed until the client is there: an idle session keeps no room for it.
fn serve(
    context: Rc<WorkerContext>,
    stream: TcpStream,
    remote: SocketAddr,
    tls: Arc<ServerConfig>,
    admitted: Admitted,
    place: Place,
) -> impl Future<Output = ()> {
    let opening = Box::pin(open(context.clone(), stream, remote, tls, place));
    async move {
        let opened = context.unless_closing(opening).await;
        match opened.flatten() {
            Some(Opened::WebSocket(transport)) => {
                let deadline = tokio::time::Instant::now() + context.config.limits.hello_deadline;
                connection::serve(context, transport, Some(admitted), deadline).await;
            }
            Some(Opened::Http(stream)) => {
                Box::pin(http::serve(context, *stream, remote)).await;
                drop(admitted);
            }
            None => {}
        }
    }
}

/// What a connection has turned out to be.
enum Opened {
    WebSocket(Box<Transport>),
    /// With its first request still to be read.
    Http(Box<Rewound>),
}

async fn open(
    context: Rc<WorkerContext>,
    stream: TcpStream,
    remote: SocketAddr,
    tls: Arc<ServerConfig>,
    mut place: Place,
) -> Option<Opened> {
    if let Err(error) = set_options(&stream) {
        tracing::debug!(%error, "the connection is gone already");
        return None;
    }
    let deadline = context.config.limits.handshake_deadline;
    let turn = async || context.turnstile.pass().await;
    let securing = TlsStream::accept(tls, stream, turn);
    let secured = in_time(deadline, &mut place, securing).await;
    let (result, stream) = match secured {
        Some(Ok(stream)) => ("ok", Some(stream)),
        Some(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            ("failed", None)
        }
        None => ("timeout", None),
    };
    context.wss.handshake(result);
    match in_time(deadline, &mut place, upgrade(&context, stream?, remote)).await {
        Some(opened) => opened,
        None => {
            context.wss.closed("upgrade timeout");
            None
        }
    }
}

/// `None`: it has not come to an end before the deadline, or while there was time for it.
async fn in_time<T>(
    deadline: Duration,
    place: &mut Place,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        done = timeout(deadline, work) => done.ok(),
        () = place.due() => None,
    }
}

async fn upgrade(
    context: &WorkerContext,
    mut stream: TlsStream,
    remote: SocketAddr,
) -> Option<Opened> {
    let (request, read_ahead) = match read_request(&mut stream).await? {
        Asked::Upgrade(request, read_ahead) => (request, read_ahead),
        Asked::Other(read) => return Some(Opened::Http(Box::new(Rewound::new(read, stream)))),
    };
    match upgrade::decide(&request, &context.config.allowed_origins) {
        Ok(upgraded) => {
            stream.write_all(&upgraded.head).await.ok()?;
            stream.flush().await.ok()?;
            let transport = transport::wss::open(stream, read_ahead, remote, upgraded.encoding);
            Some(Opened::WebSocket(Box::new(Transport {
                affinity: upgrade::affinity(request.headers(), context.node.affinity_field()),
                ..transport
            })))
        }
        Err(refused) => {
            context.wss.closed(if refused.status == ::http::StatusCode::FORBIDDEN {
                CloseReason::OriginForbidden.text()
            } else {
                "no upgrade"
            });
            refuse(&mut stream, &refused).await;
            None
        }
    }
}

/// The first request of a connection.
enum Asked {
    /// A WebSocket, or what has one line for an answer; and what came behind it.
    Upgrade(Box<Request>, Vec<u8>),
    /// Something else; all that was read.
    Other(Vec<u8>),
}

/// `None`: not HTTP, too large, or gone.
async fn read_request(stream: &mut TlsStream) -> Option<Asked> {
    let mut buffer = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
        match Request::try_parse(&buffer) {
            Ok(Some((_, request))) if request.uri().path() == version::HTTP_PATH => {
                return Some(Asked::Other(buffer));
            }
            Ok(Some((length, request))) => {
                return Some(Asked::Upgrade(Box::new(request), buffer.split_off(length)));
            }
            Err(Error::Protocol(ProtocolError::WrongHttpMethod)) => {
                return Some(Asked::Other(buffer));
            }
            Ok(None) if buffer.len() < REQUEST_BYTES => {}
            Ok(None) => {
                let answer = upgrade::Refused {
                    status: ::http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                    line: format!("The request has to fit {REQUEST_BYTES} bytes."),
                };
                refuse(stream, &answer).await;
                return None;
            }
            Err(error) => {
                tracing::debug!(%error, "not an HTTP request");
                return None;
            }
        }
    }
}

/// Says why and ends the stream, so that what was said is known to be whole.
async fn refuse(stream: &mut TlsStream, refused: &upgrade::Refused) {
    let _ = stream.write_all(&refused.response()).await;
    let _ = stream.shutdown().await;
}

fn set_options(stream: &TcpStream) -> std::io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_notsent_lowat(NOTSENT_BYTES)
}

/// TLS handshakes and upgrades in progress on one worker. All taken: connections wait in the
/// kernel's backlog until those that are there have had their time.
const HANDSHAKES: usize = 1024;

/// Largest request head.
pub(super) const REQUEST_BYTES: usize = 8 * 1024;

const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

/// How long sent bytes may stay unacknowledged before the kernel gives the connection up.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// The kernel holds no more than this unsent, so that what waits does so where it can be replaced.
const NOTSENT_BYTES: u32 = 32 * 1024;

#[cfg(test)]
#[path = "echo_tests.rs"]
mod echo_tests;
