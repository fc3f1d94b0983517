//! The stream against rustls' own client, over a real socket.

use std::cell::Cell;
use std::time::Duration;

use rustls::ClientConnection;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls::testing::tls_over_tcp;

type Client = tokio_rustls::client::TlsStream<TcpStream>;

struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<rustls::ClientConfig>,
}

impl Configs {
    fn new() -> Self {
        let (server, client) = tls_over_tcp();
        Self { server, client }
    }

    /// Both ends of the TCP connection.
    async fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, connected) = tokio::join!(listener.accept(), connecting);
        (accepted.unwrap().0, connected.unwrap())
    }

    async fn connect(&self) -> (TlsStream, Client) {
        let (ours, theirs) = Self::sockets().await;
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = TlsConnector::from(self.client.clone()).connect(name, theirs);
        let (accepted, connected) =
            tokio::join!(TlsStream::accept(self.server.clone(), ours, async || {}), connecting);
        (accepted.unwrap(), connected.unwrap())
    }
}

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at as u32).wrapping_mul(0x9e37_79b9).to_be_bytes()[0]).collect()
}

async fn limited<T>(test: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), test).await.expect("the test takes too long")
}

/// What one connection holds by itself.
fn held(stream: &TlsStream) -> usize {
    stream.incoming.capacity() + stream.plain.bytes.capacity() + stream.outgoing.bytes.capacity()
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
}

async fn expect(stream: &mut (impl AsyncRead + Unpin), bytes: &[u8]) {
    let mut found = vec![0; bytes.len()];
    stream.read_exact(&mut found).await.unwrap();
    assert!(found == bytes, "{} bytes are not what was sent", bytes.len());
}

#[tokio::test]
async fn bytes_of_all_sizes_arrive_in_both_directions_and_nothing_is_held_afterwards() {
    limited(async {
        let (mut ours, mut theirs) = Configs::new().connect().await;
        for size in [1, 100, 511, 16_384, 16_385, 100_000, 1_000_000] {
            let bytes = noise(size);
            tokio::join!(send(&mut theirs, &bytes), expect(&mut ours, &bytes));
            tokio::join!(send(&mut ours, &bytes), expect(&mut theirs, &bytes));
        }
        assert_eq!(held(&ours), 0, "{ours:?}");
    })
    .await;
}

#[tokio::test]
async fn records_that_arrive_byte_by_byte_are_put_together() {
    limited(async {
        let configs = Configs::new();
        let (ours, mut inner) = Configs::sockets().await;
        let (mut outer, theirs) = Configs::sockets().await;
        let dribble = async {
            let (mut from, mut to) = outer.split();
            let (mut back_from, mut back_to) = inner.split();
            let there = async {
                inner_copy(&mut from, &mut back_to).await;
            };
            let back = async {
                inner_copy(&mut back_from, &mut to).await;
            };
            tokio::join!(there, back);
        };
        let name = ServerName::try_from("localhost").unwrap();
        let talk = async {
            let connecting = TlsConnector::from(configs.client.clone()).connect(name, theirs);
            let (accepted, connected) = tokio::join!(
                TlsStream::accept(configs.server.clone(), ours, async || {}),
                connecting
            );
            let (mut ours, mut theirs) = (accepted.unwrap(), connected.unwrap());
            let bytes = noise(3_000);
            tokio::join!(send(&mut theirs, &bytes), expect(&mut ours, &bytes));
            tokio::join!(send(&mut ours, &bytes), expect(&mut theirs, &bytes));
        };
        tokio::select! {
            () = dribble => unreachable!("the streams outlive the talk"),
            () = talk => {}
        }
    })
    .await;
}

/// One byte a segment.
async fn inner_copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) {
    while let Ok(byte) = from.read_u8().await {
        if to.write_u8(byte).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_reader_who_does_not_read_makes_the_writer_wait_with_bounded_memory() {
    limited(async {
        let (mut ours, mut theirs) = Configs::new().connect().await;
        let bytes = noise(WRITE_BYTES);
        let mut sent = Vec::new();
        // Until the socket and the stream are full.
        loop {
            let written = poll_fn(|cx| Poll::Ready(Pin::new(&mut ours).poll_write(cx, &bytes)));
            let Poll::Ready(count) = tokio::task::unconstrained(written).await else { break };
            sent.extend_from_slice(&bytes[..count.unwrap()]);
        }
        assert!(held(&ours) > 0, "something waits");
        assert!(held(&ours) < 2 * WRITE_BYTES, "{} bytes wait", held(&ours));
        let first = poll_fn(|cx| Poll::Ready(Pin::new(&mut ours).poll_shutdown(cx))).await;
        assert!(first.is_pending(), "there is no room for the end either");
        let mut found = Vec::new();
        let (ended, read) = tokio::join!(ours.shutdown(), theirs.read_to_end(&mut found));
        ended.unwrap();
        read.expect("the end was said");
        assert!(found == sent, "{} bytes and not {}", found.len(), sent.len());
        assert_eq!(held(&ours), 0);
    })
    .await;
}

#[tokio::test]
async fn a_stream_ends_when_the_client_says_so_and_breaks_when_it_is_cut_off() {
    limited(async {
        let configs = Configs::new();
        let (mut ours, mut theirs) = configs.connect().await;
        send(&mut theirs, b"the last").await;
        theirs.shutdown().await.unwrap();
        let mut found = Vec::new();
        ours.read_to_end(&mut found).await.unwrap();
        assert_eq!(found, b"the last");
        // The other direction is still open.
        send(&mut ours, b"thanks").await;
        ours.shutdown().await.unwrap();
        let error = ours.write(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        found.clear();
        theirs.read_to_end(&mut found).await.unwrap();
        assert_eq!(found, b"thanks", "and the end of it was said, or this were an error");

        let (mut ours, theirs) = configs.connect().await;
        let (mut tcp, _) = theirs.into_inner();
        tcp.shutdown().await.unwrap();
        let error = ours.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_tls_is_told_so_and_harms_nobody() {
    const ALERT: u8 = 21;
    limited(async {
        let configs = Configs::new();
        let (ours, mut theirs) = Configs::sockets().await;
        theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let error = TlsStream::accept(configs.server.clone(), ours, async || {}).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        let mut answer = Vec::new();
        // Unread bytes may make the kernel reset what was answered; most often they do not.
        let _ = theirs.read_to_end(&mut answer).await;
        assert_eq!(answer.first(), Some(&ALERT));

        // A handshake that never comes to its end, in pieces that make sense.
        let (ours, mut theirs) = Configs::sockets().await;
        let endless = async {
            let mut record = vec![22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff];
            record.resize(5 + 0x4000, 0);
            for _ in 0..8 {
                if theirs.write_all(&record).await.is_err() {
                    break;
                }
                record.splice(5..9, [0; 4]);
            }
        };
        let accepting = TlsStream::accept(configs.server.clone(), ours, async || {});
        let error = tokio::join!(accepting, endless).0.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    })
    .await;
}

/// The client's own bytes up to the end of the handshake, with a request in its last flight.
async fn finish_with(request: &[u8], client: &mut ClientConnection, tcp: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while client.is_handshaking() {
        let sent = flight(client);
        tcp.write_all(&sent).await.unwrap();
        let count = tcp.read(&mut buffer).await.unwrap();
        client.read_tls(&mut &buffer[..count]).unwrap();
        client.process_new_packets().unwrap();
    }
    io::Write::write_all(&mut client.writer(), request).unwrap();
    tcp.write_all(&flight(client)).await.unwrap();
}

/// What the client has to say now.
fn flight(client: &mut ClientConnection) -> Vec<u8> {
    let mut sent = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut sent).unwrap();
    }
    sent
}

#[tokio::test]
async fn tickets_go_with_the_answer_to_a_request_that_came_with_the_last_flight() {
    limited(async {
        let configs = Configs::new();
        for answers in [true, false] {
            let (ours, mut tcp) = Configs::sockets().await;
            let name = ServerName::try_from("localhost").unwrap();
            let mut client = ClientConnection::new(configs.client.clone(), name).unwrap();
            let accepting = TlsStream::accept(configs.server.clone(), ours, async || {});
            let (accepted, ()) =
                tokio::join!(accepting, finish_with(b"request", &mut client, &mut tcp));
            let mut ours = accepted.unwrap();
            let mut buffer = [0; 4096];
            assert!(ours.tickets_wait && !ours.outgoing.is_empty());
            expect(&mut ours, b"request").await;
            if answers {
                send(&mut ours, b"answer").await;
            } else {
                // Nor do they wait for somebody who goes on reading.
                let read = ours.read_u8();
                assert!(timeout(Duration::from_millis(1), read).await.is_err());
            }
            let count = tcp.read(&mut buffer).await.unwrap();
            client.read_tls(&mut &buffer[..count]).unwrap();
            client.process_new_packets().unwrap();
            assert!(client.tls13_tickets_received() > 0);
            let mut answer = Vec::new();
            let _ = io::Read::read_to_end(&mut client.reader(), &mut answer);
            let expected: &[u8] = if answers { b"answer" } else { b"" };
            assert_eq!(answer, expected);
            assert_eq!(held(&ours), 0);
        }
    })
    .await;
}

/// So one byte does not take the place of a whole flight.
#[tokio::test]
async fn each_part_of_the_first_flight_has_a_turn_and_nothing_else_has() {
    limited(async {
        let configs = Configs::new();
        let (ours, theirs) = Configs::sockets().await;
        let turns = Cell::new(0);
        let turn = async || turns.set(turns.get() + 1);
        let accepting = TlsStream::accept(configs.server.clone(), ours, turn);
        // Relayed in two parts: the kernel would put them together.
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let relay = async {
            let (mut reading, mut writing) = theirs.into_split();
            let mut first = [0];
            far.read_exact(&mut first).await.unwrap();
            writing.write_all(&first).await.unwrap();
            while turns.get() == 0 {
                tokio::task::yield_now().await;
            }
            let (mut from_client, mut to_client) = tokio::io::split(far);
            tokio::join!(
                tokio::io::copy(&mut from_client, &mut writing),
                tokio::io::copy(&mut reading, &mut to_client),
            )
        };
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = TlsConnector::from(configs.client.clone()).connect(name, near);
        tokio::select! {
            (accepted, connected) = async { tokio::join!(accepting, connecting) } => {
                connected.unwrap();
                accepted.unwrap();
            }
            _ = relay => unreachable!("it goes on while its ends are there"),
        }
        assert_eq!(turns.get(), 2);
    })
    .await;
}

/// rustls remembers where in the buffer a message of the handshake has begun.
#[tokio::test]
async fn an_error_while_a_message_is_on_its_way_ends_that_connection_alone() {
    const GARBAGE: [u8; 5] = [0x99; 5];
    // A hello that has begun, and one that makes no sense with another message behind it.
    let begun = [22, 3, 1, 0, 4, 1, 0, 1, 0].as_slice();
    let two = [22, 3, 1, 0, 14, 1, 0, 0, 3, 1, 2, 3, 1, 0, 0, 3, 1, 2, 3].as_slice();
    let fragment_and_alert = [22, 3, 1, 0, 2, 1, 0, 21, 3, 1, 0, 2, 1, 0].as_slice();
    limited(async {
        let configs = Configs::new();
        for first in [begun, two, fragment_and_alert] {
            let (ours, mut theirs) = Configs::sockets().await;
            theirs.write_all(&[first, &GARBAGE].concat()).await.unwrap();
            let error =
                TlsStream::accept(configs.server.clone(), ours, async || {}).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
        let (mut ours, mut theirs) = configs.connect().await;
        tokio::join!(send(&mut theirs, b"others"), expect(&mut ours, b"others"));
    })
    .await;
}

#[tokio::test]
async fn what_came_before_an_error_is_read_and_after_it_nothing_is_said() {
    limited(async {
        let (mut ours, theirs) = Configs::new().connect().await;
        let (mut tcp, mut tls) = theirs.into_inner();
        io::Write::write_all(&mut tls.writer(), b"still good").unwrap();
        let mut segment = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut segment).unwrap();
        }
        segment.extend_from_slice(&[23, 3, 3, 0, 20]);
        segment.extend_from_slice(&[0; 20]);
        tcp.write_all(&segment).await.unwrap();
        expect(&mut ours, b"still good").await;
        for _ in 0..2 {
            let error = ours.read_u8().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
        assert_eq!(ours.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        ours.shutdown().await.unwrap();
        assert_eq!(held(&ours), 0);
        // Behind the ticket one alert, and the end.
        let mut answer = Vec::new();
        tcp.read_to_end(&mut answer).await.unwrap();
        let (mut rest, mut sizes) = (&answer[..], Vec::new());
        while let [_, _, _, high, low, records @ ..] = rest {
            let size = usize::from(u16::from_be_bytes([*high, *low]));
            sizes.push(size);
            rest = &records[size..];
        }
        let alerts = sizes.iter().filter(|size| **size == 2 + 1 + 16).count();
        assert!(alerts == 1 && sizes.len() <= 2, "{sizes:?}");
    })
    .await;
}

#[tokio::test]
async fn what_a_panic_leaves_in_the_shared_buffers_is_for_nobody() {
    limited(async {
        let (mut ours, mut theirs) = Configs::new().connect().await;
        let panicked = std::panic::catch_unwind(|| {
            Shared::with(|shared| {
                shared.plain.extend_from_slice(b"an order of a stranger");
                shared.outgoing.extend_from_slice(b"an alert");
                panic!("on purpose");
            })
        });
        assert!(panicked.is_err());
        tokio::join!(send(&mut theirs, b"mine"), expect(&mut ours, b"mine"));
        tokio::join!(send(&mut ours, b"yours"), expect(&mut theirs, b"yours"));
    })
    .await;
}

#[tokio::test]
async fn new_keys_of_the_client_are_followed_and_answered() {
    limited(async {
        let (mut ours, mut theirs) = Configs::new().connect().await;
        for round in 0..5_u8 {
            theirs.get_mut().1.refresh_traffic_keys().unwrap();
            let bytes = [round; 100];
            tokio::join!(send(&mut theirs, &bytes), expect(&mut ours, &bytes));
            tokio::join!(send(&mut ours, &bytes), expect(&mut theirs, &bytes));
        }
    })
    .await;
}
