//! A relay between a store and a CQL server that knows their frames, to do to one batch what a bad
//! moment does. Speaks no TLS. Ends with its handle, and every connection through it with it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What happens to the next batch that comes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchFault {
    /// The server takes it, and the connection ends before its answer arrives.
    CutAfter,
    /// The connection ends before the server sees it.
    CutBefore,
    /// It passes as if there were no fault.
    Pass,
}

/// See the module.
#[derive(Debug)]
pub struct BatchRelay {
    address: SocketAddr,
    script: Arc<Script>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Script {
    faults: Mutex<Vec<BatchFault>>,
    met: AtomicUsize,
}

impl BatchRelay {
    /// In front of the server at this `host:port`.
    pub async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("the loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let script = Arc::new(Script::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, server, script.clone()));
        Self { address, script, _tasks: tasks }
    }

    /// `host:port` in the server's place.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The next batches, on whatever connections, meet these, one each; what is left of an earlier
    /// script is forgotten.
    pub fn script(&self, faults: &[BatchFault]) {
        *self.script.faults() = faults.to_vec();
    }

    /// Batches that have met a fault so far.
    pub fn met(&self) -> usize {
        self.script.met.load(Ordering::Relaxed)
    }
}

impl Script {
    fn next(&self) -> BatchFault {
        let mut faults = self.faults();
        if faults.is_empty() {
            return BatchFault::Pass;
        }
        let fault = faults.remove(0);
        self.met.fetch_add((fault != BatchFault::Pass).into(), Ordering::Relaxed);
        fault
    }

    fn faults(&self) -> std::sync::MutexGuard<'_, Vec<BatchFault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, server: String, script: Arc<Script>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        let (script, server) = (script.clone(), server.clone());
        connections.spawn(async move {
            if let Ok(server) = TcpStream::connect(server).await {
                // Ends with either side, or when the script cuts it.
                drop(carry(client, server, &script).await);
            }
        });
    }
}

async fn carry(client: TcpStream, server: TcpStream, script: &Script) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::select! {
        copied = tokio::io::copy(&mut from_server, &mut to_client) => copied.map(drop),
        cut = pass_until_cut(&mut from_client, &mut to_server, script) => {
            let Some(stream) = cut? else { return Ok(()) };
            // The connection stays until the server has answered, and nobody hears of it.
            loop {
                let frame = receive(&mut from_server).await?;
                if frame.get(STREAM) == Some(&stream) {
                    return Ok(());
                }
            }
        }
    }
}

/// Passes the client's frames on until a batch is to be cut; the stream of one whose answer is to be
/// waited for.
async fn pass_until_cut(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    script: &Script,
) -> io::Result<Option<[u8; 2]>> {
    loop {
        let frame = receive(from).await?;
        let fault =
            if frame.get(OPCODE) == Some(&BATCH) { script.next() } else { BatchFault::Pass };
        if fault == BatchFault::CutBefore {
            return Ok(None);
        }
        to.write_all(&frame).await?;
        if fault == BatchFault::CutAfter {
            return Ok(frame.get(STREAM).and_then(|stream| stream.try_into().ok()));
        }
    }
}

/// A whole frame with its header.
async fn receive(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; HEADER_BYTES];
    from.read_exact(&mut frame).await?;
    let length = from_be(&frame[OPCODE + 1..]);
    frame.resize(HEADER_BYTES + length, 0);
    from.read_exact(&mut frame[HEADER_BYTES..]).await?;
    Ok(frame)
}

fn from_be(octets: &[u8]) -> usize {
    octets.iter().fold(0, |number, octet| number << 8 | usize::from(*octet))
}

/// Version, flags, stream, opcode and length, of protocol 4.
const HEADER_BYTES: usize = 9;
const STREAM: std::ops::Range<usize> = 2..4;
const OPCODE: usize = 4;
const BATCH: u8 = 0x0d;
