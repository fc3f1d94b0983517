//! Role: what channels keep and for how long: retention, holds, what was redacted, data keys.
//!
//! Every engine makes an [`Order`] by [`decide`], in one atomic step with the row that it changes:
//! so a hold that was set is met by whatever comes behind it, at whichever node.

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use sterna_proto::{ChannelKey, Offset, UserId};

use crate::StorageError;

#[cfg(test)]
mod fuzz_tests;
pub mod stored;

/// What is kept of a channel, and what of it is given to nobody any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Counts the changes; 0: nothing was ever ordered.
    pub version: u64,
    /// The channel's own; `None`: what the configuration says for its kind.
    pub retention: Option<Retention>,
    pub hold: Option<Author>,
    /// Nothing before this offset is given to anybody, wherever it lies.
    pub floor: Offset,
    /// There are redactions.
    pub redacted: bool,
    /// The archive gets payloads of this channel sealed, where marked channels are.
    pub sealed: bool,
    /// Data keys that the channel ever had.
    pub keys_made: u32,
    pub key: Option<WrappedKey>,
    /// Who has erased the channel last, and with it destroyed the keys up to then.
    pub erased: Option<Author>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            version: 0,
            retention: None,
            hold: None,
            floor: Offset(1),
            redacted: false,
            sealed: false,
            keys_made: 0,
            key: None,
            erased: None,
        }
    }
}

/// How long publications stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    Forever,
    /// Milliseconds since their server time.
    Millis(u64),
}

/// Who wanted something, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    pub by: UserId,
    pub at_ms: u64,
    /// At most [`REASON_BYTES`].
    pub reason: String,
}

/// Longest [`Author::reason`].
pub const REASON_BYTES: usize = 512;

/// A channel's data key as the store has it: useless without the root key that it is wrapped by.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// Counts the keys of the channel from 1.
    pub id: u32,
    /// Which root key.
    pub root: u64,
    /// At most [`WRAPPED_BYTES`].
    pub wrapped: Vec<u8>,
}

/// Longest [`WrappedKey::wrapped`].
pub const WRAPPED_BYTES: usize = 256;

impl Debug for WrappedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WrappedKey({} by {:016x})", self.id, self.root)
    }
}

/// A publication whose payload is given to nobody any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redaction {
    pub offset: Offset,
    pub author: Author,
}

/// What was ordered, for whoever looks into it later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// [`Kept::version`] with it.
    pub version: u64,
    pub author: Author,
    /// In words.
    pub what: String,
}

/// What is wanted of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    SetRetention(Option<Retention>),
    /// Nothing is given up until the hold ends.
    Hold,
    Release,
    /// At most [`REDACTED_AT_ONCE`].
    Redact(Vec<Offset>),
    /// Everything up to here is given up, and the data key destroyed.
    Erase {
        upto: Offset,
    },
    Seal(bool),
    /// What is older than the retention is given up: a matter of course, and no deed.
    RaiseFloor(Offset),
    /// The channel's first key, or the one after a destroyed one. Of two at one time only one is put,
    /// since what the other one has sealed could never be opened.
    PutKey(WrappedKey),
    /// The present key under another root key.
    Rewrap {
        from_root: u64,
        key: WrappedKey,
    },
}

/// Most offsets of one redaction.
pub const REDACTED_AT_ONCE: usize = 100;

/// Why an order was not carried out; nothing has changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeepingError {
    /// The channel is on hold, and this would give something up.
    #[error("the channel is on hold by {}: {}", .0.by, .0.reason)]
    OnHold(Author),
    /// The channel has another key by now: look, and decide anew.
    #[error("the channel has another key meanwhile")]
    OtherKey,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What an order changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The channel's row afterwards.
    pub kept: Kept,
    /// New redactions, which replace none that are there already.
    pub redactions: Vec<Redaction>,
    pub deed: Option<Deed>,
}

/// Writes are durable when they return, and made whole: row, redactions and deed together or none.
/// What was redacted stays so, floors never go down, and destroyed keys are not given again.
pub trait KeepingStore: Send + Sync + Debug + 'static {
    /// What is kept of channels, in the order asked for.
    fn kept(&self, channels: Vec<ChannelKey>) -> BoxFuture<'_, Result<Vec<Kept>, StorageError>>;

    /// Carries an order out; the row afterwards. The same order may be given again.
    fn keep(
        &self,
        channel: ChannelKey,
        order: Order,
        author: Author,
    ) -> BoxFuture<'_, Result<Kept, KeepingError>>;

    /// Redactions of a channel after an offset, in the order of offsets, at most `limit`.
    fn redactions(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Redaction>, StorageError>>;

    /// What was ordered, the latest first, with versions below `before`, at most `limit`.
    fn deeds(
        &self,
        channel: ChannelKey,
        before: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Deed>, StorageError>>;

    /// Raises the time up to which retention has been believed, which never goes back, and answers
    /// with the highest that anybody has raised it to. 0 asks, and 0 is the answer of a new store.
    fn raise_retention_clock(&self, to_ms: u64) -> BoxFuture<'_, Result<u64, StorageError>>;
}

/// What every engine decides of an order; `None`: it changes nothing.
///
/// # Errors
/// [`KeepingError::OnHold`] and [`KeepingError::OtherKey`].
pub fn decide(kept: &Kept, order: Order, author: &Author) -> Result<Option<Decided>, KeepingError> {
    if let Some(hold) = &kept.hold
        && order.gives_up()
    {
        return Err(KeepingError::OnHold(hold.clone()));
    }
    let what = order.words();
    let (mut next, mut redactions) = (kept.clone(), Vec::new());
    match order {
        Order::SetRetention(retention) => next.retention = retention,
        Order::Hold => drop(next.hold.get_or_insert_with(|| author.clone())),
        Order::Release => next.hold = None,
        Order::Seal(sealed) => next.sealed = sealed,
        Order::RaiseFloor(floor) => next.floor = next.floor.max(floor),
        Order::Redact(mut offsets) => {
            offsets.sort_unstable();
            offsets.dedup();
            offsets.retain(|offset| *offset >= kept.floor);
            let redaction = |offset| Redaction { offset, author: author.clone() };
            redactions = offsets.into_iter().map(redaction).collect();
            next.redacted |= !redactions.is_empty();
        }
        Order::Erase { upto } => {
            let floor = upto.next();
            if floor > next.floor || next.key.is_some() || next.erased.is_none() {
                (next.floor, next.key) = (next.floor.max(floor), None);
                next.erased = Some(author.clone());
            }
        }
        Order::PutKey(key) => {
            let is_next = next.key.is_none() && key.id == next.keys_made + 1;
            // The same once more: whoever has put it did not hear the answer.
            if !is_next && next.key.as_ref() != Some(&key) {
                return Err(KeepingError::OtherKey);
            }
            (next.keys_made, next.key) = (key.id, Some(key));
        }
        Order::Rewrap { from_root, key } => {
            let present = next.key.as_ref().filter(|present| present.id == key.id);
            match present.map(|present| present.root) {
                Some(root) if root == from_root => next.key = Some(key),
                // Another node was faster.
                Some(root) if root == key.root => {}
                _ => return Err(KeepingError::OtherKey),
            }
        }
    }
    if next == *kept && redactions.is_empty() {
        return Ok(None);
    }
    next.version += 1;
    let deed = what.map(|what| Deed { version: next.version, author: author.clone(), what });
    Ok(Some(Decided { kept: next, redactions, deed }))
}

impl Order {
    /// Whether something would be gone that was there.
    pub fn gives_up(&self) -> bool {
        matches!(self, Self::Redact(_) | Self::Erase { .. } | Self::RaiseFloor(_))
    }

    /// As a deed; `None`: nobody has to know later.
    fn words(&self) -> Option<String> {
        Some(match self {
            Self::SetRetention(None) => "retention as configured".to_owned(),
            Self::SetRetention(Some(Retention::Forever)) => "retention forever".to_owned(),
            Self::SetRetention(Some(Retention::Millis(ms))) => format!("retention of {ms} ms"),
            Self::Hold => "put on hold".to_owned(),
            Self::Release => "released from hold".to_owned(),
            Self::Redact(offsets) => {
                let named: Vec<String> = offsets.iter().map(|it| it.0.to_string()).collect();
                format!("redacted {}", named.join(", "))
            }
            Self::Erase { upto } => format!("erased up to {}", upto.0),
            Self::Seal(true) => "sealed in the archive from now on".to_owned(),
            Self::Seal(false) => "not sealed in the archive any more".to_owned(),
            Self::RaiseFloor(_) | Self::PutKey(_) | Self::Rewrap { .. } => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn author(reason: &str) -> Author {
        Author { by: UserId::new("api.ops").unwrap(), at_ms: 5, reason: reason.to_owned() }
    }

    fn made(kept: &Kept, order: Order) -> Kept {
        decide(kept, order, &author("r")).unwrap().map_or(kept.clone(), |decided| decided.kept)
    }

    #[test]
    fn a_hold_refuses_what_gives_something_up_and_nothing_else() {
        let held = made(&Kept::default(), Order::Hold);
        let key = WrappedKey { id: 1, root: 2, wrapped: vec![3] };
        for (order, refused) in [
            (Order::Redact(vec![Offset(3)]), true),
            (Order::Erase { upto: Offset(9) }, true),
            (Order::RaiseFloor(Offset(4)), true),
            (Order::SetRetention(Some(Retention::Millis(1))), false),
            (Order::Seal(true), false),
            (Order::PutKey(key), false),
            (Order::Hold, false),
            (Order::Release, false),
        ] {
            let verdict = decide(&held, order.clone(), &author("r"));
            assert_eq!(matches!(verdict, Err(KeepingError::OnHold(_))), refused, "{order:?}");
        }
    }

    #[test]
    fn a_second_hold_leaves_the_first_ones_reason() {
        let held = made(&Kept::default(), Order::Hold);
        assert_eq!(decide(&held, Order::Hold, &author("other")).unwrap(), None);
        assert_eq!(held.hold.unwrap().reason, "r");
    }

    #[test]
    fn floors_only_rise_and_what_is_below_is_not_redacted() {
        let kept = made(&Kept::default(), Order::RaiseFloor(Offset(7)));
        assert_eq!(made(&kept, Order::RaiseFloor(Offset(3))), kept);
        let order = Order::Redact([9, 3, 7, 9].map(Offset).to_vec());
        let decided = decide(&kept, order, &author("r")).unwrap().unwrap();
        let offsets: Vec<u64> = decided.redactions.iter().map(|it| it.offset.0).collect();
        assert_eq!(offsets, [7, 9]);
        assert_eq!(decide(&kept, Order::Redact(vec![Offset(6)]), &author("r")).unwrap(), None);
    }

    #[test]
    fn a_key_is_wrapped_anew_by_whoever_has_seen_the_present_one() {
        let key = |root| WrappedKey { id: 1, root, wrapped: vec![root as u8] };
        let kept = made(&Kept::default(), Order::PutKey(key(2)));
        let anew = |from_root, root| Order::Rewrap { from_root, key: key(root) };
        let rewrapped = made(&kept, anew(2, 3));
        assert_eq!((rewrapped.key.clone(), rewrapped.keys_made), (Some(key(3)), 1));
        assert_eq!(
            decide(&rewrapped, anew(2, 3), &author("r")).unwrap(),
            None,
            "somebody else has"
        );
        assert!(decide(&rewrapped, anew(2, 4), &author("r")).is_err());
    }

    #[test]
    fn a_destroyed_key_never_comes_back() {
        let key = |id| WrappedKey { id, root: 2, wrapped: vec![3] };
        let kept = made(&Kept::default(), Order::PutKey(key(1)));
        assert!(decide(&kept, Order::PutKey(key(2)), &author("r")).is_err());
        assert_eq!(decide(&kept, Order::PutKey(key(1)), &author("r")).unwrap(), None);
        let other = WrappedKey { wrapped: vec![4], ..key(1) };
        assert!(
            decide(&kept, Order::PutKey(other), &author("r")).is_err(),
            "sealed with the first"
        );
        let erased = made(&kept, Order::Erase { upto: Offset(4) });
        assert_eq!((erased.key.clone(), erased.floor), (None, Offset(5)));
        assert!(decide(&erased, Order::PutKey(key(1)), &author("r")).is_err());
        let anew = Order::Rewrap { from_root: 2, key: key(1) };
        assert!(decide(&erased, anew, &author("r")).is_err());
        assert_eq!(made(&erased, Order::PutKey(key(2))).keys_made, 2);
    }
}
