//! A relay between stores and their MySQL or MariaDB server that knows the servers' packets, to do to
//! one COMMIT what a bad moment does. Speaks no TLS. Ends with its handle, and every connection
//! through it with it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What happens to the next COMMIT that comes by.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The server commits, and the connection ends before its answer arrives.
    CutAfter,
    /// The connection ends before the server sees the COMMIT.
    CutBefore,
    /// The server rolls back instead, and the store is told this error.
    Refuse { code: u16, message: &'static str },
    /// The server commits, and the store is told this error.
    Mistell { code: u16, message: &'static str },
    /// The server sees the COMMIT only after this time.
    Slow(Duration),
}

/// See the module.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    script: Arc<Script>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Script {
    faults: Mutex<Vec<Fault>>,
    met: AtomicUsize,
    connections: AtomicUsize,
}

impl Relay {
    /// In front of the server on this port.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("the loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let script = Arc::new(Script::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, port, script.clone()));
        Self { address, script, _tasks: tasks }
    }

    /// The URL with the relay in the server's place.
    pub fn url(&self, url: &str, port: u16) -> String {
        url.replace(&format!(":{port}/"), &format!(":{}/", self.address.port()))
    }

    /// The next COMMITs, on whatever connections, meet these, one each.
    pub fn script(&self, faults: &[Fault]) {
        self.script.faults().extend_from_slice(faults);
    }

    /// COMMITs that have met a fault so far.
    pub fn met(&self) -> usize {
        self.script.met.load(Ordering::Relaxed)
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.script.connections.load(Ordering::Relaxed)
    }
}

impl Script {
    fn next(&self) -> Option<Fault> {
        let mut faults = self.faults();
        let next = if faults.is_empty() { None } else { Some(faults.remove(0)) };
        self.met.fetch_add(next.is_some().into(), Ordering::Relaxed);
        next
    }

    fn faults(&self) -> std::sync::MutexGuard<'_, Vec<Fault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, port: u16, script: Arc<Script>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        script.connections.fetch_add(1, Ordering::Relaxed);
        let script = script.clone();
        connections.spawn(async move {
            if let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await {
                // Ends with either side, or when the script cuts it.
                drop(carry(client, server, &script).await);
            }
        });
    }
}

async fn carry(client: TcpStream, server: TcpStream, script: &Script) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    // Bytes pass both ways until a COMMIT; the store waits for each answer, so nothing else is on
    // its way then.
    loop {
        let fault = tokio::select! {
            copied = tokio::io::copy(&mut from_server, &mut to_client) => return copied.map(drop),
            fault = pass_until_fault(&mut from_client, &mut to_server, script) => fault?,
        };
        match fault {
            Fault::CutBefore => return Ok(()),
            Fault::CutAfter => {
                send(&mut to_server, b"COMMIT").await?;
                receive(&mut from_server).await?;
                return Ok(());
            }
            Fault::Refuse { code, message } => {
                send(&mut to_server, b"ROLLBACK").await?;
                receive(&mut from_server).await?;
                tell(&mut to_client, code, message).await?;
            }
            Fault::Mistell { code, message } => {
                send(&mut to_server, b"COMMIT").await?;
                receive(&mut from_server).await?;
                tell(&mut to_client, code, message).await?;
            }
            Fault::Slow(time) => {
                tokio::time::sleep(time).await;
                send(&mut to_server, b"COMMIT").await?;
                to_client.write_all(&receive(&mut from_server).await?).await?;
            }
        }
    }
}

/// Passes the store's packets on until one is a COMMIT that the script has something for.
async fn pass_until_fault(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    script: &Script,
) -> io::Result<Fault> {
    loop {
        let packet = receive(from).await?;
        // A one-octet command stands behind four octets of header.
        if packet.get(4..) == Some(b"\x03COMMIT")
            && let Some(fault) = script.next()
        {
            return Ok(fault);
        }
        to.write_all(&packet).await?;
    }
}

/// A whole packet with its header.
async fn receive(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; 4];
    from.read_exact(&mut packet).await?;
    let length =
        usize::from(packet[0]) | usize::from(packet[1]) << 8 | usize::from(packet[2]) << 16;
    packet.resize(4 + length, 0);
    from.read_exact(&mut packet[4..]).await?;
    Ok(packet)
}

/// A query.
async fn send(to: &mut OwnedWriteHalf, text: &[u8]) -> io::Result<()> {
    write(to, 0, &[b"\x03", text].concat()).await
}

/// An error packet as the answer to a query.
async fn tell(to: &mut OwnedWriteHalf, code: u16, message: &str) -> io::Result<()> {
    let code = code.to_le_bytes();
    write(to, 1, &[b"\xff", &code[..], b"#HY000", message.as_bytes()].concat()).await
}

async fn write(to: &mut OwnedWriteHalf, number: u8, payload: &[u8]) -> io::Result<()> {
    let length = (payload.len() as u32).to_le_bytes();
    to.write_all(&[&length[..3], &[number], payload].concat()).await
}
