//! The packet program in classic BPF: picks a socket of the reuseport group by the connection id.
//! Data only; [`attach`](super::attach) gives it to the kernel.

use libc::{BPF_A, BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_JA, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K};
use libc::{BPF_LD, BPF_LEN, BPF_MOD, BPF_RET, BPF_W};

use super::STEER_MASK;

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

pub(crate) type Program = [Instruction; 11];

/// Long header (RFC 8999): the destination's id starts at octet 6; short header: at octet 1. The
/// first packets of a client carry an id of the client's choice: they fall anywhere, but their
/// retransmissions on the same worker. The kernel shows the program the UDP payload; what is too
/// short for a header goes to worker 0, whose endpoint drops it.
pub(crate) const fn steering_program(workers: u8) -> Program {
    [
        Instruction::new(BPF_LD | BPF_W | BPF_LEN, 0),
        Instruction::new(BPF_JMP | BPF_JGE | BPF_K, SHORTEST).skip(1),
        Instruction::new(BPF_RET | BPF_K, 0),
        Instruction::new(BPF_LD | BPF_B | BPF_ABS, 0),
        Instruction::new(BPF_JMP | BPF_JSET | BPF_K, LONG_HEADER).skip(2),
        Instruction::new(BPF_LD | BPF_B | BPF_ABS, 1),
        Instruction::new(BPF_JMP | BPF_JA, 1),
        Instruction::new(BPF_LD | BPF_B | BPF_ABS, 6),
        Instruction::new(BPF_ALU | BPF_AND | BPF_K, STEER_MASK as u32),
        Instruction::new(BPF_ALU | BPF_MOD | BPF_K, workers as u32),
        Instruction::new(BPF_RET | BPF_A, 0),
    ]
}

/// Octets up to and including the first one of the id in a long header.
const SHORTEST: u32 = 7;
const LONG_HEADER: u32 = 0x80;

/// What the kernel would answer for `payload`.
#[cfg(test)]
pub(crate) fn run(program: &[Instruction], payload: &[u8]) -> u32 {
    let octet = |at: u32| payload.get(at as usize).copied().map(u32::from);
    let (mut next, mut a) = (0, 0);
    loop {
        let Instruction { code, if_true, if_false, operand } = program[next];
        next += 1;
        let mut branch = |holds: bool| next += usize::from(if holds { if_true } else { if_false });
        match u32::from(code) {
            code if code == BPF_LD | BPF_W | BPF_LEN => a = payload.len() as u32,
            code if code == BPF_LD | BPF_B | BPF_ABS => match octet(operand) {
                Some(value) => a = value,
                None => panic!("a load beyond the payload ends the program with 0"),
            },
            code if code == BPF_JMP | BPF_JGE | BPF_K => branch(a >= operand),
            code if code == BPF_JMP | BPF_JSET | BPF_K => branch(a & operand != 0),
            code if code == BPF_JMP | BPF_JA => next += operand as usize,
            code if code == BPF_ALU | BPF_AND | BPF_K => a &= operand,
            code if code == BPF_ALU | BPF_MOD | BPF_K => a %= operand,
            code if code == BPF_RET | BPF_K => return operand,
            code if code == BPF_RET | BPF_A => return a,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_and_length_ends_on_a_worker() {
        for workers in 1..=32 {
            let program = steering_program(workers);
            for first in 0..=255 {
                for id in 0..=255 {
                    let mut payload = [first; 30];
                    payload[if first & 0x80 == 0 { 1 } else { 6 }] = id;
                    assert_eq!(run(&program, &payload), u32::from((id & 0x1f) % workers));
                }
                for length in 0..7 {
                    assert_eq!(run(&program, &vec![first; length]), 0);
                }
            }
        }
    }
}
