//! Names in Redis: prefix, kind, and the partition's tag in braces.

use sterna_proto::ChannelKey;
use sterna_storage::volatile::{Partition, Partitions};
use sterna_storage::{StorageError, StorageErrorKind};

use crate::ENGINE;
use crate::tags::tags;

#[derive(Debug)]
pub(crate) struct Keys {
    prefix: String,
    pub(crate) partitions: Partitions,
    tags: Vec<String>,
}

impl Keys {
    pub(crate) fn new(prefix: &str, partitions: Partitions) -> Result<Self, StorageError> {
        if prefix.contains(['{', '}']) {
            let message = format!("the prefix {prefix:?} may not hold braces; choose another");
            return Err(StorageError::new(StorageErrorKind::Fatal, ENGINE, message));
        }
        Ok(Self { prefix: prefix.to_owned(), partitions, tags: tags(partitions.count()) })
    }

    /// The key of a kind that there is once in each partition.
    pub(crate) fn of_partition(&self, kind: &str, partition: Partition) -> Vec<u8> {
        format!("{}{kind}:{{{}}}", self.prefix, self.tag(partition)).into_bytes()
    }

    /// The key of something within a partition. The name may hold any bytes: only the first pair
    /// of braces makes a tag.
    pub(crate) fn within(&self, kind: &str, partition: Partition, name: &[u8]) -> Vec<u8> {
        let mut key = self.of_partition(kind, partition);
        key.push(b':');
        key.extend_from_slice(name);
        key
    }

    pub(crate) fn tag(&self, partition: Partition) -> &str {
        // A partition that is not one of ours shares the last one's place.
        let at = usize::from(partition.0).min(self.tags.len() - 1);
        &self.tags[at]
    }
}

/// A channel's key as names have it.
pub(crate) fn hex(channel: ChannelKey) -> String {
    format!("{:032x}", u128::from_be_bytes(channel.0))
}

pub(crate) fn channel_of_hex(text: &str) -> Option<ChannelKey> {
    let number = u128::from_str_radix(text, 16).ok()?;
    (text.len() == 32).then_some(ChannelKey(number.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use redis::cluster_routing::Slot;

    use super::*;

    #[test]
    fn all_keys_of_a_partition_live_in_one_slot() {
        let keys = Keys::new("test:", Partitions::new(100)).unwrap();
        for partition in keys.partitions.all() {
            let slot = Slot::for_key(keys.of_partition("boot", partition));
            for name in ["", "alice", "{other}", "}{"] {
                assert_eq!(Slot::for_key(keys.within("rl", partition, name.as_bytes())), slot);
            }
        }
    }

    #[test]
    fn a_prefix_with_braces_is_refused() {
        for bad in ["{a}", "a{", "}"] {
            let refused = Keys::new(bad, Partitions::default()).unwrap_err();
            assert_eq!(refused.kind, StorageErrorKind::Fatal);
        }
    }

    #[test]
    fn channels_come_back_from_their_names() {
        for key in [ChannelKey([0; 16]), ChannelKey([255; 16]), ChannelKey(*b"0123456789abcdef")] {
            assert_eq!(channel_of_hex(&hex(key)), Some(key));
        }
        for bad in
            ["", "0", "g0000000000000000000000000000000", "+0000000000000000000000000000000f"]
        {
            assert_eq!(channel_of_hex(bad), None, "{bad}");
        }
    }
}
