//! Every statement of the store, prepared once. What kind of consistency each needs is said here and
//! nowhere else: `serial` reads see, and settle, whatever was decided before them; `quorum` reads see
//! what a writer was told is done; writes reach a majority of the datacenter.

use scylla::client::session::Session;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use sterna_storage::StorageError;

use crate::failure::unavailable;

/// Kinds of rows of `log`. One row of the first stands before all others, with nothing in it: the
/// statics are read with it, so that no look at a head passes what was deleted. What a trim takes away
/// comes before what is still owed.
pub(crate) const ANCHOR: i8 = -1;
pub(crate) const RECORD: i8 = 0;
pub(crate) const ORIGIN: i8 = 1;
pub(crate) const MEMBERS: i8 = 2;
pub(crate) const INTENTS: i8 = 3;

/// The statics of a bucket, in the order in which [`crate::tip`] takes them.
const STATICS: &str = "last, epoch, first, last_ts_ms, epochs, changed, base, bytes, sealed";

/// A record's columns, in the order in which [`crate::records`] takes them.
const RECORD_COLUMNS: &str = "number, at_epoch, id, sender, client_id, client_seq, client_msg_id, \
                              server_ts_ms, client_ts_ms, publication_kind, target, payload";

/// An origin's columns, in the order in which [`crate::origins`] takes them.
const ORIGIN_COLUMNS: &str = "client_seq, at_offset, at_epoch, id, server_ts_ms, fingerprint";

/// What is settled once.
#[derive(Debug)]
pub(crate) struct Meta {
    pub(crate) get: PreparedStatement,
    pub(crate) put: PreparedStatement,
}

/// Heads and buckets.
#[derive(Debug)]
pub(crate) struct Heads {
    pub(crate) settled: PreparedStatement,
    pub(crate) seen: PreparedStatement,
    pub(crate) begin: PreparedStatement,
    pub(crate) put_anchor: PreparedStatement,
    pub(crate) advance: PreparedStatement,
    pub(crate) trim: PreparedStatement,
    pub(crate) seal: PreparedStatement,
    pub(crate) written: PreparedStatement,
}

/// Rows of buckets.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) put_record: PreparedStatement,
    pub(crate) page: PreparedStatement,
    pub(crate) redact: PreparedStatement,
    pub(crate) tag: PreparedStatement,
    pub(crate) put_origin: PreparedStatement,
    pub(crate) origins_here: PreparedStatement,
    pub(crate) all_origins: PreparedStatement,
    pub(crate) origins_before: PreparedStatement,
    pub(crate) copy_origin: PreparedStatement,
}

/// Intents of slots, and the hints that lead to those of channels. Rows of a slot itself have an empty
/// channel; number 0 of these is the anchor.
#[derive(Debug)]
pub(crate) struct Owed {
    pub(crate) counts: PreparedStatement,
    pub(crate) put_anchor: PreparedStatement,
    pub(crate) raise_last: PreparedStatement,
    pub(crate) raise_completed: PreparedStatement,
    pub(crate) put: PreparedStatement,
    pub(crate) marks: PreparedStatement,
    pub(crate) page: PreparedStatement,
    pub(crate) written: PreparedStatement,
    pub(crate) forget: PreparedStatement,
    pub(crate) forget_mark: PreparedStatement,
}

/// Channels and members.
#[derive(Debug)]
pub(crate) struct Channels {
    pub(crate) settled: PreparedStatement,
    pub(crate) put_anchor: PreparedStatement,
    pub(crate) create: PreparedStatement,
    pub(crate) apply: PreparedStatement,
    pub(crate) put_member: PreparedStatement,
    pub(crate) remove_member: PreparedStatement,
    pub(crate) member: PreparedStatement,
    pub(crate) members: PreparedStatement,
    pub(crate) put_name: PreparedStatement,
    pub(crate) names: PreparedStatement,
}

/// Lists of a channel's buckets, and of a slot's channels.
#[derive(Debug)]
pub(crate) struct Lists {
    pub(crate) newest_bucket: PreparedStatement,
    pub(crate) bucket_of: PreparedStatement,
    pub(crate) put_bucket: PreparedStatement,
    pub(crate) buckets_before: PreparedStatement,
    pub(crate) forget_buckets: PreparedStatement,
    pub(crate) put_slot_channel: PreparedStatement,
    pub(crate) slot_channels: PreparedStatement,
}

/// What comes with records, and what goes from buckets.
#[derive(Debug)]
pub(crate) struct Extras {
    pub(crate) put_members: PreparedStatement,
    pub(crate) members: PreparedStatement,
    pub(crate) put_intents: PreparedStatement,
    pub(crate) intents: PreparedStatement,
    pub(crate) forget_intents: PreparedStatement,
    pub(crate) forget_bucket: PreparedStatement,
    pub(crate) forget_records: PreparedStatement,
}

/// What leads to the intents of channels. A slot itself has an empty channel.
#[derive(Debug)]
pub(crate) struct Hints {
    pub(crate) put: PreparedStatement,
    pub(crate) slots: PreparedStatement,
    pub(crate) page: PreparedStatement,
    pub(crate) forget: PreparedStatement,
    pub(crate) forget_of_slot: PreparedStatement,
}

impl Meta {
    pub(crate) async fn prepare(with: &Preparing<'_>) -> Result<Self, StorageError> {
        Ok(Self {
            get: with.serial("SELECT value FROM meta WHERE name = ?").await?,
            put: with.quorum("INSERT INTO meta (name, value) VALUES (?, ?) IF NOT EXISTS").await?,
        })
    }
}

impl Heads {
    pub(crate) async fn prepare(with: &Preparing<'_>) -> Result<Self, StorageError> {
        let anchor =
            format!("channel = ? AND bucket = ? AND kind = {ANCHOR} AND name = '' AND number = 0");
        // Servers want a column of the row itself as well.
        let statics = format!("SELECT {STATICS}, kind FROM log WHERE {anchor}");
        // Whoever changes the head names all of it that others may change: the newest record by
        // offset and epoch, the trim point, and that the bucket is not sealed.
        let unchanged = "IF last = ? AND epoch = ? AND first = ? AND sealed = false";
        let here = "WHERE channel = ? AND bucket = ?";
        Ok(Self {
            settled: with.serial(&statics).await?,
            seen: with.quorum(&statics).await?,
            begin: with
                .quorum(format!(
                    "UPDATE log SET last = ?, epoch = ?, first = ?, last_ts_ms = ?, epochs = ?, \
                     changed = ?, base = ?, bytes = ?, sealed = false {here} IF last = null"
                ))
                .await?,
            put_anchor: with
                .quorum(format!(
                    "INSERT INTO log (channel, bucket, kind, name, number) \
                     VALUES (?, ?, {ANCHOR}, '', 0)"
                ))
                .await?,
            advance: with
                .quorum(format!(
                    "UPDATE log SET last = ?, epoch = ?, last_ts_ms = ?, epochs = ?, changed = ?, \
                     bytes = ? {here} {unchanged}"
                ))
                .await?,
            trim: with.quorum(format!("UPDATE log SET first = ? {here} {unchanged}")).await?,
            seal: with.quorum(format!("UPDATE log SET sealed = true {here} {unchanged}")).await?,
            written: with
                .quorum(format!(
                    "SELECT WRITETIME(last), WRITETIME(first), WRITETIME(sealed), kind FROM log \
                     WHERE {anchor}"
                ))
                .await?,
        })
    }
}

impl Rows {
    pub(crate) async fn prepare(with: &Preparing<'_>) -> Result<Self, StorageError> {
        let here = "FROM log WHERE channel = ? AND bucket = ?";
        let put = "INSERT INTO log (channel, bucket, kind, name, number";
        let origins = ORIGIN_COLUMNS.replace("client_seq", "number");
        Ok(Self {
            put_record: with
                .quorum(format!(
                    "INSERT INTO log (channel, bucket, kind, name, {RECORD_COLUMNS}, tag) VALUES \
                     (?, ?, {RECORD}, '', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                ))
                .await?,
            // On the condition, so that what is trimmed meanwhile does not come back.
            redact: with
                .quorum(format!(
                    "UPDATE log SET payload = 0x WHERE channel = ? AND bucket = ? \
                     AND kind = {RECORD} AND name = '' AND number = ? IF EXISTS"
                ))
                .await?,
            page: with
                .quorum(format!(
                    "SELECT {RECORD_COLUMNS} {here} AND kind = {RECORD} AND name = '' \
                     AND number > ? LIMIT ?"
                ))
                .await?,
            tag: with
                .quorum(format!(
                    "SELECT tag {here} AND kind = {RECORD} AND name = '' AND number = ?"
                ))
                .await?,
            put_origin: with
                .quorum(format!(
                    "{put}, at_offset, at_epoch, id, server_ts_ms, fingerprint) VALUES \
                     (?, ?, {ORIGIN}, ?, ?, ?, ?, ?, ?, ?)"
                ))
                .await?,
            origins_here: with
                .quorum(format!("SELECT name, {origins} {here} AND (kind, name, number) IN ?"))
                .await?,
            all_origins: with
                .quorum(format!("SELECT name, {origins} {here} AND kind = {ORIGIN}"))
                .await?,
            origins_before: with
                .quorum(format!(
                    "SELECT client_id, {ORIGIN_COLUMNS} FROM origins WHERE channel = ? \
                     AND client_id = ? AND client_seq IN ?"
                ))
                .await?,
            copy_origin: with
                .quorum(format!(
                    "INSERT INTO origins (channel, client_id, {ORIGIN_COLUMNS}) VALUES \
                     (?, ?, ?, ?, ?, ?, ?, ?) USING TTL {HORIZON_SECS}"
                ))
                .await?,
        })
    }
}

impl Owed {
    pub(crate) async fn prepare(with: &Preparing<'_>) -> Result<Self, StorageError> {
        let own = "slot = ? AND channel = 0x";
        Ok(Self {
            counts: with
                .serial(format!(
                    "SELECT last, completed, number FROM intents WHERE {own} AND number = 0"
                ))
                .await?,
            put_anchor: with
                .quorum("INSERT INTO intents (slot, channel, number) VALUES (?, 0x, 0)")
                .await?,
            raise_last: with
                .quorum("UPDATE intents SET last = ? WHERE slot = ? IF last = ?")
                .await?,
            raise_completed: with
                .quorum(
                    "UPDATE intents SET completed = ? WHERE slot = ? IF last = ? AND completed = ?",
                )
                .await?,
            put: with
                .quorum("INSERT INTO intents (slot, channel, number, payload) VALUES (?, ?, ?, ?)")
                .await?,
            marks: with
                .quorum(
                    "SELECT channel, number, WRITETIME(payload) FROM intents WHERE slot = ? \
                 AND (channel, number) IN ?",
                )
                .await?,
            page: with
                .quorum(format!(
                    "SELECT number, payload FROM intents WHERE {own} AND number > ? LIMIT ?"
                ))
                .await?,
            written: with
                .quorum(format!(
                    "SELECT WRITETIME(payload) FROM intents WHERE {own} AND number = ?"
                ))
                .await?,
            forget: with
                .quorum(format!(
                    "DELETE FROM intents USING TIMESTAMP ? WHERE {own} AND number > 0 \
                     AND number <= ?"
                ))
                .await?,
            forget_mark: with
                .quorum(
                    "DELETE FROM intents USING TIMESTAMP ? WHERE slot = ? AND channel = ? \
                 AND number = ?",
                )
                .await?,
        })
    }
}

impl Lists {
    pub(crate) async fn prepare(with: &Preparing<'_>) -> Result<Self, StorageError> {
        Ok(Self {
            newest_bucket: with
                .quorum("SELECT bucket FROM buckets WHERE channel = ? LIMIT 1")
                .await?,
            bucket_of: with
                .quorum("SELECT bucket, base FROM buckets WHERE channel = ? AND base <= ? LIMIT 1")
                .await?,
            put_bucket: with
                .quorum("INSERT INTO buckets (channel, base, bucket) VALUES (?, ?, ?)")
                .await?,
            buckets_before: with
                .quorum("SELECT bucket FROM buckets WHERE channel = ? AND base < ?")
                .await?,
            forget_buckets: with
                .quorum("DELETE FROM buckets WHERE channel = ? AND base < ?")
                .await?,
            put_slot_channel: with
                .quorum("INSERT INTO slot_channels (slot, channel) VALUES (?, ?)")
                .await?,
            slot_channels: with
                .quorum("SELECT channel FROM slot_channels WHERE slot = ? AND channel > ? LIMIT ?")
                .await?,
        })
    }
}

impl Extras {
    pub(crate) async fn prepare(with: &Preparing<'_>) -> Result<Self, StorageError> {
        let here = "FROM log WHERE channel = ? AND bucket = ?";
        let put = "INSERT INTO log (channel, bucket, kind, name, number";
        Ok(Self {
            put_members: with
                .quorum(format!("{put}, items, previous) VALUES (?, ?, {MEMBERS}, '', ?, ?, ?)"))
                .await?,
            members: with
                .quorum(format!(
                    "SELECT items, previous {here} AND kind = {MEMBERS} AND name = '' \
                     AND number = ?"
                ))
                .await?,
            put_intents: with
                .quorum(format!("{put}, items, stamp) VALUES (?, ?, {INTENTS}, '', ?, ?, ?)"))
                .await?,
            intents: with
                .quorum(format!(
                    "SELECT items, stamp, WRITETIME(items) {here} AND kind = {INTENTS} \
                     AND name = '' AND number = ?"
                ))
                .await?,
            forget_intents: with
                .quorum(format!(
                    "DELETE FROM log USING TIMESTAMP ? WHERE channel = ? AND bucket = ? \
                     AND kind = {INTENTS} AND name = '' AND number = ?"
                ))
                .await?,
            forget_bucket: with
                .quorum(format!(
                    "DELETE FROM log USING TIMESTAMP ? WHERE channel = ? AND bucket = ? \
                     AND kind >= {RECORD} AND kind < {INTENTS}"
                ))
                .await?,
            forget_records: with
                .quorum(format!(
                    "DELETE FROM log USING TIMESTAMP ? WHERE channel = ? AND bucket = ? \
                     AND kind = {RECORD} AND name = '' AND number < ?"
                ))
                .await?,
        })
    }
}

impl Hints {
    pub(crate) async fn prepare(with: &Preparing<'_>) -> Result<Self, StorageError> {
        let own = "slot = ? AND channel = 0x";
        Ok(Self {
            put: with
                .quorum(
                    "INSERT INTO intent_hints (slot, channel, number, bucket, put_at) \
                 VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?",
                )
                .await?,
            slots: with.quorum("SELECT DISTINCT slot FROM intent_hints").await?,
            page: with
                .quorum(
                    "SELECT channel, number, bucket, put_at FROM intent_hints WHERE slot = ? \
                 AND (channel, number, bucket) > (?, ?, ?) LIMIT ?",
                )
                .await?,
            forget: with
                .quorum(
                    "DELETE FROM intent_hints USING TIMESTAMP ? WHERE slot = ? AND channel = ? \
                 AND number = ? AND bucket = ?",
                )
                .await?,
            forget_of_slot: with
                .quorum(format!("DELETE FROM intent_hints WHERE {own} AND number <= ?"))
                .await?,
        })
    }
}

impl Channels {
    pub(crate) async fn prepare(with: &Preparing<'_>) -> Result<Self, StorageError> {
        Ok(Self {
            settled: with.serial("SELECT name, kind, access, created_by, created_at_ms, applied, members, tag, user \
                 FROM channels WHERE channel = ? AND user = ''")            .await?,
            put_anchor: with.quorum("INSERT INTO channels (channel, user) VALUES (?, '')")
                .await?,
            create: with.quorum("UPDATE channels SET name = ?, kind = ?, access = ?, created_by = ?, \
                 created_at_ms = ?, applied = ?, members = ?, tag = ? WHERE channel = ? \
                 IF name = null AND applied = ?")            .await?,
            apply: with.quorum("UPDATE channels SET applied = ?, members = ? WHERE channel = ? \
                 IF applied = ? AND members = ?")            .await?,
            put_member: with.quorum("INSERT INTO channels (channel, user, role, since_ms) VALUES (?, ?, ?, ?)")            .await?,
            remove_member: with.quorum("DELETE FROM channels WHERE channel = ? AND user = ?")
                .await?,
            member: with.quorum("SELECT user, role, since_ms FROM channels WHERE channel = ? AND user = ?")            .await?,
            members: with.quorum("SELECT user, role, since_ms FROM channels WHERE channel = ? AND user > ? LIMIT ?")            .await?,
            put_name: with.quorum("INSERT INTO channel_names (part, name) VALUES (?, ?)")
                .await?,
            names: with.quorum("SELECT name FROM channel_names WHERE part = ? AND name > ? LIMIT ?")            .await?,
        })
    }
}

/// Prepares statements on one session.
#[derive(Debug)]
pub(crate) struct Preparing<'a>(pub(crate) &'a Session);

impl Preparing<'_> {
    async fn serial(&self, text: impl AsRef<str>) -> Result<PreparedStatement, StorageError> {
        self.prepare(text.as_ref(), Consistency::LocalSerial).await
    }

    async fn quorum(&self, text: impl AsRef<str>) -> Result<PreparedStatement, StorageError> {
        self.prepare(text.as_ref(), Consistency::LocalQuorum).await
    }

    async fn prepare(
        &self,
        text: &str,
        consistency: Consistency,
    ) -> Result<PreparedStatement, StorageError> {
        let mut statement = self.0.prepare(text).await.map_err(|error| {
            unavailable(format!("a statement cannot be prepared: {error}")).with_source(error)
        })?;
        statement.set_consistency(consistency);
        // Those that are not go out in batches, which say so.
        statement.set_is_idempotent(true);
        Ok(statement)
    }
}

/// For how long an origin that left its bucket is recognised: 7 days and some (I3).
const HORIZON_SECS: u64 = 8 * 24 * 3600;
