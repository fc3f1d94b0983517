//! What channels keep, as administrators ask for it. Orders go to the owners of channels, as any
//! command; what is kept is read here.

use std::sync::Arc;

use sterna_proto::link::v1::Keep;
use sterna_proto::{ChannelId, ClientId, ErrorCode, Offset, SessionId, UserId, v1};
use sterna_storage::keeping::{Author, Deed, Retention};

use super::Node;
use crate::channel::work::unavailable;
use crate::identity::{Identity, Permission};
use crate::link::{Caller, LinkCommand, LinkReply, Verb};

/// What a channel keeps, and what was ordered of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelKeeping {
    /// The channel's own; 0: forever; `None`: as configured.
    pub retention_ms: Option<u64>,
    pub hold: Option<Ordered>,
    /// The first offset that is given to anybody.
    pub floor: Offset,
    pub erased: Option<Ordered>,
    pub sealed: bool,
    pub has_key: bool,
    /// Versions, what was ordered in words, and by whom; the latest first.
    pub deeds: Vec<(u64, String, Ordered)>,
    pub more: bool,
}

/// By whom, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    pub by: UserId,
    pub at_ms: u64,
    pub reason: String,
}

impl From<Author> for Ordered {
    fn from(Author { by, at_ms, reason }: Author) -> Self {
        Self { by, at_ms, reason }
    }
}

impl Node {
    /// What a channel keeps, with the deeds below a version, at most `limit`.
    pub async fn keeping(
        &self,
        channel: &ChannelId,
        before: u64,
        limit: usize,
    ) -> Result<ChannelKeeping, v1::Error> {
        let Some(own) = &self.inner.channels else {
            let message = "this node has clients alone; ask one that owns channels";
            return Err(v1::Error::new(ErrorCode::Unavailable, message));
        };
        let (key, stores) = (channel.key(), &own.context.stores);
        let found = async {
            let record = stores.channels.channel(key).await?;
            let kept = stores.keeping.kept(vec![key]).await?.pop().unwrap_or_default();
            // One more than asked tells whether there are more.
            let deeds = stores.keeping.deeds(key, before, limit + 1).await?;
            Ok((record.is_some(), kept, deeds))
        };
        let (exists, kept, mut deeds) = found.await.map_err(|error| unavailable(&error))?;
        if !exists {
            let message = format!("there is no channel {channel}");
            return Err(v1::Error::new(ErrorCode::UnknownChannel, message));
        }
        let more = deeds.len() > limit;
        deeds.truncate(limit);
        let retention_ms = kept.retention.map(|retention| match retention {
            Retention::Forever => 0,
            Retention::Millis(millis) => millis,
        });
        let deed = |deed: Deed| (deed.version, deed.what, deed.author.into());
        Ok(ChannelKeeping {
            retention_ms,
            hold: kept.hold.map(Into::into),
            floor: kept.floor,
            erased: kept.erased.map(Into::into),
            sealed: kept.sealed,
            has_key: kept.key.is_some(),
            deeds: deeds.into_iter().map(deed).collect(),
            more,
        })
    }

    /// Gives up what is before an offset of a channel, since its retention says so. By the owner,
    /// so that nothing is answered from memory any more.
    pub async fn raise_floor(&self, channel: ChannelId, floor: Offset) -> Result<(), v1::Error> {
        let order = sterna_proto::link::v1::keep::Order::RaiseFloor(floor.0);
        let wish = Keep { reason: String::new(), order: Some(order) };
        let caller = Arc::new(self.retention_caller()?);
        let (key, verb) = (channel.key(), Verb::Keep(wish));
        let answer: LinkReply =
            self.call(LinkCommand { caller, key, channel, hops: 0, verb }).await;
        answer.map(drop)
    }

    fn retention_caller(&self) -> Result<Caller, v1::Error> {
        let invalid =
            |error: sterna_proto::InvalidId| v1::Error::new(ErrorCode::Internal, error.to_string());
        let identity = Identity {
            user: UserId::new(RETENTION).map_err(invalid)?,
            permissions: vec![Permission::all("*")],
            expires_at_ms: None,
            issued_at_ms: None,
            operator: true,
        };
        let client_id = ClientId::new(RETENTION).map_err(invalid)?;
        let incarnation = self.config().incarnation;
        Ok(Caller::new(Arc::new(identity), client_id, SessionId(0), incarnation))
    }
}

/// Who gives up what is too old.
const RETENTION: &str = "node.retention";
