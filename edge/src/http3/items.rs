//! Items of type, length and value, which frames (RFC 9114, section 7.1) and capsules (RFC 9297,
//! section 3.2) are, off a stream that comes in pieces. Whoever reads says for each item, by its
//! type and length, whether it is kept, handed on as it comes or skipped; nothing else is held. Pure.

use super::varint::Prefix;

/// What is to be done with an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Collected and given whole. Only for lengths that are bounded.
    Keep,
    /// Given in the pieces in which it comes.
    Pass,
    Skip,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Whole { kind: u64, value: Vec<u8> },
    Piece { bytes: &'a [u8] },
}

#[derive(Debug, Default)]
pub(crate) struct Items {
    prefix: Prefix,
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    kind: u64,
    left: u64,
    plan: Plan,
    kept: Vec<u8>,
}

impl Items {
    /// The next item or piece of `input`, which is shortened by it. `None`: all of it is read.
    pub(crate) fn next<'a, E>(
        &mut self,
        input: &mut &'a [u8],
        plan: impl Fn(u64, u64) -> Result<Plan, E>,
    ) -> Result<Option<Item<'a>>, E> {
        loop {
            let body = match &mut self.body {
                Some(body) => body,
                None => {
                    let Some((kind, left)) = self.take_prefix(input) else { return Ok(None) };
                    let plan = plan(kind, left)?;
                    self.body.insert(Body { kind, left, plan, kept: Vec::new() })
                }
            };
            let taken = body.left.min(input.len() as u64) as usize;
            let (bytes, rest) = input.split_at(taken);
            *input = rest;
            body.left -= taken as u64;
            if body.plan == Plan::Keep {
                body.kept.extend_from_slice(bytes);
            }
            let (whole, plan) = (body.left == 0, body.plan);
            if whole
                && let Some(Body { kind, plan: Plan::Keep, kept: value, .. }) = self.body.take()
            {
                return Ok(Some(Item::Whole { kind, value }));
            }
            if plan == Plan::Pass && !bytes.is_empty() {
                return Ok(Some(Item::Piece { bytes }));
            }
            if !whole {
                return Ok(None);
            }
        }
    }

    /// Nothing was begun that has not ended.
    pub(crate) fn is_between(&self) -> bool {
        self.body.is_none() && self.prefix.is_empty()
    }

    fn take_prefix(&mut self, input: &mut &[u8]) -> Option<(u64, u64)> {
        loop {
            if let Some(both) = self.prefix.two() {
                self.prefix = Prefix::default();
                return Some(both);
            }
            let (octet, rest) = input.split_first()?;
            self.prefix.push(*octet);
            *input = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::varint;
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    /// By the last bits of the type.
    fn plan(kind: u64, _length: u64) -> Result<Plan, Infallible> {
        Ok([Plan::Keep, Plan::Pass, Plan::Skip][kind as usize % 3])
    }

    type Whole = Vec<(u64, Vec<u8>)>;

    /// Everything in pieces of these sizes: what was kept, and what was passed on.
    fn read(bytes: &[u8], pieces: &[usize]) -> (Whole, Vec<u8>, bool) {
        let (mut items, mut whole, mut passed) = (Items::default(), Vec::new(), Vec::new());
        let mut left = bytes;
        let mut pieces = pieces.iter().cycle();
        while !left.is_empty() {
            let size = pieces.next().copied().unwrap_or(1).clamp(1, left.len());
            let (mut input, rest) = left.split_at(size);
            left = rest;
            while let Ok(Some(item)) = items.next(&mut input, plan) {
                match item {
                    Item::Whole { kind, value } => whole.push((kind, value)),
                    Item::Piece { bytes } => passed.extend_from_slice(bytes),
                }
            }
            assert!(input.is_empty());
        }
        (whole, passed, items.is_between())
    }

    #[test]
    fn a_skipped_item_of_any_length_holds_nothing() {
        let mut bytes = Vec::new();
        varint::encode(2, &mut bytes);
        varint::encode(varint::MAX, &mut bytes);
        bytes.resize(100_000, 7);
        let (mut items, mut input) = (Items::default(), &bytes[..]);
        assert_eq!(items.next(&mut input, plan), Ok(None));
        assert!(input.is_empty() && !items.is_between());
        assert_eq!(items.body.unwrap().kept.capacity(), 0);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            sent in proptest::collection::vec((0..9u64, proptest::collection::vec(any::<u8>(), 0..40)), 0..9),
            pieces in proptest::collection::vec(1..30usize, 1..5),
        ) {
            let (mut bytes, mut whole, mut passed) = (Vec::new(), Vec::new(), Vec::new());
            for (kind, value) in sent {
                varint::encode(kind, &mut bytes);
                varint::encode(value.len() as u64, &mut bytes);
                bytes.extend_from_slice(&value);
                match plan(kind, 0).unwrap() {
                    Plan::Keep => whole.push((kind, value)),
                    Plan::Pass => passed.extend_from_slice(&value),
                    Plan::Skip => {}
                }
            }
            prop_assert_eq!(read(&bytes, &pieces), (whole, passed, true));
        }
    }
}
