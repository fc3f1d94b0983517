//! Which worker a datagram is for, by the connection id in it; and the same as a program in classic
//! BPF, which picks the socket of the reuseport group. Data only; [`attach`](super::attach) gives it
//! to the kernel.
//!
//! Five bits of one octet hold the worker. They are masked with a keyed hash of octets that differ in
//! every id (the fourth of the ways that QUIC-LB proposes for processes behind one address), so that
//! whoever sees two ids does not see whether one worker made both. A multiplication is all that
//! classic BPF can do: it keeps the worker from onlookers. Whoever collects many ids of one
//! connection may solve it, and learns one of 32 numbers.

use libc::{BPF_A, BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_IMM, BPF_IND, BPF_JGE, BPF_JMP, BPF_JSET};
use libc::{BPF_K, BPF_LD, BPF_LDX, BPF_LEN, BPF_MEM, BPF_MOD, BPF_MUL, BPF_RET, BPF_RSH, BPF_ST};
use libc::{BPF_W, BPF_X, BPF_XOR};

use super::STEER_MASK;

/// How connection ids name workers.
#[derive(Clone, Copy)]
pub(crate) struct Steering {
    workers: u8,
    /// The octet of an id whose lower five bits hold the worker: the first, or one of its own at
    /// the end.
    at: usize,
    /// Secret and odd.
    factors: [u32; 2],
}

impl Steering {
    /// `workers`: 1 to [`MAX_WORKERS`](super::MAX_WORKERS). `key`: any eight octets that only this
    /// node knows.
    pub(crate) fn new(workers: u8, at: usize, key: [u8; 8]) -> Self {
        assert!((1..=super::MAX_WORKERS).contains(&usize::from(workers)));
        let [a, b, c, d, e, f, g, h] = key;
        let factors = [[a, b, c, d], [e, f, g, h]].map(|half| u32::from_be_bytes(half) | 1);
        Self { workers, at, factors }
    }

    pub(crate) fn workers(&self) -> u8 {
        self.workers
    }

    /// Writes a worker into an id that is otherwise complete. `random` makes several values stand
    /// for one worker, where there are fewer than 32.
    pub(crate) fn write(&self, id: &mut [u8], worker: u8, random: u8) {
        let rounds = (STEER_MASK + 1) / self.workers;
        let steer = (random % rounds) * self.workers + worker;
        let mask = self.mask(id);
        if let Some(octet) = id.get_mut(self.at) {
            *octet = (*octet & !STEER_MASK) | (steer ^ mask);
        }
    }

    /// Which worker the program picks for this id.
    pub(crate) fn worker(&self, id: &[u8]) -> u8 {
        let steer = id.get(self.at).copied().unwrap_or_default() ^ self.mask(id);
        (steer & STEER_MASK) % self.workers
    }

    fn mask(&self, id: &[u8]) -> u8 {
        let word = |at: usize| {
            let octets = id.get(at..at + 4).and_then(|octets| octets.try_into().ok());
            u32::from_be_bytes(octets.unwrap_or_default())
        };
        let [first, second] = self.factors;
        ((word(1).wrapping_mul(first) ^ word(5).wrapping_mul(second)) >> HASH_SHIFT) as u8
    }

    /// Long header (RFC 8999): the destination's id starts at octet 6; short header: at octet 1. The
    /// first datagrams of a client carry an id of the client's choice: they fall anywhere, but their
    /// retransmissions on the same worker. The kernel shows the program the UDP payload; what is
    /// too short goes to worker 0, whose endpoint drops it.
    pub(crate) fn program(&self) -> Program {
        let shortest = LONG_ID_AT + self.at.max(HASHED_END - 1) as u32 + 1;
        let [first, second] = self.factors;
        [
            Instruction::new(BPF_LD | BPF_W | BPF_LEN, 0),
            Instruction::new(BPF_JMP | BPF_JGE | BPF_K, shortest).skip(1),
            Instruction::new(BPF_RET | BPF_K, 0),
            Instruction::new(BPF_LDX | BPF_IMM, LONG_ID_AT),
            Instruction::new(BPF_LD | BPF_B | BPF_ABS, 0),
            Instruction::new(BPF_JMP | BPF_JSET | BPF_K, LONG_HEADER).skip(1),
            Instruction::new(BPF_LDX | BPF_IMM, SHORT_ID_AT),
            // From here on X is where the id starts, until it is loaded again.
            Instruction::new(BPF_LD | BPF_W | BPF_IND, 1),
            Instruction::new(BPF_ALU | BPF_MUL | BPF_K, first),
            Instruction::new(BPF_ST, 0),
            Instruction::new(BPF_LD | BPF_B | BPF_IND, self.at as u32),
            Instruction::new(BPF_ST, 1),
            Instruction::new(BPF_LD | BPF_W | BPF_IND, 5),
            Instruction::new(BPF_ALU | BPF_MUL | BPF_K, second),
            Instruction::new(BPF_LDX | BPF_MEM, 0),
            Instruction::new(BPF_ALU | BPF_XOR | BPF_X, 0),
            Instruction::new(BPF_ALU | BPF_RSH | BPF_K, HASH_SHIFT),
            Instruction::new(BPF_LDX | BPF_MEM, 1),
            Instruction::new(BPF_ALU | BPF_XOR | BPF_X, 0),
            Instruction::new(BPF_ALU | BPF_AND | BPF_K, STEER_MASK as u32),
            Instruction::new(BPF_ALU | BPF_MOD | BPF_K, u32::from(self.workers)),
            Instruction::new(BPF_RET | BPF_A, 0),
        ]
    }
}

impl std::fmt::Debug for Steering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { workers, at, .. } = self;
        f.debug_struct("Steering").field("workers", workers).field("at", at).finish_non_exhaustive()
    }
}

/// One instruction: what to do, how far to jump if a test holds or not, and the operand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) if_true: u8,
    pub(crate) if_false: u8,
    pub(crate) operand: u32,
}

impl Instruction {
    const fn new(code: u32, operand: u32) -> Self {
        Self { code: code as u16, if_true: 0, if_false: 0, operand }
    }

    /// Skips this many instructions when the test holds.
    const fn skip(mut self, instructions: u8) -> Self {
        self.if_true = instructions;
        self
    }
}

pub(crate) type Program = [Instruction; 22];

const LONG_HEADER: u32 = 0x80;
const LONG_ID_AT: u32 = 6;
const SHORT_ID_AT: u32 = 1;
/// Octets 1 to 8 of an id are hashed.
const HASHED_END: usize = 9;
/// The upper five bits of a product depend on all of its factors' bits.
const HASH_SHIFT: u32 = 27;

/// What the kernel would answer for `payload`.
#[cfg(test)]
pub(crate) fn run(program: &[Instruction], payload: &[u8]) -> u32 {
    let octet = |at: u32| u32::from(*payload.get(at as usize).expect("a load beyond ends with 0"));
    let word = |at| (0..4).fold(0, |word, next| (word << 8) | octet(at + next));
    let (mut next, mut a, mut x, mut memory) = (0, 0u32, 0u32, [0u32; 16]);
    loop {
        let Instruction { code, if_true, if_false, operand: k } = program[next];
        next += 1;
        let mut branch = |holds: bool| next += usize::from(if holds { if_true } else { if_false });
        match u32::from(code) {
            code if code == BPF_LD | BPF_W | BPF_LEN => a = payload.len() as u32,
            code if code == BPF_LD | BPF_B | BPF_ABS => a = octet(k),
            code if code == BPF_LD | BPF_B | BPF_IND => a = octet(x + k),
            code if code == BPF_LD | BPF_W | BPF_IND => a = word(x + k),
            code if code == BPF_LDX | BPF_IMM => x = k,
            code if code == BPF_LDX | BPF_MEM => x = memory[k as usize],
            code if code == BPF_ST => memory[k as usize] = a,
            code if code == BPF_JMP | BPF_JGE | BPF_K => branch(a >= k),
            code if code == BPF_JMP | BPF_JSET | BPF_K => branch(a & k != 0),
            code if code == BPF_ALU | BPF_AND | BPF_K => a &= k,
            code if code == BPF_ALU | BPF_MUL | BPF_K => a = a.wrapping_mul(k),
            code if code == BPF_ALU | BPF_RSH | BPF_K => a >>= k,
            code if code == BPF_ALU | BPF_XOR | BPF_X => a ^= x,
            code if code == BPF_ALU | BPF_MOD | BPF_K => a %= k,
            code if code == BPF_RET | BPF_K => return k,
            code if code == BPF_RET | BPF_A => return a,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_datagram_ends_on_a_worker() {
        for workers in 1..=32 {
            for at in [0, 17] {
                let program = Steering::new(workers, at, [7; 8]).program();
                for first in 0..=255 {
                    for length in 0..30 {
                        assert!(run(&program, &vec![first; length]) < u32::from(workers));
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_kernel_and_we_find_the_same_worker(
            workers in 1u8..=32,
            seed in any::<u8>(),
            random in any::<u8>(),
            appended in any::<bool>(),
            key in any::<[u8; 8]>(),
            mut id in any::<[u8; 18]>(),
        ) {
            let steering = Steering::new(workers, if appended { 17 } else { 0 }, key);
            let (before, worker) = (id, seed % workers);
            steering.write(&mut id, worker, random);
            prop_assert_eq!(steering.worker(&id), worker);
            for header in [&[0x41][..], &[0xc1, 0, 0, 0, 1, 18]] {
                let datagram = [header, &id, &[0; 20]].concat();
                prop_assert_eq!(run(&steering.program(), &datagram), u32::from(worker));
            }
            // Only the five bits are touched.
            id[steering.at] = (id[steering.at] & !STEER_MASK) | (before[steering.at] & STEER_MASK);
            prop_assert_eq!(id, before);
        }
    }

    /// I.e. the mask hides them: with the same octets for all ids it would be the same value.
    #[test]
    fn ids_of_one_worker_have_nothing_in_common() {
        let steering = Steering::new(4, 0, [0x5a, 3, 0x77, 9, 0xe1, 0x0c, 0x42, 0x8d]);
        let mut seen = [0u32; 32];
        for _ in 0..32 * 200 {
            let mut id: [u8; 17] = rand::random();
            steering.write(&mut id, 1, 0);
            seen[usize::from(id[0] & STEER_MASK)] += 1;
        }
        assert!(seen.iter().all(|count| (100..300).contains(count)), "{seen:?}");
    }
}
