//! quiche (Cloudflare's QUIC on BoringSSL) as a process: one connection, told what to do line by
//! line on its input, telling what happens line by line on its output. Knows nothing of frames; the
//! Python cases beside it do. Ends with its connection or its input. What it is to say first goes out
//! on stream 0 before the handshake ends, where the session allows it (0-RTT).
//!
//! Input: `stream ID HEX`, `finish ID HEX`, `datagram HEX`, `rebind IP` (as a NAT does, unknown to
//! QUIC), `migrate IP` (on purpose, with a fresh connection id), `blackhole on|off`, `close CODE`.
//! Output: `first HEX`, `connected resumed=B early=B retries=N`, `session HEX`, `stream ID HEX`,
//! `datagram HEX`, `path EVENT`, `closed CODE`.

use std::error::Error;
use std::io::{BufRead as _, Write as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use quiche::{Config, Connection, ConnectionId, PathEvent, RecvInfo};

type Outcome<T> = Result<T, Box<dyn Error>>;

const ALPN: &[u8] = b"sterna/1";
const DATAGRAM_BYTES: usize = 1350;
const IDLE_MS: u64 = 60_000;
const WINDOW: u64 = 1 << 20;
/// Between two looks at the sockets and the input.
const TURN: Duration = Duration::from_millis(2);
/// Lines of input that wait.
const LINES: usize = 1024;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, authority, session, first] = arguments.as_slice() else {
        return Err("usage: ADDRESS CA_FILE SESSION_HEX FIRST_HEX (or - without one)".into());
    };
    let mut client = Client::connect(address.parse()?, authority, session)?;
    if first != "-" {
        client.to_say = Some(from_hex(first)?);
    }
    let lines = read_lines();
    let mut input_goes_on = true;
    while !client.connection.is_closed() {
        while input_goes_on {
            match lines.try_recv() {
                Ok(line) => client.obey(&line)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    input_goes_on = false;
                    // The last words have to leave first.
                    client.obey("close 0")?;
                }
            }
        }
        client.turn()?;
    }
    client.tell_end()
}

/// Standard input cannot be waited for with a time limit.
fn read_lines() -> Receiver<String> {
    let (lines, waiting) = sync_channel(LINES);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    waiting
}

/// A socket, and the local address that quiche knows it by.
struct Path {
    known_as: SocketAddr,
    socket: UdpSocket,
}

struct Client {
    connection: Connection,
    remote: SocketAddr,
    paths: Vec<Path>,
    blackhole: bool,
    retries: u32,
    told_connected: bool,
    told_session: bool,
    ids_given: u8,
    /// As soon as anything may be said.
    to_say: Option<Vec<u8>>,
    said_early: bool,
}

impl Client {
    fn connect(remote: SocketAddr, authority: &str, session: &str) -> Outcome<Self> {
        let path = Path::bind(remote.ip())?;
        let id = connection_id(0);
        let mut config = config(authority)?;
        let mut connection =
            quiche::connect(Some("localhost"), &id, path.known_as, remote, &mut config)?;
        if session != "-" {
            connection.set_session(&from_hex(session)?)?;
        }
        Ok(Self {
            connection,
            remote,
            paths: vec![path],
            blackhole: false,
            retries: 0,
            told_connected: false,
            told_session: false,
            ids_given: 0,
            to_say: None,
            said_early: false,
        })
    }

    fn obey(&mut self, line: &str) -> Outcome<()> {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default();
        match word() {
            "stream" => self.send(word().parse()?, &from_hex(word())?, false),
            "finish" => self.send(word().parse()?, &from_hex(word())?, true),
            "datagram" => Ok(self.connection.dgram_send(&from_hex(word())?)?),
            "rebind" => {
                let fresh = Path::bind(word().parse()?)?;
                // quiche goes on believing in the old address.
                for path in &mut self.paths {
                    path.socket = fresh.socket.try_clone()?;
                }
                Ok(())
            }
            "migrate" => {
                let path = Path::bind(word().parse()?)?;
                let known_as = path.known_as;
                self.paths.push(path);
                self.connection.migrate_source(known_as)?;
                Ok(())
            }
            "blackhole" => {
                self.blackhole = word() == "on";
                Ok(())
            }
            "close" => match self.connection.close(true, word().parse()?, b"") {
                Ok(()) | Err(quiche::Error::Done) => Ok(()),
                Err(error) => Err(error.into()),
            },
            other => Err(format!("unknown command `{other}`").into()),
        }
    }

    fn send(&mut self, stream: u64, bytes: &[u8], finish: bool) -> Outcome<()> {
        let sent = self.connection.stream_send(stream, bytes, finish)?;
        if sent < bytes.len() {
            return Err("the cases stay far below the window".into());
        }
        Ok(())
    }

    /// Sends what is to be sent, and takes what has come.
    fn turn(&mut self) -> Outcome<()> {
        self.transmit()?;
        let early = self.connection.is_in_early_data();
        if (early || self.connection.is_established())
            && let Some(bytes) = self.to_say.take()
        {
            self.said_early = early;
            self.send(0, &bytes, false)?;
            self.transmit()?;
        }
        self.receive()?;
        if self.connection.timeout() == Some(Duration::ZERO) {
            self.connection.on_timeout();
        }
        if self.connection.is_established() {
            self.offer_ids()?;
        }
        self.tell()
    }

    fn transmit(&mut self) -> Outcome<()> {
        let mut buffer = [0; DATAGRAM_BYTES];
        loop {
            let (length, info) = match self.connection.send(&mut buffer) {
                Ok(sent) => sent,
                Err(quiche::Error::Done) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let Some(path) = self.paths.iter().find(|path| path.known_as == info.from) else {
                return Err(format!("no socket for {}", info.from).into());
            };
            if !self.told_connected && !self.connection.is_established() && self.retries == 0 {
                say(&format!("first {}", to_hex(&buffer[..length])))?;
            }
            if !self.blackhole {
                path.socket.send_to(&buffer[..length], info.to)?;
            }
        }
    }

    fn receive(&mut self) -> Outcome<()> {
        let mut buffer = [0; 65_536];
        for at in 0..self.paths.len() {
            while let Ok((length, from)) = self.paths[at].socket.recv_from(&mut buffer) {
                if self.blackhole || from != self.remote {
                    continue;
                }
                // A long header of version 1 whose type is Retry.
                if buffer[0] & 0xf0 == 0xf0 && buffer[1..5] == [0, 0, 0, 1] {
                    self.retries += 1;
                }
                let info = RecvInfo { from, to: self.paths[at].known_as };
                match self.connection.recv(&mut buffer[..length], info) {
                    Ok(_) | Err(quiche::Error::Done) => {}
                    Err(error) => eprintln!("recv: {error}"),
                }
            }
        }
        Ok(())
    }

    /// The node needs ids of ours for paths that are yet to come.
    fn offer_ids(&mut self) -> Outcome<()> {
        while self.connection.scids_left() > 0 {
            self.ids_given += 1;
            let id = connection_id(self.ids_given);
            let token = u128::from_be_bytes([self.ids_given; 16]);
            self.connection.new_scid(&id, token, false)?;
        }
        Ok(())
    }

    fn tell(&mut self) -> Outcome<()> {
        if self.connection.is_established() && !self.told_connected {
            self.told_connected = true;
            let (resumed, early) = (self.connection.is_resumed(), self.said_early);
            let retries = self.retries;
            say(&format!("connected resumed={resumed} early={early} retries={retries}"))?;
        }
        if let (Some(session), false) = (self.connection.session(), self.told_session) {
            say(&format!("session {}", to_hex(session)))?;
            self.told_session = true;
        }
        let mut buffer = [0; 65_536];
        for stream in self.connection.readable() {
            while let Ok((length, _)) = self.connection.stream_recv(stream, &mut buffer) {
                say(&format!("stream {stream} {}", to_hex(&buffer[..length])))?;
            }
        }
        while let Ok(length) = self.connection.dgram_recv(&mut buffer) {
            say(&format!("datagram {}", to_hex(&buffer[..length])))?;
        }
        while let Some(event) = self.connection.path_event_next() {
            let name = match event {
                PathEvent::New(..) => "new",
                PathEvent::Validated(..) => "validated",
                PathEvent::FailedValidation(..) => "failed",
                PathEvent::Closed(..) => "closed",
                PathEvent::ReusedSourceConnectionId(..) => "reused",
                PathEvent::PeerMigrated(..) => "migrated",
                _ => "other",
            };
            say(&format!("path {name}"))?;
        }
        Ok(())
    }

    fn tell_end(&self) -> Outcome<()> {
        match self.connection.peer_error() {
            Some(error) if error.is_app => say(&format!("closed {}", error.error_code)),
            Some(error) => say(&format!("closed transport-{}", error.error_code)),
            None => say("closed nobody"),
        }
    }
}

impl Path {
    fn bind(ip: IpAddr) -> Outcome<Self> {
        let socket = UdpSocket::bind((ip, 0))?;
        socket.set_read_timeout(Some(TURN))?;
        Ok(Self { known_as: socket.local_addr()?, socket })
    }
}

fn config(authority: &str) -> Outcome<Config> {
    let mut config = Config::new(quiche::PROTOCOL_VERSION)?;
    config.set_application_protos(&[ALPN])?;
    config.load_verify_locations_from_file(authority)?;
    config.verify_peer(true);
    config.set_max_idle_timeout(IDLE_MS);
    config.set_max_recv_udp_payload_size(65_527);
    config.set_max_send_udp_payload_size(DATAGRAM_BYTES);
    config.set_initial_max_data(WINDOW);
    config.set_initial_max_stream_data_bidi_local(WINDOW);
    config.set_initial_max_stream_data_bidi_remote(WINDOW);
    config.set_initial_max_stream_data_uni(WINDOW);
    config.set_initial_max_streams_bidi(64);
    config.set_initial_max_streams_uni(64);
    config.set_active_connection_id_limit(4);
    config.enable_dgram(true, 64, 64);
    config.enable_early_data();
    Ok(config)
}

/// Different for every process and number.
fn connection_id(number: u8) -> ConnectionId<'static> {
    let mut id = [number; 16];
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    id[..8].copy_from_slice(&(now.unwrap_or_default().as_nanos() as u64).to_be_bytes());
    id[8..12].copy_from_slice(&std::process::id().to_be_bytes());
    ConnectionId::from_vec(id.to_vec())
}

fn say(line: &str) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Outcome<Vec<u8>> {
    let pairs = (0..text.len()).step_by(2).map(|at| text.get(at..at + 2).ok_or("odd hex"));
    pairs.map(|pair| Ok(u8::from_str_radix(pair?, 16)?)).collect()
}
