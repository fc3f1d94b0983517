//! Members of channels. The log has the changes, each with the append that it came with; a table has
//! the members as of one record of the log, and says which. Whoever asks brings it up to the head of
//! the log first, so that nobody sees fewer changes than records (I11). One partition holds a channel
//! and its members, and every change of it is conditional: many may bring it up at once.

use std::collections::BTreeMap;

use bytes::{Buf as _, BufMut as _, Bytes};
use sterna_proto::v1::Role;
use sterna_proto::{ChannelKey, Offset, UserId};
use sterna_storage::{ChannelRecord, Membership, MembershipChange, StorageError};

use crate::columns::{Columns, Value, Values, big, int, integer, key, null, set, text, words};
use crate::cql::{Bound, Uncertain};
use crate::engine::Engine;
use crate::failure::{corrupt, overtaken};
use crate::items;
use crate::tip::{Look, Tip};

/// What becomes of users, the last word on each.
pub(crate) type Outcome = BTreeMap<UserId, Option<Membership>>;

/// Of a channel, as it is settled: what all its writers compare.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) record: Option<ChannelRecord>,
    /// The record of the log that the members are as of.
    applied: Option<i64>,
    members: Option<i64>,
    pub(crate) tag: Option<i64>,
}

impl Known {
    pub(crate) fn applied(&self) -> Offset {
        Offset(self.applied.unwrap_or(0).cast_unsigned())
    }

    pub(crate) fn member_count(&self) -> u64 {
        self.members.unwrap_or(0).cast_unsigned()
    }

    pub(crate) fn was_applied(&self) -> Value {
        compared(self.applied)
    }
}

fn compared(number: Option<i64>) -> Value {
    number.map_or(null(), |number| set(scylla::value::CqlValue::BigInt(number)))
}

impl Engine {
    /// A channel whose members are at least as of the head that its log has now.
    pub(crate) async fn known(&self, channel: ChannelKey) -> Result<Known, StorageError> {
        let tip = self.tip(channel, Look::Settled).await?;
        self.apply_members(channel, tip.map_or(Offset::ZERO, |tip| tip.changed)).await
    }

    /// After an append with changes: so that the next who asks has nothing to do. If it fails, whoever
    /// asks does it.
    pub(crate) async fn apply_early(&self, channel: ChannelKey, changed: Offset) {
        if let Err(error) = self.apply_members(channel, changed).await {
            tracing::debug!(%error, "changes of members wait to be applied");
        }
    }

    /// Brings the members up to a record of the log that came with changes.
    pub(crate) async fn apply_members(
        &self,
        channel: ChannelKey,
        changed: Offset,
    ) -> Result<Known, StorageError> {
        for _ in 0..=self.retries {
            let known = self.settled_channel(channel).await?;
            if known.applied() >= changed {
                return Ok(known);
            }
            let Some(changes) = self.changes_since(channel, known.applied(), changed).await? else {
                // Trimmed, so applied: what was read was older.
                continue;
            };
            self.apply_some(channel, known, changes).await?;
        }
        Err(overtaken("a change of members"))
    }

    pub(crate) async fn settled_channel(&self, channel: ChannelKey) -> Result<Known, StorageError> {
        let found = self.cql.rows("channels", (&self.channels.settled, vec![key(channel)])).await?;
        found.into_iter().next().map_or(Ok(Known::default()), decode_known)
    }

    /// The changes behind one record up to another, oldest first; `None` if some are gone.
    async fn changes_since(
        &self,
        channel: ChannelKey,
        applied: Offset,
        changed: Offset,
    ) -> Result<Option<Vec<(Offset, Vec<MembershipChange>)>>, StorageError> {
        let Some(tip) = self.tip(channel, Look::Settled).await? else {
            return Err(corrupt("a channel with changes of members has no records"));
        };
        let mut found = Vec::new();
        let mut at = changed;
        while at > applied {
            let Some((changes, previous)) = self.changes_at(channel, &tip, at).await? else {
                if at >= tip.head.first {
                    let message = format!("the changes of members at offset {} are missing", at.0);
                    return Err(corrupt(message));
                }
                return Ok(None);
            };
            found.push((at, changes));
            if previous >= at {
                return Err(corrupt("changes of members do not lead back"));
            }
            at = previous;
        }
        found.reverse();
        Ok(Some(found))
    }

    async fn changes_at(
        &self,
        channel: ChannelKey,
        tip: &Tip,
        at: Offset,
    ) -> Result<Option<(Vec<MembershipChange>, Offset)>, StorageError> {
        let bucket = match self.bucket_of(channel, tip, at).await {
            Err(_) if at < tip.head.first => return Ok(None),
            bucket => bucket?,
        };
        let values = vec![key(channel), int(bucket), big(at.0)];
        let found = self.cql.rows("log", (&self.extras.members, values)).await?;
        let Some(mut row) = found.into_iter().next() else { return Ok(None) };
        let changes = decode(row.bytes()?).ok_or_else(|| row.damaged("changes of members"))?;
        Ok(Some((changes, row.offset()?)))
    }

    /// Applies the oldest changes, as many as one write may carry.
    async fn apply_some(
        &self,
        channel: ChannelKey,
        known: Known,
        changes: Vec<(Offset, Vec<MembershipChange>)>,
    ) -> Result<(), StorageError> {
        let mut outcome = Outcome::new();
        let mut applied = known.applied();
        for (at, some) in changes {
            if !outcome.is_empty() && outcome.len() + some.len() > CHANGES_PER_WRITE {
                break;
            }
            for change in some {
                match change {
                    MembershipChange::Set(member) => {
                        outcome.insert(member.user.clone(), Some(member));
                    }
                    MembershipChange::Removed(user) => {
                        outcome.insert(user, None);
                    }
                }
            }
            applied = at;
        }
        let count = self.count_after(channel, &known, &outcome).await?;
        let condition = vec![
            big(applied.0),
            big(count),
            key(channel),
            compared(known.applied),
            compared(known.members),
        ];
        let mut batch = vec![(&self.channels.apply, condition)];
        batch.extend(self.member_rows(channel, &outcome));
        match self.cql.decide(batch).await {
            // Also where somebody else has done it: the caller looks again.
            Ok(_) | Err(Uncertain::Unknown(_)) => Ok(()),
            Err(error) => Err(error.harmless()),
        }
    }

    /// How many members there are afterwards, if nobody changes any meanwhile.
    pub(crate) async fn count_after(
        &self,
        channel: ChannelKey,
        known: &Known,
        outcome: &Outcome,
    ) -> Result<u64, StorageError> {
        let mut count = known.member_count();
        for (user, after) in outcome {
            let before = self.member_row(channel, user).await?;
            match (before, after) {
                (None, Some(_)) => count += 1,
                (Some(_), None) => count = count.saturating_sub(1),
                _ => {}
            }
        }
        Ok(count)
    }

    /// The statements that make it so, with the row that the partition is found by.
    pub(crate) fn member_rows<'a>(
        &'a self,
        channel: ChannelKey,
        outcome: &Outcome,
    ) -> Vec<Bound<'a>> {
        let mut rows: Vec<Bound<'a>> = vec![(&self.channels.put_anchor, vec![key(channel)])];
        rows.extend(outcome.iter().map(|(user, after)| match after {
            Some(member) => (&self.channels.put_member, encode_member(channel, member)),
            None => (&self.channels.remove_member, vec![key(channel), text(user.as_str())]),
        }));
        rows
    }

    pub(crate) async fn member_row(
        &self,
        channel: ChannelKey,
        user: &UserId,
    ) -> Result<Option<Membership>, StorageError> {
        let values = vec![key(channel), text(user.as_str())];
        let found = self.cql.rows("channels", (&self.channels.member, values)).await?;
        found.into_iter().next().map(decode_member).transpose()
    }
}

fn encode_member(channel: ChannelKey, member: &Membership) -> Values {
    vec![key(channel), text(member.user.as_str()), int(member.role as i32), big(member.since_ms)]
}

pub(crate) fn decode_member(mut row: Columns) -> Result<Membership, StorageError> {
    Ok(Membership { user: row.user()?, role: row.variant()?, since_ms: row.bits()? })
}

fn decode_known(mut row: Columns) -> Result<Known, StorageError> {
    let record = match row.optional(words)? {
        None => {
            row.skip(RECORD_COLUMNS - 1);
            None
        }
        Some(name) => Some(ChannelRecord {
            name: sterna_proto::ChannelId::new(&name)
                .map_err(|error| row.damaged(&error.to_string()))?,
            kind: row.variant()?,
            access: row.variant()?,
            created_by: row.user()?,
            created_at_ms: row.bits()?,
        }),
    };
    let (applied, members) = (row.optional(integer)?, row.optional(integer)?);
    Ok(Known { record, applied, members, tag: row.optional(integer)? })
}

/// The changes of one append in one value.
pub(crate) fn encode(changes: &[MembershipChange]) -> Vec<u8> {
    let each = changes.iter().map(|change| {
        let mut item = Vec::new();
        match change {
            MembershipChange::Set(member) => {
                item.put_u8(SET);
                item.put_i32(member.role as i32);
                item.put_u64(member.since_ms);
            }
            MembershipChange::Removed(_) => item.put_u8(REMOVED),
        }
        item.extend_from_slice(change.user().as_str().as_bytes());
        Bytes::from(item)
    });
    items::encode(&each.collect::<Vec<_>>())
}

pub(crate) fn decode(stored: Bytes) -> Option<Vec<MembershipChange>> {
    items::decode(stored)?.into_iter().map(decode_change).collect()
}

fn decode_change(mut item: Bytes) -> Option<MembershipChange> {
    let set = match item.try_get_u8().ok()? {
        SET => {
            let role = Role::try_from(item.try_get_i32().ok()?).ok()?;
            Some((role, item.try_get_u64().ok()?))
        }
        REMOVED => None,
        _ => return None,
    };
    let user = UserId::new(std::str::from_utf8(&item).ok()?).ok()?;
    Some(match set {
        Some((role, since_ms)) => MembershipChange::Set(Membership { user, role, since_ms }),
        None => MembershipChange::Removed(user),
    })
}

const REMOVED: u8 = 0;
const SET: u8 = 1;

/// Columns of a channel's record in what [`crate::statements::Channels::settled`] selects.
const RECORD_COLUMNS: usize = 5;

/// Users in one conditional write; those of one append go together, however many.
const CHANGES_PER_WRITE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_and_damage_is_noticed() {
        let user = |name: &str| UserId::new(name).unwrap();
        let alice = Membership { user: user("alice"), role: Role::Admin, since_ms: u64::MAX };
        let changes = [MembershipChange::Set(alice), MembershipChange::Removed(user("bob"))];
        let stored = encode(&changes);
        assert_eq!(decode(stored.clone().into()), Some(changes.to_vec()));
        for damaged in [&stored[..6], &stored[..stored.len() - 1], &[0, 0, 0, 1, 7][..]] {
            assert_eq!(decode(damaged.to_vec().into()), None);
        }
    }
}
