//! Field sections (RFC 9204) without a dynamic table: we announce room for none, so whoever refers
//! to one breaks the rules. What a section may become in memory is bounded before it is kept. Pure.

use std::borrow::Cow;

use super::huffman;
use super::static_table::FIELDS;

/// A name and a value. Those of the table cost nothing.
pub(crate) type Field = (Cow<'static, [u8]>, Cow<'static, [u8]>);

/// Why a section was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SectionError {
    /// It is none: the connection has to end.
    Broken,
    /// Its fields are larger than [`SECTION_BYTES`]; the request gets to know.
    TooLarge,
}

/// Largest section, both as it comes and as RFC 9114 (4.2.2) counts its fields: name, value and 32
/// octets for each. Announced in our settings.
pub(crate) const SECTION_BYTES: usize = 16 * 1024;

const FIELD_OVERHEAD_BYTES: usize = 32;

/// Reads a whole section.
pub(crate) fn decode(section: &[u8]) -> Result<Vec<Field>, SectionError> {
    let mut input = Input(section);
    // No entry of a dynamic table is needed; the base says nothing then.
    if input.integer(8)? != 0 {
        return Err(SectionError::Broken);
    }
    input.integer(7)?;
    let mut fields = Vec::new();
    let mut left = SECTION_BYTES;
    while let Some(first) = input.0.first().copied() {
        let (name, value) = input.field(first)?;
        let size = name.len() + value.len() + FIELD_OVERHEAD_BYTES;
        left = left.checked_sub(size).ok_or(SectionError::TooLarge)?;
        fields.push((name, value));
    }
    Ok(fields)
}

/// Writes a section whose fields, except the status, are few and short.
pub(crate) fn encode(status: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![0, 0];
    write_integer(0x50, 4, STATUS_INDEX, &mut out);
    write_string(0, 7, status, &mut out);
    for (name, value) in fields {
        write_string(0x20, 3, name, &mut out);
        write_string(0, 7, value, &mut out);
    }
    out
}

/// A field of the table that is called `:status`.
const STATUS_INDEX: usize = 24;

/// What is left of a section.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    /// The representations of RFC 9204, section 4.5, told apart by their first octet.
    fn field(&mut self, first: u8) -> Result<Field, SectionError> {
        match first {
            // Indexed, static.
            0xc0.. => {
                let (name, value) = self.of_table(6)?;
                Ok((Cow::Borrowed(name.as_bytes()), Cow::Borrowed(value.as_bytes())))
            }
            // A literal with a name from the table.
            0x50..0x60 | 0x70..0x80 => {
                let (name, _) = self.of_table(4)?;
                Ok((Cow::Borrowed(name.as_bytes()), self.string(7)?))
            }
            // A literal with a name of its own.
            0x20..0x40 => Ok((self.string(3)?, self.string(7)?)),
            // All others refer to a dynamic table.
            _ => Err(SectionError::Broken),
        }
    }

    fn of_table(&mut self, bits: u32) -> Result<(&'static str, &'static str), SectionError> {
        let index = self.integer(bits)?;
        FIELDS.get(index).copied().ok_or(SectionError::Broken)
    }

    /// An integer in the last `bits` of an octet, and as many further ones as it takes (RFC 7541,
    /// section 5.1). Larger ones than a section can hold are refused.
    fn integer(&mut self, bits: u32) -> Result<usize, SectionError> {
        let mask = (1 << bits) - 1;
        let mut value = usize::from(self.octet()?) & mask;
        if value < mask {
            return Ok(value);
        }
        for shift in (0..).step_by(7).take(INTEGER_OCTETS) {
            let octet = usize::from(self.octet()?);
            value += (octet & 0x7f) << shift;
            if octet < 0x80 {
                return Ok(value);
            }
        }
        Err(SectionError::Broken)
    }

    /// A string whose length stands in the last `bits`; the bit before them says Huffman.
    fn string(&mut self, bits: u32) -> Result<Cow<'static, [u8]>, SectionError> {
        let first = *self.0.first().ok_or(SectionError::Broken)?;
        let length = self.integer(bits)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(SectionError::Broken)?;
        self.0 = rest;
        match first >> bits & 1 {
            0 => Ok(Cow::Owned(bytes.to_vec())),
            _ => huffman::decode(bytes).map(Cow::Owned).map_err(|_| SectionError::Broken),
        }
    }

    fn octet(&mut self) -> Result<u8, SectionError> {
        let (first, rest) = self.0.split_first().ok_or(SectionError::Broken)?;
        self.0 = rest;
        Ok(*first)
    }
}

/// Octets behind the first one: enough for all lengths that a section can have.
const INTEGER_OCTETS: usize = 4;

fn write_integer(flags: u8, bits: u32, value: usize, out: &mut Vec<u8>) {
    let mask = (1 << bits) - 1;
    if value < mask {
        return out.push(flags | value as u8);
    }
    out.push(flags | mask as u8);
    let mut left = value - mask;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

fn write_string(flags: u8, bits: u32, text: &str, out: &mut Vec<u8>) {
    write_integer(flags, bits, text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A section as a client may write it, with what is in the table by number and the rest in
    /// Huffman.
    pub(in crate::http3) fn encode_request(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = vec![0, 0];
        for (name, value) in fields {
            let huffman = huffman::encode(value.as_bytes());
            if let Some(index) = FIELDS.iter().position(|known| known == &(*name, *value)) {
                write_integer(0xc0, 6, index, &mut out);
                continue;
            }
            match FIELDS.iter().position(|(known, _)| known == name) {
                Some(index) => write_integer(0x50, 4, index, &mut out),
                None => {
                    let name = huffman::encode(name.as_bytes());
                    write_integer(0x28, 3, name.len(), &mut out);
                    out.extend_from_slice(&name);
                }
            }
            write_integer(0x80, 7, huffman.len(), &mut out);
            out.extend_from_slice(&huffman);
        }
        out
    }

    fn read(section: &[u8]) -> Vec<(String, String)> {
        let text = |bytes: Cow<'_, [u8]>| String::from_utf8(bytes.into_owned()).unwrap();
        decode(section)
            .unwrap()
            .into_iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect()
    }

    /// The first example of RFC 9204, appendix B.
    #[test]
    fn the_example_of_the_standard_is_read() {
        let section = b"\x00\x00\x51\x0b/index.html";
        assert_eq!(read(section), [(":path".to_owned(), "/index.html".to_owned())]);
    }

    #[test]
    fn answers_are_read_again() {
        let section = encode("200", &[("wt-protocol", "\"sterna.1\""), ("x", "")]);
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [own(":status", "200"), own("wt-protocol", "\"sterna.1\""), own("x", "")];
        assert_eq!(read(&section), expected);
    }

    #[test]
    fn dynamic_tables_and_broken_sections_are_refused() {
        for section in [
            &b""[..],
            b"\x00",
            // Needs an entry; indexed and named by one; both after the base.
            b"\x02\x00",
            b"\x00\x00\x80",
            b"\x00\x00\x40\x00",
            b"\x00\x00\x10",
            b"\x00\x00\x00\x00",
            // No such entry of the table; a length beyond the end, and beyond all bounds.
            b"\x00\x00\xff\x24",
            b"\x00\x00\x51\x0b/in",
            b"\x00\x00\x51\x7f\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        ] {
            assert_eq!(decode(section), Err(SectionError::Broken), "{section:02x?}");
        }
    }

    /// An octet may stand for many: what counts is what they become.
    #[test]
    fn a_section_that_grows_in_memory_is_too_large() {
        let mut section = vec![0, 0];
        section.resize(SECTION_BYTES, 0xc0 | 58);
        assert_eq!(decode(&section), Err(SectionError::TooLarge));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            fields in proptest::collection::vec(("[!-~]{0,20}", "[ -~]{0,300}"), 0..8),
        ) {
            let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let own = fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
            prop_assert_eq!(read(&encode_request(&fields)), own.collect::<Vec<_>>());
            let read = read(&encode("404", &fields));
            prop_assert_eq!(read.len(), fields.len() + 1);
        }

        #[test]
        fn any_octets_have_an_answer(section in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&section);
        }
    }
}
