//! Buckets: how a channel goes from one to the next, which of them holds an offset, and how those that
//! were trimmed go away.

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{BoxFuture, Head, StorageError};

use crate::columns::{Values, big, bound, int, key};
use crate::cql::Uncertain;
use crate::engine::{AT_ONCE, Engine};
use crate::failure::{corrupt, overtaken};
use crate::tip::{Look, Tip};

impl Engine {
    /// Follows a bucket that was full at a settled look by the next one. Each step can be taken by
    /// several writers at once, and again by another one where one has died; afterwards the caller
    /// looks again.
    pub(crate) async fn roll(&self, channel: ChannelKey, tip: &Tip) -> Result<(), StorageError> {
        if !tip.sealed {
            let seal = (&self.heads.seal, Values::from(tip.unchanged(channel)));
            if !self.cql.decide(vec![seal]).await.map_err(Uncertain::harmless)? {
                return Ok(());
            }
        }
        let next = Tip {
            bucket: tip.bucket + 1,
            base: tip.head.position.offset.next(),
            bytes: 0,
            sealed: false,
            ..tip.clone()
        };
        // Before anything can be appended behind them.
        self.copy_origins(channel, tip.bucket).await?;
        let mut listed = vec![(next.base, next.bucket)];
        if tip.bucket == 0 {
            listed.push((tip.base, tip.bucket));
        }
        for (base, bucket) in listed {
            let values = vec![key(channel), big(base.0), int(bucket)];
            self.cql.write((&self.lists.put_bucket, values)).await?;
        }
        let begin = vec![
            (&self.heads.begin, next.beginning(channel)),
            (&self.heads.put_anchor, vec![key(channel), int(next.bucket)]),
        ];
        // Whoever has begun it has begun the same.
        if self.cql.decide(begin).await.map_err(Uncertain::harmless)? {
            metrics::counter!("sterna_storage_scylla_buckets_total").increment(1);
        }
        Ok(())
    }

    /// The bucket that holds an offset, which is not below the trim point.
    pub(crate) async fn bucket_of(
        &self,
        channel: ChannelKey,
        tip: &Tip,
        offset: Offset,
    ) -> Result<i32, StorageError> {
        self.bucket_from(channel, tip, offset).await.map(|(bucket, _)| bucket)
    }

    /// The same with the first offset in it.
    async fn bucket_from(
        &self,
        channel: ChannelKey,
        tip: &Tip,
        offset: Offset,
    ) -> Result<(i32, Offset), StorageError> {
        if offset >= tip.base {
            return Ok((tip.bucket, tip.base));
        }
        let values = vec![key(channel), bound(offset.0)];
        let found = self.cql.rows("buckets", (&self.lists.bucket_of, values)).await?;
        let Some(mut row) = found.into_iter().next() else {
            return Err(corrupt(format!("no bucket of a channel holds offset {}", offset.0)));
        };
        Ok((row.int()?, row.offset()?))
    }

    pub(crate) async fn trim_log(
        &self,
        channel: ChannelKey,
        first: Offset,
    ) -> Result<Option<Head>, StorageError> {
        self.check_open()?;
        let Some(tip) = self.raise_trim_point(channel, first).await? else { return Ok(None) };
        if tip.head.first > Offset(1) {
            self.give_back(channel, &tip).await?;
        }
        Ok(Some(tip.head))
    }

    async fn raise_trim_point(
        &self,
        channel: ChannelKey,
        first: Offset,
    ) -> Result<Option<Tip>, StorageError> {
        for _ in 0..=self.retries {
            let Some(tip) = self.tip(channel, Look::Settled).await? else { return Ok(None) };
            let Some(head) = sterna_storage::sequence::trim(&tip.head, first) else {
                return Ok(Some(tip));
            };
            if tip.sealed {
                self.roll(channel, &tip).await?;
                continue;
            }
            let mut values = vec![big(head.first.0)];
            values.extend(tip.unchanged(channel));
            let raise = (&self.heads.trim, values);
            if self.cql.decide(vec![raise]).await.map_err(Uncertain::harmless)? {
                return Ok(Some(Tip { head, ..tip }));
            }
        }
        Err(overtaken("a trim"))
    }

    /// Gives back the space below the trim point: of whole buckets, and of the records before it in
    /// the bucket where it is. One deletion of a range in each, however many records there are.
    async fn give_back(&self, channel: ChannelKey, tip: &Tip) -> Result<(), StorageError> {
        let first = tip.head.first;
        let (bucket, base) = self.bucket_from(channel, tip, first).await?;
        let values = vec![key(channel), big(base.0)];
        let gone = self.cql.rows("buckets", (&self.lists.buckets_before, values.clone())).await?;
        if !gone.is_empty() {
            // Their changes of members go with them.
            self.apply_members(channel, tip.changed).await?;
            let all: Vec<BoxFuture<'_, _>> = gone
                .into_iter()
                .map(|mut row| async move { self.forget_bucket(channel, row.int()?).await }.boxed())
                .collect();
            let all = stream::iter(all).buffer_unordered(AT_ONCE);
            all.try_collect::<()>().await?;
            self.cql.write((&self.lists.forget_buckets, values)).await?;
        }
        if first > base
            && let Some(written) = self.written(channel, bucket).await?
        {
            let values = vec![big(written), key(channel), int(bucket), big(first.0)];
            self.cql.write((&self.extras.forget_records, values)).await?;
        }
        Ok(())
    }

    /// All but what tells that it was there, and what is still owed.
    async fn forget_bucket(&self, channel: ChannelKey, bucket: i32) -> Result<(), StorageError> {
        let Some(written) = self.written(channel, bucket).await? else { return Ok(()) };
        let values = vec![big(written), key(channel), int(bucket)];
        self.cql.write((&self.extras.forget_bucket, values)).await
    }

    /// When, by the clock of the conditional writes, the bucket's head was last changed: a deletion
    /// of that time takes whatever was written before, and nothing that comes after.
    async fn written(&self, channel: ChannelKey, bucket: i32) -> Result<Option<u64>, StorageError> {
        let values = vec![key(channel), int(bucket)];
        let found = self.cql.rows("log", (&self.heads.written, values)).await?;
        let Some(mut row) = found.into_iter().next() else { return Ok(None) };
        let mut newest = None;
        for _ in 0..WRITTEN_COLUMNS {
            newest = newest.max(row.optional(crate::columns::integer)?);
        }
        Ok(newest.map(i64::cast_unsigned))
    }
}

/// What [`crate::statements::Heads::written`] selects.
const WRITTEN_COLUMNS: usize = 3;
