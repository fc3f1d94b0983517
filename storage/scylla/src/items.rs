//! Lists of byte strings in one value: each behind its length, in four octets.

use bytes::{Buf as _, Bytes};

pub(crate) fn encode(items: &[Bytes]) -> Vec<u8> {
    let all = items.iter().map(|item| LENGTH_BYTES + item.len()).sum();
    let mut out = Vec::with_capacity(all);
    for item in items {
        // No value of the servers is as large as what this could not say.
        out.extend(u32::try_from(item.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(item);
    }
    out
}

/// `None` if it is not what [`encode`] made.
pub(crate) fn decode(mut stored: Bytes) -> Option<Vec<Bytes>> {
    let mut items = Vec::new();
    while !stored.is_empty() {
        let length = stored.try_get_u32().ok()? as usize;
        if stored.len() < length {
            return None;
        }
        items.push(stored.split_to(length));
    }
    Some(items)
}

const LENGTH_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_and_damage_is_noticed() {
        let items = ["one", "", "three"].map(|text| Bytes::from(text.to_owned()));
        let stored = encode(&items);
        assert_eq!(decode(stored.clone().into()), Some(items.to_vec()));
        assert_eq!(decode(Bytes::new()), Some(Vec::new()));
        for cut in [1, 5, stored.len() - 1] {
            assert_eq!(decode(stored[..cut].to_vec().into()), None, "cut at {cut}");
        }
    }
}
