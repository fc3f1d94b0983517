//! Publishing: one publication, a batch, or one payload to many channels.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sterna_core::link::{self, LinkCommand, Verb};
use sterna_proto::v1::PublicationKind;
use sterna_proto::{ChannelId, ErrorCode, SessionId, v1};

use super::answer::{Answer, ApiError, ErrorBody, success};
use super::caller::Caller;
use super::input::{Body, payload, uuid_bytes};
use super::{Shared, Surface};

/// Most items of a batch, and most channels of a broadcast.
const BATCH: usize = 100;

/// Longest Idempotency-Key.
const IDEMPOTENCY_KEY_BYTES: usize = 128;

/// One publication, or a batch of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishBody {
    channel: Option<String>,
    text: Option<String>,
    payload_base64: Option<String>,
    kind: Option<Kind>,
    target_offset: Option<u64>,
    client_msg_id: Option<String>,
    batch: Option<Vec<Item>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    channel: String,
    text: Option<String>,
    payload_base64: Option<String>,
    kind: Option<Kind>,
    target_offset: Option<u64>,
    client_msg_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BroadcastBody {
    channels: Vec<String>,
    text: Option<String>,
    payload_base64: Option<String>,
}

/// What callers may publish; the other kinds are the node's own.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Message,
    Edit,
    Recall,
    Reaction,
}

/// As answers write it.
pub(super) fn kind_name(kind: PublicationKind) -> &'static str {
    match kind {
        PublicationKind::Message => "message",
        PublicationKind::Edit => "edit",
        PublicationKind::Recall => "recall",
        PublicationKind::Reaction => "reaction",
        PublicationKind::Membership => "membership",
        PublicationKind::Epoch => "epoch",
        PublicationKind::Redaction => "redaction",
    }
}

/// The outcome of a request that may hold several publications.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Outcome {
    One(PublishedBody),
    Many { published: Vec<ItemOutcome> },
}

/// Each item of a batch stands for itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ItemOutcome {
    Result(PublishedBody),
    Error(ErrorBody),
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct PublishedBody {
    channel: String,
    epoch: u32,
    offset: u64,
    id: String,
    server_ts_ms: u64,
    duplicate: bool,
}

pub(super) async fn publish(
    State(surface): Shared,
    caller: Caller,
    headers: HeaderMap,
    Body(body): Body<PublishBody>,
) -> Answer<Outcome> {
    let key = IdempotencyKey::from_headers(&headers)?;
    match body.into_items()? {
        Items::One(item) => {
            let draft = draft(item, key.client_seq(0))?;
            let published = send(&surface, &caller, draft).await?;
            success(Outcome::One(published))
        }
        Items::Many(items) => {
            let drafts = items
                .into_iter()
                .enumerate()
                .map(|(at, item)| draft(item, key.client_seq(at)))
                .collect::<Result<_, _>>()?;
            success(Outcome::Many { published: send_all(&surface, &caller, drafts).await })
        }
    }
}

pub(super) async fn broadcast(
    State(surface): Shared,
    caller: Caller,
    headers: HeaderMap,
    Body(body): Body<BroadcastBody>,
) -> Answer<Outcome> {
    check_count("channels", body.channels.len())?;
    let key = IdempotencyKey::from_headers(&headers)?;
    let payload = payload(body.text, body.payload_base64)?;
    let drafts = body
        .channels
        .iter()
        .map(|name| {
            let channel = ChannelId::new(name)?;
            let publish = v1::Publish {
                channel: name.clone(),
                payload: payload.clone(),
                client_seq: key.client_seq(0),
                ..Default::default()
            };
            Ok(Draft { channel, publish })
        })
        .collect::<Result<Vec<_>, ApiError>>()?;
    let mut names: Vec<&str> = body.channels.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() < drafts.len() {
        return Err(ApiError::bad_request("a channel is named twice"));
    }
    success(Outcome::Many { published: send_all(&surface, &caller, drafts).await })
}

enum Items {
    One(Item),
    Many(Vec<Item>),
}

impl PublishBody {
    fn into_items(self) -> Result<Items, ApiError> {
        let Some(batch) = self.batch else {
            let channel =
                self.channel.ok_or_else(|| ApiError::bad_request("channel is missing"))?;
            return Ok(Items::One(Item {
                channel,
                text: self.text,
                payload_base64: self.payload_base64,
                kind: self.kind,
                target_offset: self.target_offset,
                client_msg_id: self.client_msg_id,
            }));
        };
        let alone = self.channel.is_none()
            && self.text.is_none()
            && self.payload_base64.is_none()
            && self.kind.is_none()
            && self.target_offset.is_none()
            && self.client_msg_id.is_none();
        if !alone {
            return Err(ApiError::bad_request("batch stands alone; move the rest into its items"));
        }
        check_count("batch", batch.len())?;
        Ok(Items::Many(batch))
    }
}

fn check_count(field: &str, count: usize) -> Result<(), ApiError> {
    if (1..=BATCH).contains(&count) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("{field} has {count} items; 1 to {BATCH} are allowed")))
}

/// A publication that is well-formed.
struct Draft {
    channel: ChannelId,
    publish: v1::Publish,
}

fn draft(item: Item, client_seq: u64) -> Result<Draft, ApiError> {
    let channel = ChannelId::new(&item.channel)?;
    let kind = match item.kind.unwrap_or_default() {
        Kind::Message => PublicationKind::Message,
        Kind::Edit => PublicationKind::Edit,
        Kind::Recall => PublicationKind::Recall,
        Kind::Reaction => PublicationKind::Reaction,
    };
    let target_offset = item.target_offset.unwrap_or(0);
    if (kind == PublicationKind::Message) != (target_offset == 0) {
        let message = "edit, recall and reaction name a target_offset above 0, message does not";
        return Err(ApiError::bad_request(message));
    }
    // A recall says all by its target.
    let payload = match (kind, item.text, item.payload_base64) {
        (PublicationKind::Recall, None, None) => bytes::Bytes::new(),
        (_, text, payload_base64) => payload(text, payload_base64)?,
    };
    let client_msg_id = item.client_msg_id.as_deref().map(uuid_bytes).transpose()?;
    let publish = v1::Publish {
        channel: item.channel,
        payload,
        client_seq,
        client_msg_id: client_msg_id.unwrap_or_default(),
        kind: kind.into(),
        target_offset,
        ..Default::default()
    };
    Ok(Draft { channel, publish })
}

/// Publications of one channel go one after the other, so that their order is the caller's;
/// channels do not wait for each other.
async fn send_all(surface: &Surface, caller: &Caller, drafts: Vec<Draft>) -> Vec<ItemOutcome> {
    let count = drafts.len();
    let mut groups: HashMap<ChannelId, Vec<(usize, Draft)>> = HashMap::new();
    for (at, draft) in drafts.into_iter().enumerate() {
        groups.entry(draft.channel.clone()).or_default().push((at, draft));
    }
    let mut outcomes: Vec<(usize, ItemOutcome)> = Vec::with_capacity(count);
    let sending = groups.into_values().map(|group| send_group(surface, caller, group));
    join_all(sending).await.into_iter().for_each(|group| outcomes.extend(group));
    outcomes.sort_unstable_by_key(|(at, _)| *at);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// After a failure that may pass, what follows in the channel is not tried: a repetition of the
/// failed item would come after it.
async fn send_group(
    surface: &Surface,
    caller: &Caller,
    group: Vec<(usize, Draft)>,
) -> Vec<(usize, ItemOutcome)> {
    let mut outcomes = Vec::with_capacity(group.len());
    let mut stopped: Option<v1::Error> = None;
    for (at, draft) in group {
        if let Some(error) = &stopped {
            outcomes.push((at, ItemOutcome::Error(error.clone().into())));
            continue;
        }
        match send(surface, caller, draft).await {
            Ok(published) => outcomes.push((at, ItemOutcome::Result(published))),
            Err(ApiError(error)) => {
                stopped = error.retryable.then(|| v1::Error {
                    message: format!("not tried, since an earlier item failed: {}", error.message),
                    ..error.clone()
                });
                outcomes.push((at, ItemOutcome::Error(error.into())));
            }
        }
    }
    outcomes
}

async fn send(surface: &Surface, caller: &Caller, draft: Draft) -> Result<PublishedBody, ApiError> {
    surface.rates.take_publication(caller, surface.parts.node.volatile())?;
    let Draft { channel, mut publish } = draft;
    publish.client_ts_ms = surface.parts.node.clock().unix_ms();
    match surface.call(caller, channel, Verb::Publish(publish)).await? {
        v1::reply::Result::Published(published) => Ok(PublishedBody {
            channel: published.channel,
            epoch: published.epoch,
            offset: published.offset,
            id: published.id.to_string(),
            server_ts_ms: published.server_ts_ms,
            duplicate: published.duplicate,
        }),
        other => Err(unexpected(&other)),
    }
}

impl Surface {
    /// One command to the owner of a channel.
    pub(super) async fn call(
        &self,
        caller: &Caller,
        channel: ChannelId,
        verb: Verb,
    ) -> Result<v1::reply::Result, ApiError> {
        // No session has the number 0.
        let (session, edge) = (SessionId(0), self.parts.node.config().incarnation);
        let identity = Arc::clone(&caller.identity);
        let caller = link::Caller::new(identity, caller.client_id.clone(), session, edge);
        let command =
            LinkCommand { caller: Arc::new(caller), key: channel.key(), channel, hops: 0, verb };
        match self.parts.node.call(command).await? {
            v1::reply::Result::Error(error) => Err(ApiError(error)),
            result => Ok(result),
        }
    }
}

/// The core answered a command with another command's reply.
pub(super) fn unexpected(result: &v1::reply::Result) -> ApiError {
    tracing::error!(?result, "reply of the wrong type");
    ApiError(v1::Error::new(ErrorCode::Internal, "the node gave an answer of the wrong type"))
}

/// From the header of that name; the log itself recognises repetitions by it (I3).
pub(super) enum IdempotencyKey {
    None,
    Given(String),
}

impl IdempotencyKey {
    pub(super) fn from_headers(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut values = headers.get_all("idempotency-key").iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return match headers.contains_key("idempotency-key") {
                false => Ok(Self::None),
                true => Err(ApiError::bad_request("Idempotency-Key is given twice")),
            };
        };
        match value.to_str() {
            Ok(key) if (1..=IDEMPOTENCY_KEY_BYTES).contains(&key.len()) => {
                Ok(Self::Given(key.to_owned()))
            }
            _ => Err(ApiError::bad_request(
                "an Idempotency-Key has 1 to 128 printable ASCII characters",
            )),
        }
    }

    /// A sequence number that is the same for the same key and item: 63 bits of a hash, never 0.
    /// Without a key 0, which is never a duplicate.
    fn client_seq(&self, item: usize) -> u64 {
        let Self::Given(key) = self else { return 0 };
        let mut hash = Sha256::new();
        hash.update(b"sterna idempotency v1\0");
        hash.update((item as u64).to_be_bytes());
        hash.update(key.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hash.finalize()[..8]);
        (u64::from_be_bytes(first) >> 1).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i3_the_sequence_number_depends_on_key_and_item_alone() {
        let key = |text: &str| IdempotencyKey::Given(text.into());
        assert_eq!(key("a").client_seq(0), key("a").client_seq(0));
        assert_ne!(key("a").client_seq(0), key("a").client_seq(1));
        assert_ne!(key("a").client_seq(0), key("b").client_seq(0));
        assert!(key("a").client_seq(0) < 1 << 63);
        assert_eq!(IdempotencyKey::None.client_seq(3), 0);
    }
}
