//! What publications to many cost, from the commands to the batches of all who hear of them, and from
//! such a batch to the socket.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use sterna_core::session::{Lane, OutgoingBody};
use sterna_core::{Attachment, EncodedPush, Outgoing};
use sterna_edge::TlsFiles;
use sterna_edge::counted::WssWriter;
use sterna_proto::v1::{self, command::Verb};
use tokio::task::LocalSet;

use crate::measured;
use crate::publication::{open, paused};
use crate::wire::publication;

const SUBSCRIBERS: u32 = 256;
const PUBLICATIONS: u32 = 16;

/// Frames in a batch.
const FRAMES: u64 = 64;

/// One of the subscribers publishes, several at once; they go round among all in a pass, and every
/// connection takes what it was given.
pub(crate) fn fanout_round(repeats: u32) {
    let (runtime, local) = (paused(), LocalSet::new());
    let mut clients = local.block_on(&runtime, async {
        let mut clients = open(SUBSCRIBERS).await;
        for client in &mut clients {
            say(
                client,
                2,
                Verb::Subscribe(v1::Subscribe { channel: CHANNEL.into(), ..Default::default() }),
            );
            hear(client, 1).await;
        }
        clients
    });
    let mut seq = 0;
    measured(repeats, &mut || {
        local.block_on(&runtime, async {
            for _ in 0..PUBLICATIONS {
                seq += 1;
                let publish = v1::Publish {
                    channel: CHANNEL.into(),
                    payload: vec![b'x'; 128].into(),
                    client_seq: seq,
                    ..Default::default()
                };
                say(&mut clients[0], 2 + seq as u32, Verb::Publish(publish));
            }
            // The publisher has an acknowledgement of each, too.
            hear(&mut clients[0], 2 * PUBLICATIONS as usize).await;
            for client in &mut clients[1..] {
                hear(client, PUBLICATIONS as usize).await;
            }
        });
    });
}

fn say(client: &mut Attachment, id: u32, verb: Verb) {
    assert!(client.handle(v1::Command { id, verb: Some(verb) }).is_ok(), "the command is good");
}

async fn hear(client: &mut Attachment, frames: usize) {
    let (mut heard, mut batch) = (0, Vec::with_capacity(frames));
    while heard < frames {
        assert!(client.next_batch(&mut batch).await.is_ok(), "it goes on");
        heard += batch.len();
        batch.clear();
    }
    assert_eq!(heard, frames);
}

/// A batch of frames, as a message, encrypted, to the socket.
pub(crate) fn wss_write(repeats: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.unwrap_or_else(|error| unreachable!("a runtime: {error}"));
    let opened = runtime.block_on(open_socket());
    let (mut writer, client) = opened.unwrap_or_else(|error| unreachable!("a socket: {error}"));
    let pushes: Vec<_> = (1..=FRAMES).map(|at| EncodedPush::new(publication(at))).collect();
    let mut batch = Vec::new();
    measured(repeats, &mut || {
        batch.extend(pushes.iter().map(|push| Outgoing {
            lane: Lane::Channel(0),
            body: OutgoingBody::Shared(push.clone()),
        }));
        assert!(runtime.block_on(writer.write(&mut batch)), "it is open");
    });
    drop(writer);
    assert!(matches!(client.join(), Ok(Ok(_))), "all of it was read");
}

/// A socket, and the thread of its client, which reads until the end.
async fn open_socket() -> Result<(WssWriter, JoinHandle<io::Result<u64>>), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let files = TlsFiles {
        certificate_chain: folder.path().join("chain.pem"),
        private_key: folder.path().join("key.pem"),
    };
    std::fs::write(&files.certificate_chain, made.cert.pem())?;
    std::fs::write(&files.private_key, made.signing_key.serialize_pem())?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tls = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into()?)?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let mut socket = std::net::TcpStream::connect(listener.local_addr()?)?;
    let client = thread::spawn(move || {
        tls.complete_io(&mut socket)?;
        // What it means does not matter, and to decrypt it would take the time of who is measured.
        io::copy(&mut socket, &mut io::sink())
    });
    let (socket, _) = listener.accept().await?;
    Ok((WssWriter::accept(files, socket).await?, client))
}

const CHANNEL: &str = "room:1";
