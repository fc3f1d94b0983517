//! The first octets of a stream, which say what it is (RFC 9114, section 6.2; draft section 4). They
//! are read one by one, so that whoever gets the stream finds what follows them. Pure.

use bytes::Bytes;
use sterna_proto::version;

use super::varint::{self, Prefix};
use super::{Violation, settings};

/// What has come of it.
#[derive(Debug, Default)]
pub(crate) struct StreamHead(Prefix);

/// What a unidirectional stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UniHead {
    Control,
    QpackEncoder,
    QpackDecoder,
    /// Of the session that this request has begun.
    OfSession(u64),
    Unknown,
}

/// What a bidirectional stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BidiHead {
    /// The octets read are the beginning of its first frame.
    Request,
    /// Of the session that this request has begun.
    OfSession(u64),
}

impl StreamHead {
    pub(crate) fn push(&mut self, octet: u8) {
        self.0.push(octet);
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// `None`: more has to come.
    pub(crate) fn uni(&self) -> Result<Option<UniHead>, Violation> {
        let head = match self.0.one() {
            None => return Ok(None),
            Some(CONTROL) => UniHead::Control,
            Some(QPACK_ENCODER) => UniHead::QpackEncoder,
            Some(QPACK_DECODER) => UniHead::QpackDecoder,
            Some(PUSH) => return Err(Violation::StreamCreation),
            Some(SESSION_UNI) => return Ok(self.session()?.map(UniHead::OfSession)),
            Some(_) => UniHead::Unknown,
        };
        Ok(Some(head))
    }

    /// `None`: more has to come.
    pub(crate) fn bidi(&self) -> Result<Option<BidiHead>, Violation> {
        match self.0.one() {
            None => Ok(None),
            Some(SESSION_BIDI) => Ok(self.session()?.map(BidiHead::OfSession)),
            Some(_) => Ok(Some(BidiHead::Request)),
        }
    }

    /// Sessions are named by the stream of their request.
    fn session(&self) -> Result<Option<u64>, Violation> {
        match self.0.two() {
            None => Ok(None),
            Some((_, id)) if id % 4 == 0 => Ok(Some(id)),
            Some(_) => Err(Violation::Id),
        }
    }
}

/// How our control stream begins: its type, and our settings.
pub(crate) fn control_head() -> Bytes {
    let mut out = vec![CONTROL as u8];
    out.extend(settings::ours());
    out.into()
}

/// How a lane to the client begins.
pub(crate) fn lane_head(session: u64) -> Bytes {
    let mut out = Vec::new();
    varint::encode(SESSION_UNI, &mut out);
    varint::encode(session, &mut out);
    out.push(version::LANE_STREAM);
    out.into()
}

const CONTROL: u64 = 0x00;
const PUSH: u64 = 0x01;
const QPACK_ENCODER: u64 = 0x02;
const QPACK_DECODER: u64 = 0x03;
const SESSION_BIDI: u64 = 0x41;
const SESSION_UNI: u64 = 0x54;

#[cfg(test)]
mod tests {
    use super::*;

    fn head(octets: &[u8]) -> StreamHead {
        let mut head = StreamHead::default();
        octets.iter().for_each(|octet| head.push(*octet));
        head
    }

    #[test]
    fn streams_say_what_they_are() {
        for (octets, uni) in [
            (&[0x00][..], Some(UniHead::Control)),
            (&[0x02], Some(UniHead::QpackEncoder)),
            (&[0x03], Some(UniHead::QpackDecoder)),
            (&[0x21], Some(UniHead::Unknown)),
            (&[0x40], None),
            (&[0x40, 0x54], None),
            (&[0x40, 0x54, 0x40], None),
            (&[0x40, 0x54, 0x40, 0x80], Some(UniHead::OfSession(128))),
        ] {
            assert_eq!(head(octets).uni(), Ok(uni), "{octets:02x?}");
        }
        for (octets, bidi) in [
            (&[0x01][..], Some(BidiHead::Request)),
            (&[0x40, 0x41], None),
            (&[0x40, 0x41, 0x04], Some(BidiHead::OfSession(4))),
        ] {
            assert_eq!(head(octets).bidi(), Ok(bidi), "{octets:02x?}");
        }
    }

    #[test]
    fn what_clients_may_not_open_is_refused() {
        assert_eq!(head(&[PUSH as u8]).uni(), Err(Violation::StreamCreation));
        assert_eq!(head(&[0x40, 0x54, 0x02]).uni(), Err(Violation::Id), "of a unidirectional one");
        assert_eq!(head(&[0x40, 0x41, 0x01]).bidi(), Err(Violation::Id), "of one of ours");
    }

    #[test]
    fn our_lanes_are_read_as_such() {
        let lane = lane_head(128);
        assert_eq!(head(&lane[..4]).uni(), Ok(Some(UniHead::OfSession(128))));
        assert_eq!(lane[4..], [version::LANE_STREAM]);
    }
}
