//! The TCP half: one task that accepts, and one for each connection. Bytes pass in chunks, each at
//! its time and in order. Ends when cancelled, and takes the connections with it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::impairment::Direction;
use crate::{Gate, Shared};

/// Most connections at a time; further ones are reset.
const CONNECTIONS: usize = 32_768;
/// Chunks of one direction of a connection on their way; the reader waits when it is full, so TCP's
/// own flow control reaches the sender.
const CHUNKS: usize = 64;
const CHUNK_BYTES: usize = 16 * 1024;
/// Rest after a failed accept: out of file descriptors, which others have to give back.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(10);

/// Accepts until cancelled.
pub(crate) async fn run(listener: TcpListener, shared: Arc<Shared>, cancelled: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = cancelled.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((inbound, _)) if connections.len() < CONNECTIONS => {
                    connections.spawn(connection(inbound, Arc::clone(&shared)));
                }
                Ok((inbound, _)) => {
                    shared.counters.tcp_refused.add(1);
                    reset(&inbound);
                }
                Err(_) => tokio::time::sleep(ACCEPT_BACK_OFF).await,
            }
        }
    }
    connections.shutdown().await;
}

/// Carries one connection until both sides are done, one fails, or all are cut.
async fn connection(mut inbound: TcpStream, shared: Arc<Shared>) {
    let mut gate = shared.gate.subscribe();
    let cuts = gate.borrow_and_update().cuts;
    let mut outbound = tokio::select! {
        outbound = connect(&shared) => match outbound {
            Ok(outbound) => outbound,
            Err(_) => {
                shared.counters.tcp_refused.add(1);
                reset(&inbound);
                return;
            }
        },
        () = cut(&mut gate, cuts) => {
            shared.counters.tcp_cut.add(1);
            reset(&inbound);
            return;
        }
    };
    shared.counters.tcp_opened.add(1);
    // Errors would show up in the copying anyway.
    let _ = (inbound.set_nodelay(true), outbound.set_nodelay(true));
    let carried = {
        let (client_read, client_write) = inbound.split();
        let (node_read, node_write) = outbound.split();
        let up = carry(Direction::Up, client_read, node_write, &shared);
        let down = carry(Direction::Down, node_read, client_write, &shared);
        tokio::select! {
            carried = async { tokio::try_join!(up, down) } => carried.map(|_| ()),
            () = cut(&mut gate, cuts) => {
                shared.counters.tcp_cut.add(1);
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
    };
    if carried.is_err() {
        reset(&inbound);
        reset(&outbound);
    }
}

/// Connects to the node once the path lets anything pass.
async fn connect(shared: &Shared) -> io::Result<TcpStream> {
    passes(&mut shared.gate.subscribe()).await;
    let route = *shared.route();
    let socket = match route.target {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind((route.source, 0).into())?;
    socket.connect(route.target).await
}

/// One direction: reads chunks, waits for their time, writes them.
async fn carry(
    direction: Direction,
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    shared: &Shared,
) -> io::Result<()> {
    let (chunks, waiting) = mpsc::channel(CHUNKS);
    tokio::try_join!(
        read_chunks(direction, from, chunks, shared),
        write_chunks(waiting, to, shared.gate.subscribe()),
    )?;
    Ok(())
}

async fn read_chunks(
    direction: Direction,
    mut from: impl AsyncRead + Unpin,
    chunks: mpsc::Sender<(Instant, Bytes)>,
    shared: &Shared,
) -> io::Result<()> {
    let counters = shared.counters.path(direction);
    let mut previous = None;
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK_BYTES);
        let len = from.read_buf(&mut buffer).await?;
        if len == 0 {
            return Ok(());
        }
        let (due, lost) =
            shared.path(direction, |path| path.decide_chunk(Instant::now(), len, previous));
        previous = Some(due);
        counters.tcp_bytes.add(len as u64);
        counters.tcp_lost.add(lost.into());
        if chunks.send((due, buffer.split().freeze())).await.is_err() {
            return Ok(());
        }
    }
}

async fn write_chunks(
    mut waiting: mpsc::Receiver<(Instant, Bytes)>,
    mut to: impl AsyncWrite + Unpin,
    mut gate: watch::Receiver<Gate>,
) -> io::Result<()> {
    while let Some((due, chunk)) = waiting.recv().await {
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        passes(&mut gate).await;
        to.write_all(&chunk).await?;
    }
    to.shutdown().await
}

/// Waits until TCP may pass.
async fn passes(gate: &mut watch::Receiver<Gate>) {
    if gate.wait_for(Gate::passes_tcp).await.is_err() {
        std::future::pending().await
    }
}

/// Waits until all connections are cut.
async fn cut(gate: &mut watch::Receiver<Gate>, cuts: u64) {
    if gate.wait_for(|gate| gate.cuts > cuts).await.is_err() {
        std::future::pending().await
    }
}

/// Makes the drop that follows a reset instead of an orderly end.
fn reset(connection: &TcpStream) {
    // It fails only on a connection that has ended already.
    let _ = connection.set_zero_linger();
}
