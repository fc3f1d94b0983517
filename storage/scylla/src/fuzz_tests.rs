//! Fuzz target of values of our own making in the servers' columns: no bytes make a decoder panic, and
//! what is taken is what would be written.

use bytes::Bytes;
use sterna_fuzz::check;

use crate::{items, members, tip};

#[test]
fn fuzz_scylla_values() {
    check!("scylla_values", |bytes: &[u8]| {
        let Some((column, stored)) = bytes.split_first() else { return };
        match column % 3 {
            0 => {
                if let Some(items) = items::decode(Bytes::copy_from_slice(stored)) {
                    assert_eq!(items::encode(&items), stored);
                }
            }
            1 => {
                if let Some(changes) = members::decode(Bytes::copy_from_slice(stored)) {
                    assert_eq!(members::encode(&changes), stored);
                }
            }
            _ => {
                if let Some(epochs) = tip::decode_epochs(stored) {
                    assert_eq!(tip::encode_epochs(&epochs), stored);
                }
            }
        }
    });
}
