//! Frames on the streams of a link.

use bytes::BytesMut;
use quinn::{RecvStream, SendStream};
use sterna_core::link::lane::{FrameReceiver, FrameSender, LaneError};
use sterna_proto::link::v1::{Frame, Open, Opened, frame::Body};
use sterna_proto::{LinkDecoder, codec, limits, version};

/// Closes a link that a node ends of its own accord.
pub(crate) const GOODBYE: u32 = 0;

/// Closes a link whose peer may not, or cannot, speak to this node.
pub(crate) const REFUSED: u32 = 1;

/// Most bytes taken from a stream at once.
const CHUNK: usize = 64 * 1024;

pub(crate) struct Sender {
    stream: SendStream,
    bytes: BytesMut,
}

pub(crate) struct Receiver {
    stream: RecvStream,
    decoder: LinkDecoder,
    /// Frames that were cut while the first of a lane was waited for.
    waiting: Vec<Frame>,
}

/// Both directions of a lane.
pub(crate) fn lane((stream, receiving): (SendStream, RecvStream)) -> (Sender, Receiver) {
    let decoder = LinkDecoder::new(limits::LINK_FRAME_BYTES);
    let receiver = Receiver { stream: receiving, decoder, waiting: Vec::new() };
    (Sender { stream, bytes: BytesMut::new() }, receiver)
}

impl FrameSender for Sender {
    async fn send(&mut self, frames: &mut Vec<Frame>) -> Result<(), LaneError> {
        frames.drain(..).for_each(|frame| codec::encode(&frame, &mut self.bytes));
        let bytes = self.bytes.split().freeze();
        self.stream.write_chunk(bytes).await.map_err(|error| LaneError::Lost(error.to_string()))
    }
}

impl FrameReceiver for Receiver {
    async fn receive(&mut self, frames: &mut Vec<Frame>) -> Result<(), LaneError> {
        frames.append(&mut self.waiting);
        let lost = |error: &dyn std::fmt::Display| LaneError::Lost(error.to_string());
        while frames.is_empty() {
            let chunk = self.stream.read_chunk(CHUNK, true).await.map_err(|error| lost(&error))?;
            let chunk = chunk.ok_or_else(|| lost(&"the peer has ended the lane"))?;
            self.decoder.extend(&chunk.bytes);
            while let Some(frame) = self.decoder.next().map_err(|error| lost(&error))? {
                frames.push(frame);
            }
        }
        Ok(())
    }
}

impl Receiver {
    /// The first frame of a lane.
    async fn first(&mut self) -> Result<Body, LaneError> {
        let mut frames = Vec::new();
        self.receive(&mut frames).await?;
        self.waiting = frames.split_off(1);
        let first = frames.pop().and_then(|frame| frame.body);
        first.ok_or_else(|| LaneError::Lost("the peer begins a lane with nothing".into()))
    }

    /// What the dialling node says of the lane.
    pub(crate) async fn open(&mut self) -> Result<Open, LaneError> {
        match self.first().await? {
            Body::Open(open) => Ok(open),
            _ => Err(LaneError::Lost("the peer does not say which lane it opens".into())),
        }
    }

    /// What the answering node says.
    pub(crate) async fn opened(&mut self) -> Result<Opened, LaneError> {
        match self.first().await? {
            Body::Opened(opened) if understands(opened.version) => Ok(opened),
            Body::Opened(opened) => Err(LaneError::Lost(other_version(opened.version))),
            _ => Err(LaneError::Lost("the peer does not answer to the opening of a lane".into())),
        }
    }
}

impl Sender {
    /// Sends one frame.
    pub(crate) async fn say(&mut self, body: Body) -> Result<(), LaneError> {
        self.send(&mut vec![Frame { body: Some(body) }]).await
    }
}

/// Nodes one release apart understand each other.
pub(crate) fn understands(theirs: u32) -> bool {
    theirs.abs_diff(version::LINK_VERSION) <= 1
}

pub(crate) fn other_version(theirs: u32) -> String {
    format!(
        "the peer speaks version {theirs} of the link, this node {}: upgrade one release at a time",
        version::LINK_VERSION
    )
}
