//! The client's control stream and its instructions for QPACK, and what we say on ours. Pure.

use bytes::Bytes;

use super::items::{Item, Items, Plan};
use super::{Settings, Violation, frame, frame_of, varint};

/// The client's control stream.
#[derive(Debug, Default)]
pub(crate) struct Control {
    items: Items,
    settled: bool,
}

impl Control {
    /// Reads all of it; the settings when they are there.
    pub(crate) fn read(&mut self, mut input: &[u8]) -> Result<Option<Settings>, Violation> {
        let mut settings = None;
        while let Some(item) = self.items.next(&mut input, |kind, length| {
            plan(self.settled || settings.is_some(), kind, length)
        })? {
            match item {
                Item::Whole { kind: frame::SETTINGS, value } => {
                    settings = Some(Settings::read(&value)?);
                }
                // An id, of which nothing follows: there are no pushes, and nothing comes after us.
                Item::Whole { value, .. } => {
                    let (_, length) = varint::decode(&value).ok_or(Violation::Frame)?;
                    if length != value.len() {
                        return Err(Violation::Frame);
                    }
                }
                Item::Piece { .. } => {}
            }
        }
        self.settled |= settings.is_some();
        Ok(settings)
    }
}

fn plan(settled: bool, kind: u64, length: u64) -> Result<Plan, Violation> {
    match kind {
        frame::SETTINGS if settled => Err(Violation::FrameUnexpected),
        frame::SETTINGS if length > SETTINGS_BYTES => Err(Violation::ExcessiveLoad),
        frame::SETTINGS => Ok(Plan::Keep),
        _ if !settled => Err(Violation::MissingSettings),
        frame::DATA | frame::HEADERS | frame::PUSH_PROMISE => Err(Violation::FrameUnexpected),
        _ if frame::is_of_http2(kind) => Err(Violation::FrameUnexpected),
        frame::CANCEL_PUSH | frame::GOAWAY | frame::MAX_PUSH_ID => match length {
            1..=8 => Ok(Plan::Keep),
            _ => Err(Violation::Frame),
        },
        _ => Ok(Plan::Skip),
    }
}

/// A setting takes 16 octets at most, and there are not so many.
const SETTINGS_BYTES: u64 = 1024;

/// Octets of the client's QPACK encoder stream: the one instruction that needs no room is to have
/// none (RFC 9204, section 4.3.1).
pub(crate) fn check_encoder(octets: &[u8]) -> Result<(), Violation> {
    match octets.iter().all(|octet| *octet == NO_ROOM) {
        true => Ok(()),
        false => Err(Violation::EncoderStream),
    }
}

const NO_ROOM: u8 = 0x20;

/// We finish what is there and take nothing new: a GOAWAY with the largest id (RFC 9114, section
/// 5.2), since streams of the session have larger ids than its request.
pub(crate) fn go_away() -> Bytes {
    let mut id = Vec::new();
    varint::encode((1 << 62) - 4, &mut id);
    frame_of(frame::GOAWAY, &id).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<Option<Settings>, Violation> {
        let mut control = Control::default();
        pieces.iter().try_fold(None, |settings, piece| Ok(control.read(piece)?.or(settings)))
    }

    const SETTINGS: &[u8] = &[0x04, 0x02, 0x33, 0x01];

    #[test]
    fn settings_come_first_and_once_in_any_pieces() {
        let settings = Ok(Some(Settings { datagrams: true }));
        assert_eq!(read(&[SETTINGS]), settings);
        let single: Vec<&[u8]> = SETTINGS.chunks(1).collect();
        assert_eq!(read(&single), settings);
        assert_eq!(read(&[&SETTINGS[..3]]), Ok(None));
        assert_eq!(read(&[SETTINGS, SETTINGS]), Err(Violation::FrameUnexpected));
        assert_eq!(read(&[&[SETTINGS, SETTINGS].concat()]), Err(Violation::FrameUnexpected));
        assert_eq!(read(&[&[0x07, 0x01, 0x00]]), Err(Violation::MissingSettings));
        assert_eq!(read(&[&[0x21, 0x00]]), Err(Violation::MissingSettings));
    }

    #[test]
    fn what_follows_them_is_ignored_or_refused() {
        let after = |octets: &[u8]| read(&[SETTINGS, octets]).map(drop);
        assert_eq!(after(&[0x0d, 0x01, 0x08]), Ok(()), "MAX_PUSH_ID");
        assert_eq!(after(&[0x80, 0x0f, 0x07, 0x00, 0x03, 1, 2, 3]), Ok(()), "PRIORITY_UPDATE");
        for (octets, violation) in [
            (&[0x00, 0x00][..], Violation::FrameUnexpected),
            (&[0x01, 0x00], Violation::FrameUnexpected),
            (&[0x06, 0x00], Violation::FrameUnexpected),
            (&[0x07, 0x00], Violation::Frame),
            (&[0x07, 0x02, 0x00, 0x00], Violation::Frame),
        ] {
            assert_eq!(after(octets), Err(violation), "{octets:02x?}");
        }
    }

    #[test]
    fn large_settings_are_refused_before_they_come() {
        assert_eq!(read(&[&[0x04, 0x44, 0x01]]), Err(Violation::ExcessiveLoad));
    }

    #[test]
    fn only_no_room_is_asked_for() {
        assert_eq!(check_encoder(&[NO_ROOM, NO_ROOM]), Ok(()));
        assert_eq!(check_encoder(&[0x3f, 0xe1, 0x1f]), Err(Violation::EncoderStream));
    }

    #[test]
    fn our_farewell_is_a_frame() {
        assert_eq!(go_away()[..], [7, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc]);
    }
}
