//! Settings, which each side says once and first (RFC 9114, section 7.2.4). Pure.

use super::{Violation, frame, frame_of, qpack, varint};

/// What the client has said that we go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Settings {
    /// It takes datagrams of requests (RFC 9297).
    pub(crate) datagrams: bool,
}

impl Settings {
    pub(super) fn read(mut frame: &[u8]) -> Result<Self, Violation> {
        let mut settings = Self::default();
        let mut seen = Vec::new();
        while !frame.is_empty() {
            let (id, length) = varint::decode(frame).ok_or(Violation::Frame)?;
            let (value, and) = varint::decode(&frame[length..]).ok_or(Violation::Frame)?;
            frame = &frame[length + and..];
            if seen.contains(&id) || matches!(id, 0x00 | 0x02..=0x05) {
                return Err(Violation::Settings);
            }
            seen.push(id);
            match (id, value) {
                (H3_DATAGRAM | ENABLE_CONNECT_PROTOCOL, 2..) => return Err(Violation::Settings),
                (H3_DATAGRAM | H3_DATAGRAM_DRAFT04, 1) => settings.datagrams = true,
                _ => {}
            }
        }
        Ok(settings)
    }
}

/// Our settings, as a frame. WebTransport is announced by the names of all drafts that browsers
/// speak, with one session each, for which no draft asks more of us.
pub(super) fn ours() -> Vec<u8> {
    let mut value = Vec::new();
    for (id, setting) in [
        (MAX_FIELD_SECTION_SIZE, qpack::SECTION_BYTES as u64),
        (ENABLE_CONNECT_PROTOCOL, 1),
        (H3_DATAGRAM, 1),
        (H3_DATAGRAM_DRAFT04, 1),
        (ENABLE_WEBTRANSPORT_DRAFT02, 1),
        (MAX_SESSIONS_DRAFT03, 1),
        (MAX_SESSIONS_DRAFT07, 1),
        (MAX_SESSIONS_DRAFT13, 1),
        (WT_ENABLED, 1),
    ] {
        varint::encode(id, &mut value);
        varint::encode(setting, &mut value);
    }
    frame_of(frame::SETTINGS, &value)
}

const MAX_FIELD_SECTION_SIZE: u64 = 0x06;
const ENABLE_CONNECT_PROTOCOL: u64 = 0x08;
const H3_DATAGRAM: u64 = 0x33;
const H3_DATAGRAM_DRAFT04: u64 = 0xff_d277;
const ENABLE_WEBTRANSPORT_DRAFT02: u64 = 0x2b60_3742;
const MAX_SESSIONS_DRAFT03: u64 = 0x2b60_3743;
const MAX_SESSIONS_DRAFT07: u64 = 0xc671_706a;
const MAX_SESSIONS_DRAFT13: u64 = 0x14e9_cd29;
const WT_ENABLED: u64 = 0x2c7c_f000;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(u64, u64)]) -> Result<Settings, Violation> {
        let mut frame = Vec::new();
        for (id, value) in settings {
            varint::encode(*id, &mut frame);
            varint::encode(*value, &mut frame);
        }
        Settings::read(&frame)
    }

    #[test]
    fn what_is_known_counts_and_the_rest_is_ignored() {
        assert_eq!(read(&[]), Ok(Settings { datagrams: false }));
        assert_eq!(read(&[(H3_DATAGRAM, 1), (0x1234, 7)]), Ok(Settings { datagrams: true }));
        assert_eq!(read(&[(H3_DATAGRAM_DRAFT04, 1)]), Ok(Settings { datagrams: true }));
        assert_eq!(read(&[(H3_DATAGRAM, 0)]), Ok(Settings { datagrams: false }));
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        for settings in [&[(H3_DATAGRAM, 2)][..], &[(0x1234, 1), (0x1234, 1)], &[(0x02, 0)]] {
            assert_eq!(read(settings), Err(Violation::Settings), "{settings:x?}");
        }
        assert_eq!(Settings::read(&[0x33]), Err(Violation::Frame), "without a value");
    }

    #[test]
    fn our_settings_are_a_frame_that_announces_every_draft() {
        let frame = ours();
        let (kind, at) = varint::decode(&frame).unwrap();
        let (length, and) = varint::decode(&frame[at..]).unwrap();
        assert_eq!((kind, length as usize), (frame::SETTINGS, frame.len() - at - and));
        assert_eq!(Settings::read(&frame[at + and..]), Ok(Settings { datagrams: true }));
        for draft in [0x2b60_3742, 0xc671_706a, 0x14e9_cd29, 0x2c7c_f000] {
            let mut id = Vec::new();
            varint::encode(draft, &mut id);
            assert!(frame.windows(id.len()).any(|at| at == id), "{draft:x}");
        }
    }
}
