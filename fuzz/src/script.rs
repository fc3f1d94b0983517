//! An input read as a script: numbers and texts for a sequence of typed operations. Whatever the
//! bytes are, there is a script; at its end everything is 0.

#[derive(Debug, Clone)]
pub struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The number of the next operation; `None` at the end.
    pub fn step(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    pub fn byte(&mut self) -> u8 {
        self.step().unwrap_or(0)
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Below `bound`, from one byte.
    pub fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound.max(1)
    }

    /// Mostly small, now and then at the far end.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            0xff => u64::MAX - u64::from(self.byte()),
            0xfe => (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte())),
            small => small.into(),
        }
    }

    /// At most `most` bytes.
    pub fn bytes(&mut self, most: u8) -> &'a [u8] {
        let len = usize::from(self.byte().min(most)).min(self.rest.len());
        let (bytes, rest) = self.rest.split_at(len);
        self.rest = rest;
        bytes
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_to_its_end_and_then_is_nothing() {
        let mut script = Script::new(&[3, 9, 0xff, 1, 2, b'a', b'b', 200]);
        assert_eq!((script.step(), script.below(4), script.number()), (Some(3), 1, u64::MAX - 1));
        assert_eq!(script.bytes(5), b"ab");
        assert_eq!(script.bytes(5), b"", "cut at the end");
        assert_eq!((script.step(), script.number(), script.flag()), (None, 0, false));
    }
}
