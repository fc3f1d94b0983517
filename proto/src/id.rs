//! Names and numbers, each of a type of its own so that one cannot stand in for another.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::limits;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// There is no text at all.
    #[error("a {what} must not be empty")]
    Empty {
        /// The kind of name, in words.
        what: &'static str,
    },
    /// Longer than every peer takes.
    #[error("a {what} has at most {limit} bytes; this one has {len}")]
    TooLong {
        /// The kind of name, in words.
        what: &'static str,
        /// In bytes.
        limit: usize,
        /// In bytes.
        len: usize,
    },
    /// Something beside letters, digits and some punctuation.
    #[error("a {what} may not hold {found:?}; use letters, digits and any of {allowed}")]
    Character {
        /// The kind of name, in words.
        what: &'static str,
        /// The first character that may not be there.
        found: char,
        /// The punctuation that may.
        allowed: &'static str,
    },
    /// It begins like a direct channel's name and is none; the text says why.
    #[error("a direct channel is named dm:USER:USER with two different users in order; {0}")]
    Direct(&'static str),
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $limit:expr, $punctuation:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks length and characters.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                check_text($what, text, $limit, $punctuation)?;
                Ok(Self(text.into()))
            }

            /// The name as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// A user as the access token names it (`sub`).
    UserId, "user name", limits::USER_BYTES, "-_.@+="
);
text_id!(
    /// An installation of an SDK; with a client sequence number the key of a publication.
    ClientId, "client id", limits::CLIENT_ID_BYTES, "-_.@+=:"
);
text_id!(
    /// A node of the cluster.
    NodeId, "node name", 64, "-_."
);
text_id!(
    /// The name of a channel, such as `room:42` or `dm:alice:bob`.
    ChannelId, "channel name", limits::CHANNEL_BYTES, "-_.@+=:/#"
);

fn check_text(
    what: &'static str,
    text: &str,
    limit: usize,
    allowed: &'static str,
) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty { what });
    }
    if text.len() > limit {
        return Err(InvalidId::TooLong { what, limit, len: text.len() });
    }
    match text.chars().find(|c| !c.is_alphanumeric() && !allowed.contains(*c)) {
        Some(found) => Err(InvalidId::Character { what, found, allowed }),
        None => Ok(()),
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl UserId {
    /// Names the user's inbox on links, where it has a slot, an owner and interests as a channel
    /// has. No channel has the key.
    pub fn inbox_key(&self) -> ChannelKey {
        key_of(b"sterna inbox v1\0", &self.0)
    }
}

impl ClientId {
    /// The client id as it is stored: bound to the user, so that nobody can use up another's
    /// sequence numbers. Same length whatever the names are.
    pub fn of_user(&self, user: &UserId) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"sterna client v1\0");
        hash.update(user.as_str().as_bytes());
        hash.update([0]);
        hash.update(self.as_str().as_bytes());
        let digest = hash.finalize();
        let mut text = String::with_capacity(32);
        for byte in &digest[..16] {
            // For every publication, so not by way of `format_args`.
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
        Self(text.into())
    }
}

impl ChannelId {
    /// Prefix of every direct channel.
    pub const DIRECT_PREFIX: &'static str = "dm:";

    /// Stands in a command about a user's inbox where others name their channel.
    pub fn inbox() -> Self {
        Self("inbox".into())
    }

    /// The direct channel of two users; the same whichever is named first.
    pub fn direct(one: &UserId, other: &UserId) -> Result<Self, InvalidId> {
        if one == other {
            return Err(InvalidId::Direct("both users are the same"));
        }
        let (low, high) = if one < other { (one, other) } else { (other, one) };
        Self::new(&format!("{}{low}:{high}", Self::DIRECT_PREFIX))
    }

    /// The two users of a direct channel, `None` for every other kind. A name with the direct
    /// prefix that is not the canonical one is an error, so that two users share one channel.
    pub fn direct_users(&self) -> Result<Option<(UserId, UserId)>, InvalidId> {
        let Some(rest) = self.0.strip_prefix(Self::DIRECT_PREFIX) else { return Ok(None) };
        let (low, high) =
            rest.split_once(':').ok_or(InvalidId::Direct("a second user is missing"))?;
        let (low, high) = (UserId::new(low)?, UserId::new(high)?);
        if low >= high {
            return Err(InvalidId::Direct("the smaller name comes first"));
        }
        Ok(Some((low, high)))
    }

    /// The storage key. The same in every shape, node and region, without coordination.
    pub fn key(&self) -> ChannelKey {
        key_of(b"sterna channel v1\0", &self.0)
    }
}

fn key_of(domain: &[u8], name: &str) -> ChannelKey {
    let mut hash = Sha256::new();
    hash.update(domain);
    hash.update(name.as_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finalize()[..16]);
    ChannelKey(key)
}

/// Number of placement slots.
pub const SLOTS: u16 = 2048;

/// Truncated SHA-256 of a channel's name: uniform, so that no range of it is hot, and long enough
/// that nobody finds two names with one key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelKey(pub [u8; 16]);

impl ChannelKey {
    /// The placement slot: the first 11 bits.
    pub fn slot(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]]) >> 5
    }
}

impl fmt::Debug for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelKey(")?;
        for byte in &self.0[..4] {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("…)")
    }
}

/// Name of a stored publication: a Snowflake of 41 bits of milliseconds since 2024-01-01, 10 bits
/// of worker, 12 bits of sequence. Never repeats (I10); never used for order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicationId(pub u64);

/// Names a session to the client and in logs. 128 random bits, but no secret: the right to
/// continue a session is the resume ticket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u128);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}…", self.0 >> 96)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_channel_has_one_name() {
        let (alice, bob) = (UserId::new("alice").unwrap(), UserId::new("bob").unwrap());
        let channel = ChannelId::direct(&bob, &alice).unwrap();
        assert_eq!(channel.as_str(), "dm:alice:bob");
        assert_eq!(channel.direct_users(), Ok(Some((alice, bob))));
        for bad in ["dm:bob:alice", "dm:alice:alice", "dm:alice", "dm::bob", "dm:a:b:c"] {
            assert!(ChannelId::new(bad).unwrap().direct_users().is_err(), "{bad}");
        }
        assert_eq!(ChannelId::new("room:42").unwrap().direct_users(), Ok(None));
    }

    #[test]
    fn an_inbox_has_the_key_of_no_channel() {
        let alice = UserId::new("alice").unwrap();
        assert_ne!(alice.inbox_key(), ChannelId::new("alice").unwrap().key());
        assert_ne!(alice.inbox_key(), UserId::new("bob").unwrap().inbox_key());
    }

    #[test]
    fn names_are_bounded_and_printable() {
        assert!(ChannelId::new("räum/東京:42").is_ok());
        for bad in ["", "a b", "a\nb", "a\u{1b}[0m", "a*", "a\u{202e}b"] {
            assert!(ChannelId::new(bad).is_err(), "{bad:?}");
        }
        assert!(ChannelId::new(&"x".repeat(limits::CHANNEL_BYTES + 1)).is_err());
        assert!(UserId::new("alice:bob").is_err(), "would make direct names ambiguous");
    }

    #[test]
    fn i3_a_client_id_belongs_to_its_user() {
        let (alice, mallory) = (UserId::new("alice").unwrap(), UserId::new("mallory").unwrap());
        let phone = ClientId::new("phone").unwrap();
        assert_eq!(phone.of_user(&alice), phone.of_user(&alice));
        assert_ne!(phone.of_user(&alice), phone.of_user(&mallory));
        assert!(ClientId::new(phone.of_user(&alice).as_str()).is_ok());
    }

    #[test]
    fn keys_are_stable_and_spread_over_slots() {
        let key = ChannelId::new("room:42").unwrap().key();
        assert_eq!(key, ChannelId::new("room:42").unwrap().key());
        let slots: std::collections::HashSet<u16> =
            (0..4096).map(|n| ChannelId::new(&format!("room:{n}")).unwrap().key().slot()).collect();
        assert!(slots.len() > 1500, "{}", slots.len());
        assert!(slots.iter().all(|slot| *slot < SLOTS));
    }
}
