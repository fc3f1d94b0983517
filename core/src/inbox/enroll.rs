//! Who pulls which channel, and the first mark of a new member. Always written before the membership
//! itself: a crash between the two leaves an entry that shows nothing, since every sync asks for the
//! membership (I11), and never a member who hears of nothing.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sterna_proto::{ChannelKey, UserId};
use sterna_storage::{ChannelRecord, Membership, StorageError, Stores};

use super::diffusion::InboxRules;

/// Inboxes that are written at a time.
const AT_ONCE: usize = 16;

/// Members in one look at the store.
const PAGE: usize = 500;

/// The user is about to become a member, or to get another role.
pub(super) async fn before_join(
    stores: &Stores,
    rules: &InboxRules,
    record: &ChannelRecord,
    user: &UserId,
) -> Result<(), StorageError> {
    let key = record.name.key();
    if stores.channels.member(key, user.clone()).await?.is_some() {
        return Ok(());
    }
    let members = stores.channels.member_count(key).await?;
    if rules.enrolls_all(record, members) {
        all(stores, key, true).await?;
    }
    show(stores, key, user.clone(), rules.joins_pulling(record, members)).await
}

/// The channel is about to be made with these members.
pub(crate) async fn before_create(
    stores: &Stores,
    rules: &InboxRules,
    record: &ChannelRecord,
    members: &[Membership],
) -> Result<(), StorageError> {
    let key = record.name.key();
    let pulled = rules.joins_pulling(record, members.len() as u64);
    let users: Vec<UserId> = members.iter().map(|member| member.user.clone()).collect();
    let shown = stream::iter(users).map(|user| Ok(show(stores, key, user, pulled)));
    shown.try_buffer_unordered(AT_ONCE).try_collect().await
}

/// The user is no member any more. The entry stays, so that every device of the user learns that the
/// channel is gone; it shows nothing else.
pub(super) async fn after_leave(
    stores: &Stores,
    key: ChannelKey,
    user: &UserId,
) -> Result<(), StorageError> {
    stores.inboxes.set_pulled(user.clone(), key, false).await?;
    stores.inboxes.mark_dirty(user.clone(), vec![key]).await.map(drop)
}

/// All members pull the channel from now on, or none has to.
pub(super) async fn all(
    stores: &Stores,
    key: ChannelKey,
    pulled: bool,
) -> Result<(), StorageError> {
    let mut after = None;
    loop {
        let page = stores.channels.members(key, after.clone(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.user.clone());
        let set = |member: Membership| Ok(stores.inboxes.set_pulled(member.user, key, pulled));
        let written = stream::iter(page).map(set).try_buffer_unordered(AT_ONCE);
        written.try_collect::<()>().await?;
    }
}

async fn show(
    stores: &Stores,
    key: ChannelKey,
    user: UserId,
    pulled: bool,
) -> Result<(), StorageError> {
    if pulled {
        stores.inboxes.set_pulled(user.clone(), key, true).await?;
    }
    stores.inboxes.mark_dirty(user, vec![key]).await.map(drop)
}
