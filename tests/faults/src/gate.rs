//! A gate before an S3 server: it passes bytes on and, while it is told to, does what networks and
//! services do: answers 503, keeps silent, cuts uploads and answers, takes a request and loses its
//! answer, flips a bit of either. Owns one task for each connection; they end when it is dropped.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Longer than a client waits for an answer.
const SILENCE: Duration = Duration::from_secs(6);
const CHUNK_BYTES: usize = 64 * 1024;
/// One chunk in so many meets trouble.
const ONE_IN: u32 = 20;
/// A request line begins with one of these; whoever answers in the server's place does so only there.
const METHODS: [&[u8]; 5] = [b"GET /", b"PUT /", b"POST /", b"HEAD /", b"DELETE /"];
const UNAVAILABLE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// What may happen to a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Refuse,
    Silence,
    CutRequest,
    LoseAnswer,
    CutAnswer,
    FlipRequest,
    FlipAnswer,
}

impl Trouble {
    const OF_REQUESTS: [Self; 5] =
        [Self::Refuse, Self::Silence, Self::CutRequest, Self::LoseAnswer, Self::FlipRequest];
    const OF_ANSWERS: [Self; 2] = [Self::CutAnswer, Self::FlipAnswer];
    const NAMES: [&str; 7] = ["503", "silent", "cut up", "lost", "cut down", "bit up", "bit down"];
}

/// The gate, open.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    shared: Arc<Shared>,
    // Aborts everything when dropped.
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    troubled: AtomicBool,
    rng: Mutex<StdRng>,
    struck: [AtomicU64; 7],
}

impl Gate {
    /// On a free port, before `server`; nothing happens yet.
    pub async fn open(server: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            troubled: AtomicBool::new(false),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            struck: Default::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, _tasks: tasks }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on there is trouble, or none any more.
    pub fn trouble(&self, troubled: bool) {
        self.shared.troubled.store(troubled, Ordering::SeqCst);
    }

    /// How often what has struck.
    pub fn struck(&self) -> Vec<(&'static str, u64)> {
        let counts = self.shared.struck.iter().map(|count| count.load(Ordering::SeqCst));
        Trouble::NAMES.into_iter().zip(counts).collect()
    }
}

impl Shared {
    fn draw(&self, from: &[Trouble]) -> Option<Trouble> {
        if !self.troubled.load(Ordering::SeqCst) {
            return None;
        }
        let mut rng = self.rng.lock().unwrap();
        (rng.random_range(0..ONE_IN) == 0).then(|| from[rng.random_range(0..from.len())])
    }

    fn strike(&self, trouble: Trouble) {
        self.struck[trouble as usize].fetch_add(1, Ordering::SeqCst);
    }

    fn flip(&self, chunk: &mut [u8]) {
        let bit = self.rng.lock().unwrap().random_range(0..chunk.len() * 8);
        chunk[bit / 8] ^= 1 << (bit % 8);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                connections.spawn(carry(client, Arc::clone(&shared)));
            }
        }
    }
}

/// Until either side is done, or trouble ends it.
async fn carry(mut client: TcpStream, shared: Arc<Shared>) {
    let Ok(mut server) = TcpStream::connect(shared.server).await else { return };
    let mut up = vec![0; CHUNK_BYTES];
    let mut down = vec![0; CHUNK_BYTES];
    let mut deaf = false;
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(length @ 1..) = read else { return };
                let chunk = &mut up[..length];
                let begins = METHODS.iter().any(|method| chunk.starts_with(method));
                let trouble = shared.draw(&Trouble::OF_REQUESTS);
                let trouble = trouble.filter(|it| *it != Trouble::Refuse || begins);
                trouble.into_iter().for_each(|it| shared.strike(it));
                match trouble {
                    Some(Trouble::Refuse) => {
                        let _ = client.write_all(UNAVAILABLE).await;
                        return;
                    }
                    Some(Trouble::Silence) => return tokio::time::sleep(SILENCE).await,
                    Some(Trouble::CutRequest) => {
                        let _ = server.write_all(&chunk[..length / 2]).await;
                        return;
                    }
                    Some(Trouble::LoseAnswer) => deaf = true,
                    Some(Trouble::FlipRequest) => shared.flip(chunk),
                    _ => {}
                }
                if server.write_all(chunk).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(length @ 1..) = read else { return };
                if deaf {
                    return;
                }
                let chunk = &mut down[..length];
                let trouble = shared.draw(&Trouble::OF_ANSWERS);
                trouble.into_iter().for_each(|it| shared.strike(it));
                match trouble {
                    Some(Trouble::CutAnswer) => {
                        let _ = client.write_all(&chunk[..length / 2]).await;
                        return;
                    }
                    Some(Trouble::FlipAnswer) => shared.flip(chunk),
                    _ => {}
                }
                if client.write_all(chunk).await.is_err() {
                    return;
                }
            }
        }
    }
}
