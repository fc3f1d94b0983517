//! TLS 1.3 of a connection as the protocol machine asks for it (RFC 9001), by rustls. What rustls
//! keeps for a handshake is several kilobytes; once the handshake is over and its tickets are
//! written, all that is ever needed again are the secrets of the next key update. So the rest goes.

use std::any::Any;
use std::io::Cursor;
use std::sync::Arc;

use quinn_proto::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use quinn_proto::crypto::{
    self, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::quic::{KeyChange, Secrets, ServerConnection, Version};
use sterna_proto::version;

/// Makes the sessions of a server. What needs no session is quinn's.
pub(crate) struct ServerTls {
    config: Arc<rustls::ServerConfig>,
    initial: Arc<QuicServerConfig>,
}

impl ServerTls {
    /// Fails without the cipher suite of first packets, AES-128-GCM with SHA-256.
    pub(crate) fn new(config: Arc<rustls::ServerConfig>) -> Result<Self, NoInitialCipherSuite> {
        let initial = Arc::new(QuicServerConfig::try_from(config.clone())?);
        Ok(Self { config, initial })
    }
}

impl crypto::ServerConfig for ServerTls {
    fn initial_keys(&self, version: u32, id: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.initial.initial_keys(version, id)
    }

    fn retry_tag(&self, version: u32, id: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.initial.retry_tag(version, id, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        parameters: &TransportParameters,
    ) -> Box<dyn crypto::Session> {
        let mut bytes = Vec::new();
        parameters.write(&mut bytes);
        // Fails for settings that `new` has refused; the client's first bytes then get an error.
        let handshake = Handshake::new(self.config.clone(), bytes);
        let protocol = None;
        Box::new(Session { config: self.initial.clone(), version, protocol, handshake, next: None })
    }
}

/// What is spoken on a connection (ALPN, RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Frames of ours on streams of QUIC.
    Sterna,
    Http3,
}

impl Protocol {
    fn of(alpn: &[u8]) -> Self {
        if alpn == version::HTTP3_ALPN { Self::Http3 } else { Self::Sterna }
    }
}

struct Session {
    config: Arc<QuicServerConfig>,
    version: u32,
    protocol: Option<Protocol>,
    /// Gone when there is nothing left to say.
    handshake: Option<Box<Handshake>>,
    next: Option<Secrets>,
}

impl crypto::Session for Session {
    /// Only clients ask a session, after a Retry.
    fn initial_keys(&self, id: &ConnectionId, _side: Side) -> Keys {
        match crypto::ServerConfig::initial_keys(&*self.config, self.version, id) {
            Ok(keys) => keys,
            Err(_) => unreachable!("the session began with a version that has keys"),
        }
    }

    /// A [`Protocol`], once the client's first words are read.
    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        Some(Box::new(self.protocol?))
    }

    /// Clients show tokens, not certificates.
    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        let keys = self.handshake.as_ref()?.connection.zero_rtt_keys()?;
        Some((Box::new(keys.header), Box::new(keys.packet)))
    }

    fn early_data_accepted(&self) -> Option<bool> {
        None
    }

    fn is_handshaking(&self) -> bool {
        self.handshake.as_ref().is_some_and(|it| it.connection.is_handshaking())
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        let Some(Handshake { connection, .. }) = self.handshake.as_deref_mut() else {
            let reason = "TLS messages after the handshake".to_owned();
            let code = TransportErrorCode::crypto(UNEXPECTED_MESSAGE);
            return Err(TransportError { code, frame: None, reason });
        };
        connection.read_hs(bytes).map_err(|error| {
            let code = connection.alert().map(|alert| TransportErrorCode::crypto(alert.into()));
            let code = code.unwrap_or(TransportErrorCode::PROTOCOL_VIOLATION);
            TransportError { code, frame: None, reason: error.to_string() }
        })?;
        if self.protocol.is_none() {
            self.protocol = connection.alpn_protocol().map(Protocol::of);
        }
        Ok(false)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let Some(handshake) = &self.handshake else { return Ok(None) };
        let Some(bytes) = handshake.connection.quic_transport_parameters() else { return Ok(None) };
        Ok(Some(TransportParameters::read(Side::Server, &mut Cursor::new(bytes))?))
    }

    fn write_handshake(&mut self, bytes: &mut Vec<u8>) -> Option<Keys> {
        let Handshake { connection, .. } = self.handshake.as_deref_mut()?;
        let written = bytes.len();
        let keys = match connection.write_hs(bytes) {
            Some(KeyChange::Handshake { keys }) => keys,
            Some(KeyChange::OneRtt { keys, next }) => {
                self.next = Some(next);
                keys
            }
            None => {
                if self.next.is_some() && !connection.is_handshaking() && bytes.len() == written {
                    self.handshake = None;
                }
                return None;
            }
        };
        Some(Keys {
            header: KeyPair {
                local: Box::new(keys.local.header),
                remote: Box::new(keys.remote.header),
            },
            packet: KeyPair {
                local: Box::new(keys.local.packet),
                remote: Box::new(keys.remote.packet),
            },
        })
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let keys = self.next.as_mut()?.next_packet_keys();
        Some(KeyPair { local: Box::new(keys.local), remote: Box::new(keys.remote) })
    }

    /// Only clients get a Retry.
    fn is_valid_retry(&self, _id: &ConnectionId, _header: &[u8], _payload: &[u8]) -> bool {
        false
    }

    /// Nothing is derived from a session of ours.
    fn export_keying_material(
        &self,
        _output: &mut [u8],
        _label: &[u8],
        _context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        Err(ExportKeyingMaterialError)
    }
}

/// The alert of RFC 8446 section 6.2.
const UNEXPECTED_MESSAGE: u8 = 10;

/// What rustls keeps for a handshake.
struct Handshake {
    connection: ServerConnection,
    #[cfg(test)]
    _counted: counted::Counted,
}

impl Handshake {
    fn new(config: Arc<rustls::ServerConfig>, parameters: Vec<u8>) -> Option<Box<Self>> {
        let connection = ServerConnection::new(config, Version::V1, parameters).ok()?;
        Some(Box::new(Self {
            connection,
            #[cfg(test)]
            _counted: counted::Counted::new(),
        }))
    }
}

#[cfg(test)]
pub(super) mod counted {
    use std::cell::Cell;

    thread_local! {
        static HANDSHAKES: Cell<usize> = const { Cell::new(0) };
    }

    /// Handshakes that are kept on this thread.
    pub(in crate::quic) fn handshakes() -> usize {
        HANDSHAKES.get()
    }

    pub(super) struct Counted;

    impl Counted {
        pub(super) fn new() -> Self {
            HANDSHAKES.set(HANDSHAKES.get() + 1);
            Self
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            HANDSHAKES.set(HANDSHAKES.get() - 1);
        }
    }
}
