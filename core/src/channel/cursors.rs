//! Cursors of members on their way to the store: merged by maximum (I8), written together, and told
//! to others once written. A move that comes by itself costs no more than the next write.

use std::collections::HashMap;

use ahash::RandomState;
use sterna_proto::{ChannelKey, ErrorCode, Offset, UserId, v1};
use sterna_storage::{CursorMove, MemberCursor, StorageError, StorageErrorKind};

use crate::channel::shard::Shard;
use crate::channel::work::Done;
use crate::link::{Audience, LinkPush};
use crate::push::EncodedPush;

/// Cursors remembered of one channel; above, all are forgotten. They only save writes.
const CURSORS_KNOWN: usize = 4096;

/// Cursor moves of one shard.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    /// Wait to be written together; newest per member and channel.
    moves: HashMap<(ChannelKey, UserId), CursorMove, RandomState>,
    writing: bool,
}

/// Cursors of one channel that are known to be stored.
#[derive(Debug, Default)]
pub(crate) struct KnownCursors(HashMap<UserId, (Offset, Offset), RandomState>);

impl Cursors {
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty()
    }
}

impl KnownCursors {
    fn note(&mut self, cursor: &MemberCursor) {
        if self.0.len() >= CURSORS_KNOWN && !self.0.contains_key(&cursor.user) {
            self.0.clear();
        }
        self.0.insert(cursor.user.clone(), (cursor.delivered, cursor.read));
    }

    fn reaches(&self, user: &UserId, offset: Offset) -> bool {
        self.0.get(user).is_some_and(|(delivered, read)| offset <= (*delivered).min(*read))
    }
}

impl Shard {
    /// Moves a member's cursors forward, within a moment and without waiting for it.
    pub(super) fn move_cursor(
        &mut self,
        key: ChannelKey,
        user: UserId,
        delivered: Offset,
        read: Offset,
    ) -> Result<(), v1::Error> {
        let full = self.cursors.moves.len() >= self.context.config.queues.cursor_moves;
        let place = (key, user);
        if full && !self.cursors.moves.contains_key(&place) {
            metrics::counter!("sterna_core_cursor_moves_dropped_total").increment(1);
            let message = "too many cursors wait to be stored; try again";
            return Err(v1::Error::new(ErrorCode::Busy, message).with_retry_after_ms(500));
        }
        let user = place.1.clone();
        let entry = self.cursors.moves.entry(place).or_insert_with(|| CursorMove {
            channel: key,
            user,
            delivered: Offset::ZERO,
            read: Offset::ZERO,
        });
        entry.delivered = entry.delivered.max(delivered);
        entry.read = entry.read.max(read);
        Ok(())
    }

    /// Sending implies reading: whoever published at `offset` has read the channel up to there.
    pub(super) fn read_by_sending(&mut self, key: ChannelKey, user: UserId, offset: Offset) {
        let state = self.channels.get(&key);
        if state.is_some_and(|state| state.cursors.reaches(&user, offset)) {
            return;
        }
        // Dropped (and counted) when too many wait: the next publication or cursor covers it.
        let _ = self.move_cursor(key, user, offset, offset);
    }

    pub(super) fn start_cursor_write(&mut self) {
        if self.cursors.moves.is_empty() || self.cursors.writing {
            return;
        }
        self.cursors.writing = true;
        let moves: Vec<CursorMove> = self.cursors.moves.drain().map(|(_, value)| value).collect();
        let cursors = self.context.stores.cursors.clone();
        self.work.push(Box::pin(async move {
            let result = cursors.advance(moves.clone()).await;
            Done::CursorsMoved { moves, result }
        }));
    }

    pub(super) fn on_cursors_moved(
        &mut self,
        moves: Vec<CursorMove>,
        result: Result<Vec<MemberCursor>, StorageError>,
    ) {
        self.cursors.writing = false;
        let cursors = match result {
            Ok(cursors) => cursors,
            Err(error) => {
                self.note_storage_error(&error);
                if error.kind != StorageErrorKind::Fatal {
                    for lost in moves {
                        // Merged by maximum, so what came meanwhile is not undone.
                        let _ =
                            self.move_cursor(lost.channel, lost.user, lost.delivered, lost.read);
                    }
                }
                return;
            }
        };
        self.on_inbox_read(&moves);
        for (key, cursor) in moves.iter().map(|m| m.channel).zip(cursors) {
            let Some(state) = self.channels.get_mut(&key) else { continue };
            state.cursors.note(&cursor);
            if state.receipt_interest.is_empty() {
                continue;
            }
            let receipt = v1::Receipt {
                channel: state.name.to_string(),
                user: cursor.user.to_string(),
                delivered_offset: cursor.delivered.0,
                read_offset: cursor.read.0,
            };
            let push = EncodedPush::new(v1::push::Event::Receipt(receipt));
            self.spread(key, &LinkPush::Event { channel: key, audience: Audience::Receipts, push });
        }
    }
}
