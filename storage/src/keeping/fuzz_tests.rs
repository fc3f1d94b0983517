//! Fuzz target of the keeping's rows: no bytes make a decoder panic, and what is taken says itself
//! again.

use sterna_fuzz::{Script, check};

use super::stored::{
    decode_author, decode_deed, decode_kept, encode_author, encode_deed, encode_kept,
};

#[test]
fn fuzz_keeping_rows() {
    check!("keeping_rows", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        match script.below(3) {
            0 => {
                if let Ok(kept) = decode_kept(script.rest()) {
                    assert_eq!(decode_kept(&encode_kept(&kept)), Ok(kept));
                }
            }
            1 => {
                if let Ok(author) = decode_author(script.rest()) {
                    assert_eq!(decode_author(&encode_author(&author)), Ok(author));
                }
            }
            _ => {
                let version = script.number();
                if let Ok(deed) = decode_deed(version, script.rest()) {
                    assert_eq!(deed.version, version);
                    assert_eq!(decode_deed(version, &encode_deed(&deed)), Ok(deed));
                }
            }
        }
    });
}
