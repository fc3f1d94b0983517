//! How far channels are archived: a row for each channel of which something is.

use bytes::{Buf as _, Bytes};
use futures_util::FutureExt as _;
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::archived::decide;
use sterna_storage::{
    Archived, ArchivedChange, ArchivedError, ArchivedStore, BoxFuture, StorageError,
};

use crate::RocksStore;
use crate::encoding::Damaged;
use crate::group::{Group, Sync};
use crate::options::Family;

impl ArchivedStore for RocksStore {
    fn archived(
        &self,
        channels: Vec<ChannelKey>,
    ) -> BoxFuture<'_, Result<Vec<Option<Archived>>, StorageError>> {
        self.engine.read(move |database| {
            let find = |channel: &ChannelKey| {
                database.get_as(Family::Archived, &channel.0, decode_archived)
            };
            channels.iter().map(find).collect()
        })
    }

    fn change_archived(
        &self,
        changes: Vec<ArchivedChange>,
    ) -> BoxFuture<'_, Vec<Result<(), ArchivedError>>> {
        let count = changes.len();
        let written = self.engine.write(move |group| {
            Ok(changes.into_iter().map(|one| change(group, one)).collect::<Vec<_>>())
        });
        let spread = move |outcome: Result<Vec<_>, StorageError>| match outcome {
            Ok(verdicts) => verdicts,
            Err(error) => (0..count).map(|_| Err(error.clone().into())).collect(),
        };
        written.map(spread).boxed()
    }
}

fn change(group: &mut Group, change: ArchivedChange) -> Result<(), ArchivedError> {
    let key = change.channel.0;
    let found = group.get_as(Family::Archived, &key, decode_archived)?;
    decide(&change, found.as_ref())?;
    group.put(Sync::Now, Family::Archived, key.into(), encode_archived(&change.archived));
    Ok(())
}

/// offset . content
pub(crate) fn encode_archived(archived: &Archived) -> Vec<u8> {
    [&archived.upto.0.to_be_bytes(), &archived.content[..]].concat()
}

pub(crate) fn decode_archived(mut content: &[u8]) -> Result<Archived, Damaged> {
    let upto = content.try_get_u64().map_err(|error| Damaged(error.to_string()))?;
    Ok(Archived { upto: Offset(upto), content: Bytes::copy_from_slice(content) })
}
