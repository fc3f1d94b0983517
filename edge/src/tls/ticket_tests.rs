//! A client's TLS session goes on at another edge, if both have a secret in common.

use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection};
use sterna_core::ManualClock;

use crate::keys::EdgeKeys;
use crate::sealing::SharedTickets;
use crate::tls::testing::certificate;
use crate::tls::{Certificate, TlsConfigs};

/// The configuration of an edge of its own, with these secrets of its cluster.
fn edge(certificate: &Arc<Certificate>, node: u8, secrets: &[[u8; 32]]) -> Arc<ServerConfig> {
    let keys = EdgeKeys::derive(&[node; 32], secrets, &[node]).tickets;
    let clock = Arc::new(ManualClock::new(0));
    let tickets = keys.map(|keys| SharedTickets::new(keys, clock));
    TlsConfigs::new(certificate, tickets, false).unwrap().tcp
}

/// Makes a connection, takes the ticket, and says how it came about.
fn connect(client: &Arc<ClientConfig>, server: Arc<ServerConfig>) -> HandshakeKind {
    let name = "localhost".try_into().unwrap();
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    while client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        if !bytes.is_empty() {
            server.read_tls(&mut bytes.as_slice()).unwrap();
            server.process_new_packets().unwrap();
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut unread = bytes.as_slice();
        while !unread.is_empty() {
            client.read_tls(&mut unread).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    client.handshake_kind().unwrap()
}

#[test]
fn a_session_goes_on_at_another_edge_of_the_cluster() {
    let (certificate, client) = certificate();
    let here = edge(&certificate, 1, &[[7; 32]]);
    assert_eq!(connect(&client, here.clone()), HandshakeKind::Full);
    assert_eq!(connect(&client, here), HandshakeKind::Resumed);
    let there = edge(&certificate, 2, &[[8; 32], [7; 32]]);
    assert_eq!(connect(&client, there), HandshakeKind::Resumed);
    // It has a ticket under the new secret now.
    let stranger = edge(&certificate, 3, &[[9; 32]]);
    assert_eq!(connect(&client, stranger), HandshakeKind::Full);
    let alone = edge(&certificate, 4, &[]);
    assert_eq!(connect(&client, alone), HandshakeKind::Full);
}
