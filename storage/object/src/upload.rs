//! Writes one segment while its records come. What is held is a block, a page of the index, what
//! waits to be sent, and in a service two parts of the upload.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use opendal::Writer;
use sterna_proto::ChannelKey;
use sterna_storage::{BoxFuture, Links, Record, Sealed, SegmentKey, SegmentWriter, StorageError};
use tokio::sync::OwnedSemaphorePermit;

use crate::encode::{Encoder, Unfit, encode_footer};
use crate::failure::{refused, unavailable};
use crate::format::{FOOTER_BYTES, Footer, Header, PAGE_BYTES};
use crate::local::{Ended, LocalUpload};
use crate::name::name_of;
use crate::store::Inner;

/// A segment that is being written. Once anything of it has failed, or was given up on the way, it
/// makes no object any more.
pub(crate) struct Upload {
    inner: Arc<Inner>,
    name: String,
    encoder: Encoder,
    /// What waits to be sent.
    out: Vec<u8>,
    sink: Sink,
    is_broken: bool,
    _permit: OwnedSemaphorePermit,
}

/// Where the bytes go.
enum Sink {
    Parts(Writer),
    File(LocalUpload),
}

impl Upload {
    pub(crate) async fn begin(
        inner: Arc<Inner>,
        key: SegmentKey,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, StorageError> {
        let name = name_of(&key);
        // Early, so that nothing is written in vain; who makes the object refuses again, where it
        // can.
        if inner.objects.exists(&name).await? {
            return Err(is_there(&name));
        }
        let header = Header { key, attempt: rand::random() };
        let mut out = Vec::new();
        let sizes = (inner.config.block_bytes, PAGE_BYTES);
        let encoder = Encoder::new(header, sizes, &mut out).map_err(|why| refused(&name, &why))?;
        let sink = match &inner.files {
            Some(files) => Sink::File(files.begin(&name).await?),
            None => Sink::Parts(inner.objects.begin(&name).await?),
        };
        Ok(Self { inner, name, encoder, out, sink, is_broken: false, _permit: permit })
    }

    fn check(&self) -> Result<(), StorageError> {
        if self.is_broken {
            let message = format!("{}: something of it failed; it makes no object", self.name);
            return Err(unavailable(message));
        }
        Ok(())
    }

    fn fit(&mut self, taken: Result<(), Unfit>) -> Result<(), StorageError> {
        taken.map_err(|why| {
            self.is_broken = true;
            refused(&self.name, &why)
        })
    }

    async fn send(&mut self) -> Result<(), StorageError> {
        // Until it is known to be done: whoever drops this on the way does not know what was sent.
        self.is_broken = true;
        let bytes = std::mem::take(&mut self.out);
        let deadline = self.inner.config.upload_deadline;
        let (sink, name) = (&mut self.sink, &self.name);
        let sent = async {
            match sink {
                Sink::Parts(writer) => {
                    let sent = writer.write(Bytes::from(bytes)).await;
                    sent.map_err(|error| cut(name, error))
                }
                Sink::File(file) => file.write(bytes).await,
            }
        };
        self.inner.timed("upload", deadline, sent).await?;
        self.is_broken = false;
        Ok(())
    }

    async fn seal(self) -> Result<Sealed, StorageError> {
        let is_whole = self.check();
        let Self { inner, name, encoder, mut out, mut sink, .. } = self;
        let deadline = inner.config.upload_deadline;
        let ended = match is_whole {
            Ok(()) => match encoder.finish(&mut out) {
                Ok((footer, sealed)) => {
                    let ended = end(&inner, &mut sink, &name, out, &footer);
                    inner.timed("finish", deadline, ended).await.map(|()| sealed)
                }
                Err(why) => Err(refused(&name, &why)),
            },
            Err(error) => Err(error),
        };
        match &ended {
            Ok(sealed) => {
                metrics::counter!("sterna_storage_object_uploaded_bytes").increment(sealed.bytes);
            }
            Err(_) => give_up(&mut sink, &name).await,
        }
        ended
    }
}

impl SegmentWriter for Upload {
    fn begin_run(&mut self, channel: ChannelKey, links: Links) -> Result<(), StorageError> {
        self.check()?;
        let taken = self.encoder.begin_run(channel, links, &mut self.out);
        self.fit(taken)
    }

    fn push(&mut self, record: Record) -> BoxFuture<'_, Result<(), StorageError>> {
        async move {
            self.check()?;
            let taken = self.encoder.push(&record, &mut self.out);
            self.fit(taken)?;
            if self.out.len() >= WRITE_BYTES { self.send().await } else { Ok(()) }
        }
        .boxed()
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Sealed, StorageError>> {
        self.seal().boxed()
    }

    fn abort(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        async move { give_up(&mut self.sink, &self.name).await }.boxed()
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("name", &self.name)
            .field("encoder", &self.encoder)
            .field("is_broken", &self.is_broken)
            .finish_non_exhaustive()
    }
}

/// Brings the last bytes away and makes the object.
async fn end(
    inner: &Inner,
    sink: &mut Sink,
    name: &str,
    last: Vec<u8>,
    footer: &Footer,
) -> Result<(), StorageError> {
    match sink {
        Sink::File(file) => {
            file.write(last).await?;
            match file.finish().await? {
                Ended::Done => Ok(()),
                Ended::IsThere => Err(is_there(name)),
            }
        }
        Sink::Parts(writer) => {
            writer.write(Bytes::from(last)).await.map_err(|error| cut(name, error))?;
            match writer.close().await {
                Ok(_) => Ok(()),
                Err(error) => look_for(inner, name, footer, error).await,
            }
        }
    }
}

/// An upload may have ended well and its answer been lost; the next attempt to end it then fails.
/// Objects appear whole or not at all, and the footer is that of this writer's bytes alone.
async fn look_for(
    inner: &Inner,
    name: &str,
    footer: &Footer,
    error: opendal::Error,
) -> Result<(), StorageError> {
    let begin = footer.bytes - FOOTER_BYTES as u64;
    match inner.objects.read(name, begin..footer.bytes).await {
        Ok(found) if found[..] == encode_footer(footer)[..] => Ok(()),
        Ok(_) => Err(is_there(name)),
        Err(_) if is_refusal(&error) => Err(is_there(name)),
        Err(_) => Err(cut(name, error)),
    }
}

fn is_refusal(error: &opendal::Error) -> bool {
    use opendal::ErrorKind::{AlreadyExists, ConditionNotMatch};
    matches!(error.kind(), ConditionNotMatch | AlreadyExists)
}

/// Parts of an upload that nobody ends take room where nobody sees them. What this does not reach
/// the service has to end by itself, see docs/archive.md. Of a local file the temporary goes with
/// its value.
async fn give_up(sink: &mut Sink, name: &str) {
    let Sink::Parts(writer) = sink else { return };
    match tokio::time::timeout(ABORT_DEADLINE, writer.abort()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(object = name, %error, "parts of an upload may stay"),
        Err(_) => tracing::warn!(object = name, "parts of an upload may stay: no answer"),
    }
}

/// Whatever the service says of an upload, it is not damage of a segment.
fn cut(name: &str, error: opendal::Error) -> StorageError {
    let message = format!("{name} was not uploaded: {}: {}", error.kind(), error.message());
    unavailable(message).with_source(error)
}

fn is_there(name: &str) -> StorageError {
    unavailable(format!("{name} is there already; nothing was replaced"))
}

/// Bytes that are given to the upload at once; it makes parts of them.
const WRITE_BYTES: usize = 256 * 1024;

/// For ending an upload that has failed already.
const ABORT_DEADLINE: Duration = Duration::from_secs(5);
