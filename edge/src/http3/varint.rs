//! Integers as QUIC and HTTP/3 write them (RFC 9000, section 16), and the one or two of them with
//! which every stream, frame and capsule begins. Pure.

/// Largest value.
#[cfg(test)]
pub(crate) const MAX: u64 = (1 << 62) - 1;

/// The integer at the beginning, and how many octets it has. `None`: more have to come.
pub(crate) fn decode(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = 1 << (first >> 6);
    let rest = bytes.get(1..length)?;
    let value =
        rest.iter().fold(u64::from(first & 0x3f), |value, octet| (value << 8) | u64::from(*octet));
    Some((value, length))
}

/// Appends it in as few octets as it needs. Values above 2^62 - 1 do not occur: lengths are those of
/// what is in memory, stream ids come from `decode`.
pub(crate) fn encode(value: u64, out: &mut Vec<u8>) {
    match value {
        0..0x40 => out.push(value as u8),
        0x40..0x4000 => out.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        0x4000..0x4000_0000 => {
            out.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes());
        }
        _ => out.extend_from_slice(&(value | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// Octets of which not enough have come to say what follows them: two integers at most.
#[derive(Debug, Default)]
pub(crate) struct Prefix {
    bytes: [u8; 16],
    length: u8,
}

impl Prefix {
    /// For who looks whether it is whole before each octet: more than two integers have no room.
    pub(crate) fn push(&mut self, octet: u8) {
        if let Some(place) = self.bytes.get_mut(usize::from(self.length)) {
            *place = octet;
            self.length += 1;
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The first integer, once it is whole.
    pub(crate) fn one(&self) -> Option<u64> {
        Some(decode(self.as_slice())?.0)
    }

    /// Both, once they are whole.
    pub(crate) fn two(&self) -> Option<(u64, u64)> {
        let (first, length) = decode(self.as_slice())?;
        let (second, _) = decode(&self.as_slice()[length..])?;
        Some((first, second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The examples of RFC 9000, appendix A.1.
    #[test]
    fn examples_of_the_standard_are_read() {
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            assert_eq!(decode(bytes), Some((value, bytes.len())));
            assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(first in 0..=MAX, second in 0..=MAX, shift in 0..62u32) {
            let (first, second) = (first >> shift, second);
            let mut bytes = Vec::new();
            encode(first, &mut bytes);
            let length = bytes.len();
            encode(second, &mut bytes);
            prop_assert_eq!(decode(&bytes), Some((first, length)));
            let mut prefix = Prefix::default();
            for octet in &bytes {
                prop_assert_eq!(prefix.two(), None);
                prefix.push(*octet);
            }
            prop_assert_eq!(prefix.one(), Some(first));
            prop_assert_eq!(prefix.two(), Some((first, second)));
        }
    }
}
