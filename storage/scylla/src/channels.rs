//! The role of channels and memberships; how members are kept is [`crate::members`]'s.

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use sterna_proto::{ChannelId, ChannelKey, UserId};
use sterna_storage::{BoxFuture, ChannelRecord, ChannelStore, Created, Membership, StorageError};

use crate::ScyllaStore;
use crate::columns::{Value, big, int, key, limit, text};
use crate::cql::Uncertain;
use crate::engine::{AT_ONCE, Engine};
use crate::failure::{overtaken, unknown};
use crate::members::{Known, Outcome, decode_member};

impl ChannelStore for ScyllaStore {
    fn create(
        &self,
        record: ChannelRecord,
        members: Vec<Membership>,
    ) -> BoxFuture<'_, Result<Created, StorageError>> {
        async move { self.engine.create(&record, &members).await }.boxed()
    }

    fn channel(
        &self,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<Option<ChannelRecord>, StorageError>> {
        async move { Ok(self.engine.settled_channel(channel).await?.record) }.boxed()
    }

    fn channels(
        &self,
        after: Option<ChannelId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ChannelRecord>, StorageError>> {
        self.engine.list(after, limit).boxed()
    }

    fn member(
        &self,
        channel: ChannelKey,
        user: UserId,
    ) -> BoxFuture<'_, Result<Option<Membership>, StorageError>> {
        async move {
            self.engine.known(channel).await?;
            self.engine.member_row(channel, &user).await
        }
        .boxed()
    }

    fn members(
        &self,
        channel: ChannelKey,
        after: Option<UserId>,
        wish: usize,
    ) -> BoxFuture<'_, Result<Vec<Membership>, StorageError>> {
        async move {
            self.engine.known(channel).await?;
            if wish == 0 {
                return Ok(Vec::new());
            }
            let after = after.as_ref().map_or("", UserId::as_str);
            let values = vec![key(channel), text(after), limit(wish)];
            let page = (&self.engine.channels.members, values);
            let found = self.engine.cql.rows("channels", page).await?;
            found.into_iter().map(decode_member).collect()
        }
        .boxed()
    }

    fn member_count(&self, channel: ChannelKey) -> BoxFuture<'_, Result<u64, StorageError>> {
        async move { Ok(self.engine.known(channel).await?.member_count()) }.boxed()
    }
}

impl Engine {
    /// Of several creators one writes the name, and its tag says which.
    async fn create(
        &self,
        record: &ChannelRecord,
        members: &[Membership],
    ) -> Result<Created, StorageError> {
        self.check_open()?;
        let channel = record.name.key();
        // Before the channel is there, so that it is never missing in a list.
        let name = record.name.as_str();
        self.cql.write((&self.channels.put_name, vec![part(channel), text(name)])).await?;
        let first = members.iter().map(|member| (member.user.clone(), Some(member.clone())));
        let first: Outcome = first.collect();
        let tag = rand::random::<u64>();
        let mut doubt = None;
        for _ in 0..=self.retries {
            let known = match self.known(channel).await {
                Ok(known) => known,
                Err(error) => return Err(doubt.map_or(error, unknown)),
            };
            if let Some(found) = &known.record {
                let ours = known.tag == Some(tag.cast_signed());
                return Ok(if ours { Created::New } else { Created::Exists(found.clone()) });
            }
            if let Some(error) = doubt {
                return Err(unknown(error));
            }
            let batch = self.creation(record, &known, &first, tag).await?;
            match self.cql.decide(batch).await {
                Ok(true) => return Ok(Created::New),
                Ok(false) => {}
                Err(Uncertain::Refused(error)) => return Err(error),
                Err(Uncertain::Unknown(error)) => doubt = Some(error),
            }
        }
        Err(overtaken("the creation of a channel"))
    }

    async fn creation(
        &self,
        record: &ChannelRecord,
        known: &Known,
        first: &Outcome,
        tag: u64,
    ) -> Result<Vec<crate::cql::Bound<'_>>, StorageError> {
        let channel = record.name.key();
        let count = self.count_after(channel, known, first).await?;
        let condition = vec![
            text(record.name.as_str()),
            int(record.kind as i32),
            int(record.access as i32),
            text(record.created_by.as_str()),
            big(record.created_at_ms),
            big(known.applied().0),
            big(count),
            big(tag),
            key(channel),
            known.was_applied(),
        ];
        let mut batch = vec![(&self.channels.create, condition)];
        batch.extend(self.member_rows(channel, first));
        Ok(batch)
    }

    /// Every part has to be asked for its next names: for operators, not for the message path.
    async fn list(
        &self,
        mut after: Option<ChannelId>,
        wish: usize,
    ) -> Result<Vec<ChannelRecord>, StorageError> {
        let mut found = Vec::new();
        while found.len() < wish {
            let names = self.names(after.as_ref(), wish).await?;
            let Some(last) = names.last().cloned() else { break };
            let looks: Vec<BoxFuture<'_, _>> =
                names.iter().map(|name| self.settled_channel(name.key()).boxed()).collect();
            let known: Vec<Known> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
            // A name without a channel is of a creation that was cut off.
            found.extend(known.into_iter().filter_map(|known| known.record));
            after = Some(last);
        }
        found.truncate(wish);
        Ok(found)
    }

    /// The next names of all parts, at most as many as are wished for.
    async fn names(
        &self,
        after: Option<&ChannelId>,
        wish: usize,
    ) -> Result<Vec<ChannelId>, StorageError> {
        let after = after.map_or("", ChannelId::as_str);
        let looks: Vec<BoxFuture<'_, _>> = (0..NAME_PARTS)
            .map(|part| {
                let values = vec![int(part), text(after), limit(wish)];
                self.cql.rows("channel_names", (&self.channels.names, values)).boxed()
            })
            .collect();
        let found: Vec<_> = stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await?;
        let mut names = Vec::new();
        for mut row in found.into_iter().flatten() {
            names.push(row.name(ChannelId::new)?);
        }
        names.sort_unstable();
        names.truncate(wish);
        Ok(names)
    }
}

/// Where a channel's name is listed.
fn part(channel: ChannelKey) -> Value {
    int(i32::from(channel.0[0]) % NAME_PARTS)
}

/// Partitions of names. It belongs to the data.
const NAME_PARTS: i32 = 16;
