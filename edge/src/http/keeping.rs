//! What channels keep: retention, holds, redaction, erasure, and who ordered what.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sterna_core::link::Verb;
use sterna_core::{ChannelKeeping, Ordered};
use sterna_proto::link::v1::{Keep, Redact, Retention, keep::Order};
use sterna_proto::{ChannelId, v1};

use super::answer::{Answer, ApiError, success};
use super::caller::Caller;
use super::channels::DoneBody;
use super::input::Body;
use super::publish::unexpected;
use super::read::page_limit;
use super::{Shared, Surface};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeepingBody {
    channel: String,
    before_version: Option<u64>,
    limit: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(super) struct KeptBody {
    channel: String,
    /// 0: forever; `None`: as configured.
    retention_ms: Option<u64>,
    hold: Option<OrderedBody>,
    /// The first offset that is given to anybody.
    floor: u64,
    erased: Option<OrderedBody>,
    sealed: bool,
    has_key: bool,
    deeds: Vec<DeedBody>,
    more: bool,
}

#[derive(Debug, Serialize)]
struct OrderedBody {
    by: String,
    at_ms: u64,
    reason: String,
}

impl From<Ordered> for OrderedBody {
    fn from(Ordered { by, at_ms, reason }: Ordered) -> Self {
        Self { by: by.to_string(), at_ms, reason }
    }
}

#[derive(Debug, Serialize)]
struct DeedBody {
    version: u64,
    what: String,
    #[serde(flatten)]
    ordered: OrderedBody,
}

impl KeptBody {
    fn new(channel: String, keeping: ChannelKeeping) -> Self {
        let deed = |(version, what, ordered): (u64, String, Ordered)| DeedBody {
            version,
            what,
            ordered: ordered.into(),
        };
        Self {
            channel,
            retention_ms: keeping.retention_ms,
            hold: keeping.hold.map(Into::into),
            floor: keeping.floor.0,
            erased: keeping.erased.map(Into::into),
            sealed: keeping.sealed,
            has_key: keeping.has_key,
            deeds: keeping.deeds.into_iter().map(deed).collect(),
            more: keeping.more,
        }
    }
}

/// What a channel keeps, and what was ordered of it, the latest first.
pub(super) async fn keeping(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<KeepingBody>,
) -> Answer<KeptBody> {
    caller.check_operator("look at what a channel keeps")?;
    let channel = ChannelId::new(&body.channel)?;
    let (before, limit) = (body.before_version.unwrap_or(u64::MAX), page_limit(body.limit)?);
    let keeping = surface.parts.node.keeping(&channel, before, limit as usize).await?;
    success(KeptBody::new(body.channel, keeping))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetentionBody {
    channel: String,
    /// 0: forever; without it: as configured.
    retention_ms: Option<u64>,
    #[serde(default)]
    reason: String,
}

pub(super) async fn retention(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<RetentionBody>,
) -> Answer<DoneBody> {
    let order = Order::Retention(Retention { millis: body.retention_ms });
    keep(&surface, &caller, &body.channel, Keep { reason: body.reason, order: Some(order) }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SwitchBody {
    channel: String,
    on: bool,
    reason: String,
}

pub(super) async fn hold(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<SwitchBody>,
) -> Answer<DoneBody> {
    let order = Some(Order::Hold(body.on));
    keep(&surface, &caller, &body.channel, Keep { reason: reason(body.reason)?, order }).await
}

/// Whether the archive gets the channel's payloads sealed, where only marked channels are.
pub(super) async fn seal(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<SwitchBody>,
) -> Answer<DoneBody> {
    let order = Some(Order::Sealed(body.on));
    keep(&surface, &caller, &body.channel, Keep { reason: reason(body.reason)?, order }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RedactBody {
    channel: String,
    offsets: Vec<u64>,
    reason: String,
}

/// Takes payloads away for good: also by an access token, of who may manage the channel.
pub(super) async fn redact(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<RedactBody>,
) -> Answer<DoneBody> {
    let order = Some(Order::Redact(Redact { offsets: body.offsets }));
    keep(&surface, &caller, &body.channel, Keep { reason: reason(body.reason)?, order }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EraseBody {
    channel: String,
    reason: String,
}

/// Everything up to now, for good.
pub(super) async fn erase(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<EraseBody>,
) -> Answer<DoneBody> {
    let order = Some(Order::Erase(true));
    keep(&surface, &caller, &body.channel, Keep { reason: reason(body.reason)?, order }).await
}

/// What cannot be undone has a reason that somebody can read later.
fn reason(text: String) -> Result<String, ApiError> {
    match text.trim().is_empty() {
        true => Err(ApiError::bad_request("say why: `reason` is kept with the order")),
        false => Ok(text),
    }
}

async fn keep(surface: &Surface, caller: &Caller, channel: &str, wish: Keep) -> Answer<DoneBody> {
    let channel = ChannelId::new(channel)?;
    match surface.call(caller, channel, Verb::Keep(wish)).await? {
        v1::reply::Result::Done(_) => success(DoneBody {}),
        other => Err(unexpected(&other)),
    }
}
