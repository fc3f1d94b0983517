//! Rows of the keeping as engines store them: protobuf, so that later versions may add to them.

use prost::Message;
use sterna_proto::{Offset, UserId};

use super::{Author, Deed, Kept, Retention, WrappedKey};

/// Stored bytes are not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damaged(pub String);

/// Longest row that any of these make.
pub const ROW_BYTES: usize = 4096;

pub fn encode_kept(kept: &Kept) -> Vec<u8> {
    StoredKept {
        version: kept.version,
        retention_ms: kept.retention.map(|retention| match retention {
            Retention::Forever => 0,
            Retention::Millis(ms) => ms.max(1),
        }),
        hold: kept.hold.as_ref().map(StoredAuthor::of),
        floor: kept.floor.0,
        redacted: kept.redacted,
        sealed: kept.sealed,
        keys_made: kept.keys_made,
        key: kept.key.as_ref().map(|key| StoredKey {
            id: key.id,
            root: key.root,
            wrapped: key.wrapped.clone(),
        }),
        erased: kept.erased.as_ref().map(StoredAuthor::of),
    }
    .encode_to_vec()
}

pub fn decode_kept(content: &[u8]) -> Result<Kept, Damaged> {
    let stored: StoredKept = decode(content)?;
    if stored.floor == 0 || stored.version == 0 {
        return Err(Damaged("a row without a floor or a version".to_owned()));
    }
    Ok(Kept {
        version: stored.version,
        retention: stored.retention_ms.map(|ms| match ms {
            0 => Retention::Forever,
            ms => Retention::Millis(ms),
        }),
        hold: stored.hold.map(StoredAuthor::author).transpose()?,
        floor: Offset(stored.floor),
        redacted: stored.redacted,
        sealed: stored.sealed,
        keys_made: stored.keys_made,
        key: stored.key.map(|key| WrappedKey { id: key.id, root: key.root, wrapped: key.wrapped }),
        erased: stored.erased.map(StoredAuthor::author).transpose()?,
    })
}

pub fn encode_author(author: &Author) -> Vec<u8> {
    StoredAuthor::of(author).encode_to_vec()
}

pub fn decode_author(content: &[u8]) -> Result<Author, Damaged> {
    decode::<StoredAuthor>(content)?.author()
}

pub fn encode_deed(deed: &Deed) -> Vec<u8> {
    let author = Some(StoredAuthor::of(&deed.author));
    StoredDeed { author, what: deed.what.clone() }.encode_to_vec()
}

pub fn decode_deed(version: u64, content: &[u8]) -> Result<Deed, Damaged> {
    let stored: StoredDeed = decode(content)?;
    let author = stored.author.ok_or_else(|| Damaged("a deed of nobody".to_owned()))?;
    Ok(Deed { version, author: author.author()?, what: stored.what })
}

fn decode<T: Message + Default>(content: &[u8]) -> Result<T, Damaged> {
    T::decode(content).map_err(|error| Damaged(error.to_string()))
}

#[derive(Clone, PartialEq, Message)]
struct StoredKept {
    #[prost(uint64, tag = "1")]
    version: u64,
    #[prost(uint64, optional, tag = "2")]
    retention_ms: Option<u64>,
    #[prost(message, optional, tag = "3")]
    hold: Option<StoredAuthor>,
    #[prost(uint64, tag = "4")]
    floor: u64,
    #[prost(bool, tag = "5")]
    redacted: bool,
    #[prost(bool, tag = "6")]
    sealed: bool,
    #[prost(uint32, tag = "7")]
    keys_made: u32,
    #[prost(message, optional, tag = "8")]
    key: Option<StoredKey>,
    #[prost(message, optional, tag = "9")]
    erased: Option<StoredAuthor>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredKey {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(fixed64, tag = "2")]
    root: u64,
    #[prost(bytes = "vec", tag = "3")]
    wrapped: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredAuthor {
    #[prost(string, tag = "1")]
    by: String,
    #[prost(uint64, tag = "2")]
    at_ms: u64,
    #[prost(string, tag = "3")]
    reason: String,
}

#[derive(Clone, PartialEq, Message)]
struct StoredDeed {
    #[prost(message, optional, tag = "1")]
    author: Option<StoredAuthor>,
    #[prost(string, tag = "2")]
    what: String,
}

impl StoredAuthor {
    fn of(author: &Author) -> Self {
        Self { by: author.by.to_string(), at_ms: author.at_ms, reason: author.reason.clone() }
    }

    fn author(self) -> Result<Author, Damaged> {
        let by = UserId::new(&self.by).map_err(|error| Damaged(error.to_string()))?;
        Ok(Author { by, at_ms: self.at_ms, reason: self.reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeping::{REASON_BYTES, REDACTED_AT_ONCE, WRAPPED_BYTES};

    fn longest() -> Author {
        Author {
            by: UserId::new(&"u".repeat(64)).unwrap(),
            at_ms: u64::MAX,
            reason: "r".repeat(REASON_BYTES),
        }
    }

    #[test]
    fn the_longest_rows_come_back_and_fit() {
        let wrapped = vec![7; WRAPPED_BYTES];
        let kept = Kept {
            version: u64::MAX,
            retention: Some(Retention::Millis(u64::MAX)),
            hold: Some(longest()),
            floor: Offset(u64::MAX),
            redacted: true,
            sealed: true,
            keys_made: u32::MAX,
            key: Some(WrappedKey { id: u32::MAX, root: u64::MAX, wrapped }),
            erased: Some(longest()),
        };
        let row = encode_kept(&kept);
        assert!(row.len() <= ROW_BYTES, "{}", row.len());
        assert_eq!(decode_kept(&row), Ok(kept.clone()));
        let forever = Kept { retention: Some(Retention::Forever), ..kept };
        assert_eq!(decode_kept(&encode_kept(&forever)), Ok(forever));
        let row = encode_author(&longest());
        assert!(row.len() <= 1024, "{}", row.len());
        assert_eq!(decode_author(&row), Ok(longest()));
        let what = format!("redacted {}", vec![u64::MAX.to_string(); REDACTED_AT_ONCE].join(", "));
        let deed = Deed { version: 3, author: longest(), what };
        let row = encode_deed(&deed);
        assert!(row.len() <= ROW_BYTES, "{}", row.len());
        assert_eq!(decode_deed(3, &row), Ok(deed));
    }

    #[test]
    fn what_is_no_row_is_damaged() {
        assert!(decode_kept(&[]).is_err());
        assert!(decode_author(&[]).is_err(), "somebody did it");
        assert!(decode_deed(1, &[]).is_err());
        assert!(decode_kept(&[0xff; 9]).is_err());
    }
}
