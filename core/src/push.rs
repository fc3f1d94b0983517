//! A push that many sessions share: encoded once per encoding, then only its bytes are counted
//! references.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use sterna_proto::{DecodeError, codec, v1, version};

/// How a connection wants its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Length-delimited protobuf.
    Protobuf,
    /// Canonical protobuf JSON.
    Json,
}

impl Encoding {
    /// As clients name it where they choose.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Protobuf => version::SUBPROTOCOL_PROTOBUF,
            Self::Json => version::SUBPROTOCOL_JSON,
        }
    }
}

/// A push frame and its encoded forms, made on first use by whichever worker is first.
#[derive(Debug)]
pub struct EncodedPush {
    frame: v1::Frame,
    protobuf: OnceLock<Bytes>,
    json: OnceLock<Bytes>,
}

/// One push on its way to any number of sessions.
pub type SharedPush = Arc<EncodedPush>;

impl EncodedPush {
    pub fn new(event: v1::push::Event) -> SharedPush {
        Self::from_frame(v1::Frame::push(event))
    }

    pub fn from_frame(frame: v1::Frame) -> SharedPush {
        Arc::new(Self { frame, protobuf: OnceLock::new(), json: OnceLock::new() })
    }

    /// A push that another node has encoded: a frame with its length in front.
    pub fn received(bytes: &[u8]) -> Result<SharedPush, DecodeError> {
        // Copied: a slice would keep the whole read buffer of its link alive (I12).
        let bytes = Bytes::copy_from_slice(bytes);
        let frame = codec::decode_delimited(bytes.clone())?;
        Ok(Arc::new(Self { frame, protobuf: bytes.into(), json: OnceLock::new() }))
    }

    pub fn frame(&self) -> &v1::Frame {
        &self.frame
    }

    /// The frame as it goes onto a stream or into a WebSocket message.
    pub fn encoded(&self, encoding: Encoding) -> &Bytes {
        match encoding {
            Encoding::Protobuf => self.protobuf.get_or_init(|| codec::encode_to_bytes(&self.frame)),
            Encoding::Json => self.json.get_or_init(|| codec::encode_json(&self.frame).into()),
        }
    }

    /// The frame without length, for a datagram.
    pub fn datagram(&self) -> Bytes {
        let bytes = self.encoded(Encoding::Protobuf);
        let prefix = bytes.iter().position(|byte| byte & 0x80 == 0).map_or(0, |at| at + 1);
        bytes.slice(prefix..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_the_frame_without_its_length() {
        for size in [0, 10, 200, 900] {
            let push = EncodedPush::new(v1::push::Event::Ephemeral(v1::Ephemeral {
                channel: "room:1".into(),
                payload: vec![7; size].into(),
                ..Default::default()
            }));
            assert_eq!(codec::decode_datagram(push.datagram()).unwrap(), *push.frame());
            assert_eq!(
                codec::decode_json(
                    std::str::from_utf8(push.encoded(Encoding::Json)).unwrap(),
                    1 << 20
                )
                .unwrap(),
                *push.frame()
            );
        }
    }
}
