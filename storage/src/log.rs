//! Role: the publication log. Its commit is the only authority for order, duplicates and
//! durability.

use std::fmt::Debug;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use sterna_proto::{ChannelKey, Epoch, Offset, Position, PublicationId};

use crate::{
    MembershipChange, NewRecord, Origin, Record, StorageError, StorageErrorKind, TierLookups,
};

/// Where a channel's log ends, and which epochs it went through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub position: Position,
    /// The oldest offset that can still be read, 1 until something is trimmed. One beyond the
    /// newest record if all are.
    pub first: Offset,
    /// The highest server time of any record. The caller makes no record earlier than that; an
    /// engine stores the time that it is given.
    pub last_ts_ms: u64,
    /// Every epoch and the first offset in it, oldest first. Never empty.
    pub epochs: Vec<EpochStart>,
}

/// An epoch begins at this offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    pub epoch: Epoch,
    pub first: Offset,
}

/// Records to be put behind a head.
#[derive(Debug, Clone)]
pub struct Append {
    pub channel: ChannelKey,
    /// The head that the caller has seen, `None` if the channel has no record yet.
    pub expected: Option<Position>,
    /// At least one. They take the offsets that follow, in this order.
    pub records: Vec<NewRecord>,
    /// Stored in the same step, in the slot of the channel, if and only if the append takes
    /// effect.
    pub intents: Vec<Bytes>,
    /// Take effect in the same step, in this order, if and only if the append does. So whoever has
    /// read the log up to a head knows the members as of that head (I11).
    pub members: Vec<MembershipChange>,
}

impl Append {
    /// Records alone.
    pub fn new(channel: ChannelKey, expected: Option<Position>, records: Vec<NewRecord>) -> Self {
        Self { channel, expected, records, intents: Vec::new(), members: Vec::new() }
    }
}

/// A channel whose records lie elsewhere, in an archive: its log begins behind them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    pub channel: ChannelKey,
    /// The newest record that lies elsewhere.
    pub last: Position,
    /// The highest server time of any of them.
    pub last_ts_ms: u64,
    /// Every epoch that they went through, as in [`Head::epochs`]; it ends with that of `last`.
    pub epochs: Vec<EpochStart>,
    /// Opened by the marker, and later than any that anybody may have seen.
    pub epoch: Epoch,
    /// The log's first record, of kind EPOCH.
    pub marker: NewRecord,
    /// Take effect in the same step, if and only if the adoption does.
    pub members: Vec<MembershipChange>,
}

/// Why one append of a commit did not happen. The others of the commit are not affected.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The head is not the expected one: take this one and try again.
    #[error("the head has moved")]
    Conflict { head: Option<Head> },
    /// Some records were stored before; nothing of this append was stored. Take them out and try
    /// again.
    #[error("{} records were stored before", .0.len())]
    Duplicates(Vec<Duplicate>),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why there is no page.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The page would begin below the trim point: everything before `first` is gone from this log
    /// and has to be read elsewhere or named to the client as a gap.
    #[error("trimmed: the log begins at offset {}", first.0)]
    Trimmed { first: Offset },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// For callers that know of no trimming: the page cannot be had, now or later.
impl From<ReadError> for StorageError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Storage(error) => error,
            ReadError::Trimmed { .. } => {
                Self::new(StorageErrorKind::Unavailable, "log", error.to_string())
            }
        }
    }
}

/// What an earlier attempt stored under the same origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// Index into `Append::records`; 0 from [`PublicationLog::find`].
    pub index: usize,
    /// Offset 0 if nothing is stored yet and the twin stands earlier in the same append: the
    /// answer is then the one that its twin will get.
    pub position: Position,
    pub id: PublicationId,
    pub server_ts_ms: u64,
    /// [`NewRecord::fingerprint`] of what was stored: another one is a conflict (I3).
    pub fingerprint: u64,
}

/// How much a page may hold. It ends before the record that would pass either number; the first
/// record always fits, whatever the limit, so that a reader always gets on.
#[derive(Debug, Clone, Copy)]
pub struct PageLimit {
    pub records: usize,
    pub payload_bytes: usize,
}

impl PageLimit {
    /// Room for one page.
    pub fn start(self) -> PageRoom {
        PageRoom { left: self, empty: true }
    }
}

/// What is left of a page while it fills, the same arithmetic for every engine.
#[derive(Debug)]
pub struct PageRoom {
    left: PageLimit,
    empty: bool,
}

impl PageRoom {
    /// True when no further record of any size belongs to the page.
    pub fn is_full(&self) -> bool {
        !self.empty && self.left.records == 0
    }

    /// True when a record of this size still belongs to the page.
    pub fn take(&mut self, payload_bytes: usize) -> bool {
        let fits = self.left.records > 0 && self.left.payload_bytes >= payload_bytes;
        if !fits && !self.empty {
            return false;
        }
        self.empty = false;
        // The first record of a page may be beyond its limits; no other follows it then, not even
        // an empty one.
        self.left.records = if fits { self.left.records - 1 } else { 0 };
        self.left.payload_bytes = self.left.payload_bytes.saturating_sub(payload_bytes);
        true
    }
}

/// Guarantees, which the conformance suite checks:
///
/// * *Compare-and-append*: an append takes effect only if the head is the expected one, and then
///   wholly: records, dedup rows and head in one atomic, durable step (I1, I2).
/// * Offsets are dense from 1; commit order is offset order (I2).
/// * An origin is stored at most once per channel inside the dedup horizon of 7 days (I3), also
///   within one append.
/// * `read` after a successful `append` sees it; nothing uncommitted is ever seen (I4).
/// * A new channel's epoch is the store's birth in seconds since 2024-01-01 UTC, so that a client
///   of a store that was wiped notices (I5).
/// * A trim takes away the oldest records and nothing else: the head stays, origins are recognised
///   as before, and what is gone is answered as [`ReadError::Trimmed`], never as an empty page.
pub trait PublicationLog: Send + Sync + Debug + 'static {
    /// Appends to several channels in one commit, each with its own verdict, in the order given.
    /// No channel occurs twice in one call, and no append is without records. An
    /// `Err(StorageError)` of kind `Unknown` means that the caller must look the origins up before
    /// it tries again. What was asked for may still take effect when the future is dropped.
    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Vec<Result<Head, AppendError>>>;

    /// The head, `None` for a channel without records.
    fn head(&self, channel: ChannelKey) -> BoxFuture<'_, Result<Option<Head>, StorageError>>;

    /// The heads of several channels, in the order asked for.
    fn heads(
        &self,
        channels: Vec<ChannelKey>,
    ) -> BoxFuture<'_, Result<Vec<Option<Head>>, StorageError>> {
        Box::pin(async move {
            let mut heads = Vec::with_capacity(channels.len());
            for channel in channels {
                heads.push(self.head(channel).await?);
            }
            Ok(heads)
        })
    }

    /// The channels of a slot that have records, with their heads, in key order after `after`, at
    /// most `limit`. Channels that get their first record meanwhile may be missing.
    fn slot_heads(
        &self,
        slot: u16,
        after: Option<ChannelKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(ChannelKey, Head)>, StorageError>>;

    /// The records after an offset, oldest first. A hole in the answer is impossible: an engine
    /// that finds one returns `Corrupt`.
    fn read(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>>;

    /// What is stored under an origin.
    fn find(
        &self,
        channel: ChannelKey,
        origin: Origin,
    ) -> BoxFuture<'_, Result<Option<Duplicate>, StorageError>>;

    /// Opens the epoch after the expected one by appending a marker record (kind EPOCH), which
    /// takes an offset. Only for takeover, restore and repair.
    fn raise_epoch(
        &self,
        channel: ChannelKey,
        expected: Position,
        marker: NewRecord,
    ) -> BoxFuture<'_, Result<Head, AppendError>>;

    /// Has the log of a channel without records begin behind what lies elsewhere, with the marker of a
    /// new epoch. [`AppendError::Conflict`] for a channel with records. Only for rebuilding a store
    /// that was lost, and so only of logs that are stores.
    fn adopt(&self, adoption: Adoption) -> BoxFuture<'_, Result<Head, AppendError>>;

    /// Gives up the records before `first` for good, at most all there are, and answers with the
    /// head afterwards. Never goes back. Space comes back by and by; a trim that was cut off is
    /// finished by asking for it again. `None` for a channel without records.
    fn trim(
        &self,
        channel: ChannelKey,
        first: Offset,
    ) -> BoxFuture<'_, Result<Option<Head>, StorageError>>;

    /// Empties the payloads of records for good; everything else of them stays, and they are
    /// recognised as before. Answers how many of them are there. A record that was trimmed, or that
    /// nobody has appended, is not.
    fn redact(
        &self,
        channel: ChannelKey,
        offsets: Vec<Offset>,
    ) -> BoxFuture<'_, Result<u64, StorageError>>;

    /// How often what stands before this log, or behind it, had what a read looked for there. For
    /// operators; nothing is decided by it.
    fn lookups(&self) -> Vec<TierLookups> {
        Vec::new()
    }

    /// Completes when everything appended before the call is durable and closes the engine for
    /// further appends, which are then answered with `Unavailable`. Called at shutdown; a second
    /// call changes nothing.
    fn close(&self) -> BoxFuture<'_, Result<(), StorageError>>;
}
