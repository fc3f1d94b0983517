//! How volatile content is divided: a partition is what is subscribed to, lost and told about as
//! one.

use sterna_proto::{ChannelKey, UserId};
use twox_hash::XxHash3_64;

/// A share of all volatile content, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u16);

/// How many partitions there are. All nodes of a cluster have to agree on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partitions {
    count: u16,
}

impl Partitions {
    /// The most there may be, and the usual number.
    pub const MAX: u16 = 1024;

    /// Between 1 and [`MAX`](Self::MAX); what lies outside is moved to the nearer end.
    pub fn new(count: u16) -> Self {
        Self { count: count.clamp(1, Self::MAX) }
    }

    pub fn count(self) -> u16 {
        self.count
    }

    pub fn all(self) -> impl Iterator<Item = Partition> {
        (0..self.count).map(Partition)
    }

    pub fn of_channel(self, channel: ChannelKey) -> Partition {
        // A key is a hash already.
        let [.., a, b, c, d] = channel.0;
        self.pick(u64::from(u32::from_be_bytes([a, b, c, d])))
    }

    pub fn of_user(self, user: &UserId) -> Partition {
        self.of_bytes(user.as_str().as_bytes())
    }

    pub fn of_bytes(self, bytes: &[u8]) -> Partition {
        self.pick(XxHash3_64::oneshot(bytes))
    }

    fn pick(self, hash: u64) -> Partition {
        // Smaller than the count, which is a u16.
        Partition((hash % u64::from(self.count)) as u16)
    }
}

impl Default for Partitions {
    fn default() -> Self {
        Self { count: Self::MAX }
    }
}
