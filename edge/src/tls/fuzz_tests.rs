//! What clients make of TLS over TCP: bytes of theirs and of strangers, whole and in pieces, before,
//! within and after the handshake.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, LazyLock};

use rustls::{ClientConfig, ClientConnection, ServerConfig};
use sterna_fuzz::{Script, check};

use super::machine::{Machine, RECEIVE_BYTES, Stage};
use super::testing::tls_over_tcp;

static CONFIGS: LazyLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = LazyLock::new(tls_over_tcp);

/// The server's end, as the stream drives it.
struct Server {
    machine: Machine,
    incoming: Vec<u8>,
    plain: Vec<u8>,
    outgoing: Vec<u8>,
    /// What the client is told, in the clear.
    sent: Vec<u8>,
    has_failed: bool,
    stage: Option<Stage>,
}

impl Server {
    fn new() -> Self {
        let machine = Machine::new(CONFIGS.0.clone()).unwrap();
        let [incoming, plain, outgoing, sent] = [const { Vec::new() }; 4];
        Self { machine, incoming, plain, outgoing, sent, has_failed: false, stage: None }
    }

    fn receive(&mut self, bytes: &[u8]) {
        if self.has_failed || bytes.is_empty() {
            return;
        }
        let mut received = [&self.incoming[..], bytes].concat();
        let (done, stage) =
            self.machine.advance(&mut received, &mut self.plain, &mut self.outgoing);
        self.incoming = received.split_off(done);
        match stage {
            Ok(stage) => self.stage = Some(stage),
            Err(_) => self.has_failed = true,
        }
        assert!(self.has_failed || self.incoming.len() < RECEIVE_BYTES);
    }

    fn send(&mut self, bytes: &[u8]) {
        let sent = self.machine.encrypt(bytes, &mut self.incoming, &mut self.outgoing);
        let is_open = !self.has_failed && self.stage == Some(Stage::Traffic);
        assert!(is_open || sent.is_err(), "nothing is sent in the clear");
        if sent.is_ok() {
            self.sent.extend_from_slice(bytes);
        }
    }
}

/// What an honest server has sent makes sense to the client.
fn hear(client: &mut ClientConnection, mut answer: &[u8], told: &mut Vec<u8>) {
    while !answer.is_empty() {
        client.read_tls(&mut answer).unwrap();
        client.process_new_packets().unwrap();
        // Ends with an error where there is no more for now.
        let _ = client.reader().read_to_end(told);
    }
}

/// No bytes make it panic, what is read is what the client has written or its beginning, and what is
/// sent reaches a client whose bytes nobody touched.
#[test]
fn fuzz_tls_machine() {
    check!("tls_machine", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        let name = "localhost".try_into().unwrap();
        let mut client = ClientConnection::new(CONFIGS.1.clone(), name).unwrap();
        let mut server = Server::new();
        let (mut written, mut told, mut untouched) = (Vec::new(), Vec::new(), true);
        for _ in 0..32 {
            match script.below(8) {
                // The client's bytes, in pieces of some size.
                0..=2 => {
                    let mut sent = Vec::new();
                    while client.wants_write() {
                        client.write_tls(&mut sent).unwrap();
                    }
                    let piece = usize::from(script.byte()) + 1;
                    sent.chunks(piece * 16).for_each(|piece| server.receive(piece));
                }
                3 => {
                    let answer = std::mem::take(&mut server.outgoing);
                    if untouched {
                        hear(&mut client, &answer, &mut told);
                    }
                }
                4 if !client.is_handshaking() => {
                    let text = vec![script.byte(); usize::from(script.byte()) * 80];
                    // Its own buffer is bounded.
                    let taken = client.writer().write(&text).unwrap_or(0);
                    written.extend_from_slice(&text[..taken]);
                }
                5 if !client.is_handshaking() => client.refresh_traffic_keys().unwrap(),
                6 => server.send(&[script.byte(); 40]),
                7 => {
                    // A stranger's, as a record of some kind or as they are.
                    let kind = script.byte();
                    let length = usize::from(script.byte() % 40);
                    let body: Vec<u8> = (0..length).map(|_| script.byte()).collect();
                    let mut record = vec![20 + kind % 5, 3, 3, 0, length as u8];
                    if kind >= 200 {
                        record.clear();
                    }
                    record.extend_from_slice(&body);
                    untouched &= record.is_empty();
                    server.receive(&record);
                }
                _ => {}
            }
            assert!(written.starts_with(&server.plain), "somebody else's bytes were read");
        }
        server.machine.close(&mut server.incoming, &mut server.outgoing);
        if untouched {
            assert!(!server.has_failed, "the client did nothing wrong");
            hear(&mut client, &server.outgoing, &mut told);
            assert!(told == server.sent, "the client does not hear what was sent");
        }
    });
}
