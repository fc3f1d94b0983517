//! Strings in the Huffman code that HPACK and QPACK share (RFC 7541, appendix B). The code is
//! canonical, so the lengths of its symbols are all there is to know. Pure.

/// What is not a string in this code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotHuffman;

/// Decodes a string. No symbol has fewer than five bits, so the text has at most 8/5 of its octets.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<u8>, NotHuffman> {
    let mut text = Vec::with_capacity(bytes.len() * 8 / SHORTEST);
    let mut walk = Walk::default();
    for bit in bytes.iter().flat_map(|octet| (0..8).rev().map(move |at| octet >> at & 1)) {
        text.extend(walk.step(bit)?);
    }
    // The last octet is filled up with ones, the beginning of the symbol for the end.
    let padding_is_right = walk.length < 8 && walk.code + 1 == 1 << walk.length;
    padding_is_right.then_some(text).ok_or(NotHuffman)
}

/// Where in the code the bits so far lead to.
#[derive(Default)]
struct Walk {
    code: u32,
    length: usize,
    /// The first code of this length, and how many symbols are shorter.
    first: u32,
    shorter: usize,
}

impl Walk {
    fn step(&mut self, bit: u8) -> Result<Option<u8>, NotHuffman> {
        self.first = (self.first + COUNTS[self.length] as u32) << 1;
        self.shorter += COUNTS[self.length];
        self.code = (self.code << 1) | u32::from(bit);
        self.length += 1;
        // The code is complete, so no code lies below the first of its length.
        let index = self.code.wrapping_sub(self.first) as usize;
        if index < COUNTS[self.length] {
            let symbol = SYMBOLS.get(self.shorter + index).copied().ok_or(NotHuffman)?;
            *self = Self::default();
            return Ok(Some(symbol));
        }
        if self.length == LONGEST { Err(NotHuffman) } else { Ok(None) }
    }
}

const SHORTEST: usize = 5;
const LONGEST: usize = 30;

/// Bits of the code of each octet; the symbol for the end, which no string contains, is the last
/// one of the longest.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// How many symbols have a code of each length, the one for the end not counted.
const COUNTS: [usize; LONGEST + 1] = {
    let mut counts = [0; LONGEST + 1];
    let mut octet = 0;
    while octet < 256 {
        counts[LENGTHS[octet] as usize] += 1;
        octet += 1;
    }
    counts
};

/// The octets in the order of their codes.
const SYMBOLS: [u8; 256] = {
    let mut symbols = [0; 256];
    let (mut at, mut length) = (0, SHORTEST);
    while length <= LONGEST {
        let mut octet = 0;
        while octet < 256 {
            if LENGTHS[octet] as usize == length {
                symbols[at] = octet as u8;
                at += 1;
            }
            octet += 1;
        }
        length += 1;
    }
    symbols
};

#[cfg(test)]
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let mut bits = Vec::new();
    for octet in text {
        let length = LENGTHS[usize::from(*octet)] as usize;
        let mut code = COUNTS[..length].iter().fold(0, |code, count| (code + *count as u32) << 1);
        let before = LENGTHS[..usize::from(*octet)].iter();
        code += before.filter(|other| usize::from(**other) == length).count() as u32;
        bits.extend((0..length).rev().map(|at| (code >> at & 1) as u8));
    }
    while !bits.len().is_multiple_of(8) {
        bits.push(1);
    }
    bits.chunks(8).map(|octet| octet.iter().fold(0, |value, bit| value << 1 | bit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The examples of RFC 7541, appendix C.
    #[test]
    fn examples_of_the_standard_are_read() {
        let long = [
            0x9d, 0x29, 0xad, 0x17, 0x18, 0x63, 0xc7, 0x8f, 0x0b, 0x97, 0xc8, 0xe9, 0xae, 0x82,
            0xae, 0x43, 0xd3,
        ];
        assert_eq!(decode(&long).unwrap(), b"https://www.example.com");
        assert_eq!(decode(&[0x64, 0x02]).unwrap(), b"302");
        assert_eq!(decode(&[]).unwrap(), b"");
    }

    #[test]
    fn what_is_no_string_is_refused() {
        for bytes in [
            // Padding of zeros, of a whole octet, and the symbol for the end.
            &[0x00][..],
            &[0x64, 0x02, 0xff],
            &[0xff, 0xff, 0xff, 0xff],
            &[0xff, 0xff, 0xff, 0xfc],
        ] {
            assert_eq!(decode(bytes), Err(NotHuffman), "{bytes:02x?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode(&encode(&text)), Ok(text));
        }

        #[test]
        fn any_octets_have_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(text) = decode(&bytes) {
                prop_assert_eq!(encode(&text), bytes);
            }
        }
    }
}
