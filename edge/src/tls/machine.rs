//! The protocol of one TLS connection. Moves bytes between buffers of others and keeps none.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
    UnbufferedStatus, WriteTraffic,
};

pub(super) struct Machine {
    tls: UnbufferedServerConnection,
    answered: bool,
    /// The client has said that it sends no more.
    peer_closed: bool,
    /// We have said so.
    closed: bool,
    /// An error has ended it. rustls is not asked again: what it remembers of the error's bytes are
    /// places in a buffer that has gone.
    failed: bool,
}

/// How far a connection is when it has looked at all that was received.
#[derive(Debug, PartialEq)]
pub(super) enum Stage {
    Handshake,
    Traffic,
}

/// What came of one look of rustls at what was received.
enum Step {
    Again,
    At(Stage),
    Failed(rustls::Error),
}

impl Machine {
    pub(super) fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        let tls = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self { tls, answered: false, peer_closed: false, closed: false, failed: false })
    }

    /// Whether the client's first flight has had its answer.
    pub(super) fn has_answered(&self) -> bool {
        self.answered
    }

    pub(super) fn peer_has_closed(&self) -> bool {
        self.peer_closed
    }

    /// Looks at what was received: puts what it means into `plain`, and what is to be answered, the
    /// alert about an error included, into `outgoing`. Also returns how much of it is done with; the
    /// rest has to come again, with more behind it. Not to be called again after an error.
    pub(super) fn advance(
        &mut self,
        received: &mut [u8],
        plain: &mut Vec<u8>,
        outgoing: &mut Vec<u8>,
    ) -> (usize, Result<Stage, rustls::Error>) {
        let mut at = 0;
        loop {
            let (done, step) = self.step(&mut received[at..], plain, outgoing);
            at += done;
            match step {
                Step::Again => {}
                Step::At(_) if received.len() - at >= RECEIVE_BYTES => {
                    self.failed = true;
                    let error = "a message of the handshake is too large".to_owned();
                    return (at, Err(rustls::Error::General(error)));
                }
                Step::At(stage) => return (at, Ok(stage)),
                Step::Failed(error) => {
                    // Its alert. As long as there is something to say, rustls reads nothing.
                    while self.tls.wants_write() {
                        self.step(&mut [], plain, outgoing);
                    }
                    self.failed = true;
                    return (at, Err(error));
                }
            }
        }
    }

    fn step(
        &mut self,
        received: &mut [u8],
        plain: &mut Vec<u8>,
        outgoing: &mut Vec<u8>,
    ) -> (usize, Step) {
        let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(received);
        let step = match state {
            Ok(ConnectionState::ReadTraffic(mut records)) => loop {
                match records.next_record() {
                    Some(Ok(record)) => {
                        plain.extend_from_slice(record.payload);
                        discard += record.discard;
                    }
                    Some(Err(error)) => break Step::Failed(error),
                    None => break Step::Again,
                }
            },
            Ok(ConnectionState::EncodeTlsData(data)) => match encode(data, outgoing) {
                Ok(()) => {
                    self.answered = true;
                    Step::Again
                }
                Err(error) => Step::Failed(rustls::Error::General(error.to_string())),
            },
            Ok(ConnectionState::TransmitTlsData(sent)) => {
                sent.done();
                Step::Again
            }
            Ok(ConnectionState::PeerClosed) => {
                self.peer_closed = true;
                Step::Again
            }
            Ok(ConnectionState::WriteTraffic(_) | ConnectionState::Closed) => {
                Step::At(Stage::Traffic)
            }
            Ok(ConnectionState::BlockedHandshake) => Step::At(Stage::Handshake),
            // Early data, which the configuration does not offer.
            Ok(other) => Step::Failed(rustls::Error::General(format!("unexpected {other:?}"))),
            Err(error) => Step::Failed(error),
        };
        (discard, step)
    }

    /// Encrypts for the client, behind what the protocol itself has to say. `received` is what is
    /// kept of a record that has begun.
    ///
    /// # Errors
    /// The connection is closed, or not open yet, or has sent all that its keys are good for.
    pub(super) fn encrypt(
        &mut self,
        bytes: &[u8],
        received: &mut [u8],
        outgoing: &mut Vec<u8>,
    ) -> io::Result<()> {
        if self.closed || self.failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.with_traffic(received, outgoing, |mut traffic, outgoing| {
            let records = bytes.len().div_ceil(PLAIN_BYTES).max(1);
            let room = bytes.len() + records * RECORD_OVERHEAD;
            append(outgoing, room, |room| traffic.encrypt(bytes, room))
        })
    }

    /// Says that no more comes, once. Nothing where there is no session to end.
    pub(super) fn close(&mut self, received: &mut [u8], outgoing: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.closed, true) && !self.failed {
            let closed = self.with_traffic(received, outgoing, |mut traffic, outgoing| {
                append(outgoing, RECORD_OVERHEAD, |room| traffic.queue_close_notify(room))
            });
            if let Err(error) = closed {
                tracing::debug!(%error, "a TLS connection ends without a word");
            }
        }
    }

    fn with_traffic(
        &mut self,
        received: &mut [u8],
        outgoing: &mut Vec<u8>,
        act: impl FnOnce(
            WriteTraffic<'_, ServerConnectionData>,
            &mut Vec<u8>,
        ) -> Result<(), EncryptError>,
    ) -> io::Result<()> {
        loop {
            // What can be decrypted was when it came, so nothing is discarded here.
            match self.tls.process_tls_records(received).state {
                Ok(ConnectionState::WriteTraffic(traffic)) => {
                    return act(traffic, outgoing).map_err(io::Error::other);
                }
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, outgoing).map_err(io::Error::other)?;
                }
                Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
                Ok(ConnectionState::PeerClosed) => self.peer_closed = true,
                Ok(_) => return Err(io::ErrorKind::NotConnected.into()),
                Err(error) => {
                    self.failed = true;
                    return Err(io::Error::other(error));
                }
            }
        }
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls: _, answered, peer_closed, closed, failed } = self;
        f.debug_struct("Machine")
            .field("answered", answered)
            .field("peer_closed", peer_closed)
            .field("closed", closed)
            .field("failed", failed)
            .finish_non_exhaustive()
    }
}

fn encode(
    mut data: EncodeTlsData<'_, ServerConnectionData>,
    outgoing: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let size = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
            required_size
        }
        encoded => return encoded.map(drop),
    };
    let at = outgoing.len();
    outgoing.resize(at + size, 0);
    let encoded = data.encode(&mut outgoing[at..]);
    outgoing.truncate(at + encoded.as_ref().copied().unwrap_or(0));
    encoded.map(drop)
}

/// Appends what `write` puts into the room that it is given: `room` bytes, or what it asks for.
fn append(
    outgoing: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), EncryptError> {
    let at = outgoing.len();
    loop {
        outgoing.resize(at + room, 0);
        let written = write(&mut outgoing[at..]);
        outgoing.truncate(at + written.as_ref().copied().unwrap_or(0));
        match written {
            Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size }))
                if required_size > room =>
            {
                room = required_size;
            }
            written => return written.map(drop),
        }
    }
}

/// What is received at once at most, with what was kept.
pub(super) const RECEIVE_BYTES: usize = 34 * 1024;

/// The largest record (RFC 8446, section 5.2).
const RECORD_BYTES: usize = 5 + 16 * 1024 + 256;

// A record that has begun never fills it.
const _: () = assert!(RECEIVE_BYTES >= 2 * RECORD_BYTES);

/// What a record carries (RFC 8446, section 5.1).
const PLAIN_BYTES: usize = 16 * 1024;

/// Header, kind and tag of a record. Should it be more, that is asked for.
const RECORD_OVERHEAD: usize = 5 + 1 + 16;
