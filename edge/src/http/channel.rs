//! One channel, for an operator who looks: where it stands, who owns it, and where its publications go.

use std::collections::BTreeMap;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::{IntoResponse as _, Response};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sterna_core::Node;
use sterna_core::link::asking::Question;
use sterna_core::vitals::inspect::{ChannelDetail, Examined, FanOutWay};
use sterna_proto::{ChannelId, ErrorCode, NodeId, v1};

use super::answer::{Answer, ApiError, success};
use super::caller::Caller;
use super::elsewhere::{relayed, told};
use super::{Shared, Surface};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChannelQuery {
    channel: String,
}

#[derive(Debug, Serialize)]
pub(super) struct ChannelDetailBody {
    channel: String,
    /// The node that owns the channel, and tells this.
    owner: String,
    /// `direct`, `group` or `broadcast`; `None`: nobody has created the channel.
    kind: Option<&'static str>,
    /// `open` or `members`.
    access: Option<&'static str>,
    epoch: u32,
    first_offset: u64,
    head_offset: u64,
    /// Server time of the newest publication; `None`: there is none.
    last_unix_ms: Option<u64>,
    members: Option<u64>,
    publications_per_second: f32,
    /// Publications that wait for a commit.
    pending: usize,
    /// Users who are in.
    present: usize,
    ring: Option<RingBody>,
    fanout: FanOutBody,
    /// Sessions of the owner that follow the channel.
    subscribers_here: usize,
}

#[derive(Debug, Serialize)]
struct RingBody {
    from: u64,
    bytes: usize,
}

/// A node to which publications go, and those to which it passes them on.
#[derive(Debug, Serialize)]
pub(super) struct FanOutBody {
    node: String,
    region: String,
    /// `None`: only that node knows, and it does not answer.
    sessions: Option<usize>,
    /// It spreads them in its region.
    relay: bool,
    /// As they say it themselves.
    children: Vec<Value>,
}

/// Whoever is asked, the channel's owner tells.
pub(super) async fn channel(
    State(surface): Shared,
    caller: Caller,
    uri: Uri,
    query: Result<Query<ChannelQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    caller.check_observer("look at a channel")?;
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let channel = ChannelId::new(&query.channel)?;
    let node = &surface.parts.node;
    let detail = match node.examine_channel(&channel).await {
        Examined::Channel(detail) => detail,
        Examined::By(nearer) => {
            let question = Question { path: uri.to_string(), body: None };
            return relayed(&surface, &nearer, question).await;
        }
        Examined::Nowhere => {
            let message = "who owns this channel is not known at the moment; ask again";
            let error = v1::Error::new(ErrorCode::Unavailable, message).with_retry_after_ms(1000);
            return Err(ApiError(error));
        }
    };
    if detail.record.is_none() && detail.head.is_none() {
        let message = "nobody has created this channel, and nothing was published in it";
        return Err(ApiError(v1::Error::new(ErrorCode::UnknownChannel, message)));
    }
    let here = node.count_following(channel.key()).await;
    let ways = detail.live.as_ref().map_or(&[][..], |live| &live.ways);
    let fanout = fan_out(&surface, &channel, ways, here).await;
    Ok(success(ChannelDetailBody::of(*detail, node, fanout, here))?.into_response())
}

/// This node's part of a channel's fan-out, and of those to which it passes on.
pub(super) async fn following(
    State(surface): Shared,
    caller: Caller,
    query: Result<Query<ChannelQuery>, QueryRejection>,
) -> Answer<FanOutBody> {
    caller.check_observer("look at a channel")?;
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let channel = ChannelId::new(&query.channel)?;
    let node = &surface.parts.node;
    let here = node.count_following(channel.key()).await;
    let ways = node.router().map(|router| router.passed_on(&channel.key())).unwrap_or_default();
    success(fan_out(&surface, &channel, &ways, here).await)
}

impl ChannelDetailBody {
    fn of(detail: ChannelDetail, node: &Node, fanout: FanOutBody, here: usize) -> Self {
        let (record, head, live) = (detail.record.as_ref(), detail.head.as_ref(), &detail.live);
        let live = live.as_ref();
        Self {
            channel: detail.channel,
            owner: node.config().node.to_string(),
            kind: record.map(|record| match record.kind {
                v1::ChannelKind::Direct => "direct",
                v1::ChannelKind::Broadcast => "broadcast",
                _ => "group",
            }),
            access: record.map(|record| match record.access {
                v1::ChannelAccess::Members => "members",
                _ => "open",
            }),
            epoch: head.map_or(0, |head| head.position.epoch.0),
            first_offset: head.map_or(0, |head| head.first.0),
            head_offset: head.map_or(0, |head| head.position.offset.0),
            last_unix_ms: head.map(|head| head.last_ts_ms),
            members: detail.members,
            publications_per_second: live.map_or(0.0, |live| live.publications_per_second),
            pending: live.map_or(0, |live| live.pending),
            present: live.map_or(0, |live| live.present),
            ring: live
                .and_then(|live| live.ring)
                .map(|(from, bytes)| RingBody { from: from.0, bytes }),
            fanout,
            subscribers_here: here,
        }
    }
}

/// This node, and the nodes that get each publication from it. A node is there once, by however many
/// lanes.
async fn fan_out(
    surface: &Surface,
    channel: &ChannelId,
    ways: &[FanOutWay],
    here: usize,
) -> FanOutBody {
    let node = &surface.parts.node;
    let regions: BTreeMap<NodeId, String> = node
        .observed()
        .into_iter()
        .map(|seen| (seen.info.name.clone(), seen.info.region))
        .collect();
    let region = |name: &NodeId| regions.get(name).cloned().unwrap_or_default();
    let others: BTreeMap<&NodeId, bool> =
        ways.iter().filter_map(|way| way.node.as_ref().map(|node| (node, way.wide))).collect();
    let asked = others.into_iter().map(|(name, relay)| {
        let region = region(name);
        async move {
            let path = format!("/api/v1/operate/following?channel={}", escaped(channel));
            let question = Question { path, body: None };
            let mut child = told(surface, name, question).await.unwrap_or_else(|| {
                json!({ "node": name.as_str(), "region": region, "sessions": null, "children": [] })
            });
            child["relay"] = relay.into();
            child
        }
    });
    let own = &node.config().node;
    FanOutBody {
        node: own.to_string(),
        region: region(own),
        sessions: Some(here),
        relay: false,
        children: join_all(asked).await,
    }
}

/// As it stands in a query.
fn escaped(channel: &ChannelId) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~:".contains(&byte);
    let escape = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    channel.as_str().bytes().map(escape).collect()
}
