//! How a balancer reads the server id in a connection id: QUIC-LB
//! (draft-ietf-quic-load-balancers-21 and its editor's copy of May 2026).
//!
//! ```text
//! octet 0      config id (3 bits) | length, or whatever the server likes (5 bits)
//! octets 1..   server id, then nonce: in clear, or encrypted with AES-128
//! ```
//!
//! Sixteen octets of server id and nonce are one block of AES. Others pass four rounds of a Feistel
//! network over their two halves, whose round function is AES. Pure.

use aes::Aes128;
use aes::cipher::{BlockDecrypt as _, BlockEncrypt as _, KeyInit as _};

/// What hides server id and nonce from those who have no key.
#[derive(Clone)]
pub(crate) enum Cover {
    Clear,
    Encrypted(Box<Aes128>),
}

impl Cover {
    /// `None` leaves everything in clear.
    pub(crate) fn new(key: Option<&[u8; 16]>) -> Self {
        key.map_or(Self::Clear, |key| Self::Encrypted(Box::new(Aes128::new(key.into()))))
    }

    /// Turns server id and nonce, 5 to 19 octets, into what stands in the connection id.
    pub(crate) fn seal(&self, octets: &mut [u8]) {
        let Self::Encrypted(cipher) = self else { return };
        match <&mut [u8; 16]>::try_from(&mut *octets) {
            Ok(block) => cipher.encrypt_block(block.into()),
            Err(_) => four_passes(cipher, octets, [1, 2, 3, 4]),
        }
    }

    /// The other way round.
    pub(crate) fn open(&self, octets: &mut [u8]) {
        let Self::Encrypted(cipher) = self else { return };
        match <&mut [u8; 16]>::try_from(&mut *octets) {
            Ok(block) => cipher.decrypt_block(block.into()),
            Err(_) => four_passes(cipher, octets, [4, 3, 2, 1]),
        }
    }
}

/// Forwards to seal, backwards to open.
fn four_passes(cipher: &Aes128, octets: &mut [u8], passes: [u8; 4]) {
    let mut halves = Halves::split(octets);
    for pass in passes {
        halves.pass(cipher, pass);
    }
    halves.join(octets);
}

/// Two halves of equal length. An odd number of octets is split in the middle of one: the left half
/// has its upper, the right half its lower four bits, and zeros for the others.
struct Halves {
    left: [u8; HALF],
    right: [u8; HALF],
    octets: usize,
}

impl Halves {
    fn split(octets: &[u8]) -> Self {
        let (mut left, mut right) = ([0; HALF], [0; HALF]);
        let half = octets.len().div_ceil(2);
        left[..half].copy_from_slice(&octets[..half]);
        right[..half].copy_from_slice(&octets[octets.len() - half..]);
        let mut halves = Self { left, right, octets: octets.len() };
        halves.clear_left();
        halves.clear_right();
        halves
    }

    fn pass(&mut self, cipher: &Aes128, pass: u8) {
        let half = self.half();
        let into_right = !pass.is_multiple_of(2);
        let (from, into) = match into_right {
            true => (&self.left, &mut self.right),
            false => (&self.right, &mut self.left),
        };
        let mut block = [0; 16];
        block[..half].copy_from_slice(&from[..half]);
        block[14] = self.octets as u8;
        block[15] = pass;
        cipher.encrypt_block((&mut block).into());
        into[..half].iter_mut().zip(block).for_each(|(octet, mask)| *octet ^= mask);
        if into_right { self.clear_right() } else { self.clear_left() }
    }

    fn join(&self, octets: &mut [u8]) {
        let half = self.half();
        let shared = octets.len() - half;
        octets[..half].copy_from_slice(&self.left[..half]);
        octets[shared..].iter_mut().zip(self.right).for_each(|(octet, right)| {
            *octet = right;
        });
        if self.is_odd() {
            octets[shared] |= self.left[half - 1];
        }
    }

    fn half(&self) -> usize {
        self.octets.div_ceil(2)
    }

    fn is_odd(&self) -> bool {
        !self.octets.is_multiple_of(2)
    }

    fn clear_left(&mut self) {
        if self.is_odd() {
            self.left[self.half() - 1] &= 0xf0;
        }
    }

    fn clear_right(&mut self) {
        if self.is_odd() {
            self.right[0] &= 0x0f;
        }
    }
}

/// Half of the most octets that server id and nonce may have, rounded up.
const HALF: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn octets(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..][..2], 16).unwrap()).collect()
    }

    fn key(hex: &str) -> [u8; 16] {
        octets(hex).try_into().unwrap()
    }

    /// Config id, server id, nonce and connection id, which says its length in the first octet.
    fn holds(cover: &Cover, config: u8, server: &str, nonce: &str, id: &str) {
        let mut plain = octets(server);
        plain.extend(octets(nonce));
        let id = octets(id);
        assert_eq!(id[0], (config << 5) | plain.len() as u8);
        let mut covered = plain.clone();
        cover.seal(&mut covered);
        assert_eq!(covered, id[1..]);
        cover.open(&mut covered);
        assert_eq!(covered, plain);
    }

    /// Appendix B.1 of the draft; its second row has lost a digit.
    #[test]
    fn ids_in_clear_are_those_of_the_draft() {
        holds(&Cover::new(None), 0, "c4605e", "4504cc4f", "07c4605e4504cc4f");
    }

    /// Appendix B.2, and the worked example of the four passes. The last row says config id 3, and
    /// its first octet 0.
    #[test]
    fn encrypted_ids_are_those_of_the_draft() {
        let cover = Cover::new(Some(&key("8f95f09245765f80256934e50c66207f")));
        holds(&cover, 0, "ed793a", "ee080dbf", "0720b1d07b359d3c");
        let id = "2fcc381bc74cb4fbad2823a3d1f8fed2";
        holds(&cover, 1, "ed793a51d49b8f5fab65", "ee080dbf48", id);
        let id = "504dd2d05a7b0de9b2b9907afb5ecf8cc3";
        holds(&cover, 2, "ed793a51d49b8f5f", "ee080dbf48c0d1e5", id);
        let id = "125779c9cc86beb3a3a4a3ca96fce4bfe0cdbc";
        holds(&cover, 0, "ed793a51d49b8f5fab", "ee080dbf48c0d1e55d", id);
        let cover = Cover::new(Some(&key("fdf726a9893ec05c0632d3956680baf0")));
        holds(&cover, 0, "31441a", "9c69c275", "0767947d29be054a");
    }

    proptest! {
        #[test]
        fn what_is_sealed_can_be_opened(
            key in any::<[u8; 16]>(),
            plain in proptest::collection::vec(any::<u8>(), 5..=19),
        ) {
            let cover = Cover::new(Some(&key));
            let mut covered = plain.clone();
            cover.seal(&mut covered);
            prop_assert_ne!(&covered, &plain);
            cover.open(&mut covered);
            prop_assert_eq!(covered, plain);
        }
    }
}
