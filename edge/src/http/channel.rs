//! One channel, for an operator who looks: where it stands, who owns it, and where its publications go.

use std::collections::BTreeMap;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use sterna_core::Node;
use sterna_core::vitals::inspect::{ChannelDetail, Examined, FanOutWay};
use sterna_proto::{ChannelId, ErrorCode, NodeId, v1};

use super::Shared;
use super::answer::{Answer, ApiError, success};
use super::caller::Caller;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChannelQuery {
    channel: String,
}

#[derive(Debug, Serialize)]
pub(super) struct ChannelDetailBody {
    channel: String,
    /// The node that was asked, which owns the channel.
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
    /// Sessions of the asked node that follow the channel.
    subscribers_here: usize,
}

#[derive(Debug, Serialize)]
struct RingBody {
    from: u64,
    bytes: usize,
}

/// A node to which publications go, and those to which it is known to pass them on.
#[derive(Debug, Serialize)]
struct FanOutBody {
    node: String,
    region: String,
    /// `None`: only that node knows.
    sessions: Option<usize>,
    /// It spreads them in its region.
    relay: bool,
    children: Vec<Self>,
}

pub(super) async fn channel(
    State(surface): Shared,
    caller: Caller,
    query: Result<Query<ChannelQuery>, QueryRejection>,
) -> Answer<ChannelDetailBody> {
    caller.check_observer("look at a channel")?;
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let channel = ChannelId::new(&query.channel)?;
    let node = &surface.parts.node;
    let detail = match node.examine_channel(&channel).await {
        Examined::Channel(detail) => detail,
        Examined::By(owner) => {
            let message = format!("node {owner} knows more of this channel: ask it");
            return Err(ApiError(v1::Error::new(ErrorCode::Conflict, message)));
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
    success(ChannelDetailBody::of(*detail, node, here))
}

impl ChannelDetailBody {
    fn of(detail: ChannelDetail, node: &Node, here: usize) -> Self {
        let (record, head, live) = (detail.record.as_ref(), detail.head.as_ref(), &detail.live);
        let ways = live.as_ref().map_or(&[][..], |live| &live.ways);
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
            fanout: fan_out(node, ways, here),
            subscribers_here: here,
        }
    }
}

/// The owner and the nodes that get each publication from it. A node is there once, by however many
/// lanes.
fn fan_out(node: &Node, ways: &[FanOutWay], here: usize) -> FanOutBody {
    let regions: BTreeMap<NodeId, String> = node
        .observed()
        .into_iter()
        .map(|seen| (seen.info.name.clone(), seen.info.region))
        .collect();
    let region = |name: &NodeId| regions.get(name).cloned().unwrap_or_default();
    let others: BTreeMap<&NodeId, bool> =
        ways.iter().filter_map(|way| way.node.as_ref().map(|node| (node, way.wide))).collect();
    let own = &node.config().node;
    FanOutBody {
        node: own.to_string(),
        region: region(own),
        sessions: Some(here),
        relay: false,
        children: others
            .into_iter()
            .map(|(name, relay)| FanOutBody {
                node: name.to_string(),
                region: region(name),
                sessions: None,
                relay,
                children: Vec::new(),
            })
            .collect(),
    }
}
