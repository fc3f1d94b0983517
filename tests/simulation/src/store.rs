//! The store that all nodes of a schedule share, and each node's own way to it. The engine is the
//! one of `sterna-storage`; here it is made slow, unreadable and deaf, commits are written down,
//! and an older backup can be put in its place.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sterna_proto::{ChannelId, ChannelKey, Epoch, Offset, Position, PublicationId, UserId, v1};
use sterna_storage::MemoryStore;
use sterna_storage::fault::FaultyLog;
use sterna_storage::{
    Append, AppendError, BoxFuture, CursorMove, CursorStore, Duplicate, Head, LogLayer,
    MemberCursor, NewRecord, Origin, PageLimit, PublicationLog, ReadError, Record, StorageError,
    StorageErrorKind, Stores,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::history::{Book, Item, Text, What};

/// Every record there is.
const ALL: PageLimit = PageLimit { records: usize::MAX, payload_bytes: usize::MAX };

/// How long after its caller has given up an append takes effect.
const LATE: Duration = Duration::from_millis(40);

/// The epoch of channels in a new store.
const FIRST_BIRTH: Epoch = Epoch(7);

/// The names of channels, by their index.
#[derive(Debug, Clone)]
pub struct Names(Arc<[ChannelId]>);

impl Names {
    /// The first is open to all, the others are for members.
    pub fn new(count: usize) -> Self {
        let name =
            |index: usize| if index == 0 { "room:0".into() } else { format!("club:{index}") };
        let names = (0..count).filter_map(|index| ChannelId::new(&name(index)).ok());
        Self(names.collect())
    }

    pub fn name(&self, channel: usize) -> &ChannelId {
        &self.0[channel]
    }

    pub fn all(&self) -> &[ChannelId] {
        &self.0
    }

    pub fn index(&self, name: &str) -> usize {
        self.0.iter().position(|known| known.as_str() == name).unwrap_or(usize::MAX)
    }

    pub fn of_key(&self, key: ChannelKey) -> usize {
        self.0.iter().position(|known| known.key() == key).unwrap_or(usize::MAX)
    }
}

/// The user of that number.
pub fn user(number: u32) -> UserId {
    UserId::new(&format!("user-{number}")).unwrap_or_else(|_| unreachable!("a good name"))
}

/// The number of a user.
pub fn user_number(name: &str) -> u32 {
    name.strip_prefix("user-").and_then(|number| number.parse().ok()).unwrap_or(u32::MAX)
}

/// One content, until a backup is put back.
#[derive(Debug, Clone)]
pub struct SharedStore {
    memory: MemoryStore,
    birth: Epoch,
    pub faulty: Arc<FaultyLog>,
    names: Names,
    book: Book,
    /// A backup was put in its place: what is still stored here is nobody's.
    replaced: Arc<AtomicBool>,
    /// Appends that take effect although nobody waits for them.
    late: Arc<Mutex<JoinSet<()>>>,
}

/// What is wrong with one node's way to the store.
#[derive(Debug, Default)]
pub struct Way {
    dead: AtomicBool,
    unreadable: AtomicBool,
    delay_ms: AtomicU64,
    /// Neither questions nor answers arrive.
    frozen: watch::Sender<bool>,
    /// So many appends take effect after their caller has given up.
    late: AtomicU64,
}

impl Way {
    /// Nothing that the node asks for from now on is heard.
    pub fn end(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    pub fn set_unreadable(&self, unreadable: bool) {
        self.unreadable.store(unreadable, Ordering::Relaxed);
    }

    pub fn set_delay(&self, delay: Duration) {
        self.delay_ms.store(delay.as_millis() as u64, Ordering::Relaxed);
    }

    pub fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    pub fn delay_appends(&self, count: u64) {
        self.late.store(count, Ordering::Relaxed);
    }

    /// A question is on its way to the store.
    pub async fn go(&self) -> Result<(), StorageError> {
        match self.delay_ms.load(Ordering::Relaxed) {
            0 => {}
            delay_ms => tokio::time::sleep(Duration::from_millis(delay_ms)).await,
        }
        self.back().await
    }

    /// An answer is on its way back.
    pub async fn back(&self) -> Result<(), StorageError> {
        let mut frozen = self.frozen.subscribe();
        let thawed = frozen.wait_for(|frozen| !frozen).await;
        thawed.unwrap_or_else(|_| unreachable!("self owns the sender"));
        self.check()
    }

    fn take_late(&self) -> bool {
        let one_less = |late: u64| late.checked_sub(1);
        self.late.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    fn check(&self) -> Result<(), StorageError> {
        if self.dead.load(Ordering::Relaxed) {
            let message = "the process has ended";
            return Err(StorageError::new(StorageErrorKind::Fatal, "simulated", message));
        }
        Ok(())
    }

    async fn go_to_read(&self) -> Result<(), StorageError> {
        self.go().await?;
        if self.unreadable.load(Ordering::Relaxed) {
            let message = "the log cannot be read";
            return Err(StorageError::new(StorageErrorKind::Unavailable, "simulated", message));
        }
        Ok(())
    }
}

impl SharedStore {
    pub fn new(names: Names, book: Book) -> Self {
        Self::on(MemoryStore::with_birth(FIRST_BIRTH), FIRST_BIRTH, names, book)
    }

    fn on(memory: MemoryStore, birth: Epoch, names: Names, book: Book) -> Self {
        let replaced = Arc::new(AtomicBool::new(false));
        let written = WrittenLog {
            inner: memory.clone(),
            names: names.clone(),
            book: book.clone(),
            replaced: replaced.clone(),
        };
        let faulty = Arc::new(FaultyLog::new(Arc::new(written)));
        Self { memory, birth, faulty, names, book, replaced, late: Arc::default() }
    }

    /// As the test sees it: nothing fails.
    pub fn plain(&self) -> Stores {
        self.memory.stores()
    }

    /// As one node sees it.
    pub fn through(&self, way: Arc<Way>) -> Stores {
        let mut stores = self.memory.stores();
        let late = self.late.clone();
        stores.log = Arc::new(NodeLog { inner: self.faulty.clone(), way: way.clone(), late });
        stores.cursors = Arc::new(NodeCursors {
            inner: stores.cursors.clone(),
            way,
            names: self.names.clone(),
            book: self.book.clone(),
        });
        stores
    }

    /// What the log holds.
    pub async fn items(&self, channel: usize) -> Vec<Item> {
        let key = self.names.name(channel).key();
        let records = self.memory.read(key, Offset::ZERO, ALL).await.unwrap_or_default();
        records.iter().map(item).collect()
    }

    /// An older backup of this content: without the last `lost` records of each channel, opened
    /// once as restored, so that every channel has a new epoch.
    pub async fn restored(&self, mut lost: impl FnMut(usize) -> u64) -> Result<Self, StorageError> {
        self.replaced.store(true, Ordering::Relaxed);
        let memory = MemoryStore::with_birth(FIRST_BIRTH);
        let (old, new) = (self.memory.stores(), memory.stores());
        for record in old.channels.channels(None, usize::MAX).await? {
            let members = old.channels.members(record.name.key(), None, usize::MAX).await?;
            let key = record.name.key();
            new.channels.create(record, members).await?;
            for cursor in old.cursors.cursors(key, usize::MAX).await? {
                let MemberCursor { user, delivered, read } = cursor;
                let copy = CursorMove { channel: key, user, delivered, read };
                new.cursors.advance(vec![copy]).await?;
            }
        }
        for worker in 0..64 {
            new.id_bound.raise_id_bound(worker, 0, old.id_bound.id_bound(worker).await?).await?;
        }
        let birth = Epoch(self.birth.0 + 1);
        for (channel, name) in self.names.all().iter().enumerate() {
            let records = old.log.read(name.key(), Offset::ZERO, ALL).await.unwrap_or_default();
            let keep = records.len().saturating_sub(lost(channel) as usize);
            // Made after the last time that a backup was put back.
            let opened = records.iter().rposition(is_marker);
            let keep = keep.max(opened.map_or(0, |at| at + 1));
            self.put_back(&memory, channel, &records[..keep]).await;
        }
        let memory = memory.reborn(birth);
        Ok(Self::on(memory, birth, self.names.clone(), self.book.clone()))
    }

    async fn put_back(&self, memory: &MemoryStore, channel: usize, records: &[Record]) {
        let key = self.names.name(channel).key();
        let first = records.first().map_or(self.birth, |record| record.position.epoch);
        let memory = memory.reborn(first);
        let mut head: Option<Head> = None;
        for record in records {
            let at = head.as_ref().map(|head| head.position);
            let marks = at.is_some_and(|at| at.epoch < record.position.epoch);
            let put = match (at, marks) {
                (Some(at), true) => memory.raise_epoch(key, at, record.body.clone()).await,
                _ => {
                    let one = Append::new(key, at, vec![record.body.clone()]);
                    memory.append(vec![one]).await.remove(0)
                }
            };
            match put {
                Ok(after) => head = Some(after),
                Err(error) => return self.book.note(What::Wrong(format!("backup: {error}"))),
            }
        }
        let Some(head) = head else {
            return self.book.note(What::Restored { channel, upto: 0, marker: None });
        };
        let upto = head.position.offset.0;
        let marker = marker(&head, self.birth.0 << 8 | channel as u32);
        let position = Position::new(head.position.epoch.0 + 1, upto + 1);
        let item = item(&Record::new(position, marker.clone()));
        match memory.raise_epoch(key, head.position, marker).await {
            Ok(_) => self.book.note(What::Restored { channel, upto, marker: Some(item) }),
            Err(error) => self.book.note(What::Wrong(format!("epoch: {error}"))),
        }
    }
}

fn is_marker(record: &Record) -> bool {
    record.body.kind == i32::from(v1::PublicationKind::Epoch)
}

fn marker(head: &Head, id: u32) -> NewRecord {
    let epoch = u64::from(head.position.epoch.0);
    NewRecord {
        // Of a worker number that no node has.
        id: PublicationId(1023 << 12 | u64::from(id) << 40 | epoch << 24),
        sender: user(0),
        origin: None,
        client_msg_id: bytes::Bytes::new(),
        server_ts_ms: head.last_ts_ms,
        client_ts_ms: 0,
        kind: v1::PublicationKind::Epoch.into(),
        target_offset: Offset::ZERO,
        payload: Text { client: Text::MARKER, seq: epoch + 1 }.to_bytes(),
    }
}

fn item(record: &Record) -> Item {
    Item {
        position: record.position,
        id: record.body.id.0,
        server_ts_ms: record.body.server_ts_ms,
        text: Text::of(record.body.kind, record.body.id.0, &record.body.payload),
    }
}

/// Writes every commit down at the moment it happens.
#[derive(Debug)]
struct WrittenLog {
    inner: MemoryStore,
    names: Names,
    book: Book,
    replaced: Arc<AtomicBool>,
}

impl WrittenLog {
    fn note(&self, channel: ChannelKey, records: Vec<NewRecord>, head: &Head) {
        if self.replaced.load(Ordering::Relaxed) {
            return;
        }
        let channel = self.names.of_key(channel);
        let before = head.position.offset.0 - records.len() as u64;
        for (offset, body) in (before + 1..).zip(records) {
            let position = Position { offset: Offset(offset), epoch: head.position.epoch };
            let item = item(&Record::new(position, body));
            self.book.note(What::Committed { channel, item });
        }
    }
}

impl LogLayer for WrittenLog {
    fn behind(&self) -> &dyn PublicationLog {
        &self.inner
    }

    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Vec<Result<Head, AppendError>>> {
        Box::pin(async move {
            let asked: Vec<_> = appends.iter().map(|a| (a.channel, a.records.clone())).collect();
            let verdicts = self.inner.append(appends).await;
            for ((channel, records), verdict) in asked.into_iter().zip(&verdicts) {
                if let Ok(head) = verdict {
                    self.note(channel, records, head);
                }
            }
            verdicts
        })
    }

    /// Other nodes go on.
    fn close(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async { Ok(()) })
    }
}

/// One node's way to the log.
#[derive(Debug)]
struct NodeLog {
    inner: Arc<dyn PublicationLog>,
    way: Arc<Way>,
    late: Arc<Mutex<JoinSet<()>>>,
}

impl NodeLog {
    /// As when a connection is lost that has sent a transaction: the server carries it out.
    fn append_late(&self, appends: Vec<Append>) -> StorageError {
        let log = self.inner.clone();
        self.late.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move {
            tokio::time::sleep(LATE).await;
            log.append(appends).await;
        });
        StorageError::new(StorageErrorKind::Unknown, "simulated", "the connection was lost")
    }
}

impl LogLayer for NodeLog {
    fn behind(&self) -> &dyn PublicationLog {
        &*self.inner
    }

    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Vec<Result<Head, AppendError>>> {
        Box::pin(async move {
            let count = appends.len();
            let refused = |error: StorageError| (0..count).map(move |_| Err(error.clone().into()));
            if let Err(error) = self.way.go().await {
                return refused(error).collect();
            }
            if self.way.take_late() {
                return refused(self.append_late(appends)).collect();
            }
            let verdicts = self.inner.append(appends).await;
            match self.way.back().await {
                Ok(()) => verdicts,
                // What was stored by then is stored.
                Err(error) => refused(error).collect(),
            }
        })
    }

    fn head(&self, channel: ChannelKey) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        Box::pin(async move {
            self.way.go_to_read().await?;
            let found = self.inner.head(channel).await;
            self.way.back().await?;
            found
        })
    }

    fn slot_heads(
        &self,
        slot: u16,
        after: Option<ChannelKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(ChannelKey, Head)>, StorageError>> {
        Box::pin(async move {
            self.way.go_to_read().await?;
            let found = self.inner.slot_heads(slot, after, limit).await;
            self.way.back().await?;
            found
        })
    }

    fn read(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        Box::pin(async move {
            self.way.go_to_read().await?;
            let found = self.inner.read(channel, after, limit).await;
            self.way.back().await?;
            found
        })
    }

    fn find(
        &self,
        channel: ChannelKey,
        origin: Origin,
    ) -> BoxFuture<'_, Result<Option<Duplicate>, StorageError>> {
        Box::pin(async move {
            self.way.go_to_read().await?;
            let found = self.inner.find(channel, origin).await;
            self.way.back().await?;
            found
        })
    }

    fn raise_epoch(
        &self,
        channel: ChannelKey,
        expected: Position,
        marker: NewRecord,
    ) -> BoxFuture<'_, Result<Head, AppendError>> {
        Box::pin(async move {
            self.way.go().await?;
            self.inner.raise_epoch(channel, expected, marker).await
        })
    }

    fn trim(
        &self,
        channel: ChannelKey,
        first: Offset,
    ) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        Box::pin(async move {
            self.way.go().await?;
            self.inner.trim(channel, first).await
        })
    }

    fn redact(
        &self,
        channel: ChannelKey,
        offsets: Vec<Offset>,
    ) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(async move {
            self.way.go().await?;
            let redacted = self.inner.redact(channel, offsets).await;
            self.way.back().await?;
            redacted
        })
    }
}

/// One node's way to the cursors; what is stored is written down.
#[derive(Debug)]
struct NodeCursors {
    inner: Arc<dyn CursorStore>,
    way: Arc<Way>,
    names: Names,
    book: Book,
}

impl CursorStore for NodeCursors {
    fn advance(
        &self,
        moves: Vec<CursorMove>,
    ) -> BoxFuture<'_, Result<Vec<MemberCursor>, StorageError>> {
        Box::pin(async move {
            self.way.go().await?;
            let channels: Vec<usize> =
                moves.iter().map(|wish| self.names.of_key(wish.channel)).collect();
            let stored = self.inner.advance(moves).await?;
            for (channel, cursor) in channels.into_iter().zip(&stored) {
                let user = user_number(cursor.user.as_str());
                let (delivered, read) = (cursor.delivered.0, cursor.read.0);
                self.book.note(What::CursorStored { channel, user, delivered, read });
            }
            Ok(stored)
        })
    }

    fn cursor(
        &self,
        channel: ChannelKey,
        user: UserId,
    ) -> BoxFuture<'_, Result<Option<MemberCursor>, StorageError>> {
        self.inner.cursor(channel, user)
    }

    fn cursors(
        &self,
        channel: ChannelKey,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<MemberCursor>, StorageError>> {
        self.inner.cursors(channel, limit)
    }
}
