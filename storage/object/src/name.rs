//! Names of objects: `v1/SHARD/YYYY/MM/DD/TIME-NUMBER.seg`. Their order is that of the keys, so that
//! a listing of names is one of keys, and what a service spreads its load by comes first.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sterna_storage::SegmentKey;

/// Name of a segment's object. The day is that of the key's time in UTC; what is beyond the year
/// 9999 has its last day.
pub fn name_of(key: &SegmentKey) -> String {
    let SegmentKey { shard, first_ts_ms, segment } = *key;
    let at = i64::try_from(first_ts_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let date = TimeZone::UTC.to_datetime(at.unwrap_or(Timestamp::MAX)).date();
    let (year, month, day) = (date.year(), date.month(), date.day());
    format!(
        "{}{year:04}/{month:02}/{day:02}/{first_ts_ms:016x}-{segment:016x}.seg",
        folder_of(shard)
    )
}

/// The key that a name is of; `None` if it is not a segment's, or not the one name of its key.
pub fn parse_name(name: &str) -> Option<SegmentKey> {
    let mut parts = name.split('/');
    let shard = parts.nth(1)?;
    let (time, segment) = parts.nth(3)?.strip_suffix(".seg")?.split_once('-')?;
    let key = SegmentKey {
        shard: u16::from_str_radix(shard, 16).ok()?,
        first_ts_ms: u64::from_str_radix(time, 16).ok()?,
        segment: u64::from_str_radix(segment, 16).ok()?,
    };
    (name_of(&key) == name).then_some(key)
}

/// Where the segments of a shard lie.
pub(crate) fn folder_of(shard: u16) -> String {
    format!("v1/{shard:04x}/")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: SegmentKey =
        SegmentKey { shard: 0x2a, first_ts_ms: 1_709_251_199_999, segment: 0xfeed };

    #[test]
    fn a_name_has_the_day_in_utc() {
        let name = "v1/002a/2024/02/29/0000018df74f83ff-000000000000feed.seg";
        assert_eq!(name_of(&KEY), name);
        assert_eq!(parse_name(name), Some(KEY));
        let next = SegmentKey { first_ts_ms: KEY.first_ts_ms + 1, ..KEY };
        assert!(name_of(&next).starts_with("v1/002a/2024/03/01/"), "{}", name_of(&next));
        let never = SegmentKey { first_ts_ms: u64::MAX, ..KEY };
        assert!(name_of(&never).starts_with("v1/002a/9999/12/3"), "{}", name_of(&never));
    }

    #[test]
    fn what_is_no_segment_has_no_key() {
        let name = name_of(&KEY);
        for other in [
            name.trim_end_matches(".seg").to_owned(),
            name.replace('-', "_"),
            name.replace("/02/", "/2/"),
            name.replace("/29/", "/28/"),
            name.replace("v1/", "v2/"),
            name.to_uppercase(),
            format!("{name}/more"),
            format!("/{name}"),
            name.replace("/002a/", "/+02a/"),
            "README".to_owned(),
            String::new(),
        ] {
            assert_eq!(parse_name(&other), None, "{other}");
        }
    }

    fn any_key() -> impl Strategy<Value = SegmentKey> {
        let time = prop_oneof![any::<u64>(), 0..400_000_000_000_000_u64, Just(u64::MAX), Just(0)];
        (0..3_u16, time, any::<u64>()).prop_map(|(shard, first_ts_ms, segment)| SegmentKey {
            shard,
            first_ts_ms,
            segment,
        })
    }

    proptest! {
        #[test]
        fn names_say_their_key_and_have_its_order(one in any_key(), other in any_key()) {
            prop_assert_eq!(parse_name(&name_of(&one)), Some(one));
            prop_assert_eq!(one.cmp(&other), name_of(&one).cmp(&name_of(&other)));
        }
    }
}
