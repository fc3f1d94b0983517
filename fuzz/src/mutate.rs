//! New inputs out of kept ones: a few small damages, each of a kind that finds faults in decoders.

use crate::chance::Chance;

/// Longest input that is made.
const MOST_BYTES: usize = 4096;

/// Most damages of one input.
const DAMAGES: usize = 6;

/// Values at which lengths and counters turn over.
const EDGES: &[u64] = &[
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

#[derive(Debug)]
pub(crate) struct Mutator<'a> {
    inputs: &'a [Vec<u8>],
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(inputs: &'a [Vec<u8>]) -> Self {
        Self { inputs }
    }

    /// The input of this chance.
    pub(crate) fn make(&self, chance: &mut Chance) -> Vec<u8> {
        let mut input = match chance.below(16) {
            0 => random_bytes(chance),
            _ => self.any(chance).to_vec(),
        };
        for _ in 0..=chance.below(DAMAGES) {
            self.damage(&mut input, chance);
        }
        input.truncate(MOST_BYTES);
        input
    }

    fn any(&self, chance: &mut Chance) -> &[u8] {
        self.inputs.get(chance.below(self.inputs.len())).map_or(&[], Vec::as_slice)
    }

    fn damage(&self, input: &mut Vec<u8>, chance: &mut Chance) {
        let at = chance.below(input.len() + 1);
        let end = at + chance.below((input.len() - at).min(64) + 1);
        match chance.below(10) {
            0 => flip(input, at, chance),
            1 => replace(input, at, chance),
            2 => input.insert(at, chance.byte()),
            3 => drop(input.drain(at..end)),
            4 => input.truncate(at),
            5 => {
                let piece = input[at..end].to_vec();
                let to = chance.below(input.len() + 1);
                drop(input.splice(to..to, piece));
            }
            6 => {
                // The beginning of this one and the end of another.
                let other = self.any(chance);
                let from = chance.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            7 => {
                let other = self.any(chance);
                let from = chance.below(other.len() + 1);
                let upto = from + chance.below((other.len() - from).min(64) + 1);
                drop(input.splice(at..at, other[from..upto].iter().copied()));
            }
            8 => overwrite(input, at, chance),
            _ => {
                let repeated = vec![chance.byte(); chance.below(64)];
                drop(input.splice(at..at, repeated));
            }
        }
    }
}

fn random_bytes(chance: &mut Chance) -> Vec<u8> {
    (0..chance.below(256)).map(|_| chance.byte()).collect()
}

fn flip(input: &mut [u8], at: usize, chance: &mut Chance) {
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << chance.below(8);
    }
}

fn replace(input: &mut [u8], at: usize, chance: &mut Chance) {
    if let Some(byte) = input.get_mut(at) {
        *byte = chance.byte();
    }
}

/// Puts a number at the edge of some width over what is there.
fn overwrite(input: &mut [u8], at: usize, chance: &mut Chance) {
    let edge = EDGES[chance.below(EDGES.len())];
    let width = 1 << chance.below(4);
    let bytes = if chance.below(2) == 0 {
        edge.to_le_bytes()
    } else {
        edge.rotate_right(width * 8).to_be_bytes()
    };
    for (byte, new) in input[at..].iter_mut().zip(&bytes[..width as usize]) {
        *byte = *new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_chance_makes_the_same_input_and_others_differ() {
        let inputs = [b"one input".to_vec(), Vec::new(), b"another".to_vec()];
        let mutator = Mutator::new(&inputs);
        let make = |seed| mutator.make(&mut Chance::new(seed));
        let made: std::collections::HashSet<Vec<u8>> = (0..1000).map(make).collect();
        assert!(made.len() > 600, "{}", made.len());
        assert!((0..1000).all(|seed| make(seed) == make(seed)));
        assert!(made.iter().all(|input| input.len() <= MOST_BYTES));
    }

    #[test]
    fn without_inputs_there_are_random_ones() {
        let mutator = Mutator::new(&[]);
        assert!((0..100).any(|seed| !mutator.make(&mut Chance::new(seed)).is_empty()));
    }
}
